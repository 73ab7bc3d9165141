// Random worlds, random packets: the oracle, the native path and this kernel must agree on every verdict and
// byte. THALWEG_SEED repeats a run (it is printed), THALWEG_PACKETS makes it longer. Worlds that differ say
// how to play them again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
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

bool is_icmp(const Frame& frame) { return frame.protocol == kIcmp || frame.protocol == kIcmpv6; }

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

std::string describe(const Oracle::State& state) {
  std::string out;
  for (const Oracle::Flow& flow : state.flows)
    out += fmt::format("  oracle's flow, protocol {}: {}, as {}{}{}{}{}{}, seen at {} s\n",
                       flow.frame.protocol, describe(flow.frame), describe(flow.to), flow.nat ? ", NAT" : "",
                       flow.reply ? ", answers" : "", flow.dsr ? ", DSR" : "",
                       flow.answered ? ", answered" : "", flow.closing ? ", closing" : "", flow.seen_s);
  return out;
}

std::string describe(const PutRow& row) {
  return fmt::format("  table {} {}: {}\n", int{row.table}, hex(row.key),
                     row.value.empty() ? "goes" : hex(row.value));
}

// What a run has come by.
struct Tally {
  uint64_t packets = 0, forwarded = 0;
  std::set<drop_reason> reasons;
  std::map<std::string, uint64_t> kinds;  // of what went on
};

// What the worlds are there for: each of these must have gone on many times.
constexpr const char* kKinds[] = {"by a pod",
                                  "by the host",
                                  "out of the uplink",
                                  "to a pod",
                                  "by a tunnel",
                                  "into a tunnel",
                                  "directly",
                                  "to the host",
                                  "TCP",
                                  "UDP",
                                  "SCTP",
                                  "echo",
                                  "ICMP error",
                                  "ICMP error, NAT",
                                  "later fragment",
                                  "NAT",
                                  "host's answer",
                                  "DSR here",
                                  "DSR elsewhere"};

std::set<std::string> kinds_of(const Sent& sent, const Answer& answer) {
  const Frame &in = sent.frame, &out = answer.frame;
  const bool nat = in.from != out.from || in.to != out.to, balanced = in.to == "203.0.113.20";
  std::set<std::string> kinds;
  const auto note = [&](bool is, const char* kind) {
    if (is) kinds.insert(kind);
  };
  note(sent.from == FROM_POD, "by a pod"), note(sent.from == FROM_HOST, "by the host");
  note(sent.from == TO_UPLINK, "out of the uplink"), note(sent.from == TO_POD, "to a pod");
  note(!sent.outer.empty(), "by a tunnel"), note(answer.hop == HOP_TUNNEL, "into a tunnel");
  note(answer.hop == HOP_DIRECT, "directly"), note(answer.hop == HOP_HOST, "to the host");
  note(in.protocol == kTcp, "TCP"), note(in.protocol == kUdp, "UDP"), note(in.protocol == kSctp, "SCTP");
  note(is_icmp(in) && !sent.about, "echo"), note(!!sent.about, "ICMP error");
  note(sent.about && nat, "ICMP error, NAT"), note(is_later_fragment(in), "later fragment");
  note(nat, "NAT"), note(sent.from == TO_UPLINK && nat, "host's answer");
  note(balanced && !sent.outer.empty() && in.from.starts_with("203.0.113.") && nat, "DSR here");
  note(balanced && from_outside(sent) && answer.hop == HOP_TUNNEL && !nat, "DSR elsewhere");
  return kinds;
}

std::string replay(uint64_t seed) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  return fmt::format("THALWEG_SEED={} THALWEG_PACKETS=1 build/tests/packet_random_test --gtest_filter={}.{}",
                     seed, test->test_suite_name(), test->name());
}

// One world and what happens in it. Where chance chooses a backend, all states that what was seen may have
// left are kept.
class Run {
 public:
  // `tells`: fails with all that has happened. It takes longer to say it than to do it.
  Run(Engine& engine, Chance& chance, bool tells)
      : engine_(engine),
        chance_(chance),
        world_(chance, engine.can_choose_interface()),
        states_(1),
        tells_(tells) {}

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
    if (tells_) history_ += "rows change\n";
    for (const PutRow& row : rows) {
      if (tells_) history_ += describe(row);
      oracle_.put(row);
      const auto done = engine_.put(row.table, row.key, row.value);
      EXPECT_TRUE(done) << done.error().message;
      if (!done) return false;
    }
    return true;
  }

  // Multiples of 13 s: no sum of them is within a second of a timeout, and this kernel's clock goes on
  // meanwhile.
  bool wait() {
    const uint32_t seconds = chance_.of<uint32_t>({13, 13, 26, 39, 65, 130, 7449});
    if (tells_) history_ += "after " + std::to_string(seconds) + " s\n";
    oracle_.advance(seconds);
    return engine_.advance(seconds).has_value();
  }

  bool agrees_on(const Sent& packet, Tally* tally) {
    if (engine_.can_choose_interface()) engine_.come_in_by(packet.ifindex);
    const auto seen = engine_.run(packet.from, packet.bytes(), 128);
    EXPECT_TRUE(seen) << seen.error().message;
    if (!seen) return false;
    std::string before, others;
    if (tells_) before = describe(states_.front());
    const std::optional<Answer> answer = follow(packet, *seen, &others);
    if (tells_) history_ += describe(packet) + "  engine: " + describe(*seen);
    EXPECT_TRUE(answer || !tells_) << history_ << before << others;
    if (!answer) return false;
    world_.has_sent(packet);
    ++tally->packets;
    tally->reasons.insert(answer->reason);
    if (answer->reason != DROP_NONE) return true;
    if (!packet.about) world_.went_on(packet, *answer);
    ++tally->forwarded;
    if (answer->said == PASS && answer->bytes() == packet.bytes() && packet.from != TO_POD)
      return true;  // not ours
    for (const std::string& kind : kinds_of(packet, *answer)) ++tally->kinds[kind];
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
          if (tells_) *others += "  oracle, another " + differs + ": " + describe(answer);
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
  bool tells_;
  std::string history_;
};

// This kernel chooses by a chance of its own, so a world may not come to the same again.
bool agrees(Engine& engine, uint64_t seed, Tally* tally) {
  const bool repeats = engine.repeats();
  Chance chance(seed), again(seed);
  return Run(engine, chance, !repeats).agrees(tally) || (repeats && Run(engine, again, true).agrees(tally));
}

// Each world has a seed of its own, so that one can be played again alone.
void agree(Engine& engine, uint64_t packets) {
  const uint64_t first = from_environment("THALWEG_SEED", std::random_device{}());
  const uint64_t most = from_environment("THALWEG_PACKETS", packets);
  std::printf("THALWEG_SEED=%llu\n", static_cast<unsigned long long>(first));
  Tally tally;
  for (uint64_t seed = first; tally.packets < most; ++seed)
    ASSERT_TRUE(agrees(engine, seed, &tally)) << "again: " << replay(seed);
  if (tally.packets < 10'000) return;  // one world played again
  EXPECT_GT(tally.forwarded, tally.packets / 10)
      << "most of what is generated should not be dropped at the door";
  for (const char* kind : kKinds) {
    std::printf("%-18s %8llu\n", kind, static_cast<unsigned long long>(tally.kinds[kind]));
    EXPECT_GT(tally.kinds[kind], tally.packets / 20'000) << kind;
  }
  if (tally.packets < 50'000) return;  // some reasons are rare
  for (const drop_reason reason :
       {DROP_NONE, DROP_FRAGMENT, DROP_SPOOFED_SOURCE, DROP_UNKNOWN_TUNNEL_PEER, DROP_UNRELATED_ICMP,
        DROP_TUNNEL_FROM_POD, DROP_NO_SUCH_SERVICE, DROP_NO_SERVICE_PORT, DROP_NO_BACKEND,
        DROP_NO_LOCAL_BACKEND, DROP_SOURCE_RANGE, DROP_POLICY_EGRESS, DROP_POLICY_INGRESS, DROP_NO_SUCH_POD,
        DROP_NO_ROUTE, DROP_TTL_EXPIRED, DROP_NO_MASQUERADE_PORT})
    EXPECT_TRUE(tally.reasons.contains(reason)) << "no packet came as far as drop reason " << reason;
}

}  // namespace

TEST(RandomPackets, NativeAgreesWithTheOracle) { agree(*native_engine(), 100'000); }

TEST(RandomPackets, KernelAgreesWithTheOracle) {
  const auto kernel = kernel_engine();
  if (!kernel) GTEST_SKIP() << kernel.error().message;
  agree(**kernel, 15'000);
}

}  // namespace thalweg::packet
