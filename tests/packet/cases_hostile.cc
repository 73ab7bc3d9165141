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
  const Frame tagged{.from = kPod, .to = kRemote, .vlan = true};
  out.push_back({"a VLAN tag has no place in the tunnel",
                 pods(),
                 {{FROM_POD, tagged.bytes(), dropped(DROP_BAD_HEADER)}}});
}

}  // namespace

std::vector<Case> hostile_cases() {
  std::vector<Case> out;
  for (const auto part : {known_flows_by_another_way, errors_by_pods, errors_under_nat, tags}) part(out);
  return out;
}

}  // namespace thalweg::packet
