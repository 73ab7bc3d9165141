// Random worlds, random packets: the oracle, the native path and this kernel must agree on every verdict and
// byte. THALWEG_SEED repeats a run (it is printed), THALWEG_PACKETS makes it longer. Worlds that differ say
// how to play them again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>

#include "tests/packet/kernel_engine.h"
#include "tests/packet/native_engine.h"
#include "tests/packet/random_world.h"

namespace thalweg::packet {

namespace {

constexpr int kPacketsAWorld = 60;
constexpr size_t kMostStates = 256;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
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

std::string hex(const Bytes& bytes) {
  std::string out;
  for (const unsigned char byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::string describe(const Frame& f) {
  return f.from + " " + std::to_string(f.from_port) + " > " + f.to + " " + std::to_string(f.to_port);
}

std::string describe(const Sent& sent) {
  const Frame& f = sent.frame;
  return fmt::format("origin {} outer '{}' protocol {} flags {:#x} fragment {:#x}: {}{}\n", int{sent.from},
                     sent.outer, f.protocol, f.tcp_flags, f.fragment, describe(f),
                     sent.about ? " about " + describe(*sent.about) : "");
}

std::string describe(const Answer& answer) {
  return fmt::format("verdict {} reason {} hop {} {}\n  {}\n", int{answer.said}, int{answer.reason},
                     int{answer.hop}, describe(answer.frame), hex(answer.bytes()));
}

std::string describe(const Seen& seen) {
  return fmt::format("verdict {} reason {} hop {}\n  {}\n", int{seen.said}, int{seen.reason}, int{seen.hop},
                     seen.said == DROP ? "" : hex(seen.bytes));
}

std::string describe(const PutRow& row) {
  return fmt::format("  table {} {}: {}\n", int{row.table}, hex(row.key),
                     row.value.empty() ? "goes" : hex(row.value));
}

// What a run has come by.
struct Tally {
  uint64_t packets = 0, forwarded = 0;
  std::set<drop_reason> reasons;
};

std::string replay(uint64_t seed) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  return fmt::format("THALWEG_SEED={} THALWEG_PACKETS=1 build/tests/packet_random_test --gtest_filter={}.{}",
                     seed, test->test_suite_name(), test->name());
}

// One world and what happens in it. Where chance chooses a backend, all states that what was seen may have
// left are kept.
class Run {
 public:
  Run(Engine& engine, Chance& chance) : engine_(engine), chance_(chance), world_(chance), states_(1) {}

  bool agrees(Tally* tally) {
    if (!engine_.clear() || !put(world_.begin())) return false;
    for (int i = 0; i < kPacketsAWorld && states_.size() < kMostStates; ++i) {
      if (chance_.one_in(8) && !put(world_.change())) return false;
      if (engine_.can_wait() && chance_.one_in(8) && !wait()) return false;
      if (!agrees_on(world_.packet(), tally)) return false;
    }
    return true;
  }

 private:
  bool put(const Rows& rows) {
    history_ += "rows change\n";
    for (const PutRow& row : rows) {
      history_ += describe(row);
      oracle_.put(row);
      const auto done = engine_.put(row.table, row.key, row.value);
      EXPECT_TRUE(done) << done.error().message;
      if (!done) return false;
    }
    return true;
  }

  // Multiples of 7 s: no sum of them is within the second to which the path keeps time of a timeout, but for
  // 210 s.
  bool wait() {
    const uint32_t seconds = chance_.of<uint32_t>({7, 7, 14, 35, 63, 126, 7448});
    history_ += "after " + std::to_string(seconds) + " s\n";
    oracle_.advance(seconds);
    return engine_.advance(seconds).has_value();
  }

  bool agrees_on(const Sent& packet, Tally* tally) {
    const auto seen = engine_.run(packet.from, packet.bytes(), 128);
    EXPECT_TRUE(seen) << seen.error().message;
    if (!seen) return false;
    std::string others;
    const std::optional<Answer> answer = follow(packet, *seen, &others);
    history_ += describe(packet) + "  engine: " + describe(*seen);
    EXPECT_TRUE(answer) << history_ << others;
    if (!answer) return false;
    world_.has_sent(packet);
    ++tally->packets;
    tally->reasons.insert(answer->reason);
    if (answer->reason != DROP_NONE) return true;
    if (!packet.about) world_.went_on(*answer);
    ++tally->forwarded;
    return true;
  }

  // Keeps the states after which the oracle answers what was seen. What it answered otherwise goes to
  // `others`.
  std::optional<Answer> follow(const Sent& packet, const Seen& seen, std::string* others) {
    std::vector<Oracle::State> possible;
    std::optional<Answer> same;
    for (const Oracle::State& before : states_) {
      size_t choices = 1;
      for (size_t choice = 0; choice < choices; ++choice) {
        Oracle::State after = before;
        const Answer answer = oracle_.run(after, packet, choice);
        choices = answer.choices;
        if (const std::string differs = difference(answer, seen); !differs.empty()) {
          *others += "  oracle, another " + differs + ": " + describe(answer);
          continue;
        }
        same = answer;
        if (std::ranges::find(possible, after) == possible.end()) possible.push_back(std::move(after));
      }
    }
    states_ = std::move(possible);
    return same;
  }

  Engine& engine_;
  Chance& chance_;
  RandomWorld world_;
  Oracle oracle_;
  std::vector<Oracle::State> states_;
  std::string history_;
};

// Each world has a seed of its own, so that one can be played again alone.
void agree(Engine& engine, uint64_t packets) {
  const uint64_t first = from_environment("THALWEG_SEED", std::random_device{}());
  const uint64_t most = from_environment("THALWEG_PACKETS", packets);
  std::printf("THALWEG_SEED=%llu\n", static_cast<unsigned long long>(first));
  Tally tally;
  for (uint64_t seed = first; tally.packets < most; ++seed) {
    Chance chance(seed);
    ASSERT_TRUE(Run(engine, chance).agrees(&tally)) << "again: " << replay(seed);
  }
  if (tally.packets < 10'000) return;  // one world played again
  EXPECT_GT(tally.forwarded, tally.packets / 10)
      << "most of what is generated should not be dropped at the door";
  for (const drop_reason reason :
       {DROP_NONE, DROP_FRAGMENT, DROP_SPOOFED_SOURCE, DROP_UNKNOWN_TUNNEL_PEER, DROP_UNRELATED_ICMP,
        DROP_TUNNEL_FROM_POD, DROP_NO_SUCH_SERVICE, DROP_NO_SERVICE_PORT, DROP_NO_BACKEND,
        DROP_NO_LOCAL_BACKEND, DROP_SOURCE_RANGE, DROP_POLICY_EGRESS, DROP_POLICY_INGRESS, DROP_NO_SUCH_POD,
        DROP_NO_ROUTE, DROP_NO_MASQUERADE_PORT})
    EXPECT_TRUE(tally.reasons.contains(reason)) << "no packet came as far as drop reason " << reason;
}

}  // namespace

TEST(RandomPackets, NativeAgreesWithTheOracle) { agree(*native_engine(), 100'000); }

TEST(RandomPackets, KernelAgreesWithTheOracle) {
  const auto kernel = kernel_engine();
  if (!kernel) GTEST_SKIP() << kernel.error().message;
  agree(**kernel, 12'000);
}

}  // namespace thalweg::packet
