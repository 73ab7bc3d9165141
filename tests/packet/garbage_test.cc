// Hostile frames: random ones, and good ones with bits flipped, cut, grown, spliced and tunnelled, by every
// way in. The path must always decide, stay within its buffer (ASan, exact size) and count each frame once.
// THALWEG_SEED repeats a run (it is printed), THALWEG_PACKETS makes it longer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/packet/frame.h"
#include "tests/packet/target.h"

namespace thalweg::packet {

namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed) {}
  bool one_in(unsigned n) { return random_() % n == 0; }
  // 0 … n-1; of nothing: 0.
  size_t below(size_t n) { return n ? random_() % n : 0; }
  char byte() { return static_cast<char>(random_()); }
  template <class T>
  const T& of(const std::vector<T>& all) {
    return all[below(all.size())];
  }

 private:
  std::mt19937_64 random_;
};

const std::vector<std::string> kAddresses = {
    "198.51.100.10", "198.51.100.10", "198.51.100.11", "198.51.100.12", "198.51.100.70",
    "192.0.2.1",     "192.0.2.2",     "203.0.113.9",   "203.0.113.130", "203.0.113.131",
    "203.0.113.20",  "224.0.0.1",     "169.254.1.1",   "198.51.100.130"};
const std::vector<std::string> kAddresses6 = {"2001:db8:1::10", "2001:db8:1::10", "2001:db8:2::70",
                                              "2001:db8:9::9",  "2001:db8::1",    "2001:db8:f::1",
                                              "ff02::1",        "fe80::1"};
const std::vector<uint16_t> kPorts = {80, 80, 53, 4789, 8080, 40000, 61000};

Frame good_frame(Chance& chance, bool v6) {
  const auto& addresses = v6 ? kAddresses6 : kAddresses;
  Frame frame{.from = chance.one_in(2) ? addresses[0] : chance.of(addresses), .to = chance.of(addresses)};
  frame.protocol = chance.of<uint8_t>({kTcp, kTcp, kUdp, v6 ? kIcmpv6 : kIcmp});
  frame.from_port = chance.of(kPorts), frame.to_port = chance.of(kPorts);
  if (chance.one_in(100)) frame.from_port = 67, frame.to_port = 68;
  frame.tcp_flags = chance.of<uint8_t>({kSyn, kAck, kAck | kFin, kRst});
  frame.ttl = chance.of<uint8_t>({64, 64, 2, 1, 0});
  frame.payload.assign(chance.one_in(50) ? 1500 : chance.below(40), 'x');
  frame.vlan = chance.one_in(12);
  frame.ipv4_options = chance.one_in(12) ? 8 : 0;
  frame.ipv6_extension = chance.one_in(6);
  frame.no_udp_checksum = chance.one_in(4);
  return frame;
}

void mutate(Chance& chance, Bytes& bytes);

// By way of another host (RFC 791 §3.1, loose source and record route), behind the Ethernet and IPv4 headers:
// too rare to come about by mutation.
void route_by_source(Bytes& bytes) { bytes.replace(14 + 20, 3, "\x83\x07\x04"); }

// As mutated: an ICMP error quotes whatever its sender likes.
Bytes some_frame(Chance& chance) {
  const bool v6 = chance.one_in(3);
  Frame frame = good_frame(chance, v6);
  if (!chance.one_in(6)) {
    Bytes bytes = frame.bytes();
    if (!v6 && !frame.vlan && frame.ipv4_options && chance.one_in(8)) route_by_source(bytes);
    return bytes;
  }
  Bytes quoted = ip_packet(good_frame(chance, v6).bytes());
  if (chance.one_in(2)) mutate(chance, quoted);
  frame.protocol = v6 ? kIcmpv6 : kIcmp;
  frame.quotes = quoted;
  return frame.bytes();
}

void mutate_once(Chance& chance, Bytes& bytes) {
  const size_t near = chance.one_in(3) ? bytes.size() : std::min<size_t>(bytes.size(), 120),
               at = chance.below(near);
  switch (bytes.empty() ? 4 : chance.below(7)) {
    case 0: bytes[at] = static_cast<char>(bytes[at] ^ 1 << chance.below(8)); break;
    case 1: bytes[at] = chance.of<char>({0, 1, 4, 5, 0x7f, '\x80', '\xff', 0x45, 0x60, 0x2c}); break;
    case 2: bytes.resize(at); break;
    case 3: bytes.erase(at, 1 + chance.below(20)); break;
    case 4: bytes.insert(at, 1 + chance.below(20), chance.byte()); break;
    case 5: bytes[at] = chance.byte(); break;
    default: bytes.replace(at, 2, {chance.byte(), chance.byte()}); break;
  }
}

void mutate(Chance& chance, Bytes& bytes) {
  for (size_t i = chance.one_in(2) ? 1 : chance.below(12); i > 0; --i) mutate_once(chance, bytes);
}

Bytes noise(Chance& chance) {
  Bytes bytes(chance.below(chance.one_in(10) ? 2000 : 150), '\0');
  for (char& byte : bytes) byte = chance.byte();
  static const std::vector<std::string> kTypes = {{"\x08\0\x45", 3}, {"\x86\xdd\x60"}, {"\x81\0", 2}, ""};
  const std::string& type = chance.of(kTypes);
  if (bytes.size() > 20) bytes.replace(12, type.size(), type);
  return bytes;
}

Bytes hostile_frame(Chance& chance) {
  if (chance.one_in(10)) return noise(chance);
  Bytes bytes = some_frame(chance);
  if (!chance.one_in(4)) mutate(chance, bytes);
  if (bytes.size() < 15 || !chance.one_in(3)) return bytes;
  Tunnel tunnel{chance.of<std::string>({"192.0.2.2", "192.0.2.2", "192.0.2.66"}), "192.0.2.1"};
  tunnel.vni = chance.one_in(20) ? 2 : 1;
  bytes = tunnel.around(bytes);
  if (chance.one_in(3)) mutate(chance, bytes);
  return bytes;
}

std::string hex(const Bytes& bytes) {
  std::string out;
  for (const unsigned char byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

void expect_variety(const Target& target, uint64_t ran) {
  EXPECT_EQ(target.verdicts().size(), 3u);
  EXPECT_GT(target.seen(DROP_NONE), ran / 10) << "hardly anything gets past the door";
  // What this world cannot bring about: it is configured.
  for (int reason = DROP_NONE; reason < DROP_NOT_CONFIGURED; ++reason)
    EXPECT_GT(target.seen(static_cast<drop_reason>(reason)), 0u)
        << "no frame came as far as drop reason " << reason;
}

}  // namespace

TEST(Garbage, IsDecidedCountedAndHarmless) {
  const uint64_t seed = from_environment("THALWEG_SEED", std::random_device{}());
  const uint64_t most = from_environment("THALWEG_PACKETS", 200'000);
  std::printf("THALWEG_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Chance chance(seed);
  Target target;
  for (uint64_t i = 0; i < most; ++i) {
    const Bytes frame = hostile_frame(chance);
    const auto from = static_cast<origin>(chance.below(5));
    const auto headroom = static_cast<uint32_t>(chance.one_in(8) ? chance.below(64) : 128);
    if (chance.one_in(500)) target.advance(chance.below(100) * 1'000'000'000);
    ASSERT_EQ(target.take(from, frame, headroom), "")
        << "THALWEG_SEED=" << seed << ", frame " << i << ", origin " << from << ": " << hex(frame);
  }
  EXPECT_EQ(target.counted(), "");
  if (most >= 100'000) expect_variety(target, most);
}

}  // namespace thalweg::packet
