// Packet cases of flows that last: what is kept while tables change and time passes, services with several
// ways in, and answers under policy.
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

// A pod's flow through a service to another node, and how each of its packets must look.
struct Served {
  Frame asked, sent;
  explicit Served(uint8_t protocol) : asked{.from = kPod, .to = kVip, .protocol = protocol}, sent(asked) {
    asked.tcp_flags = protocol == kTcp ? kSyn : 0;
    sent = asked;
    sent.to = kRemote, sent.to_port = 8080;
  }
  Rows world() const { return pods() + service(kVip, 80, asked.protocol, kRemote, 8080); }
  // From now on new flows go to the neighbour.
  Rows moved() const { return service(kVip, 80, asked.protocol, kNeighbour, 8080); }
  Step ask(uint32_t after_s = 0, const Rows& before = {}) const { return ask(after_s, before, asked, sent); }
  Step ask_on(uint32_t after_s, uint8_t flags = kAck) const {
    Frame asks = asked, goes = sent;
    asks.tcp_flags = goes.tcp_flags = flags;
    return ask(after_s, {}, asks, goes);
  }
  Step back(uint32_t after_s = 0) const {
    return {FROM_UPLINK,
            from_tunnel(answer(sent)),
            redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes()),
            {},
            128,
            after_s};
  }
  // A flow of its own: the old one is over.
  Step anew(uint32_t after_s) const {
    Frame goes = asked;
    goes.to = kNeighbour, goes.to_port = 8080;
    return {FROM_POD, asked.bytes(), redirected(HOP_ENDPOINT, delivered(goes).bytes()), {}, 128, after_s};
  }

 private:
  static Step ask(uint32_t after_s, const Rows& before, const Frame& asks, const Frame& goes) {
    return {FROM_POD, asks.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(goes))), before, 128, after_s};
  }
};

Frame to_backend(Frame asked, const std::string& backend) {
  asked.to = backend, asked.to_port = 8080;
  return asked;
}

void time_passes(std::vector<Case>& out) {
  const Served udp(kUdp), tcp(kTcp);
  out.push_back({"a service's UDP flow with packets one way alone keeps its backend and its answers",
                 udp.world(),
                 {udp.ask(), udp.ask(100, udp.moved()), udp.ask(100), udp.ask(100), udp.back(), udp.ask()}});
  out.push_back({"… and with answers alone",
                 udp.world(),
                 {udp.ask(), udp.back(100), udp.back(100), udp.back(100), udp.ask(100, udp.moved())}});
  out.push_back({"a UDP flow is over after two minutes",
                 udp.world(),
                 {udp.ask(), udp.ask(119, udp.moved()), udp.anew(121)}});
  out.push_back(
      {"a TCP connection idle for two hours keeps its backend",
       tcp.world(),
       {tcp.ask(), tcp.back(1), tcp.ask_on(61), tcp.ask(7000, tcp.moved()), tcp.back(7000), tcp.anew(7441)}});
  const Frame other_way{.from = kVip, .to = kPod, .from_port = 80, .to_port = 40000};
  out.push_back({"a SYN the other way does not begin an ending connection anew",
                 tcp.world(),
                 {tcp.ask(),
                  tcp.back(),
                  tcp.ask_on(1, kFin | kAck),
                  {TO_POD, other_way.bytes(), pass()},
                  tcp.ask_on(0, kAck)}});
  out.push_back({"a TCP connection no one answered is over after a minute",
                 tcp.world(),
                 {tcp.ask(), tcp.ask(59, tcp.moved()), tcp.anew(61)}});
  out.push_back({"a closed TCP connection is over at its port's next SYN",
                 tcp.world(),
                 {tcp.ask(),
                  tcp.back(),
                  tcp.ask_on(1, kFin | kAck),
                  tcp.back(),
                  {FROM_POD, tcp.anew(0).in, tcp.anew(0).expected, tcp.moved()}}});
  Served closed = tcp;
  Step late = closed.anew(31);
  late.before = closed.moved();
  Frame last = closed.asked;
  last.tcp_flags = kAck;
  Frame goes = last;
  goes.to = kNeighbour, goes.to_port = 8080;
  late.in = last.bytes(), late.expected = redirected(HOP_ENDPOINT, delivered(goes).bytes());
  out.push_back({"a closed TCP connection is over after half a minute",
                 closed.world(),
                 {closed.ask(), closed.back(), closed.ask_on(1, kRst), closed.ask_on(29), late}});
}

// The client uses its port again and comes to another backend; the old one has something left to say.
void late_answers(std::vector<Case>& out) {
  const Served tcp(kTcp);
  const std::string other = "198.51.100.71";
  const auto to_other = [&](uint8_t flags, uint32_t after_s, const Rows& before) {
    Frame asked = tcp.asked;
    asked.tcp_flags = flags;
    const Bytes goes = by_tunnel(routed(to_backend(asked, other)));
    return Step{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, goes), before, 128, after_s};
  };
  const Frame answers = answer(to_backend(tcp.asked, other));
  out.push_back(
      {"late answers to an old connection do not end the new one of its port",
       tcp.world(),
       {tcp.ask(),
        tcp.back(),
        tcp.ask_on(1, kFin | kAck),
        to_other(kSyn, 1, service(kVip, 80, kTcp, other, 8080)),
        {FROM_UPLINK, from_tunnel(answers), redirected(HOP_ENDPOINT, delivered(answer(tcp.asked)).bytes())},
        tcp.back(1),
        to_other(kAck, 100, service(kVip, 80, kTcp, kRemote, 8080))}});
}

void several_ways_in(std::vector<Case>& out) {
  const std::string other_vip = "203.0.113.140";
  const Frame one{.from = kPod, .to = kVip}, two{.from = kPod, .to = other_vip, .from_port = 40001};
  Frame one_sent = one, two_sent = two;
  one_sent.to = two_sent.to = kRemote, one_sent.to_port = two_sent.to_port = 8080;
  const auto asks = [](const Frame& asked, const Frame& sent) {
    return Step{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent)))};
  };
  const auto answers = [](const Frame& asked, const Frame& sent) {
    return Step{FROM_UPLINK, from_tunnel(answer(sent)),
                redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes())};
  };
  out.push_back(
      {"two services, one backend: each answer comes from its own",
       pods() + service(kVip, 80, kTcp, kRemote, 8080) + service(other_vip, 80, kTcp, kRemote, 8080),
       {asks(one, one_sent), asks(two, two_sent), answers(one, one_sent), answers(two, two_sent)}});
  Frame near = two;
  near.to = kNeighbour, near.to_port = 9090;
  out.push_back(
      {"two services, two backends",
       pods() + service(kVip, 80, kTcp, kRemote, 8080) + service(other_vip, 80, kTcp, kNeighbour, 9090),
       {asks(one, one_sent),
        {FROM_POD, two.bytes(), redirected(HOP_ENDPOINT, delivered(near).bytes())},
        answers(one, one_sent)}});
  // A NodePort asked from another node's pod, the backend on a third: the answer must come back here.
  const Frame inward{.from = kRemote, .to = kThis, .to_port = 30080};
  Frame onward = inward;
  onward.from = kThis, onward.from_port = kMasqueradePort, onward.to = "198.51.100.130",
  onward.to_port = 8080;
  out.push_back({"a NodePort by tunnel, backend on a third node, and the answer",
                 pods() + route("198.51.100.128/26", ROUTE_TUNNEL, "192.0.2.3") +
                     service(kThis, 30080, kTcp, "198.51.100.130", 8080, SERVICE_NODE_PORT),
                 {{FROM_UPLINK, from_tunnel(inward),
                   redirected(HOP_TUNNEL, Tunnel{kThis, "192.0.2.3"}.around(routed(onward).bytes()))},
                  {FROM_UPLINK, Tunnel{"192.0.2.3", kThis}.around(answer(onward).bytes()),
                   redirected(HOP_TUNNEL, by_tunnel(routed(answer(inward))))}}});
}

void answers_under_policy(std::vector<Case>& out) {
  const Frame asked{.from = kPod, .to = kRemote};
  const Rows world = node() + endpoint(kPod, kSenderIfindex, 4) + identity(kRemote, 6) + identity(kPod, 5) +
                     rule_set(4, RULE_SET_ISOLATES_EGRESS | RULE_SET_ISOLATES_INGRESS) +
                     allow(4, EGRESS, 6, kTcp, 80);
  const Rows denied = Rows{} + PutRow{TABLE_rules, world.back().key, raw(rule{9, RULE_DENY})} +
                      rule_set(4, RULE_SET_ISOLATES_EGRESS | RULE_SET_ISOLATES_INGRESS, 3);
  const Rows renewed = Rows{} + rule_set(4, RULE_SET_ISOLATES_EGRESS | RULE_SET_ISOLATES_INGRESS, 2);
  const Step opened{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(asked)))};
  const Expected got = redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes());
  out.push_back({"an answer decided anew is asked what its opener was asked",
                 world,
                 {opened,
                  {FROM_UPLINK, from_tunnel(answer(asked)), got, renewed},
                  {FROM_UPLINK, from_tunnel(answer(asked)), dropped(DROP_POLICY_EGRESS), denied},
                  {FROM_POD, asked.bytes(), dropped(DROP_POLICY_EGRESS)}}});
  out.push_back({"a confined pod may speak to its own node",
                 world,
                 {{FROM_POD, Frame{.from = kPod, .to = kThis}.bytes(), pass()}}});
  const Frame ping{.from = kPod, .to = kRemote, .protocol = kIcmp, .from_port = 80};
  out.push_back({"an echo's identifier is no port",
                 world + allow(4, EGRESS, 6, kIcmp, 80),
                 {{FROM_POD, ping.bytes(), dropped(DROP_POLICY_EGRESS)}}});
  const Frame itself{.from = kPod, .to = kVip};
  Frame looped = itself;
  looped.from = kThis, looped.from_port = kMasqueradePort, looped.to = kPod, looped.to_port = 8080;
  out.push_back({"an isolated pod reaches itself through its service",
                 world + service(kVip, 80, kTcp, kPod, 8080),
                 {{FROM_POD, itself.bytes(), redirected(HOP_ENDPOINT, delivered(looped).bytes())}}});
}

}  // namespace

std::vector<Case> lasting_cases() {
  std::vector<Case> out;
  for (const auto part : {time_passes, late_answers, several_ways_in, answers_under_policy}) part(out);
  return out;
}

}  // namespace thalweg::packet
