// libFuzzer target: the whole native path. An input is a history: frames by every way in, time that passes,
// rows that change. tests/fuzz/seeds.cc writes the packet cases in this form.
//
//   0 … 3   a frame by that origin: its length (2 bytes, the low one first), its bytes
//   4       time passes: seconds (1 byte)
//   5       what last left comes in again, by the origin in the next byte
//   6       the rows of kChanges at the next byte change
//   7       the room in front of the frames to come (1 byte)
//   8       a frame on its way out of the uplink
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/packet/target.h"

namespace thalweg::packet {

namespace {

const std::vector<Rows>& changes() {
  static const std::vector<Rows> all = [] {
    const FullService web{.address = "203.0.113.20", .port = 8080};
    const PutRow pod = endpoint("198.51.100.10", kSenderIfindex, 1);
    const Rows vip = service("203.0.113.130", 80, kTcp, "198.51.100.70", 8080);
    return std::vector<Rows>{{generation(2)},
                             {generation(3)},
                             {{TABLE_endpoints, pod.key, ""}, generation(4)},
                             {pod, generation(5)},
                             {endpoint("198.51.100.10", kSenderIfindex, 2), generation(6)},
                             {rule_set(1, RULE_SET_ISOLATES_INGRESS, 7)},
                             {rule_set(2, 0, 8)},
                             {rule_set(2, RULE_SET_ISOLATES_EGRESS, 0)},
                             {{vip[0].table, vip[0].key, ""}},
                             vip,
                             {moved("198.51.100.11", 9)},
                             {member(web, "198.51.100.10"), moved("198.51.100.10", 10)},
                             {no_member(web, "198.51.100.10"), moved("198.51.100.10", 11)},
                             {route("198.51.100.64/26", ROUTE_DIRECT, "192.0.2.2"), generation(12)},
                             {route("198.51.100.64/26", ROUTE_TUNNEL, "192.0.2.2"), generation(13)}};
  }();
  return all;
}

class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool more() const { return at_ < end_; }
  uint8_t byte() { return more() ? *at_++ : 0; }
  Bytes frame() {
    const size_t low = byte(), said = low | size_t{byte()} << 8, left = static_cast<size_t>(end_ - at_);
    const Bytes bytes(reinterpret_cast<const char*>(at_), std::min(said, left));
    at_ += bytes.size();
    return bytes;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

void expect_none(const std::string& fault) {
  if (fault.empty()) return;
  std::fprintf(stderr, "%s\n", fault.c_str());
  std::abort();
}

void run(Input input) {
  Target target;
  uint32_t headroom = 128;
  while (input.more()) {
    const uint8_t what = input.byte() % 9;
    switch (what) {
      case 4: target.advance(input.byte() * 1'000'000'000ull); break;
      case 5: {
        const auto from = static_cast<origin>(input.byte() % 5);
        expect_none(target.take(from, Bytes(target.last_out()), headroom));
        break;
      }
      case 6:
        for (const PutRow& row : changes()[input.byte() % changes().size()]) target.change(row);
        break;
      case 7: headroom = input.byte(); break;
      case 8: expect_none(target.take(TO_UPLINK, input.frame(), headroom)); break;
      default: expect_none(target.take(static_cast<origin>(what), input.frame(), headroom));
    }
  }
  expect_none(target.counted());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  run(Input(data, size));
  return 0;
}

}  // namespace thalweg::packet
