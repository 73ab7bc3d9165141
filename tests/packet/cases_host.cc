// Packet cases of services whose backend is a node itself (a hostNetwork pod): the host's own answers, on
// their way out of the uplink, and what goes between the addresses of nodes.
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

const std::string kThis6 = "2001:db8::1";
constexpr uint16_t kNodePort = 30080, kSocket = 8080;

Frame at_host(Frame asked) {
  asked.to_port = kSocket;
  return asked;
}
Frame with_flags(Frame frame, uint8_t flags) {
  frame.tcp_flags = flags;
  return frame;
}
Frame named(Frame frame, uint16_t id) {
  frame.id = id;
  return frame;
}

// A client of the world asks a NodePort, and this node's own stack is the backend.
struct Served {
  Frame asked;
  explicit Served(uint8_t protocol = kTcp, const std::string& client = kWorld,
                  const std::string& node = kThis)
      : asked{.from = client, .to = node, .protocol = protocol, .to_port = kNodePort} {}
  Rows world() const {
    return pods() + service(asked.to, kNodePort, asked.protocol, asked.to, kSocket, SERVICE_NODE_PORT);
  }
  Step ask(uint8_t flags = kSyn, uint32_t after_s = 0, const Rows& before = {}) const {
    const Frame frame = with_flags(asked, flags);
    return {FROM_UPLINK, frame.bytes(), pass(at_host(frame).bytes()), before, 128, after_s};
  }
  // The host answers from its own port; the world sees the service's.
  Step answers(uint8_t flags = kSyn | kAck, uint32_t after_s = 0, const Rows& before = {}) const {
    return {TO_UPLINK,
            with_flags(answer(at_host(asked)), flags).bytes(),
            pass(with_flags(answer(asked), flags).bytes()),
            before,
            128,
            after_s};
  }
  // … but not in these circumstances.
  Step answers_as_itself(uint8_t flags = kSyn | kAck, const Rows& before = {}) const {
    return {TO_UPLINK, with_flags(answer(at_host(asked)), flags).bytes(), pass(), before};
  }
  Step asks_host_itself(uint8_t flags = kSyn) const {
    return {FROM_UPLINK, with_flags(at_host(asked), flags).bytes(), pass()};
  }
};

Step host_sends(const Bytes& frame, const Rows& before = {}) { return {TO_UPLINK, frame, pass(), before}; }

void answers(std::vector<Case>& out) {
  for (const Served& one : {Served(kTcp), Served(kUdp), Served(kSctp), Served(kTcp, kWorld6, kThis6),
                            Served(kUdp, kWorld6, kThis6)})
    out.push_back({"a NodePort whose backend is this node: the answer is the service's, no hop is spent",
                   one.world(),
                   {one.ask(), one.answers(), one.ask(kAck), one.answers(kAck)}});
  const Served tcp;
  out.push_back({"the host's answers keep a flow as any others do",
                 tcp.world(),
                 {tcp.ask(), tcp.answers(kSyn | kAck, 1), tcp.ask(kAck, 100), tcp.answers(kAck, 7000),
                  tcp.ask(kAck, 7000), tcp.answers(kAck, 1)}});
  out.push_back({"… also under other addresses, and after the tables were made anew",
                 tcp.world(),
                 {tcp.ask(), tcp.answers(kSyn | kAck, 0, Rows{} + generation(2)), tcp.ask(kAck),
                  tcp.answers_as_itself(kAck, Rows{} + host_never_served()),
                  tcp.ask(kAck, 0, Rows{} + generation(3)), tcp.answers(kAck)}});
  const Frame inside{.from = kRemote, .to = kThis, .to_port = kNodePort};
  out.push_back({"a pod of another node asks by tunnel; the host knows a direct way back",
                 tcp.world(),
                 {{FROM_UPLINK, from_tunnel(inside), redirected(HOP_HOST, to_host(at_host(inside)).bytes())},
                  {TO_UPLINK, answer(at_host(inside)).bytes(), pass(answer(inside).bytes())}}});
}

void direct_return(std::vector<Case>& out) {
  const std::string balancer = "203.0.113.20";
  const FullService service{
      .address = balancer, .inside = {kThis}, .flags = SERVICE_LOAD_BALANCER | SERVICE_DSR};
  const Frame asked{.from = kWorld, .to = balancer};
  Frame given = at_host(asked);
  given.to = kThis;
  const auto asks = [&](uint8_t flags) {
    return Step{FROM_UPLINK, from_tunnel(with_flags(asked, flags)), pass(with_flags(given, flags).bytes())};
  };
  out.push_back({"DSR: left to this node, whose host is the backend and answers the world itself",
                 pods() + service.rows(),
                 {asks(kSyn), {TO_UPLINK, answer(given).bytes(), pass(answer(asked).bytes())}, asks(kAck)}});
}

void errors(std::vector<Case>& out) {
  const Served udp(kUdp);
  Frame refused{.from = kThis, .to = kWorld, .protocol = kIcmp, .icmp_type = 3};
  refused.icmp_code = 3;
  Frame told = refused;
  refused.quotes = ip_packet(at_host(udp.asked).bytes());
  told.quotes = ip_packet(udp.asked.bytes());
  told.quotes->replace(26, 2, refused.quotes->substr(26, 2));  // the quoted UDP checksum is not ours to mend
  out.push_back({"no one listens on the backend's port: the client is told of the port it asked",
                 udp.world(),
                 {udp.ask(), {TO_UPLINK, refused.bytes(), pass(told.bytes())}}});
  out.push_back({"an ICMP error of the host about its own traffic",
                 udp.world(),
                 {Served(kTcp).ask(), host_sends(refused.bytes())}});
  out.back().world = Served(kTcp).world();
}

void fragments(std::vector<Case>& out) {
  const Served udp(kUdp);
  Frame first = with_flags(answer(at_host(udp.asked)), 0), first_out = with_flags(answer(udp.asked), 0);
  for (Frame* frame : {&first, &first_out}) frame->payload.assign(24, 'a'), frame->fragment = 0x2000;
  const auto later = [](Frame frame) {
    frame.no_transport = true, frame.fragment = 4, frame.payload = "the rest";
    return frame;
  };
  out.push_back({"the host's answer in parts",
                 udp.world(),
                 {udp.ask(),
                  {TO_UPLINK, first.bytes(), pass(first_out.bytes())},
                  {TO_UPLINK, later(first).bytes(), pass(later(first_out).bytes())},
                  host_sends(named(later(first), 9).bytes())}});
}

void not_ours(std::vector<Case>& out) {
  const Served tcp;
  const Frame own{.from = kThis, .to = kWorld, .from_port = 22};
  Bytes arp = own.bytes();
  arp.replace(12, 2, std::string("\x08\x06", 2));
  const Frame asks_service{.from = kThis, .to = kVip};
  out.push_back(
      {"what else the host sends is not touched",
       tcp.world() + service(kVip, 80, kTcp, kRemote, 8080),
       {host_sends(own.bytes()),
        tcp.ask(),
        host_sends(own.bytes()),
        host_sends(Frame{.from = kThis, .to = kVip, .from_port = 41000}.bytes()),
        host_sends(Frame{.from = kThis, .to = kWorld, .protocol = kUdp, .to_port = 4789}.bytes()),
        host_sends(Frame{.from = kThis, .to = kRemote, .ttl = 1}.bytes()),
        host_sends(Frame{.from = kThis6, .to = "fe80::1", .protocol = kIcmpv6, .icmp_type = 135}.bytes()),
        host_sends(arp),
        host_sends(own.bytes().substr(0, 40)),
        host_sends(Bytes(own.bytes()).replace(14, 1, "\x44")),
        {FROM_HOST, asks_service.bytes(), redirected(HOP_TUNNEL, by_tunnel([&] {
                                                       Frame sent = asks_service;
                                                       sent.to = kRemote, sent.to_port = 8080;
                                                       return sent;
                                                     }()))},
        host_sends(asks_service.bytes())}});
  Rows gone = node();
  gone.resize(1);
  gone[0].value.assign(gone[0].value.size(), '\0');
  out.push_back({"a node that lost its program lets its host speak",
                 tcp.world(),
                 {tcp.ask(), host_sends(own.bytes(), gone)}});
}

void port_used_again(std::vector<Case>& out) {
  const Served tcp;
  const std::vector<Step> connection = {tcp.ask(), tcp.answers(), tcp.ask(kAck)};
  const auto then = [&](std::vector<Step> more) {
    std::vector<Step> all = connection;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  out.push_back({"a service's connection is over, and its port now speaks to the host itself", tcp.world(),
                 then({tcp.ask(kFin | kAck), tcp.answers(kFin | kAck), tcp.asks_host_itself(),
                       tcp.answers_as_itself(), tcp.ask(), tcp.answers()})});
  out.push_back({"… and one that no one ever answered",
                 tcp.world(),
                 {tcp.ask(), tcp.ask(kRst), tcp.asks_host_itself(), tcp.answers_as_itself()}});
  out.push_back({"a stranger's packets to the host end no service's connection", tcp.world(),
                 then({tcp.asks_host_itself(), tcp.asks_host_itself(kAck), tcp.answers(kAck),
                       tcp.ask(kFin | kAck), tcp.asks_host_itself(kAck), tcp.answers(kFin | kAck)})});
  const Frame asked{.from = kPod, .to = kWorld};
  Frame sent = routed(asked);
  sent.from = kThis, sent.from_port = kMasqueradePort;
  const auto goes = [&](uint8_t flags) {
    return Step{FROM_POD, with_flags(asked, flags).bytes(),
                redirected(HOP_WORLD, with_flags(sent, flags).bytes())};
  };
  Frame back = answer(asked);
  back.ttl = sent.ttl;
  const Step comes{FROM_UPLINK, answer(sent).bytes(), redirected(HOP_ENDPOINT, delivered(back).bytes())};
  out.push_back({"a stranger's SYN does not end what is left of a pod's masqueraded connection",
                 pods(),
                 {goes(kSyn),
                  comes,
                  goes(kFin | kAck),
                  {FROM_UPLINK, with_flags(answer(sent), kSyn).bytes(), pass()},
                  comes}});
}

// Whose answers would look like another's questions: by chance or not, no one ends what stands.
void asked_the_other_way(std::vector<Case>& out) {
  const std::string balancer = "203.0.113.20";
  const Frame asked{.from = kThis, .to = balancer, .from_port = kNodePort},
      stranger{.from = balancer, .to = kThis, .from_port = 80, .to_port = kNodePort};
  Frame sent = asked;
  sent.to = kRemote, sent.to_port = 8080;
  const Step asks{FROM_HOST, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(sent))};
  Step asks_on = asks;
  asks_on.before = service(balancer, 80, kTcp, kPod, 8080, SERVICE_LOAD_BALANCER);
  out.push_back(
      {"who asks a NodePort from a service's address, while the node asks that service from that port",
       pods() + service(balancer, 80, kTcp, kRemote, 8080, SERVICE_LOAD_BALANCER) +
           service(kThis, kNodePort, kTcp, kPod, 8080, SERVICE_NODE_PORT),
       {asks, {FROM_UPLINK, stranger.bytes(), dropped(DROP_NO_MASQUERADE_PORT)}, asks_on}});
}

// No socket hook has seen the process: the service's address takes the answer back to the path.
void asks_itself(std::vector<Case>& out) {
  const auto ask = [&](const Frame& asked, const std::string& node) {
    Frame given = at_host(asked);
    given.from = asked.to, given.from_port = kMasqueradePort, given.to = node;
    const Step question{FROM_HOST, asked.bytes(), redirected(HOP_HOST, to_host(given).bytes())};
    const Step answered{FROM_HOST, answer(given).bytes(),
                        redirected(HOP_HOST, to_host(answer(asked)).bytes())};
    out.push_back({"the host asks itself through a service",
                   pods() + service(asked.to, asked.to_port, asked.protocol, node, kSocket),
                   {question, answered, question, answered}});
  };
  for (const uint8_t protocol : {kTcp, kUdp, kSctp}) {
    ask({.from = kThis, .to = kVip, .protocol = protocol}, kThis);
    ask({.from = kThis6, .to = "fd00:10:96::80", .protocol = protocol}, kThis6);
  }
}

// ---- between the addresses of nodes there is no tunnel, once NAT has spoken

void between_nodes(std::vector<Case>& out) {
  const Rows port_there = pods() + service(kThis, kNodePort, kTcp, kOther, kSocket, SERVICE_NODE_PORT);
  const Frame asked{.from = kWorld, .to = kThis, .to_port = kNodePort};
  Frame sent = at_host(asked);
  sent.from = kThis, sent.from_port = kMasqueradePort, sent.to = kOther;
  out.push_back(
      {"a NodePort whose backend is another node, and the answer",
       port_there,
       {{FROM_UPLINK, asked.bytes(), redirected(HOP_WORLD, routed(sent).bytes())},
        {FROM_UPLINK, answer(sent).bytes(), redirected(HOP_WORLD, routed(answer(asked)).bytes())}}});
  const Frame by_pod{.from = kPod, .to = kThis, .to_port = kNodePort};
  Frame pod_sent = at_host(by_pod);
  pod_sent.to = kOther;
  out.push_back({"a pod asks another node through a service, with its own address: by tunnel",
                 port_there,
                 {{FROM_POD, by_pod.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(pod_sent)))}}});
  const Frame by_host{.from = kThis, .to = kVip};
  Frame host_sent = at_host(by_host);
  host_sent.to = kOther;
  out.push_back({"the host asks another node through a service",
                 pods() + service(kVip, 80, kTcp, kOther, kSocket),
                 {{FROM_HOST, by_host.bytes(), redirected(HOP_WORLD, host_sent.bytes())},
                  {FROM_UPLINK, answer(host_sent).bytes(), pass(answer(by_host).bytes())}}});
  const Frame by_node{.from = kOther, .to = kThis, .to_port = kNodePort};
  Frame near = at_host(by_node);
  near.to = kPod;
  out.push_back({"another node's host asks a NodePort, backend here: the pod's answer goes without a tunnel",
                 pods() + service(kThis, kNodePort, kTcp, kPod, kSocket, SERVICE_NODE_PORT),
                 {{FROM_UPLINK, by_node.bytes(), redirected(HOP_ENDPOINT, delivered(near).bytes())},
                  {FROM_POD, answer(near).bytes(), redirected(HOP_WORLD, routed(answer(by_node)).bytes())}}});
  Frame far = sent;
  far.to = kRemote;
  out.push_back(
      {"… backend there",
       pods() + service(kThis, kNodePort, kTcp, kRemote, kSocket, SERVICE_NODE_PORT),
       {{FROM_UPLINK, by_node.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(far)))},
        {FROM_UPLINK, from_tunnel(answer(far)), redirected(HOP_WORLD, routed(answer(by_node)).bytes())}}});
}

}  // namespace

std::vector<Case> host_cases() {
  std::vector<Case> out;
  answers(out);
  direct_return(out);
  errors(out);
  fragments(out);
  not_ours(out);
  port_used_again(out);
  asked_the_other_way(out);
  asks_itself(out);
  between_nodes(out);
  return out;
}

}  // namespace thalweg::packet
