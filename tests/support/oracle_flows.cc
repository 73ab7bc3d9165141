// The oracle's memory: flows, how long they last, and the ports that a datagram's first fragment told.
#include <algorithm>

#include "tests/support/oracle.h"

namespace thalweg::packet {

namespace {

bool opens(const Frame& frame) { return is_connection(frame) && (frame.tcp_flags & (kSyn | kAck)) == kSyn; }

}  // namespace

// docs/packet.md: "A flow entry is a decision".
bool Oracle::has_expired(const Flow& flow) const {
  const uint64_t age_s = now_s_ - flow.seen_s;
  if (flow.frame.protocol == kUdp) return age_s > 120;
  if (!is_connection(flow.frame)) return age_s > 60;
  const uint64_t answered_s = flow.frame.protocol == kTcp ? 7440 : 210;
  return age_s > (flow.closing ? 30 : flow.answered ? answered_s : 60);
}

bool Oracle::is_alive(const Flow& flow, const Frame& frame) const {
  // A port is used again by who used it: of two entries of a NAT each knows one way.
  const bool same_side = !flow.is_one_way() || same_way(flow.frame, frame);
  return !has_expired(flow) && !(flow.closing && opens(frame) && same_side);
}

Oracle::Flow* Oracle::flow_of(const Frame& frame) {
  for (Flow& flow : state_->flows) {
    const bool forward = same_way(flow.frame, frame), backward = same_way(flow.frame, turned(frame));
    if (!forward && !backward) continue;
    if (flow.is_one_way() && !forward) return nullptr;
    return is_alive(flow, frame) ? &flow : nullptr;
  }
  return nullptr;
}

// A client begins with the host itself, where a service's connection of the same port is over.
void Oracle::end_answers_of_host(const Frame& frame) {
  if (!opens(frame)) return;
  std::erase_if(state_->flows, [&](const Flow& flow) {
    return flow.is_one_way() && (flow.closing || has_expired(flow)) && same_way(flow.frame, turned(frame));
  });
}

// Both halves of a NAT live and age as one. Anyone may write an ICMP error: it keeps nothing alive.
void Oracle::touch(Flow& flow, const Way& way) {
  const Frame& frame = way.sent.frame;
  if (way.sent.about) return;
  const bool tcp = is_connection(frame);
  const bool elsewhere = way.dsr && !way.nat && !(frame.tcp_flags & kSyn);  // who goes on has an answer
  const bool answered = tcp && (way.reply || elsewhere), closing = tcp && frame.tcp_flags & (kFin | kRst);
  flow.moved = way.moved;
  for (Flow& one : state_->flows) {
    const bool other =
        flow.nat && one.nat && same_way(one.frame, turned(flow.to)) && same_way(one.to, turned(flow.frame));
    if (&one != &flow && !other) continue;
    one.answered |= answered, one.closing |= closing, one.seen_s = now_s_;
  }
}

void Oracle::remember(const Way& way) {
  if (is_asked_the_other_way(way)) return;
  const auto add = [&](const Frame& frame, const Frame& to, bool reply) {
    std::erase_if(state_->flows, [&](const Flow& old) {
      return same_way(old.frame, frame) || same_way(old.frame, turned(frame));
    });
    state_->flows.push_back(
        {frame, to, way.nat, reply, way.dsr && !reply, false, false, now_s_, reply ? 0 : way.moved});
  };
  add(way.sent.frame, way.frame, false);
  if (way.nat) add(turned(way.frame), turned(way.sent.frame), true);
}

// Another way is another datagram.
drop_reason Oracle::read_fragment(Sent& sent) {
  const std::string way =
      sent.outer.empty() ? std::to_string(sent.from) + "/" + std::to_string(sent.ifindex) : sent.outer;
  const auto is_its = [&](const State::Datagram& one) {
    const Frame& first = one.first;
    return one.way == way && first.from == sent.frame.from && first.to == sent.frame.to &&
           first.id == sent.frame.id && first.protocol == sent.frame.protocol;
  };
  auto& all = state_->datagrams;
  if (is_first_fragment(sent.frame)) {
    std::erase_if(all, is_its);
    all.push_back({sent.frame, way, now_s_});
  }
  if (!is_later_fragment(sent.frame)) return DROP_NONE;
  const auto found = std::ranges::find_if(all, is_its);
  if (found == all.end() || now_s_ - found->seen_s > 30) return DROP_FRAGMENT;
  sent.frame.from_port = found->first.from_port, sent.frame.to_port = found->first.to_port;
  sent.frame.tcp_flags = 0;
  return DROP_NONE;
}

}  // namespace thalweg::packet
