// Packet cases at the edges of what is allowed: the last byte, second, address and way that still is, and the
// first that is not. Most stand here because a mutant (tests/packet/mutants) would otherwise have lived.
#include <cstring>

#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

// The rows with this node's own changed.
Rows with_node(Rows rows, auto change) {
  for (PutRow& row : rows) {
    if (row.table != TABLE_node) continue;
    ::node self{};
    std::memcpy(&self, row.value.data(), sizeof self);
    change(self);
    row.value = raw(self);
  }
  return rows;
}

void headers(std::vector<Case>& out) {
  Bytes short_ihl = Frame{.from = kPod, .to = kNeighbour, .protocol = kUdp}.bytes();
  short_ihl[14] = 0x44;
  out.push_back({"an IPv4 header of 16 bytes", pods(), {{FROM_POD, short_ihl, dropped(DROP_BAD_HEADER)}}});
  Frame full{.from = kPod, .to = kRemote};
  full.payload = std::string(1450 - 40, 'x');
  out.push_back({"as large as the tunnel carries",
                 pods(),
                 {{FROM_POD, full.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(full)))}}});
  for (const Frame& local :
       {Frame{.from = kPod, .to = "169.254.169.254"}, Frame{.from = kPod6, .to = "fe80::1"}})
    out.push_back({"a link-local address is not reached by a pod",
                   pods(),
                   {{FROM_POD, local.bytes(), dropped(DROP_LINK_LOCAL)}}});
}

void tunnel_headers(std::vector<Case>& out) {
  const Frame inner{.from = kRemote, .to = kPod};
  const Bytes elsewhere = Tunnel{kOther, "192.0.2.9"}.around(inner.bytes());
  out.push_back(
      {"a tunnel packet for another machine is not opened", pods(), {{FROM_UPLINK, elsewhere, pass()}}});
  Bytes no_network = from_tunnel(inner);
  no_network[14 + 20 + 8] = 0;
  out.push_back({"a tunnel packet that names no network",
                 pods(),
                 {{FROM_UPLINK, no_network, dropped(DROP_BAD_HEADER)}}});
  Bytes options = from_tunnel(inner);
  options.insert(14 + 20, 4, '\x01');
  options[14] = 0x46;
  options[14 + 3] = static_cast<char>(options[14 + 3] + 4);
  options[14 + 24 + 16 + 10] = 0x45;  // what 50 bytes taken off would leave in front reads like a header
  options += std::string(2100, '\0');
  out.push_back({"a tunnel packet with IPv4 options outside",
                 pods(),
                 {{FROM_UPLINK, options, dropped(DROP_BAD_HEADER)}}});
  const Frame to_pod{.from = kPod, .to = kRemote, .protocol = kUdp, .to_port = 4789};
  out.push_back({"a pod of another node may use the tunnel's port",
                 pods(),
                 {{FROM_POD, to_pod.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(to_pod)))}}});
}

void ways(std::vector<Case>& out) {
  const Frame asked{.from = kPod, .to = kRemote, .protocol = kUdp};
  const Step opened{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(asked)))};
  out.push_back({"a pod's flow goes on from the uplink",
                 pods(),
                 {opened, {FROM_UPLINK, asked.bytes(), dropped(DROP_UNKNOWN_TUNNEL_PEER)}, opened}});
  Step by_neighbour{FROM_POD, asked.bytes(), dropped(DROP_SPOOFED_SOURCE)};
  by_neighbour.ifindex = kOtherIfindex;
  out.push_back(
      {"a pod's flow goes on from its neighbour's interface", pods(), {opened, by_neighbour, opened}});
  const Frame back = answer(asked);
  const Bytes elsewhere = Tunnel{kThis, "192.0.2.3"}.around(routed(asked).bytes());
  out.push_back({"a flow's other end moves to another node",
                 pods(),
                 {opened,
                  {FROM_UPLINK, from_tunnel(back), redirected(HOP_ENDPOINT, delivered(back).bytes())},
                  {FROM_UPLINK, Tunnel{"192.0.2.3", kThis}.around(back.bytes()),
                   redirected(HOP_ENDPOINT, delivered(back).bytes()),
                   Rows{} + route("198.51.100.64/26", ROUTE_TUNNEL, "192.0.2.3") + generation(2)},
                  {FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, elsewhere)}}});
}

void errors(std::vector<Case>& out) {
  Frame asked{.from = kPod, .to = kRemote, .protocol = kUdp};
  asked.ipv4_options = 8;
  const Step opened{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(asked)))};
  Frame error{.from = kRemote, .to = kPod, .protocol = kIcmp};
  error.quotes = ip_packet(asked.bytes());
  const Step told{FROM_UPLINK, from_tunnel(error), redirected(HOP_ENDPOINT, delivered(error).bytes())};
  out.push_back({"an ICMP error about a packet with IPv4 options", pods(), {opened, told}});
  Step later = told, too_late{FROM_UPLINK, from_tunnel(error), dropped(DROP_UNRELATED_ICMP)};
  later.after_s = too_late.after_s = 100;
  out.push_back({"ICMP errors alone keep no flow", pods(), {opened, told, later, too_late}});
  const Frame inward{.from = kRemote, .to = kPod, .protocol = kUdp};
  Frame lie{.from = kWorld, .to = kRemote, .protocol = kIcmp};
  lie.quotes = ip_packet(delivered(inward).bytes());
  out.push_back({"a pod's ICMP error about its own flow in the name of a router",
                 pods(),
                 {{FROM_UPLINK, from_tunnel(inward), redirected(HOP_ENDPOINT, delivered(inward).bytes())},
                  {FROM_POD, lie.bytes(), dropped(DROP_SPOOFED_SOURCE)}}});
}

void masquerades(std::vector<Case>& out) {
  const Frame asked{.from = kPod, .to = kWorld}, asked6{.from = kPod6, .to = kWorld6};
  out.push_back({"a node that does not masquerade",
                 with_node(pods(), [](::node& self) { self.flags = 0; }),
                 {{FROM_POD, asked.bytes(), redirected(HOP_WORLD, routed(asked).bytes())}}});
  out.push_back({"a node without an IPv6 address masquerades IPv4 alone",
                 with_node(pods(), [](::node& self) { self.v6 = {}; }),
                 {{FROM_POD, asked6.bytes(), redirected(HOP_WORLD, routed(asked6).bytes())}}});
  const Frame one{.from = kPod, .to = kWorld}, two{.from = kPod, .to = kWorld, .from_port = 40001};
  Frame sent = routed(one);
  sent.from = kThis, sent.from_port = kMasqueradePort;
  out.push_back({"a masquerade port is free again when its flow is over",
                 pods(),
                 {{FROM_POD, one.bytes(), redirected(HOP_WORLD, sent.bytes())},
                  {FROM_POD, two.bytes(), dropped(DROP_NO_MASQUERADE_PORT), {}, 128, 59},
                  {FROM_POD, two.bytes(), redirected(HOP_WORLD, sent.bytes()), {}, 128, 2}}});
  const Frame ping{.from = kPod, .to = kWorld, .protocol = kIcmp};
  Frame pinged = routed(ping);
  pinged.from = kThis, pinged.from_port = kMasqueradePort;
  const Frame pong = answer(pinged);
  out.push_back({"an echo's answer a minute late is not the pod's",
                 pods(),
                 {{FROM_POD, ping.bytes(), redirected(HOP_WORLD, pinged.bytes())},
                  {FROM_UPLINK,
                   pong.bytes(),
                   redirected(HOP_ENDPOINT, delivered(routed(answer(ping))).bytes()),
                   {},
                   128,
                   59},
                  {FROM_UPLINK, pong.bytes(), pass(), {}, 128, 61}}});
}

void strangers(std::vector<Case>& out) {
  const Frame asked{.from = kPod, .to = kWorld};
  Frame sent = routed(asked);
  sent.from = kThis, sent.from_port = kMasqueradePort;
  const Step asks{FROM_POD, asked.bytes(), redirected(HOP_WORLD, sent.bytes())};
  Frame stranger = answer(asked);
  stranger.tcp_flags = kSyn;
  out.push_back(
      {"a stranger's packet that looks like an answer before NAT is a flow of its own",
       pods(),
       {asks, {FROM_UPLINK, stranger.bytes(), redirected(HOP_ENDPOINT, delivered(stranger).bytes())}, asks}});
}

// The row of a flow that no one has answered yet gives way to new ones, and a stranger can have many.
void stubborn_strangers(std::vector<Case>& out) {
  const std::string balancer = "203.0.113.20";
  const auto served_by = [&](const std::string& backend) {
    return service(balancer, 80, kTcp, backend, 8080, SERVICE_LOAD_BALANCER);
  };
  const Frame asked{.from = kPod, .to = balancer};
  Frame sent = routed(asked), stranger = answer(asked);
  sent.to = kRemote, sent.to_port = 8080;
  stranger.tcp_flags = kSyn;
  const Step asks{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(sent))};
  Step asks_on = asks;
  asks_on.before = served_by(kNeighbour);
  std::vector<Step> steps = {asks};
  for (unsigned i = 0; i < 2 * (SET_WAYS - SETTLED_WAYS); ++i)
    steps.push_back({FROM_UPLINK, stranger.bytes(), redirected(HOP_ENDPOINT, delivered(stranger).bytes())});
  steps.push_back(asks_on);
  out.push_back({"however often a stranger asks, the pod's flow stays", pods() + served_by(kRemote), steps});
}

// A connection that ended, and the next one from the same port: to another backend, and every packet of it.
void port_used_again(std::vector<Case>& out) {
  const auto flagged = [](Frame frame, uint8_t flags) {
    frame.tcp_flags = flags;
    return frame;
  };
  const Frame asked{.from = kPod, .to = kVip};
  Frame sent = asked, anew = asked;
  sent.to = kRemote, anew.to = kNeighbour;
  sent.to_port = anew.to_port = 8080;
  const auto to_remote = [&](uint8_t flags) {
    return Step{FROM_POD, flagged(asked, flags).bytes(),
                redirected(HOP_TUNNEL, by_tunnel(routed(flagged(sent, flags))))};
  };
  const auto to_neighbour = [&](uint8_t flags) {
    return Step{FROM_POD, flagged(asked, flags).bytes(),
                redirected(HOP_ENDPOINT, delivered(flagged(anew, flags)).bytes())};
  };
  Step first = to_neighbour(kSyn);
  first.before = service(kVip, 80, kTcp, kNeighbour, 8080);
  out.push_back(
      {"a port used again: the whole new connection goes to its new backend",
       pods() + service(kVip, 80, kTcp, kRemote, 8080),
       {to_remote(kSyn),
        {FROM_UPLINK, from_tunnel(answer(sent)), redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes())},
        to_remote(kFin | kAck),
        first,
        to_neighbour(kAck)}});
}

// Nodes of different versions must agree: which position a client has is fixed for good.
void maglev_positions(std::vector<Case>& out) {
  FullService half{.address = kThis, .port = 30080, .inside = {kPod, kNeighbour}, .flags = SERVICE_NODE_PORT};
  for (uint16_t i = 0; i < 251; ++i) half.maglev.push_back(i % 2);
  const auto comes = [](uint16_t from_port, const std::string& backend, uint32_t after_s = 0) {
    const Frame asked{.from = kWorld, .to = kThis, .from_port = from_port, .to_port = 30080};
    Frame there = asked;
    there.to = backend, there.to_port = 8080;
    return Step{FROM_UPLINK, asked.bytes(), redirected(HOP_ENDPOINT, delivered(there).bytes()),
                {},          128,           after_s};
  };
  out.push_back({"every node gives a client the same position",
                 pods() + half.rows(),
                 {comes(1, kNeighbour), comes(2, kPod), comes(3, kNeighbour), comes(4, kNeighbour),
                  comes(5, kNeighbour), comes(6, kNeighbour)}});
  half.affinity_s = 10;
  out.push_back({"a client with affinity has one position, whatever its port",
                 pods() + half.rows(),
                 {comes(1, kNeighbour), comes(2, kNeighbour, 11), comes(3, kNeighbour, 11),
                  comes(4, kNeighbour, 11), comes(5, kNeighbour, 11)}});
}

void outside(std::vector<Case>& out) {
  const std::string address = "203.0.113.20";
  const Frame asked{.from = kWorld, .to = address};
  Frame sent = asked;
  sent.to = kPod, sent.to_port = 8080;
  for (const uint32_t flag : {SERVICE_LOAD_BALANCER, SERVICE_EXTERNAL_IP})
    out.push_back({"a load balancer's or external address, asked from outside",
                   pods() + service(address, 80, kTcp, kPod, 8080, flag),
                   {{FROM_UPLINK, asked.bytes(), redirected(HOP_ENDPOINT, delivered(sent).bytes())}}});
}

// Nodes without a common IPv4: the outer header is IPv6.
void tunnels_over_ipv6(std::vector<Case>& out) {
  const std::string self = "2001:db8::1", peer = "2001:db8::3", other = "2001:db8::4",
                    stranger = "2001:db8::666";
  const std::string there = "198.51.100.200", there6 = "2001:db8:3::70";
  const Rows world = pods() + route(peer, ROUTE_TUNNEL, peer, ROUTE_NODE_ADDRESS) +
                     route(other, ROUTE_TUNNEL, other, ROUTE_NODE_ADDRESS) +
                     route("198.51.100.192/26", ROUTE_TUNNEL, peer) +
                     route("2001:db8:3::/64", ROUTE_TUNNEL, peer);
  const Frame asked{.from = kPod, .to = there}, asked6{.from = kPod6, .to = there6};
  const auto sent = [&](const Frame& frame) {
    return Step{FROM_POD, frame.bytes(),
                redirected(HOP_TUNNEL, Tunnel{self, peer}.around(routed(frame).bytes()))};
  };
  const auto came = [&](const Frame& frame, const std::string& from, const Expected& outcome) {
    return Step{FROM_UPLINK, Tunnel{from, self}.around(frame.bytes()), outcome};
  };
  const auto back = [&](const Frame& frame) {
    return redirected(HOP_ENDPOINT, delivered(answer(frame)).bytes());
  };
  out.push_back({"pod to a pod of a node reached over IPv6, and back",
                 world,
                 {sent(asked), came(answer(asked), peer, back(asked)), sent(asked6),
                  came(answer(asked6), peer, back(asked6))}});
  out.push_back({"over IPv6 from a node that does not hold the source: also in a flow it knows",
                 world,
                 {came(answer(asked), other, dropped(DROP_UNKNOWN_TUNNEL_PEER)), sent(asked),
                  came(answer(asked), peer, back(asked)),
                  came(answer(asked), other, dropped(DROP_UNKNOWN_TUNNEL_PEER))}});
  out.push_back({"over IPv6 from who is no node",
                 world,
                 {came(answer(asked), stranger, dropped(DROP_UNKNOWN_TUNNEL_PEER)),
                  came(Frame{.from = kWorld, .to = kPod}, stranger, dropped(DROP_UNKNOWN_TUNNEL_PEER))}});
  // By way_of_peer() it is the peer's twin (mutants.py notices when it is no more).
  const std::string twin = "2001:db8:666::82c7:d0aa";
  out.push_back({"over IPv6 from who is no node, in a flow it knows, with an address chosen for it",
                 world,
                 {sent(asked), came(answer(asked), peer, back(asked)),
                  came(answer(asked), twin, dropped(DROP_UNKNOWN_TUNNEL_PEER))}});
  Bytes extended = Tunnel{peer, self}.around(answer(asked).bytes());
  extended.insert(14 + 40, std::string("\x11\0\x01\x04\0\0\0\0", 8));
  extended[14 + 6] = 60;  // destination options
  extended[14 + 5] = static_cast<char>(extended[14 + 5] + 8);
  out.push_back({"a tunnel packet with extension headers outside",
                 world,
                 {{FROM_UPLINK, extended, dropped(DROP_BAD_HEADER)}}});
  out.push_back({"a tunnel packet over IPv6 for another machine",
                 world,
                 {{FROM_UPLINK, Tunnel{peer, other}.around(answer(asked).bytes()), pass()}}});
}

// TCP options around a maximum segment size.
Frame connecting(Frame frame, const std::string& before, uint16_t mss, const std::string& after = "") {
  frame.payload = "";
  frame.tcp_options = before + "\x02\x04" + static_cast<char>(mss >> 8) + static_cast<char>(mss) + after;
  frame.tcp_options.resize((frame.tcp_options.size() + 3) / 4 * 4);
  return frame;
}

void segment_sizes(std::vector<Case>& out) {
  const std::string nop = "\x01", stamps("\x08\x0a\0\0\0\x01\0\0\0\0", 10), scale("\x03\x03\x07", 3);
  const Frame v4{.from = kPod, .to = kRemote}, v6{.from = kPod6, .to = kRemote6};
  const auto by = [&](const Frame& asked, const Frame& sent) {
    return Step{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent)))};
  };
  for (const std::string& before : {std::string(), nop, nop + nop + stamps, scale, scale + stamps})
    out.push_back({"a segment size that does not come through the tunnel, behind other options",
                   pods(),
                   {by(connecting(v4, before, 1460, scale), connecting(v4, before, 1410, scale)),
                    by(connecting(v6, before, 1440, scale), connecting(v6, before, 1390, scale))}});
  Frame answers = v4;
  answers.tcp_flags = kSyn | kAck;
  Frame on = v4;
  on.tcp_flags = kAck;
  const Frame outside{.from = kPod, .to = kWorld};
  Frame masqueraded = routed(connecting(outside, "", 1460));
  masqueraded.from = kThis, masqueraded.from_port = kMasqueradePort;
  out.push_back(
      {"… an answer's as well, but no other segment's, and only the tunnel's",
       pods(),
       {by(connecting(answers, "", 65535), connecting(answers, "", 1410)),
        by(connecting(on, "", 1460), connecting(on, "", 1460)),
        {FROM_POD, connecting(outside, "", 1460).bytes(), redirected(HOP_WORLD, masqueraded.bytes())}}});
  out.push_back({"a segment size that does come through the tunnel",
                 pods(),
                 {by(connecting(v4, "", 1410), connecting(v4, "", 1410)),
                  by(connecting(v4, "", 536), connecting(v4, "", 536)),
                  by(connecting(v6, "", 1391), connecting(v6, "", 1390))}});
  out.push_back({"a segment size for a peer that carries less",
                 pods() + route("198.51.100.64/26", ROUTE_TUNNEL, kOther, 0, 1300),
                 {by(connecting(v4, "", 1460), connecting(v4, "", 1260))}});
  for (const std::string& before :
       {std::string("\0\x04\0\0", 4), std::string("\x08\x01", 2), std::string("\x08\0", 2)})
    out.push_back({"options that end, or of no length: what follows is none",
                   pods(),
                   {by(connecting(v4, before, 1460), connecting(v4, before, 1460))}});
  Frame data = v4;
  data.payload = "\x02\x04\x05\xb4";
  out.push_back({"data that reads like a segment size", pods(), {by(data, data)}});
  Frame odd = v4;
  odd.payload = "", odd.tcp_options = std::string("\x02\x06\x05\xb4\0\0\x02\x04", 8);
  out.push_back({"a segment size of six bytes, one cut short", pods(), {by(odd, odd)}});
}

}  // namespace

std::vector<Case> edge_cases() {
  std::vector<Case> out;
  for (const auto part : {headers, tunnel_headers, tunnels_over_ipv6, ways, errors, masquerades, strangers,
                          stubborn_strangers, port_used_again, maglev_positions, outside})
    part(out);
  segment_sizes(out);
  return out;
}

}  // namespace thalweg::packet
