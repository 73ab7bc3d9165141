#include "dataplane/cli/why.h"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>

namespace thalweg::cli {
namespace {

using dataplane::to_addr;
using dataplane::to_ip;

constexpr size_t kRoom = 256;  // before and after the packet, for headers the path pushes

struct Reason {
  const char* name;
  const char* text;
};
constexpr Reason kReasons[] = {
#define REASON(name, text) {#name, text},
    THALWEG_DROP_REASONS(REASON)
#undef REASON
};

std::string endpoint_text(const addr& address, uint16_t port_be) {
  const Ip ip = to_ip(address);
  return fmt::format(fmt::runtime(ip.is_v4() ? "{}:{}" : "[{}]:{}"), ip.str(), ntohs(port_be));
}
std::string arrow(const tuple& t) {
  return endpoint_text(t.source, t.source_port) + " → " + endpoint_text(t.destination, t.destination_port);
}

bool equal(const addr& a, const addr& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

std::string identity_text(const policy::Names& names, uint32_t identity) {
  if (identity == IDENTITY_NONE) return "no selector matches it";
  const auto name = names.identities.find(identity);
  return name == names.identities.end() ? fmt::format("identity {}", identity)
                                        : fmt::format("identity {}: {}", identity, name->second);
}

std::string rule_text(const policy::Names& names, uint32_t rule) {
  const auto name = names.rules.find(rule);
  return name == names.rules.end() ? fmt::format("rule {}", rule) : name->second;
}

bool isolates(const Tables& tables, uint32_t rule_set, uint32_t flag) {
  const auto row = tables.rows.rule_sets.find(rule_set);
  return rule_set != 0 && row != tables.rows.rule_sets.end() && (row->second.flags & flag) != 0;
}

std::string policy_text(const Tables& tables, const native_outcome& now) {
  if (now.verdict == DROP) {
    const bool ingress = now.reason == DROP_POLICY_INGRESS;
    return policy::why_denied(tables.names, now.rule_sets[ingress ? 1 : 0], ingress ? INGRESS : EGRESS);
  }
  if (now.rule != 0) return "allowed by " + rule_text(tables.names, now.rule);
  if (isolates(tables, now.rule_sets[0], RULE_SET_ISOLATES_EGRESS) ||
      isolates(tables, now.rule_sets[1], RULE_SET_ISOLATES_INGRESS))
    return "allowed: traffic of the pod's own node always is";
  return "no policy isolates either side here";
}

std::string hop_text(const Tables& tables, const hop& next) {
  switch (next.kind) {
    case HOP_ENDPOINT: return fmt::format("to the pod behind interface {}", next.ifindex);
    case HOP_HOST: return "to this node's own stack";
    case HOP_TUNNEL: return fmt::format("by tunnel to the node {}", to_ip(next.peer).str());
    case HOP_DIRECT: return fmt::format("directly to the node {}", to_ip(next.peer).str());
    case HOP_WORLD: return "out by the uplink, to the world";
    default: return fmt::format("by the host's stack of {}", tables.node_name);
  }
}

std::string service_text(const native_outcome& now) {
  if (now.verdict == DROP) return kReasons[now.reason].text;
  if (equal(now.now.destination, now.to.destination) && now.now.destination_port == now.to.destination_port)
    return "not an address of a service";
  return fmt::format("{} is a service; backend {}",
                     endpoint_text(now.now.destination, now.now.destination_port),
                     endpoint_text(now.to.destination, now.to.destination_port));
}

// One stage in plain words.
std::string step_text(const Tables& tables, const std::string& stage, const native_outcome& now) {
  if (stage == "service") return service_text(now);
  if (stage == "policy") return policy_text(tables, now);
  if (now.verdict == DROP) return kReasons[now.reason].text;
  if (stage == "parse") return arrow(now.now);
  if (stage == "flow") return "the first packet of this flow";
  if (stage == "identity")
    return fmt::format("source: {}; destination: {}", identity_text(tables.names, now.identities[0]),
                       identity_text(tables.names, now.identities[1]));
  if (stage == "rewrite")
    return arrow(now.now) == arrow(now.to) ? "addresses stay as they are" : "leaves as " + arrow(now.to);
  if (stage == "forward") return hop_text(tables, now.hop);
  return "";
}

struct Trace {
  const Tables& tables;
  std::vector<Step>& steps;
};

void on_stage(void* context, const char* stage, const native_outcome* so_far) {
  auto* trace = static_cast<Trace*>(context);
  trace->steps.push_back({stage, step_text(trace->tables, stage, *so_far)});
}

// ---- how the packet comes to this node

struct Arrival {
  origin from = FROM_UPLINK;
  uint32_t ifindex = 0;
  std::string frame;
  std::string text;
};

const endpoint* endpoint_of(const Tables& tables, const Ip& ip) {
  const auto found = tables.rows.endpoints.find(to_addr(ip));
  return found == tables.rows.endpoints.end() ? nullptr : &found->second;
}

nl::Mac mac_of(const __u8* bytes) {
  nl::Mac mac;
  std::copy(bytes, bytes + 6, mac.begin());
  return mac;
}

Arrival from_pod(const endpoint& pod, FlowSpec flow) {
  flow.source_mac = mac_of(pod.mac);
  flow.destination_mac = mac_of(pod.host_mac);
  return {FROM_POD, pod.ifindex, build_frame(flow), "from a pod of this node"};
}

Arrival from_host(const Tables& tables, const node& self, const FlowSpec& flow) {
  if (const endpoint* pod = endpoint_of(tables, flow.destination))
    return {TO_POD, pod->ifindex, build_frame(flow), "from this node's own stack to a pod of it"};
  return {FROM_HOST, self.host_ifindex, build_frame(flow), "from this node's own stack"};
}

Arrival from_underlay(const node& self, const route* way, const FlowSpec& flow) {
  if (way == nullptr || way->kind != ROUTE_TUNNEL)
    return {FROM_UPLINK, self.uplink_ifindex, build_frame(flow), "from the outside, by the uplink"};
  const Ip peer = to_ip(way->peer);
  const TunnelSpec tunnel{peer, to_ip(self.v4), ntohs(self.tunnel_port), self.vni};
  return {FROM_UPLINK, self.uplink_ifindex, build_tunnelled(flow, tunnel),
          fmt::format("from the node {}, by tunnel", peer.str())};
}

Arrival arrival_of(const Tables& tables, const node& self, const FlowSpec& flow) {
  if (const endpoint* pod = endpoint_of(tables, flow.source)) return from_pod(*pod, flow);
  if (equal(self.v4, to_addr(flow.source)) || equal(self.v6, to_addr(flow.source)))
    return from_host(tables, self, flow);
  return from_underlay(self, route_of(tables, flow.source), flow);
}

native_outcome run(native* engine, const Arrival& arrival) {
  std::string buffer(arrival.frame.size() + 2 * kRoom, '\0');
  std::copy(arrival.frame.begin(), arrival.frame.end(), buffer.begin() + kRoom);
  native_packet packet{.buffer = reinterpret_cast<__u8*>(buffer.data()),
                       .capacity = static_cast<__u32>(buffer.size()),
                       .start = kRoom,
                       .length = static_cast<__u32>(arrival.frame.size()),
                       .ifindex = arrival.ifindex,
                       .origin = arrival.from};
  return native_run(engine, &packet);
}

void conclude(const Tables& tables, const native_outcome& outcome, Answer& answer) {
  answer.allowed = outcome.reason == DROP_NONE;
  if (outcome.reason != DROP_NONE) {
    answer.verdict = outcome.verdict == DROP ? "dropped" : "refused, and the sender is told so";
    answer.reason = kReasons[outcome.reason].name;
    answer.text = kReasons[outcome.reason].text;
    if (outcome.reason == DROP_POLICY_EGRESS || outcome.reason == DROP_POLICY_INGRESS)
      answer.policy = policy_text(tables, outcome);
    return;
  }
  answer.verdict = outcome.verdict == PASS ? "passed to the host's stack" : "sent on";
  answer.text =
      outcome.verdict == PASS ? "the host's stack takes it from here" : hop_text(tables, outcome.hop);
  if (outcome.rule != 0) answer.policy = rule_text(tables.names, outcome.rule);
  if (outcome.verdict == REDIRECT && (outcome.hop.kind == HOP_TUNNEL || outcome.hop.kind == HOP_DIRECT))
    answer.note = fmt::format("ingress policy of the destination is decided on the node {}: ask there too",
                              to_ip(outcome.hop.peer).str());
}

}  // namespace

Result<std::pair<uint8_t, uint16_t>> parse_port(const std::string& text) {
  if (text == "icmp" || text == "ICMP") return std::pair<uint8_t, uint16_t>(IPPROTO_ICMP, 0);
  const size_t slash = text.find('/');
  std::string name = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  const std::string_view digits = std::string_view(text).substr(0, std::min(slash, text.size()));
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0)
    return fail("{}: expected PORT/PROTO, e.g. 8080/tcp, or icmp", text);
  if (name == "tcp") return std::pair<uint8_t, uint16_t>(IPPROTO_TCP, port);
  if (name == "udp") return std::pair<uint8_t, uint16_t>(IPPROTO_UDP, port);
  if (name == "sctp") return std::pair<uint8_t, uint16_t>(IPPROTO_SCTP, port);
  return fail("{}: the protocol is one of tcp, udp, sctp, icmp", text);
}

Result<Answer> why(const Tables& tables, FlowSpec flow) {
  const auto self = tables.rows.node.find(0);
  if (self == tables.rows.node.end()) return fail("the agent has not programmed this node yet");
  if (flow.source.is_v4() != flow.destination.is_v4())
    return fail("{} and {} are not of one address family", flow.source.str(), flow.destination.str());
  const Engine engine = TRY(load_engine(tables));
  Answer answer;
  Trace trace{tables, answer.steps};
  native_set_trace(engine.get(), on_stage, &trace);
  const Arrival arrival = arrival_of(tables, self->second, flow);
  answer.origin = arrival.text;
  conclude(tables, run(engine.get(), arrival), answer);
  return answer;
}

}  // namespace thalweg::cli
