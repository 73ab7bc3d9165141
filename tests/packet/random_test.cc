// Random worlds, random packets: the oracle, the native path and this kernel must agree on every verdict and
// byte. THALWEG_SEED repeats a run (it is printed), THALWEG_PACKETS makes it longer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "tests/packet/kernel_engine.h"
#include "tests/packet/native_engine.h"
#include "tests/support/oracle.h"

namespace thalweg::packet {

namespace {

constexpr int kPacketsAWorld = 60;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed) {}
  bool one_in(unsigned n) { return random_() % n == 0; }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  template <class T>
  const T& of(const std::vector<T>& all) {
    return all[below(static_cast<uint32_t>(all.size()))];
  }

 private:
  std::mt19937_64 random_;
};

const std::vector<std::string> kAddresses = {
    "198.51.100.10", "198.51.100.10", "198.51.100.11", "198.51.100.12", "198.51.100.70",
    "198.51.100.71", "192.0.2.1",     "192.0.2.2",     "203.0.113.9",   "203.0.113.77",
    "203.0.113.130", "203.0.113.131", "203.0.113.20"};
const std::vector<std::string> kAddresses6 = {"2001:db8:1::10", "2001:db8:1::10", "2001:db8:1::11",
                                              "2001:db8:2::70", "2001:db8:9::9",  "2001:db8::1",
                                              "2001:db8:f::1"};
const std::vector<uint16_t> kPorts = {80, 80, 443, 4789, 40000, 40001};

PutRow denying(PutRow row) {
  ::rule rule;
  std::memcpy(&rule, row.value.data(), sizeof rule);
  rule.verdict = RULE_DENY;
  row.value = raw(rule);
  return row;
}

PutRow random_rule(Chance& chance, uint32_t set) {
  const uint32_t peer = chance.one_in(3) ? IDENTITY_ANY : chance.below(4);
  const uint8_t protocol = chance.of<uint8_t>({0, kTcp, kUdp, kIcmp});
  const uint16_t port = protocol == kTcp || protocol == kUdp ? chance.of<uint16_t>({0, 80, 443}) : 0;
  const PutRow row =
      allow(set, chance.one_in(2) ? INGRESS : EGRESS, peer, protocol, port, 1 + chance.below(99));
  return chance.one_in(5) ? denying(row) : row;
}

Rows random_service(Chance& chance, const std::string& address, uint32_t flags) {
  const bool v6 = address.find(':') != std::string::npos;
  const auto backends =
      v6 ? std::vector<std::string>{"2001:db8:1::10", "2001:db8:2::70", "2001:db8::1"}
         : std::vector<std::string>{"",          "198.51.100.10", "198.51.100.11", "198.51.100.70",
                                    "192.0.2.1", "192.0.2.2"};
  return service(address, 80, chance.one_in(4) ? kUdp : kTcp, chance.of(backends), 8080, flags);
}

PutRow random_pod(Chance& chance, const std::string& address, uint32_t ifindex = kSenderIfindex) {
  return endpoint(address, ifindex, chance.below(4));
}

PutRow random_rule_set(Chance& chance, uint32_t set) {
  return rule_set(set, chance.below(4), 1 + chance.below(1u << 30));
}

Rows random_world(Chance& chance) {
  Rows rows = node() + random_pod(chance, "198.51.100.10") +
              random_pod(chance, "198.51.100.11", kOtherIfindex) + random_pod(chance, "2001:db8:1::10") +
              random_service(chance, "203.0.113.130", SERVICE_CLUSTER_IP) +
              random_service(chance, "192.0.2.1", SERVICE_NODE_PORT) +
              random_service(chance, "203.0.113.20", SERVICE_LOAD_BALANCER) +
              random_service(chance, "2001:db8:f::1", SERVICE_CLUSTER_IP);
  rows.push_back(identity("198.51.100.10", chance.below(4)));
  rows.push_back(identity("198.51.100.70", chance.below(4)));
  rows.push_back(ip_block("203.0.113.0/24", chance.below(4)));
  rows.push_back(ip_block("203.0.113.64/26", chance.below(4)));
  rows.push_back(ip_block("2001:db8::/32", chance.below(4)));
  for (uint32_t set = 1; set < 4; ++set) {
    rows.push_back(random_rule_set(chance, set));
    for (uint32_t i = chance.below(5); i > 0; --i) rows.push_back(random_rule(chance, set));
  }
  return rows;
}

// As the reconciler changes tables: rules under a new epoch, addresses under a new generation.
Rows random_change(Chance& chance, uint64_t number) {
  const uint32_t set = 1 + chance.below(3);
  switch (chance.below(4)) {
    case 0: return Rows{random_rule(chance, set), random_rule_set(chance, set)};
    case 1: return Rows{random_pod(chance, "198.51.100.10"), generation(number)};
    case 2: return Rows{identity("198.51.100.70", chance.below(4)), generation(number)};
    default: return random_service(chance, "203.0.113.130", SERVICE_CLUSTER_IP);
  }
}

Sent random_packet(Chance& chance) {
  const auto& addresses = chance.one_in(4) ? kAddresses6 : kAddresses;
  const uint8_t icmp = &addresses == &kAddresses ? kIcmp : kIcmpv6;
  Sent sent{static_cast<origin>(
                chance.of<int>({FROM_POD, FROM_POD, FROM_UPLINK, FROM_UPLINK, TO_POD, FROM_HOST, TO_UPLINK})),
            {.from = chance.of(addresses), .to = chance.of(addresses)},
            ""};
  if (sent.from == FROM_POD && !chance.one_in(8)) sent.frame.from = addresses[0];
  if (sent.from == FROM_UPLINK && chance.one_in(2)) sent.outer = chance.one_in(6) ? "192.0.2.3" : "192.0.2.2";
  sent.frame.protocol = chance.of<uint8_t>({kTcp, kTcp, kUdp, icmp});
  sent.frame.from_port = chance.of(kPorts);
  sent.frame.to_port = chance.of(kPorts);
  sent.frame.tcp_flags = chance.of<uint8_t>({kSyn, kSyn, kAck, kAck | kFin, kRst});
  sent.frame.payload.assign(chance.below(20), 'x');
  return sent;
}

// The tunnel's own packets are the cases' business: here one would be a tunnel packet that holds nothing.
Sent not_to_the_tunnel(Sent sent) {
  if (sent.from == FROM_UPLINK && sent.frame.protocol == kUdp && sent.frame.to_port == 4789)
    sent.frame.to_port = 80;
  return sent;
}

// What the one who got `answer` would send back, the way it came.
Sent random_answer(Chance& chance, const Answer& answer) {
  Sent back{FROM_POD, answer.frame, answer.peer};
  Frame& frame = back.frame;
  std::swap(frame.from, frame.to);
  if (frame.protocol == kTcp || frame.protocol == kUdp) std::swap(frame.from_port, frame.to_port);
  frame.tcp_flags = chance.of<uint8_t>({kSyn | kAck, kAck, kAck | kFin});
  frame.icmp_type = frame.icmp_type == 8 ? 0 : 8;
  frame.ttl = 64;
  frame.from_mac = kPodMac;
  if (answer.hop == HOP_HOST) back.from = chance.one_in(2) ? TO_UPLINK : FROM_HOST;
  if (answer.hop == HOP_WORLD || answer.hop == HOP_TUNNEL) back.from = FROM_UPLINK;
  return back;
}

Bytes without_outer_port(Bytes frame, const Answer& answer) {
  return answer.peer.empty() ? frame : frame.replace(34, 2, 2, '\0');
}

std::string difference(const Answer& expected, const Seen& seen) {
  if (seen.said != expected.said) return "verdict";
  if (expected.said == DROP) return seen.reason == expected.reason ? "" : "reason";
  if (expected.said == REDIRECT && seen.hop != expected.hop) return "hop";
  return without_outer_port(seen.bytes, expected) == without_outer_port(expected.bytes(), expected) ? ""
                                                                                                    : "bytes";
}

std::string describe(const Sent& sent, const Answer& expected, const Seen& seen) {
  const Frame& f = sent.frame;
  return "origin " + std::to_string(sent.from) + " outer '" + sent.outer + "' protocol " +
         std::to_string(f.protocol) + " flags " + std::to_string(f.tcp_flags) + ": " + f.from + " " +
         std::to_string(f.from_port) + " > " + f.to + " " + std::to_string(f.to_port) +
         "\n  oracle: verdict " + std::to_string(expected.said) + " reason " +
         std::to_string(expected.reason) + " hop " + std::to_string(expected.hop) + "\n  engine: verdict " +
         std::to_string(seen.said) + " reason " + std::to_string(seen.reason) + " hop " +
         std::to_string(seen.hop);
}

// One world and its packets; true when all agreed. `forwarded` counts those that were not dropped.
bool agree_in_one_world(Engine& engine, Chance& chance, uint64_t* forwarded) {
  Oracle oracle;
  if (!engine.clear()) return false;
  const auto put = [&](const Rows& rows) {
    for (const PutRow& row : rows) {
      oracle.put(row);
      const auto done = engine.put(row.table, row.key, row.value);
      ASSERT_TRUE(done) << done.error().message;
    }
  };
  put(random_world(chance));
  std::string history;
  std::vector<Sent> sent;
  std::vector<Answer> answers;
  for (int i = 0; i < kPacketsAWorld; ++i) {
    if (chance.one_in(12)) put(random_change(chance, 2 + static_cast<uint64_t>(i)));
    Sent packet = !answers.empty() && chance.one_in(3) ? random_answer(chance, chance.of(answers))
                  : !sent.empty() && chance.one_in(3)  ? chance.of(sent)
                                                       : random_packet(chance);
    packet = not_to_the_tunnel(std::move(packet));
    const Answer expected = oracle.run(packet);
    const auto seen = engine.run(packet.from, packet.bytes(), 128);
    EXPECT_TRUE(seen) << seen.error().message;
    if (!seen) return false;
    const std::string differs = difference(expected, *seen);
    history += "packet " + std::to_string(i) + ": " + describe(packet, expected, *seen) + "\n";
    EXPECT_EQ(differs, "") << history;
    if (!differs.empty()) return false;
    sent.push_back(packet);
    if (expected.reason != DROP_NONE) continue;
    answers.push_back(expected);
    ++*forwarded;
  }
  return true;
}

void agree(Engine& engine, uint64_t packets) {
  const uint64_t seed = from_environment("THALWEG_SEED", std::random_device{}());
  const uint64_t most = from_environment("THALWEG_PACKETS", packets);
  std::printf("THALWEG_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Chance chance(seed);
  uint64_t forwarded = 0, ran = 0;
  for (; ran < most; ran += kPacketsAWorld)
    ASSERT_TRUE(agree_in_one_world(engine, chance, &forwarded)) << "THALWEG_SEED=" << seed;
  EXPECT_GT(forwarded, ran / 10) << "most of what is generated should not be dropped at the door";
}

}  // namespace

TEST(RandomPackets, NativeAgreesWithTheOracle) { agree(*native_engine(), 100'000); }

TEST(RandomPackets, KernelAgreesWithTheOracle) {
  const auto kernel = kernel_engine();
  if (!kernel) GTEST_SKIP() << kernel.error().message;
  agree(**kernel, 12'000);
}

}  // namespace thalweg::packet
