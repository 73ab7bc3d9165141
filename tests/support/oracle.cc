#include "tests/support/oracle.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "tests/packet/refusal_frames.h"

namespace thalweg::packet {

namespace {

const std::string kThisNode = "192.0.2.1", kThisNode6 = "2001:db8::1";

bool is_routed(const Sent& sent, hop_kind hop) {
  return sent.from != TO_POD && sent.from != FROM_HOST && hop != HOP_HOST;
}

// An SCTP checksum is over the whole datagram and its ports.
bool cannot_be_summed(const Frame& before, const Frame& after) {
  return before.protocol == kSctp && before.fragment & 0x3fff &&
         (before.from_port != after.from_port || before.to_port != after.to_port);
}

const std::string& opener(const Sent& sent, const Frame& to, bool reply) {
  return reply ? to.to : sent.frame.from;
}
const std::string& wanted(const Sent& sent, const Frame& to, bool reply) {
  return reply ? sent.frame.from : to.to;
}

}  // namespace

bool is_v6(const std::string& address) { return address.find(':') != std::string::npos; }

std::string text(const addr& address) {
  char out[INET6_ADDRSTRLEN];
  const bool v4 = address.words[2] == htonl(0xffff) && !address.halves[0];
  inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? &address.bytes[12] : address.bytes, out, sizeof out);
  return out;
}

bool is_connection(const Frame& f) { return f.protocol == kTcp || f.protocol == kSctp; }
bool has_ports(const Frame& f) { return is_connection(f) || f.protocol == kUdp; }
uint16_t to_port(const Frame& f) { return has_ports(f) ? f.to_port : f.from_port; }

bool begins_with(const addr& address, const __u8* prefix, uint32_t bits) {
  for (uint32_t bit = 0; bit < bits; ++bit)
    if ((address.bytes[bit / 8] ^ prefix[bit / 8]) & (0x80 >> bit % 8)) return false;
  return true;
}

bool same_way(const Frame& one, const Frame& other) {
  return one.protocol == other.protocol && one.from == other.from && one.to == other.to &&
         one.from_port == other.from_port && to_port(one) == to_port(other);
}

Frame turned(Frame frame) {
  std::swap(frame.from, frame.to);
  if (has_ports(frame)) std::swap(frame.from_port, frame.to_port);
  return frame;
}

bool from_outside(const Sent& sent) { return sent.from == FROM_UPLINK && sent.outer.empty(); }

bool is_later_fragment(const Frame& frame) { return frame.fragment & 0x1fff; }
bool is_first_fragment(const Frame& frame) { return frame.fragment & 0x2000 && !is_later_fragment(frame); }

Oracle::Oracle() = default;
Oracle::~Oracle() = default;

Bytes Sent::bytes() const {
  Frame whole = frame;
  if (about) whole.quotes = ip_packet(about->bytes());
  return outer.empty() ? whole.bytes()
                       : Tunnel{outer, is_v6(outer) ? kThisNode6 : kThisNode}.around(whole.bytes());
}
Bytes Answer::bytes() const {
  const Bytes inner = error.empty() ? frame.bytes() : error;
  return peer.empty() ? inner : Tunnel{kThisNode, peer}.around(inner);
}

void Oracle::put(const PutRow& row) {
  if (row.value.empty()) {
    std::erase_if(rows_, [&](const PutRow& old) { return old.table == row.table && old.key == row.key; });
    return;
  }
  for (PutRow& old : rows_)
    if (old.table == row.table && old.key == row.key) {
      old.value = row.value;
      return;
    }
  rows_.push_back(row);
}

const ::route* Oracle::route_of(const std::string& address) const {
  const PutRow* row = find<prefix, ::route>(TABLE_routes, [&](const prefix& key) {
    return begins_with(abi_address(address), key.bytes, key.prefixlen) ? static_cast<int>(key.prefixlen) : -1;
  });
  return row ? reinterpret_cast<const ::route*>(row->value.data()) : nullptr;
}

const ::endpoint* Oracle::endpoint_of(const std::string& address) const {
  const PutRow* row =
      find<addr, ::endpoint>(TABLE_endpoints, [&](const addr& key) { return text(key) == address ? 0 : -1; });
  return row ? reinterpret_cast<const ::endpoint*>(row->value.data()) : nullptr;
}

uint32_t Oracle::identity_of(const std::string& address) const {
  const PutRow* exact =
      find<addr, uint32_t>(TABLE_identities, [&](const addr& key) { return text(key) == address ? 0 : -1; });
  if (exact) return as<uint32_t>(exact->value);
  const PutRow* block = find<prefix, uint32_t>(TABLE_prefixes, [&](const prefix& key) {
    return begins_with(abi_address(address), key.bytes, key.prefixlen) ? static_cast<int>(key.prefixlen) : -1;
  });
  return block ? as<uint32_t>(block->value) : IDENTITY_NONE;
}

const ::service* Oracle::service_of(const Frame& frame, bool any_port) const {
  const PutRow* row = find<service_key, ::service>(TABLE_services, [&](const service_key& key) {
    const bool port = any_port ? !key.port && !key.protocol
                               : ntohs(key.port) == to_port(frame) && key.protocol == frame.protocol;
    return port && text(key.address) == frame.to ? 0 : -1;
  });
  return row ? reinterpret_cast<const ::service*>(row->value.data()) : nullptr;
}

bool Oracle::is_here(const std::string& address) const {
  const ::route* route = route_of(address);
  return endpoint_of(address) || (route && route->kind == ROUTE_HOST);
}
bool Oracle::is_node(const std::string& address) const {
  const ::route* route = route_of(address);
  return route && route->flags & ROUTE_NODE_ADDRESS;
}
bool Oracle::masquerades() const {
  const PutRow* row = find<uint32_t, ::node>(TABLE_node, [](uint32_t) { return 0; });
  return row && as<::node>(row->value).flags & NODE_MASQUERADE;
}

drop_reason Oracle::find_hop(const Way& way, Answer& answer) const {
  answer.hop = HOP_ENDPOINT;
  if (endpoint_of(way.frame.to)) return DROP_NONE;
  answer.hop = HOP_NONE;
  const ::route* route = route_of(way.frame.to);
  const uint32_t kind = route ? route->kind : uint32_t{ROUTE_WORLD};
  if (kind == ROUTE_POD_CIDR) return DROP_NO_SUCH_POD;
  if (kind == ROUTE_SERVICE_CIDR) return DROP_NO_SUCH_SERVICE;
  const bool to_other_node = kind == ROUTE_TUNNEL && route->flags & ROUTE_NODE_ADDRESS;
  if (to_other_node && way.nat && (way.sent.from != FROM_POD || way.reply)) {
    answer.hop = HOP_WORLD;
    return DROP_NONE;
  }
  if (kind == ROUTE_WORLD) {
    if (way.sent.from == FROM_HOST) return DROP_NO_ROUTE;
    answer.hop = HOP_WORLD;
    return DROP_NONE;
  }
  const bool to_node = kind == ROUTE_HOST || route->flags & ROUTE_NODE_ADDRESS;
  if (way.sent.from == FROM_POD && to_node && way.frame.protocol == kUdp && way.frame.to_port == 4789)
    return DROP_TUNNEL_FROM_POD;
  answer.hop = kind == ROUTE_HOST ? HOP_HOST : kind == ROUTE_TUNNEL ? HOP_TUNNEL : HOP_DIRECT;
  if (kind == ROUTE_TUNNEL) answer.peer = text(route->peer);
  return DROP_NONE;
}

bool Oracle::source_belongs(const Way& way) const {
  const std::string& source = way.sent.frame.from;
  if (way.sent.from == FROM_POD) {
    const ::endpoint* pod = endpoint_of(source);
    return pod && pod->ifindex == way.sent.ifindex &&
           std::memcmp(pod->mac, way.sent.frame.from_mac.data(), 6) == 0;
  }
  if (way.sent.from != FROM_UPLINK) return true;
  const ::route* route = route_of(source);
  const uint32_t kind = route ? route->kind : uint32_t{ROUTE_WORLD};
  if (!way.sent.outer.empty() && way.dsr) return kind == ROUTE_WORLD && is_node(way.sent.outer);
  if (!way.sent.outer.empty()) return kind == ROUTE_TUNNEL && text(route->peer) == way.sent.outer;
  if (kind == ROUTE_TUNNEL) return route->flags & ROUTE_NODE_ADDRESS;
  return kind == ROUTE_WORLD || kind == ROUTE_DIRECT;
}

bool Oracle::allows(const Way& way, uint32_t set, direction direction, const std::string& peer) const {
  const PutRow* row =
      find<uint32_t, ::rule_set>(TABLE_rule_sets, [&](uint32_t key) { return key == set ? 0 : -1; });
  const uint32_t isolates = direction == INGRESS ? RULE_SET_ISOLATES_INGRESS : RULE_SET_ISOLATES_EGRESS;
  if (!set || !row || !(as<::rule_set>(row->value).flags & isolates)) return true;
  const uint16_t port = !has_ports(way.frame) ? 0 : way.reply ? way.sent.frame.from_port : way.frame.to_port;
  for (const uint32_t identity : {identity_of(peer), IDENTITY_ANY}) {
    const PutRow* best = find<rule_key, ::rule>(TABLE_rules, [&](const rule_key& key) {
      if (key.rule_set != set || key.direction != direction || key.identity != identity) return -1;
      if (key.prefixlen >= RULE_BITS_ANY_PORT && key.protocol != way.frame.protocol) return -1;
      if (key.prefixlen >= RULE_BITS_ONE_PORT && ntohs(key.port) != port) return -1;
      return static_cast<int>(key.prefixlen);
    });
    if (best) return as<::rule>(best->value).verdict == RULE_ALLOW;
  }
  return false;
}

drop_reason Oracle::policy(const Way& way) const {
  const std::string &from = opener(way.sent, way.frame, way.reply),
                    &to = wanted(way.sent, way.frame, way.reply);
  const auto here = [](const std::string& address) { return address == kThisNode || address == kThisNode6; };
  if (from == to || here(from) || here(to)) return DROP_NONE;
  const ::endpoint *source = endpoint_of(from), *destination = endpoint_of(to);
  if (source && !allows(way, source->rule_set, EGRESS, to)) return DROP_POLICY_EGRESS;
  if (destination && !allows(way, destination->rule_set, INGRESS, from)) return DROP_POLICY_INGRESS;
  return DROP_NONE;
}

// Whether the answers would be taken for those of another flow.
bool Oracle::is_taken(const Way& way) const {
  for (const Flow& flow : state_->flows) {
    if (!same_way(flow.frame, way.frame) && !same_way(flow.frame, turned(way.frame))) continue;
    if (has_expired(flow)) continue;
    const bool own = flow.nat && flow.reply && same_way(flow.to, turned(way.sent.frame));
    if (!own) return true;
  }
  return false;
}

// Whether a NAT's flow stands where this one's own entry would: no one else ends it.
bool Oracle::is_asked_the_other_way(const Way& way) const {
  const Frame &asked = way.sent.frame, back = turned(asked);
  if (same_way(asked, back)) return false;
  return std::ranges::any_of(state_->flows, [&](const Flow& flow) {
    return flow.is_one_way() && same_way(flow.frame, back) && !has_expired(flow);
  });
}

drop_reason Oracle::masquerade(Way& way, hop_kind hop) {
  const bool leaves = way.sent.from == FROM_POD && hop == HOP_WORLD && masquerades();
  const bool itself =
      way.nat && way.sent.frame.from == way.frame.to && (way.sent.from != FROM_POD || hop != HOP_WORLD);
  const bool onward = way.nat && way.sent.from == FROM_UPLINK && hop != HOP_ENDPOINT && hop != HOP_HOST;
  if (way.known) return DROP_NONE;
  if (leaves || itself || onward) {
    way.nat = true;
    way.frame.from = !is_v6(way.frame.to) ? kThisNode : kThisNode6;
    if (way.sent.from == FROM_HOST) way.frame.from = way.sent.frame.to;
  } else if (!way.nat) {
    return DROP_NONE;
  } else if (!is_taken(way)) {
    return is_asked_the_other_way(way) ? DROP_NO_MASQUERADE_PORT : DROP_NONE;
  }
  way.frame.from_port = kMasqueradePort;
  return is_taken(way) || is_asked_the_other_way(way) ? DROP_NO_MASQUERADE_PORT : DROP_NONE;
}

// Service refusals alone: the random frames are neither too large nor too old.
bool Oracle::is_told(const Way& way, drop_reason reason) const {
  const Frame& frame = way.sent.frame;
  if (reason != DROP_NO_SERVICE_PORT && reason != DROP_NO_BACKEND && reason != DROP_TTL_EXPIRED) return false;
  if (!way.plain || way.sent.from == TO_POD || !source_belongs(way)) return false;
  if (frame.protocol == kSctp && frame.no_sctp_checksum) return false;
  if (reason == DROP_TTL_EXPIRED || frame.protocol == kUdp) return true;
  return is_connection(frame) && !(frame.tcp_flags & kRst);
}

Answer Oracle::refuse(const Way& way, drop_reason reason) const {
  const Frame& frame = way.sent.frame;
  const Answer dropped{.said = DROP, .reason = reason, .frame = frame};
  if (!is_told(way, reason)) return dropped;
  Answer answer{.said = REDIRECT, .reason = reason, .hop = HOP_WORLD};
  const Sent back{way.sent.from, turned(frame), ""};
  Way there{back, turned(frame)};
  there.nat = way.nat, there.reply = way.reply;
  if (!from_outside(way.sent) && !way.dsr && find_hop(there, answer) != DROP_NONE) return dropped;
  const bool v6 = is_v6(frame.from);
  if (reason == DROP_TTL_EXPIRED)
    answer.error = error_about(frame, v6 ? kThisNode6 : kThisNode, v6 ? kExpired6 : kExpired);
  else if (frame.protocol == kTcp)
    answer.frame = reset_of(frame);
  else
    answer.error = error_about(frame, frame.to, v6 ? kPortUnreachable6 : kPortUnreachable);
  const Bytes macs = answer.hop == HOP_ENDPOINT ? kPodMac + kVethMac
                     : answer.hop == HOP_HOST   ? kHostMac + kHostMac
                                                : frame.to_mac + frame.from_mac;
  answer.frame.to_mac = macs.substr(0, 6), answer.frame.from_mac = macs.substr(6);
  if (!answer.error.empty()) answer.error.replace(0, 12, macs);
  return answer;
}

Answer Oracle::leave(const Way& way, Answer answer) const {
  const origin from = way.sent.from;
  answer.frame = way.nat ? way.frame : way.sent.frame;
  answer.said = REDIRECT;
  if (is_routed(way.sent, answer.hop)) answer.frame.ttl--;
  if (answer.hop == HOP_ENDPOINT && from == TO_POD)
    answer.said = PASS;
  else if (answer.hop == HOP_ENDPOINT)
    answer.frame.to_mac = kPodMac, answer.frame.from_mac = kVethMac;
  else if (answer.hop == HOP_HOST && (way.sent.outer.empty() || way.dsr) && from != FROM_HOST)
    answer.said = PASS;
  else if (answer.hop == HOP_HOST)
    answer.frame.to_mac = answer.frame.from_mac = kHostMac;
  return answer;
}

// What the host's stack sends by the uplink: the answers it owes a service's clients are the service's.
Answer Oracle::leave_host(const Way& way, Flow* flow) {
  if (!flow || !flow->nat || !flow->reply) return {.said = PASS, .hop = HOP_WORLD, .frame = way.sent.frame};
  touch(*flow, way);
  if (!way.sent.about && cannot_be_summed(way.sent.frame, way.frame))
    return {.said = DROP, .reason = DROP_FRAGMENT, .frame = way.sent.frame};
  return {.said = PASS, .hop = HOP_WORLD, .frame = way.frame};
}

// Whether such a packet counts for its flow is left open.
Answer Oracle::expire(const Way& way, Flow* flow) {
  if (flow) choices_ = 2;
  if (flow && choice_) touch(*flow, way);
  return refuse(way, DROP_TTL_EXPIRED);
}

// A packet whose flow key is known: a fragment has its ports, an ICMP error is the answer to what it quotes.
Answer Oracle::run_read(const Sent& sent, bool plain) {
  Way way{sent, sent.frame, plain};
  const auto dropped = [&](drop_reason reason) { return refuse(way, reason); };
  Flow* flow = flow_of(sent.frame);
  if (flow) {
    way.known = true, way.nat = flow->nat, way.dsr = flow->dsr;
    way.reply = flow->nat ? flow->reply : !same_way(flow->frame, sent.frame);
    if (flow->nat || flow->dsr) {
      way.frame.from = flow->to.from, way.frame.to = flow->to.to;
      way.frame.from_port = flow->to.from_port, way.frame.to_port = flow->to.to_port;
    }
  }
  if (sent.from == TO_UPLINK) return leave_host(way, flow);
  if (flow && must_begin_again(*flow, way))
    flow = nullptr, way.known = way.nat = way.dsr = false, way.frame = sent.frame;
  if (!flow && sent.from != TO_POD)
    if (const drop_reason reason = choose_backend(way)) return dropped(reason);
  Answer answer{.said = REDIRECT};
  const drop_reason no_way = find_hop(way, answer);
  if (from_outside(sent) && !flow && !way.nat && !way.dsr && answer.hop != HOP_ENDPOINT) {
    end_answers_of_host(sent.frame);
    return {.said = PASS, .frame = sent.frame};
  }
  if (!source_belongs(way))
    return dropped(sent.from == FROM_POD ? DROP_SPOOFED_SOURCE : DROP_UNKNOWN_TUNNEL_PEER);
  if (no_way) return dropped(no_way);
  if (const drop_reason reason = policy(way)) return dropped(reason);
  if (const drop_reason reason = masquerade(way, answer.hop)) return dropped(reason);
  if (is_routed(sent, answer.hop) && sent.frame.ttl <= 1) return expire(way, flow);
  if (!flow) remember(way);
  if (flow) touch(*flow, way);
  if (way.nat && answer.hop == HOP_HOST && sent.from == FROM_UPLINK) state_->host_serves = true;
  if (!sent.about && way.nat && cannot_be_summed(sent.frame, way.frame)) return dropped(DROP_FRAGMENT);
  return leave(way, answer);
}

namespace {

Answer untouched(const Sent& sent) {
  Answer answer{.said = PASS, .frame = sent.frame};
  if (sent.about) answer.frame.quotes = ip_packet(sent.about->bytes());
  return answer;
}

// The host's, if it came from there or is on its way there.
Answer not_ours(const Sent& sent, const Frame& read, drop_reason reason) {
  const bool by_host = read.from == kThisNode || read.from == kThisNode6;
  const bool hosts = from_outside(sent) || sent.from == TO_UPLINK || (sent.from == TO_POD && by_host);
  if (hosts) return untouched(sent);
  return {.said = DROP, .reason = reason, .frame = sent.frame};
}

// Quoted checksums are as they were: nobody checks them.
Bytes quote(const Frame& now, const Frame& before) {
  const size_t bytes = now.protocol == kSctp ? 4 : 2;
  const size_t header = !is_v6(now.from) ? 20 : 40;
  const size_t at = header + (now.protocol == kTcp    ? 16
                              : now.protocol == kUdp  ? 6
                              : now.protocol == kSctp ? 8
                                                      : 2);
  return ip_packet(now.bytes()).replace(at, bytes, ip_packet(before.bytes()).substr(at, bytes));
}

// The error about a packet, where the answer to that packet would have become `answer`.
Frame error_like(const Sent& sent, const Frame& answer) {
  Frame error = sent.frame, about = *sent.about;
  if (error.from == about.to) error.from = answer.from;
  error.to = answer.to, error.ttl = answer.ttl;
  error.to_mac = answer.to_mac, error.from_mac = answer.from_mac;
  about.from = answer.to, about.to = answer.from;
  about.from_port = has_ports(about) ? answer.to_port : answer.from_port;
  about.to_port = answer.from_port;
  error.quotes = quote(about, *sent.about);
  return error;
}

// The answer to what an error quotes, as far as the path looks at it.
Sent answer_to_quoted(const Sent& sent) {
  Sent read{sent.from, turned(*sent.about), sent.outer, sent.about};
  read.ifindex = sent.ifindex;
  read.frame.tcp_flags = 0, read.frame.ttl = sent.frame.ttl;
  read.frame.to_mac = sent.frame.to_mac, read.frame.from_mac = sent.frame.from_mac;
  return read;
}

uint8_t in_words_of_tcp(uint8_t chunk) {
  constexpr uint8_t kInit = 1, kInitAck = 2, kAbort = 6, kShutdownComplete = 14;
  if (chunk == kInit) return kSyn;
  if (chunk == kInitAck) return kSyn | kAck;
  return chunk == kAbort || chunk == kShutdownComplete ? kRst : kAck;
}

bool is_plain(const Frame& frame) {
  const bool v4 = !is_v6(frame.from);
  return !is_later_fragment(frame) && (v4 || !is_first_fragment(frame));
}

}  // namespace

Answer Oracle::run(State& state, const Sent& sent, size_t choice) {
  state_ = &state, choice_ = choice, choices_ = 1;
  if (sent.from == TO_UPLINK && !state.host_serves) return untouched(sent);
  // An IPv6 underlay's peers are told apart by what is known of them.
  if (is_v6(sent.outer) && !is_node(sent.outer))
    return {.said = DROP, .reason = DROP_UNKNOWN_TUNNEL_PEER, .frame = sent.frame};
  if (sent.about) {
    const bool v6 = is_v6(sent.about->from);
    if (!v6 && is_later_fragment(*sent.about)) return not_ours(sent, sent.frame, DROP_UNRELATED_ICMP);
    if (sent.from == FROM_POD && sent.frame.from != sent.about->to)
      return {.said = DROP, .reason = DROP_SPOOFED_SOURCE, .frame = sent.frame};
    if (sent.frame.to != sent.about->from) return not_ours(sent, sent.frame, DROP_UNRELATED_ICMP);
    const Sent read = answer_to_quoted(sent);
    if (!flow_of(read.frame) || (v6 && sent.about->fragment & 0x3fff))
      return not_ours(sent, read.frame, DROP_UNRELATED_ICMP);
    Answer answer = run_read(read, false);
    if (answer.said != DROP) answer.frame = error_like(sent, answer.frame);
    return answer;
  }
  Sent read = sent;
  if (sent.frame.protocol == kSctp) read.frame.tcp_flags = in_words_of_tcp(sent.frame.sctp_chunk);
  if (const drop_reason lost = read_fragment(read)) return not_ours(sent, sent.frame, lost);
  Answer answer = run_read(read, is_plain(sent.frame));
  answer.choices = choices_;
  return answer;
}

}  // namespace thalweg::packet
