// Packet cases of those who claim what is not theirs: known flows by another way, ICMP errors about others.
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

Frame error_about(const Frame& sent, const std::string& from, const std::string& to) {
  Frame error{.from = from, .to = to, .protocol = sent.from.find(':') == sent.from.npos ? kIcmp : kIcmpv6};
  error.quotes = ip_packet(sent.bytes());
  return error;
}

// `error` as it reads once what it quotes reads `now`. The quoted UDP checksum is not the path's to mend.
Frame quoting_instead(const Frame& error, const Frame& now) {
  Frame told = error;
  const size_t checksum = error.protocol == kIcmp ? 26 : 46;
  told.quotes = ip_packet(now.bytes()).replace(checksum, 2, error.quotes->substr(checksum, 2));
  return told;
}

void known_flows_by_another_way(std::vector<Case>& out) {
  const Frame asked{.from = kPod, .to = kRemote};
  const Step opened{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(asked)))};
  const Step answered{FROM_UPLINK, from_tunnel(answer(asked)),
                      redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes())};
  const Bytes from_third = Tunnel{"192.0.2.3", kThis}.around(answer(asked).bytes());
  const Rows world = pods() + route("192.0.2.3", ROUTE_TUNNEL, "192.0.2.3", ROUTE_NODE_ADDRESS);
  out.push_back({"a known flow's packet from another tunnel peer",
                 world,
                 {opened,
                  {FROM_UPLINK, from_third, dropped(DROP_UNKNOWN_TUNNEL_PEER)},
                  answered,
                  {FROM_UPLINK, from_third, dropped(DROP_UNKNOWN_TUNNEL_PEER)},
                  answered}});
  out.push_back({"a known flow's packet straight from the uplink",
                 world,
                 {opened,
                  answered,
                  {FROM_UPLINK, answer(asked).bytes(), dropped(DROP_UNKNOWN_TUNNEL_PEER)},
                  answered}});
  const Frame inward{.from = kRemote, .to = kNeighbour};
  out.push_back({"a pod answers in its neighbour's flow",
                 pods(),
                 {{FROM_UPLINK, from_tunnel(inward), redirected(HOP_ENDPOINT, delivered(inward).bytes())},
                  {FROM_POD, answer(inward).bytes(), dropped(DROP_SPOOFED_SOURCE)}}});
  for (const std::string& address : {kThis, kNeighbour})
    out.push_back(
        {"this node's addresses do not come from the uplink",
         pods(),
         {{FROM_UPLINK, Frame{.from = address, .to = kPod}.bytes(), dropped(DROP_UNKNOWN_TUNNEL_PEER)}}});
  const Frame direct{.from = "198.51.100.130", .to = kPod};
  out.push_back({"a pod of a node of the same segment comes straight",
                 pods() + route("198.51.100.128/26", ROUTE_DIRECT, "192.0.2.3"),
                 {{FROM_UPLINK, direct.bytes(), redirected(HOP_ENDPOINT, delivered(direct).bytes())},
                  {FROM_UPLINK, Tunnel{"192.0.2.3", kThis}.around(direct.bytes()),
                   dropped(DROP_UNKNOWN_TUNNEL_PEER)}}});
}

void errors_by_pods(std::vector<Case>& out) {
  const Frame to_pod{.from = kRemote, .to = kPod, .protocol = kUdp};
  const Frame to_neighbour{.from = kRemote, .to = kNeighbour, .protocol = kUdp};
  const Frame own = error_about(delivered(to_pod), kPod, kRemote);
  out.push_back({"a pod's ICMP error about its own flow",
                 pods(),
                 {{FROM_UPLINK, from_tunnel(to_pod), redirected(HOP_ENDPOINT, delivered(to_pod).bytes())},
                  {FROM_POD, own.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(own)))}}});
  const Step others{FROM_UPLINK, from_tunnel(to_neighbour),
                    redirected(HOP_ENDPOINT, delivered(to_neighbour).bytes())};
  out.push_back(
      {"a pod's ICMP error about its neighbour's flow",
       pods(),
       {others,
        {FROM_POD, error_about(to_neighbour, kPod, kRemote).bytes(), dropped(DROP_SPOOFED_SOURCE)},
        {FROM_POD, error_about(to_neighbour, kNeighbour, kRemote).bytes(), dropped(DROP_SPOOFED_SOURCE)}}});
  const Step known{FROM_UPLINK, from_tunnel(to_pod), redirected(HOP_ENDPOINT, delivered(to_pod).bytes())};
  out.push_back(
      {"a pod's ICMP error about its own flow, to someone else",
       pods(),
       {known,
        {FROM_POD, error_about(delivered(to_pod), kPod, kWorld).bytes(), dropped(DROP_UNRELATED_ICMP)}}});
}

// A fragment other than the first has no ports: where they would stand is what its sender likes.
void errors_about_fragments(std::vector<Case>& out) {
  const Frame to_pod{.from = kRemote, .to = kPod, .protocol = kUdp};
  Frame later = delivered(to_pod);
  later.payload = later.bytes().substr(14 + 20, 16);
  later.fragment = 4, later.no_transport = true;
  out.push_back({"an ICMP error about a fragment that carries a flow's ports as its payload",
                 pods(),
                 {{FROM_UPLINK, from_tunnel(to_pod), redirected(HOP_ENDPOINT, delivered(to_pod).bytes())},
                  {FROM_POD, error_about(later, kPod, kRemote).bytes(), dropped(DROP_UNRELATED_ICMP)}}});
}

// The client has closed its port and says so of an answer of the backend that meanwhile serves no more.
void errors_about_what_moved(std::vector<Case>& out) {
  const FullService before{.address = kVip, .protocol = kUdp, .inside = {kRemote}};
  FullService after = before;
  after.inside = {kNeighbour};
  const Frame asked{.from = kPod, .to = kVip, .protocol = kUdp};
  Frame sent = asked;
  sent.to = kRemote, sent.to_port = 8080;
  const Frame got = delivered(answer(asked)), error = error_about(got, kPod, kVip);
  Frame quoted = got;
  quoted.from = kRemote, quoted.from_port = 8080;
  Frame told = quoting_instead(error, quoted);
  told.to = kRemote;
  Frame moves = asked;
  moves.to = kNeighbour, moves.to_port = 8080;
  const Rows gone = after.rows() + no_member(before, kRemote) + member(after, kNeighbour) + moved(kRemote, 1);
  out.push_back({"an ICMP error about a UDP flow that is to move does not move it",
                 pods() + before.rows() + member(before, kRemote),
                 {{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent)))},
                  {FROM_UPLINK, from_tunnel(answer(sent)), redirected(HOP_ENDPOINT, got.bytes())},
                  {FROM_POD, error.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(told))), gone},
                  {FROM_POD, asked.bytes(), redirected(HOP_ENDPOINT, delivered(moves).bytes())}}});
}

void errors_under_nat(std::vector<Case>& out) {
  const std::string vip = "2001:db8:f::1", router = "2001:db8:2::1", world_router = "2001:db8:9::1";
  const Frame asked{.from = kPod6, .to = vip, .protocol = kUdp};
  Frame sent = routed(asked);
  sent.to = kRemote6, sent.to_port = 8080;
  const Step opened{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(sent))};
  const Rows world = pods() + service(vip, 80, kUdp, kRemote6, 8080);
  const Frame by_backend = error_about(sent, kRemote6, kPod6), by_router = error_about(sent, router, kPod6);
  Frame as_vip = quoting_instead(by_backend, routed(asked));
  as_vip.from = vip;
  out.push_back(
      {"an ICMPv6 error by a service's backend seems to come from the service",
       world,
       {opened,
        {FROM_UPLINK, from_tunnel(by_backend), redirected(HOP_ENDPOINT, delivered(as_vip).bytes())}}});
  out.push_back({"an ICMPv6 error by a router about a service's flow",
                 world,
                 {opened,
                  {FROM_UPLINK, from_tunnel(by_router),
                   redirected(HOP_ENDPOINT, delivered(quoting_instead(by_router, routed(asked))).bytes())}}});
  const Frame out_there{.from = kPod6, .to = kWorld6, .protocol = kUdp};
  Frame masqueraded = routed(out_there);
  masqueraded.from = "2001:db8::1", masqueraded.from_port = kMasqueradePort;
  const Frame back = error_about(masqueraded, world_router, "2001:db8::1");
  Frame told = quoting_instead(back, routed(out_there));
  told.to = kPod6;
  out.push_back({"an ICMPv6 error about a masqueraded flow",
                 pods(),
                 {{FROM_POD, out_there.bytes(), redirected(HOP_WORLD, masqueraded.bytes())},
                  {FROM_UPLINK, back.bytes(), redirected(HOP_ENDPOINT, delivered(told).bytes())}}});
}

void tags(std::vector<Case>& out) {
  const Frame tagged{.from = kWorld, .to = kThis, .to_port = 30080, .vlan = true};
  out.push_back({"a VLAN tag has no place in the tunnel",
                 pods() + service(kThis, 30080, kTcp, kRemote, 8080, SERVICE_NODE_PORT),
                 {{FROM_UPLINK, tagged.bytes(), dropped(DROP_BAD_HEADER)}}});
  out.push_back({"a pod is in no VLAN",
                 pods(),
                 {{FROM_POD, Frame{.from = kPod, .to = kNeighbour, .vlan = true}.bytes(),
                   dropped(DROP_UNKNOWN_PROTOCOL)}}});
}

void macs(std::vector<Case>& out) {
  const Frame asked{.from = kPod, .to = kRemote, .protocol = kUdp};
  Frame foreign = asked;
  foreign.from_mac = kHostMac;
  const Step opened{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(asked)))};
  const Step refused{FROM_POD, foreign.bytes(), dropped(DROP_SPOOFED_SOURCE)};
  out.push_back({"a pod uses a MAC that is not its own", pods(), {refused, opened, refused, opened}});
}

// What only servers and routers may say, and what no one may.
void roles(std::vector<Case>& out) {
  const auto from_pod = [&](const std::string& what, const Frame& frame, drop_reason reason) {
    out.push_back({what, pods(), {{FROM_POD, frame.bytes(), dropped(reason)}}});
  };
  from_pod("a pod is a DHCP server",
           {.from = kPod, .to = kNeighbour, .protocol = kUdp, .from_port = 67, .to_port = 68},
           DROP_DHCP_SERVER);
  from_pod("a pod is a DHCPv6 server",
           {.from = kPod6, .to = kRemote6, .protocol = kUdp, .from_port = 547, .to_port = 546},
           DROP_DHCP_SERVER);
  for (const char* to : {"127.0.0.1", "0.0.0.1"})
    from_pod("a pod sends to an address of no link", {.from = kPod, .to = to}, DROP_LINK_LOCAL);
  for (const char* to : {"::1", "::"})
    from_pod("a pod sends to an address of no link", {.from = kPod6, .to = to}, DROP_LINK_LOCAL);
  for (const char* from : {"127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.1.1"})
    out.push_back(
        {"no one on the uplink has an address of no link",
         pods(),
         {{FROM_UPLINK, Frame{.from = from, .to = kPod}.bytes(), dropped(DROP_UNKNOWN_TUNNEL_PEER)}}});
  const Frame client{.from = kPod, .to = kNeighbour, .protocol = kUdp, .from_port = 68, .to_port = 67};
  out.push_back({"a pod is a DHCP client",
                 pods(),
                 {{FROM_POD, client.bytes(), redirected(HOP_ENDPOINT, delivered(client).bytes())}}});
}

void source_routes(std::vector<Case>& out) {
  const Frame options{.from = kPod, .to = kNeighbour, .ipv4_options = 8};
  for (const char kind : {'\x83', '\x89'}) {
    Bytes routed = options.bytes();
    routed.replace(14 + 20 + 1, 3, {kind, 7, 4});
    out.push_back({"an IPv4 source route", pods(), {{FROM_POD, routed, dropped(DROP_SOURCE_ROUTE)}}});
  }
  Bytes behind = options.bytes();
  behind.replace(14 + 20, 7, {7, 4, 4, 0, '\x83', 3, 4});
  out.push_back({"an IPv4 source route behind another option",
                 pods(),
                 {{FROM_POD, behind, dropped(DROP_SOURCE_ROUTE)}}});
  Bytes routing = Frame{.from = kPod6, .to = kRemote6, .ipv6_extension = true}.bytes();
  routing[14 + 6] = 43;      // the next header: routing
  routing[14 + 40 + 3] = 1;  // segments left
  out.push_back(
      {"an IPv6 routing header not yet used up", pods(), {{FROM_POD, routing, dropped(DROP_SOURCE_ROUTE)}}});
  const Frame far{.from = kPod6, .to = kRemote6, .ipv6_extension = true};
  const auto used_up = [](Bytes frame, size_t network) {
    frame[network + 6] = 43, frame[network + 40 + 3] = 0;
    return frame;
  };
  out.push_back(
      {"an IPv6 routing header that is used up",
       pods(),
       {{FROM_POD, used_up(far.bytes(), 14), redirected(HOP_TUNNEL, used_up(by_tunnel(routed(far)), 64))}}});
}

// In an IPv6 packet the IPv4 addresses' form would be taken for the addresses themselves.
void mapped_addresses(std::vector<Case>& out) {
  const Bytes mapped = raw(abi_address(kPod)), other = raw(abi_address(kNeighbour));
  const Frame six{.from = kPod6, .to = kRemote6};
  for (const size_t at : {14 + 8, 14 + 24})
    out.push_back(
        {"an IPv6 packet with an IPv4 address",
         pods(),
         {{FROM_POD, six.bytes().replace(at, 16, at == 14 + 8 ? mapped : other), dropped(DROP_BAD_HEADER)}}});
}

// The host's stack forwards what passed the uplink unread: here it may not reach a pod either.
void by_the_hosts_stack(std::vector<Case>& out) {
  const auto to_pod = [&](const std::string& what, const Bytes& frame, const Expected& expected) {
    out.push_back({what, pods(), {{TO_POD, frame, expected}}});
  };
  const auto gre = [](const std::string& from) {
    return Frame{.from = from, .to = kPod, .protocol = 47}.bytes();
  };
  to_pod("the world's packet of an unknown transport, forwarded", gre(kWorld),
         dropped(DROP_UNKNOWN_PROTOCOL));
  to_pod("the same in the name of another pod", gre(kRemote), dropped(DROP_UNKNOWN_PROTOCOL));
  to_pod("the node's own packet of an unknown transport", gre(kThis), pass());
  Bytes arp = gre(kThis);
  arp[12] = 0x08, arp[13] = 0x06;
  to_pod("the node's ARP", arp, pass());
  to_pod("the node's neighbour discovery",
         Frame{.from = "fe80::1", .to = kPod6, .protocol = kIcmpv6, .icmp_type = 135}.bytes(), pass());
  Frame error{.from = kWorld, .to = kPod, .protocol = kIcmp};
  error.quotes = ip_packet(Frame{.from = kPod, .to = kWorld}.bytes());
  to_pod("an ICMP error about no flow, forwarded", error.bytes(), dropped(DROP_UNRELATED_ICMP));
}

}  // namespace

std::vector<Case> hostile_cases() {
  std::vector<Case> out;
  for (const auto part :
       {known_flows_by_another_way, errors_by_pods, errors_about_fragments, errors_about_what_moved,
        errors_under_nat, tags, macs, roles, source_routes, mapped_addresses, by_the_hosts_stack})
    part(out);
  return out;
}

}  // namespace thalweg::packet
