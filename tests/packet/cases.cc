// Every packet case, by stage. A new drop reason needs a row here: packet_test fails until it has one.
#include <netinet/in.h>

#include "tests/packet/case.h"
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

// ---- parsing ---------------------------------------------------------------------------------------------

void parsing(std::vector<Case>& out) {
  const Frame good{.from = kPod, .to = kNeighbour};
  out.push_back({"a frame shorter than Ethernet's header",
                 pods(),
                 {{FROM_POD, good.bytes().substr(0, 14), dropped(DROP_TRUNCATED)}}});
  out.push_back({"an IPv4 header cut short",
                 pods(),
                 {{FROM_POD, good.bytes().substr(0, 30), dropped(DROP_TRUNCATED)}}});
  out.push_back({"a TCP header cut short",
                 pods(),
                 {{FROM_POD, good.bytes().substr(0, 14 + 20 + 10), dropped(DROP_TRUNCATED)}}});
  Bytes short_ihl = good.bytes();
  short_ihl[14] = 0x44;
  out.push_back(
      {"an IPv4 header length below 20", pods(), {{FROM_POD, short_ihl, dropped(DROP_BAD_HEADER)}}});
  Bytes short_offset = good.bytes();
  short_offset[14 + 20 + 12] = 0x40;
  out.push_back({"a TCP data offset below 5", pods(), {{FROM_POD, short_offset, dropped(DROP_BAD_HEADER)}}});
  Bytes long_total = good.bytes();
  long_total[16] = 0x7f;
  out.push_back(
      {"an IPv4 total length beyond the frame", pods(), {{FROM_POD, long_total, dropped(DROP_TRUNCATED)}}});
  Bytes padded = good.bytes();
  padded[17] = 20 + 8;
  out.push_back(
      {"what pads the frame is not read as a header", pods(), {{FROM_POD, padded, dropped(DROP_TRUNCATED)}}});
  out.push_back({"a transport the path does not carry",
                 pods(),
                 {{FROM_POD, Frame{.from = kPod, .to = kNeighbour, .protocol = 47}.bytes(),
                   dropped(DROP_UNKNOWN_PROTOCOL)}}});
  Bytes arp = good.bytes();
  arp[12] = 0x08, arp[13] = 0x06;
  out.push_back({"ARP from a pod", pods(), {{FROM_POD, arp, dropped(DROP_UNKNOWN_PROTOCOL)}}});
  out.push_back({"ARP on the uplink is the host's", pods(), {{FROM_UPLINK, arp, pass()}}});
  const Frame options{.from = kPod, .to = kNeighbour, .ipv4_options = 8};
  out.push_back({"IPv4 options are stepped over",
                 pods(),
                 {{FROM_POD, options.bytes(), redirected(HOP_ENDPOINT, delivered(options).bytes())}}});
  const Frame tagged{.from = kWorld, .to = kNeighbour, .vlan = true};
  out.push_back({"a VLAN tag on the uplink is stepped over",
                 pods(),
                 {{FROM_UPLINK, tagged.bytes(), redirected(HOP_ENDPOINT, delivered(tagged).bytes())}}});
  const Frame extended{.from = kPod6, .to = kRemote6, .ipv6_extension = true};
  out.push_back({"an IPv6 extension header is stepped over",
                 pods(),
                 {{FROM_POD, extended.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(extended)))}}});
  out.push_back({"multicast does not leave a pod",
                 pods(),
                 {{FROM_POD, Frame{.from = kPod, .to = "224.0.0.251", .protocol = kUdp}.bytes(),
                   dropped(DROP_LINK_LOCAL)}}});
  out.push_back(
      {"neighbour discovery does not leave a pod",
       pods(),
       {{FROM_POD, Frame{.from = kPod6, .to = "ff02::1", .protocol = kIcmpv6, .icmp_type = 135}.bytes(),
         dropped(DROP_LINK_LOCAL)}}});
}

// ---- where packets go
// --------------------------------------------------------------------------------------

void forwarding(std::vector<Case>& out) {
  const Frame local{.from = kPod, .to = kNeighbour};
  out.push_back({"pod to pod on this node, and the answer",
                 pods(),
                 {{FROM_POD, local.bytes(), redirected(HOP_ENDPOINT, delivered(local).bytes())},
                  {FROM_POD, local.bytes(), redirected(HOP_ENDPOINT, delivered(local).bytes())}}});
  for (const Frame& far : {Frame{.from = kPod, .to = kRemote}, Frame{.from = kPod6, .to = kRemote6},
                           Frame{.from = kPod, .to = kRemote, .protocol = kUdp},
                           Frame{.from = kPod, .to = kRemote, .protocol = kIcmp},
                           Frame{.from = kPod6, .to = kRemote6, .protocol = kIcmpv6}})
    out.push_back(
        {"pod to a pod of another node, and the answer",
         pods(),
         {{FROM_POD, far.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(far)))},
          {FROM_UPLINK, from_tunnel(answer(far)), redirected(HOP_ENDPOINT, delivered(answer(far)).bytes())},
          {FROM_POD, far.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(far)))}}});
  const Frame to_node{.from = kPod, .to = kThis};
  out.push_back({"pod to its own node", pods(), {{FROM_POD, to_node.bytes(), pass()}}});
  const Frame to_other{.from = kPod, .to = kOther};
  out.push_back({"pod to another node",
                 pods(),
                 {{FROM_POD, to_other.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(to_other)))}}});
  const Frame from_other{.from = kRemote, .to = kThis};
  out.push_back(
      {"a pod of another node to this node",
       pods(),
       {{FROM_UPLINK, from_tunnel(from_other), redirected(HOP_HOST, to_host(from_other).bytes())}}});
  const Frame from_host{.from = kThis, .to = kRemote};
  out.push_back({"the host to a pod of another node, and the answer",
                 pods(),
                 {{FROM_HOST, from_host.bytes(), redirected(HOP_TUNNEL, by_tunnel(from_host))},
                  {FROM_UPLINK, from_tunnel(answer(from_host)),
                   redirected(HOP_HOST, to_host(answer(from_host)).bytes())}}});
  out.push_back({"the host's stack to its own pod",
                 pods(),
                 {{TO_POD, Frame{.from = kThis, .to = kPod}.bytes(), pass()}}});
  out.push_back({"the host's own traffic on the uplink is not touched",
                 pods(),
                 {{FROM_UPLINK, Frame{.from = kWorld, .to = kThis, .to_port = 22}.bytes(), pass()}}});
  out.push_back(
      {"an address of a podCIDR here that no pod has",
       pods(),
       {{FROM_POD, Frame{.from = kPod, .to = "198.51.100.60"}.bytes(), dropped(DROP_NO_SUCH_POD)}}});
  out.push_back({"the host's leg leads to pods and services, not to the world",
                 pods(),
                 {{FROM_HOST, Frame{.from = kThis, .to = kWorld}.bytes(), dropped(DROP_NO_ROUTE)}}});
  out.push_back({"no room for the tunnel's header",
                 pods(),
                 {{FROM_POD, Frame{.from = kPod, .to = kRemote}.bytes(), dropped(DROP_NO_ROOM), {}, 49}}});
  const Frame direct{.from = kPod, .to = "198.51.100.130"};
  out.push_back({"pod to a node of the same segment",
                 pods() + route("198.51.100.128/26", ROUTE_DIRECT, "192.0.2.3"),
                 {{FROM_POD, direct.bytes(), redirected(HOP_DIRECT, routed(direct).bytes())}}});
  out.push_back(
      {"a node the agent has not programmed",
       {},
       {{FROM_POD, direct.bytes(), dropped(DROP_NOT_CONFIGURED)}, {FROM_UPLINK, direct.bytes(), pass()}}});
}

// ---- who may claim to be whom
// ------------------------------------------------------------------------------

void spoofing(std::vector<Case>& out) {
  out.push_back({"a pod uses its neighbour's address",
                 pods(),
                 {{FROM_POD, Frame{.from = kNeighbour, .to = kPod}.bytes(), dropped(DROP_SPOOFED_SOURCE)}}});
  out.push_back({"a pod does not send with another MAC",
                 pods(),
                 {{FROM_POD, Frame{.from = kPod, .to = kNeighbour, .from_mac = kVethMac}.bytes(),
                   dropped(DROP_SPOOFED_SOURCE)}}});
  out.push_back(
      {"a pod uses an address of the world",
       pods(),
       {{FROM_POD, Frame{.from = kWorld, .to = kNeighbour}.bytes(), dropped(DROP_SPOOFED_SOURCE)}}});
  const Frame open{.from = kNeighbour, .to = kRemote};
  const Rows swapped = node() + endpoint(kPod) + endpoint(kNeighbour, kOtherIfindex);
  out.push_back({"a pod joins its neighbour's flow",
                 swapped + endpoint(kNeighbour, kSenderIfindex),
                 {{FROM_POD, open.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(open)))},
                  {FROM_POD, open.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(open)))}}});
  const Frame inner{.from = kRemote, .to = kPod};
  out.push_back({"a tunnel packet from a node that does not hold its inner source",
                 pods(),
                 {{FROM_UPLINK, Tunnel{"192.0.2.66", kThis}.around(inner.bytes()),
                   dropped(DROP_UNKNOWN_TUNNEL_PEER)}}});
  out.push_back(
      {"a tunnel packet whose inner source is the world",
       pods(),
       {{FROM_UPLINK, from_tunnel(Frame{.from = kWorld, .to = kPod}), dropped(DROP_UNKNOWN_TUNNEL_PEER)}}});
  out.push_back({"a packet of a tunnelled pod that came without the tunnel",
                 pods(),
                 {{FROM_UPLINK, inner.bytes(), dropped(DROP_UNKNOWN_TUNNEL_PEER)}}});
  out.push_back({"a tunnel packet of another network",
                 pods(),
                 {{FROM_UPLINK, Tunnel{.from = kOther, .to = kThis, .vni = 2}.around(inner.bytes()),
                   dropped(DROP_BAD_HEADER)}}});
  for (const std::string& node : {kThis, kOther})
    out.push_back({"a pod speaks to the tunnel port",
                   pods(),
                   {{FROM_POD, Frame{.from = kPod, .to = node, .protocol = kUdp, .to_port = 4789}.bytes(),
                     dropped(DROP_TUNNEL_FROM_POD)}}});
}

// ---- services
// ----------------------------------------------------------------------------------------------

void services(std::vector<Case>& out) {
  for (const uint8_t protocol : {kTcp, kUdp}) {
    const Rows world = pods() + service(kVip, 80, protocol, kRemote, 8080);
    const Frame asked{.from = kPod, .to = kVip, .protocol = protocol};
    Frame sent = asked;
    sent.to = kRemote, sent.to_port = 8080;
    out.push_back({"a ClusterIP, backend on another node, and the answer",
                   world,
                   {{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent)))},
                    {FROM_UPLINK, from_tunnel(answer(sent)),
                     redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes())},
                    {FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent)))}}});
  }
  Frame bare{.from = kPod, .to = kVip, .protocol = kUdp};
  bare.no_udp_checksum = true;
  Frame bare_sent = bare;
  bare_sent.to = kRemote, bare_sent.to_port = 53;
  out.push_back({"a UDP datagram without a checksum stays without",
                 pods() + service(kVip, 80, kUdp, kRemote, 53),
                 {{FROM_POD, bare.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(bare_sent)))}}});
  const Frame asked6{.from = kPod6, .to = "2001:db8:f::1"};
  Frame sent6 = asked6;
  sent6.to = kRemote6, sent6.to_port = 8080;
  out.push_back({"a ClusterIP over IPv6, and the answer",
                 pods() + service("2001:db8:f::1", 80, kTcp, kRemote6, 8080),
                 {{FROM_POD, asked6.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent6)))},
                  {FROM_UPLINK, from_tunnel(answer(sent6)),
                   redirected(HOP_ENDPOINT, delivered(answer(asked6)).bytes())}}});
  const Frame asked{.from = kPod, .to = kVip};
  out.push_back({"a service address that no service has",
                 pods(),
                 {{FROM_POD, asked.bytes(), dropped(DROP_NO_SUCH_SERVICE)}}});
  const Frame outside{.from = kWorld, .to = kThis, .to_port = 30080};
  Frame remote = outside;
  remote.from = kThis, remote.from_port = kMasqueradePort, remote.to = kRemote, remote.to_port = 8080;
  out.push_back({"a NodePort, backend on another node, and the answer",
                 pods() + service(kThis, 30080, kTcp, kRemote, 8080, SERVICE_NODE_PORT),
                 {{FROM_UPLINK, outside.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(remote)))},
                  {FROM_UPLINK, from_tunnel(answer(remote)), redirected(HOP_WORLD, [&] {
                     Frame back = routed(answer(outside));
                     return back.bytes();
                   }())}}});
  Frame near = outside;
  near.to = kPod, near.to_port = 8080;
  out.push_back({"a NodePort, backend here: the client's address stays",
                 pods() + service(kThis, 30080, kTcp, kPod, 8080, SERVICE_NODE_PORT),
                 {{FROM_UPLINK, outside.bytes(), redirected(HOP_ENDPOINT, delivered(near).bytes())},
                  {FROM_POD, answer(near).bytes(), redirected(HOP_WORLD, routed(answer(outside)).bytes())}}});
  out.push_back({"a ClusterIP is not for the world",
                 pods() + service(kVip, 80, kTcp, kPod, 8080),
                 {{FROM_UPLINK, Frame{.from = kWorld, .to = kVip}.bytes(), pass()}}});
  Frame itself = asked;
  itself.from = kThis, itself.from_port = kMasqueradePort, itself.to = kPod, itself.to_port = 8080;
  out.push_back(
      {"a pod reaches itself through its service",
       pods() + service(kVip, 80, kTcp, kPod, 8080),
       {{FROM_POD, asked.bytes(), redirected(HOP_ENDPOINT, delivered(itself).bytes())},
        {FROM_POD, answer(itself).bytes(), redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes())}}});
}

// ---- masquerade
// --------------------------------------------------------------------------------------------

void masquerade(std::vector<Case>& out) {
  for (const uint8_t protocol : {kTcp, kUdp, kIcmp}) {
    const Frame asked{.from = kPod, .to = kWorld, .protocol = protocol};
    Frame sent = routed(asked);
    sent.from = kThis, sent.from_port = kMasqueradePort;
    Frame back = answer(sent);
    back.ttl = 60;
    Frame delivered_back = answer(asked);
    delivered_back.ttl = 60;
    out.push_back({"pod to the world and back, under the node's address",
                   pods(),
                   {{FROM_POD, asked.bytes(), redirected(HOP_WORLD, sent.bytes())},
                    {FROM_UPLINK, back.bytes(), redirected(HOP_ENDPOINT, delivered(delivered_back).bytes())},
                    {FROM_POD, asked.bytes(), redirected(HOP_WORLD, sent.bytes())}}});
  }
  const Frame asked6{.from = kPod6, .to = kWorld6};
  Frame sent6 = routed(asked6);
  sent6.from = "2001:db8::1", sent6.from_port = kMasqueradePort;
  out.push_back({"the same over IPv6",
                 pods(),
                 {{FROM_POD, asked6.bytes(), redirected(HOP_WORLD, sent6.bytes())},
                  {FROM_UPLINK, answer(sent6).bytes(),
                   redirected(HOP_ENDPOINT, delivered(routed(answer(asked6))).bytes())}}});
  const Frame one{.from = kPod, .to = kWorld}, two{.from = kPod, .to = kWorld, .from_port = 40001};
  Frame sent = routed(one);
  sent.from = kThis, sent.from_port = kMasqueradePort;
  out.push_back({"every masquerade port to one destination is taken",
                 pods(),
                 {{FROM_POD, one.bytes(), redirected(HOP_WORLD, sent.bytes())},
                  {FROM_POD, two.bytes(), dropped(DROP_NO_MASQUERADE_PORT)}}});
}

// ---- policy
// ------------------------------------------------------------------------------------------------

void policies(std::vector<Case>& out) {
  const Frame asked{.from = kPod, .to = kNeighbour};
  const Expected through = redirected(HOP_ENDPOINT, delivered(asked).bytes());
  const auto world = [](uint32_t of_pod, uint32_t of_neighbour) {
    return node() + endpoint(kPod, kSenderIfindex, of_pod) +
           endpoint(kNeighbour, kOtherIfindex, of_neighbour) + identity(kPod, 5) + identity(kNeighbour, 6);
  };
  const Rows isolated = world(0, 3) + rule_set(3, RULE_SET_ISOLATES_INGRESS);
  out.push_back({"an isolated pod without a rule",
                 isolated,
                 {{FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS)}}});
  out.push_back(
      {"a rule for the peer", isolated + allow(3, INGRESS, 5), {{FROM_POD, asked.bytes(), through}}});
  out.push_back({"a rule for someone else",
                 isolated + allow(3, INGRESS, 4),
                 {{FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS)}}});
  out.push_back({"a rule for everyone",
                 isolated + allow(3, INGRESS, IDENTITY_ANY, kTcp, 80),
                 {{FROM_POD, asked.bytes(), through}}});
  out.push_back({"a rule for another port",
                 isolated + allow(3, INGRESS, 5, kTcp, 81),
                 {{FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS)}}});
  out.push_back({"a rule for another protocol",
                 isolated + allow(3, INGRESS, 5, kUdp),
                 {{FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS)}}});
  out.push_back({"a rule of the other direction",
                 isolated + allow(3, EGRESS, 5),
                 {{FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS)}}});
  const Rows confined = world(4, 0) + rule_set(4, RULE_SET_ISOLATES_EGRESS);
  out.push_back(
      {"egress without a rule", confined, {{FROM_POD, asked.bytes(), dropped(DROP_POLICY_EGRESS)}}});
  out.push_back(
      {"egress with one", confined + allow(4, EGRESS, 6, kTcp, 80), {{FROM_POD, asked.bytes(), through}}});
  out.push_back({"the node speaks to its isolated pod",
                 isolated,
                 {{TO_POD, Frame{.from = kThis, .to = kNeighbour}.bytes(), pass()}}});
  const Frame stranger{.from = kWorld, .to = kNeighbour};
  out.push_back({"what the node's stack forwards to an isolated pod is not the node's own",
                 isolated,
                 {{TO_POD, stranger.bytes(), dropped(DROP_POLICY_INGRESS)}}});
  out.push_back({"the world to an isolated pod, by ipBlock",
                 isolated + ip_block("203.0.113.0/25", 7) + allow(3, INGRESS, 7),
                 {{FROM_UPLINK, stranger.bytes(), redirected(HOP_ENDPOINT, delivered(stranger).bytes())}}});
  out.push_back(
      {"… and except",
       isolated + ip_block("203.0.113.0/25", 7) + ip_block("203.0.113.8/29", 8) + allow(3, INGRESS, 7),
       {{FROM_UPLINK, stranger.bytes(), dropped(DROP_POLICY_INGRESS)}}});

  // The answer of an allowed flow is allowed, whatever the answering side's own rules say.
  const Frame far{.from = kPod, .to = kRemote};
  const Rows answers = node() + endpoint(kPod, kSenderIfindex, 3) + rule_set(3, RULE_SET_ISOLATES_INGRESS) +
                       identity(kRemote, 6);
  out.push_back(
      {"an isolated pod gets answers, and only answers",
       answers,
       {{FROM_POD, far.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(far)))},
        {FROM_UPLINK, from_tunnel(answer(far)), redirected(HOP_ENDPOINT, delivered(answer(far)).bytes())},
        {FROM_UPLINK, from_tunnel(Frame{.from = kRemote, .to = kPod, .from_port = 80, .to_port = 40001}),
         dropped(DROP_POLICY_INGRESS)}}});

  // A flow that stands is decided anew when what it was decided under changes, and only then.
  const Rows before = isolated + allow(3, INGRESS, 5);
  const Rows taken_away = {{TABLE_rules, before.back().key, raw(rule{9, RULE_DENY})}};
  out.push_back({"the epoch changes: the next packet is decided anew",
                 before,
                 {{FROM_POD, asked.bytes(), through},
                  {FROM_POD, asked.bytes(), through, taken_away},  // cached: the epoch still stands
                  {FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS),
                   Rows{} + rule_set(3, RULE_SET_ISOLATES_INGRESS, 2)}}});
  out.push_back({"a rule set in transition is never believed",
                 world(0, 3) + rule_set(3, RULE_SET_ISOLATES_INGRESS, 0) + allow(3, INGRESS, 5),
                 {{FROM_POD, asked.bytes(), through},
                  {FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS), taken_away}}});
  out.push_back({"an address changes who it is: the generation does",
                 before,
                 {{FROM_POD, asked.bytes(), through},
                  {FROM_POD, asked.bytes(), dropped(DROP_POLICY_INGRESS),
                   Rows{} + identity(kPod, 4) + generation(2)}}});
  const Rows with_service =
      isolated + allow(3, INGRESS, 5, kTcp, 8080) + service(kVip, 80, kTcp, kNeighbour, 8080);
  const Frame via{.from = kPod, .to = kVip};
  Frame got = via;
  got.to = kNeighbour, got.to_port = 8080;
  out.push_back({"policy is asked about the backend, not the service",
                 with_service,
                 {{FROM_POD, via.bytes(), redirected(HOP_ENDPOINT, delivered(got).bytes())}}});
}

// ---- ICMP errors
// -------------------------------------------------------------------------------------------

void icmp_errors(std::vector<Case>& out) {
  const Frame far{.from = kPod, .to = kRemote, .protocol = kUdp};
  Frame error{.from = kRemote, .to = kPod, .protocol = kIcmp};
  error.quotes = ip_packet(far.bytes());
  out.push_back({"an ICMP error about a flow that was never seen",
                 pods(),
                 {{FROM_UPLINK, from_tunnel(error), dropped(DROP_UNRELATED_ICMP)}}});
  out.push_back({"an ICMP error about a known flow",
                 pods(),
                 {{FROM_POD, far.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(far)))},
                  {FROM_UPLINK, from_tunnel(error), redirected(HOP_ENDPOINT, delivered(error).bytes())}}});
  // Under masquerade: the router quotes what the node sent; the pod must see what the pod sent.
  const Frame asked{.from = kPod, .to = kWorld, .protocol = kUdp};
  Frame sent = routed(asked);
  sent.from = kThis, sent.from_port = kMasqueradePort;
  Frame unreachable{.from = "203.0.113.1", .to = kThis, .protocol = kIcmp};
  unreachable.quotes = ip_packet(sent.bytes());
  Frame told{.from = "203.0.113.1", .to = kPod, .protocol = kIcmp};
  Frame quoted = routed(asked);
  told.quotes = ip_packet(quoted.bytes());
  // The quoted UDP checksum stays as it was sent (it covers the node's address), so take it from there.
  told.quotes->replace(26, 2, unreachable.quotes->substr(26, 2));
  out.push_back({"an ICMP error about a masqueraded flow",
                 pods(),
                 {{FROM_POD, asked.bytes(), redirected(HOP_WORLD, sent.bytes())},
                  {FROM_UPLINK, unreachable.bytes(), redirected(HOP_ENDPOINT, delivered(told).bytes())}}});
}

std::vector<Case> all() {
  std::vector<Case> out;
  for (const auto part : {parsing, forwarding, spoofing, services, masquerade, policies, icmp_errors})
    part(out);
  for (Case& more : hostile_cases()) out.push_back(std::move(more));
  for (Case& more : lasting_cases()) out.push_back(std::move(more));
  for (Case& more : fragment_cases()) out.push_back(std::move(more));
  for (Case& more : refused_cases()) out.push_back(std::move(more));
  for (Case& more : service_cases()) out.push_back(std::move(more));
  for (Case& more : edge_cases()) out.push_back(std::move(more));
  for (Case& more : host_cases()) out.push_back(std::move(more));
  for (Case& more : sctp_cases()) out.push_back(std::move(more));
  for (Case& more : alike_cases()) out.push_back(std::move(more));
  for (Case& more : dsr_cases()) out.push_back(std::move(more));
  return out;
}

}  // namespace

const std::vector<Case>& cases() {
  static const std::vector<Case> made = all();
  return made;
}

}  // namespace thalweg::packet
