#include "tests/packet/case.h"

#include <fmt/format.h>

namespace thalweg::packet {

namespace {

constexpr const char* kVerdicts[] = {"CONTINUE", "PASS", "DROP", "REDIRECT"};
constexpr const char* kReasons[] = {
#define REASON(name, text) #name,
    THALWEG_DROP_REASONS(REASON)
#undef REASON
};
constexpr const char* kHops[] = {"none", "endpoint", "host", "tunnel", "direct", "world"};

std::string hex(const Bytes& bytes) {
  std::string out;
  for (const unsigned char byte : bytes) out += fmt::format("{:02x}", byte);
  return out;
}

// The outer UDP source port is a hash of the flow: not part of what a case says.
Bytes without_outer_port(Bytes frame) {
  const bool v6 = frame.size() > 14 && (frame[14] & 0xf0) == 0x60;
  const size_t at = 14 + (v6 ? 40 : 20);
  return frame.size() > at + 2 ? frame.replace(at, 2, 2, '\0') : frame;
}

std::string compare(const Step& step, const Seen& seen) {
  const Expected& want = step.expected;
  if (seen.said != want.said || seen.reason != want.reason || (want.said == REDIRECT && seen.hop != want.hop))
    return fmt::format("expected {} {} {}, saw {} {} {}", kVerdicts[want.said], kReasons[want.reason],
                       kHops[want.hop], kVerdicts[seen.said], kReasons[seen.reason], kHops[seen.hop]);
  if (want.said == DROP) return "";
  Bytes out = want.out.empty() ? step.in : want.out, saw = seen.bytes;
  if (want.hop == HOP_TUNNEL) out = without_outer_port(out), saw = without_outer_port(saw);
  if (out != saw) return fmt::format("the bytes differ\n  expected {}\n  saw      {}", hex(out), hex(saw));
  return "";
}

}  // namespace

Expected pass(const Bytes& out) { return {PASS, DROP_NONE, HOP_NONE, out}; }
Expected dropped(drop_reason reason) { return {DROP, reason, HOP_NONE, {}}; }
Expected refused(drop_reason reason, hop_kind hop, const Bytes& out) { return {REDIRECT, reason, hop, out}; }
Expected redirected(hop_kind hop, const Bytes& out) { return {REDIRECT, DROP_NONE, hop, out}; }

std::string why_not(const Engine& engine, const Case& one) {
  if (one.at_once && !engine.can_stop_time()) return engine.name() + " has a clock that goes on";
  for (const Step& step : one.steps) {
    if (step.after_s && !engine.can_wait()) return engine.name() + " cannot let time pass";
    if (step.ifindex != kSenderIfindex && !engine.can_choose_interface())
      return engine.name() + " has no other interface";
    if (!engine.can_take(step.in)) return engine.name() + " cannot be given such a frame";
    if (!engine.can_drop_for(step.expected.reason))
      return engine.name() + " cannot be brought to drop for this";
  }
  return "";
}

std::set<std::string> left_out(const Engine& engine) {
  std::set<std::string> names;
  for (const Case& one : cases())
    if (!why_not(engine, one).empty()) names.insert(one.name);
  return names;
}

std::string run_case(Engine& engine, const Case& one, std::vector<Seen>* seen) {
  const auto put_all = [&](const Rows& rows) -> Result<> {
    for (const PutRow& row : rows) TRY(engine.put(row.table, row.key, row.value));
    return {};
  };
  if (const auto done = engine.clear(); !done) return done.error().message;
  if (const auto done = put_all(one.world); !done) return done.error().message;
  std::string differs;
  for (size_t i = 0; i < one.steps.size(); ++i) {
    const Step& step = one.steps[i];
    if (const auto done = put_all(step.before); !done) return done.error().message;
    if (step.after_s)
      if (const auto done = engine.advance(step.after_s); !done) return done.error().message;
    engine.come_in_by(step.ifindex);
    const auto out = engine.run(step.from, step.in, step.headroom);
    if (!out) return out.error().message;
    if (seen) seen->push_back(*out);
    if (const std::string what = compare(step, *out); !what.empty())
      differs += fmt::format("packet {}: {}\n", i + 1, what);
  }
  return differs;
}

}  // namespace thalweg::packet
