// Packet cases of what is refused with an answer, and of where there must be none.
#include "tests/packet/case_frames.h"
#include "tests/packet/refusal_frames.h"

namespace thalweg::packet {

namespace {

const std::string kVip6 = "2001:db8:f::1";

// To the pod that asked.
Frame given_to_pod(Frame frame) {
  frame.to_mac = kPodMac, frame.from_mac = kVethMac;
  return frame;
}
Bytes given_to_pod(Bytes frame) { return frame.replace(0, 12, kPodMac + kVethMac); }
Bytes given_to_host(Bytes frame) { return frame.replace(0, 12, kHostMac + kHostMac); }

Step reset(const Frame& asked, drop_reason reason) {
  return {FROM_POD, asked.bytes(), refused(reason, HOP_ENDPOINT, given_to_pod(reset_of(asked)).bytes())};
}
Step told(const Frame& asked, drop_reason reason, const std::string& speaker, const IcmpError& error) {
  return {FROM_POD, asked.bytes(),
          refused(reason, HOP_ENDPOINT, given_to_pod(error_about(asked, speaker, error)))};
}
Step silent(origin from, const Bytes& asked, drop_reason reason) { return {from, asked, dropped(reason)}; }

Frame udp(Frame frame) {
  frame.protocol = kUdp, frame.tcp_flags = 0;
  return frame;
}
Frame flagged(Frame frame, uint8_t flags) {
  frame.tcp_flags = flags;
  return frame;
}

void services(std::vector<Case>& out) {
  const Frame tcp{.from = kPod, .to = kVip}, tcp6{.from = kPod6, .to = kVip6};
  const Rows other_port =
      pods() + service(kVip, 443, kTcp, kRemote, 8080) + service(kVip6, 443, kTcp, kRemote6, 80);
  const Rows empty = pods() + service(kVip, 80, kTcp, "", 0) + service(kVip, 80, kUdp, "", 0) +
                     service(kVip6, 80, kTcp, "", 0) + service(kVip6, 80, kUdp, "", 0);
  out.push_back({"a port the service does not have", other_port, {reset(tcp, DROP_NO_SERVICE_PORT)}});
  out.push_back({"… over IPv6", other_port, {reset(tcp6, DROP_NO_SERVICE_PORT)}});
  const std::string balancer = "203.0.113.20";
  out.push_back({"another port of a service's address outside the service range",
                 pods() + service(balancer, 443, kTcp, kPod, 8080),
                 {reset(Frame{.from = kPod, .to = balancer}, DROP_NO_SERVICE_PORT)}});
  out.push_back({"a service without endpoints: TCP is reset, whatever the segment",
                 empty,
                 {reset(tcp, DROP_NO_BACKEND), reset(flagged(tcp, kAck), DROP_NO_BACKEND),
                  reset(flagged(tcp, kFin), DROP_NO_BACKEND), reset(tcp6, DROP_NO_BACKEND)}});
  out.push_back(
      {"no reset answers a reset", empty, {silent(FROM_POD, flagged(tcp, kRst).bytes(), DROP_NO_BACKEND)}});
  out.push_back({"a service without endpoints: UDP hears of an unreachable port",
                 empty,
                 {told(udp(tcp), DROP_NO_BACKEND, kVip, kPortUnreachable),
                  told(udp(tcp6), DROP_NO_BACKEND, kVip6, kPortUnreachable6)}});
  Frame bare = udp(tcp);
  bare.no_udp_checksum = true;
  bare.payload = "";
  out.push_back({"… also an empty datagram without a checksum",
                 empty,
                 {told(bare, DROP_NO_BACKEND, kVip, kPortUnreachable)}});
  Frame spoofed = tcp;
  spoofed.from = kNeighbour;
  out.push_back({"who uses another's address is told nothing",
                 empty,
                 {silent(FROM_POD, spoofed.bytes(), DROP_NO_BACKEND)}});
  Frame options = tcp;
  options.ipv4_options = 8;
  out.push_back(
      {"a packet with options is not answered", empty, {silent(FROM_POD, options.bytes(), DROP_NO_BACKEND)}});
}

void elsewhere(std::vector<Case>& out) {
  const Frame outside{.from = kWorld, .to = kThis, .to_port = 30080};
  const Rows node_port = pods() + service(kThis, 30080, kTcp, "", 0, SERVICE_NODE_PORT) +
                         service(kThis, 30080, kUdp, "", 0, SERVICE_NODE_PORT);
  out.push_back(
      {"a NodePort without endpoints, asked from outside",
       node_port,
       {{FROM_UPLINK, outside.bytes(), refused(DROP_NO_BACKEND, HOP_WORLD, reset_of(outside).bytes())},
        {FROM_UPLINK, udp(outside).bytes(),
         refused(DROP_NO_BACKEND, HOP_WORLD, error_about(udp(outside), kThis, kPortUnreachable))}}});
  Frame remote = outside;
  remote.from = kRemote;
  out.push_back({"… asked by tunnel",
                 node_port,
                 {{FROM_UPLINK, from_tunnel(remote),
                   refused(DROP_NO_BACKEND, HOP_TUNNEL, by_tunnel(reset_of(remote)))}}});
  Frame claimed = remote;
  claimed.from = kPod;
  out.push_back({"… by tunnel from a node that does not hold the source",
                 node_port,
                 {silent(FROM_UPLINK, from_tunnel(claimed), DROP_NO_BACKEND)}});
  const Frame host{.from = kThis, .to = kVip};
  out.push_back({"the host asks a service without endpoints",
                 pods() + service(kVip, 80, kTcp, "", 0),
                 {{FROM_HOST, host.bytes(),
                   refused(DROP_NO_BACKEND, HOP_HOST, given_to_host(reset_of(host).bytes()))}}});
}

void routers(std::vector<Case>& out) {
  const Frame last{.from = kPod, .to = kRemote, .ttl = 1}, last6{.from = kPod6, .to = kRemote6, .ttl = 1};
  const std::string node6 = "2001:db8::1";
  out.push_back(
      {"TTL runs out",
       pods(),
       {told(last, DROP_TTL_EXPIRED, kThis, kExpired), told(last6, DROP_TTL_EXPIRED, node6, kExpired6),
        told(udp(last), DROP_TTL_EXPIRED, kThis, kExpired)}});
  Frame echo = last;
  echo.protocol = kIcmp;
  out.push_back({"TTL runs out on an echo: traceroute sees the node",
                 pods(),
                 {told(echo, DROP_TTL_EXPIRED, kThis, kExpired)}});
  Frame large{.from = kPod, .to = kRemote}, large6{.from = kPod6, .to = kRemote6};
  large.payload = large6.payload = std::string(1450, 'x');
  large.fragment = 0x4000;
  out.push_back({"too large for the tunnel",
                 pods(),
                 {told(large, DROP_TOO_BIG, kThis, kTooBig), told(large6, DROP_TOO_BIG, node6, kTooBig6),
                  told(udp(large), DROP_TOO_BIG, kThis, kTooBig)}});
  const Frame outside{.from = kWorld, .to = kThis, .to_port = 30080};
  Frame there = outside, much = outside;
  there.from = kThis, there.from_port = kMasqueradePort, there.to = kRemote, there.to_port = 8080;
  much.payload = large.payload, much.fragment = 0x4000;
  out.push_back(
      {"too large once it is through a NodePort: the client is told of what it sent",
       pods() + service(kThis, 30080, kTcp, kRemote, 8080, SERVICE_NODE_PORT),
       {{FROM_UPLINK, outside.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(there)))},
        {FROM_UPLINK, much.bytes(), refused(DROP_TOO_BIG, HOP_WORLD, error_about(much, kThis, kTooBig))}}});
}

// Peers differ in what the way to them carries; the sender here is a neighbour of the large, too.
void peers_that_carry_less(std::vector<Case>& out) {
  const auto sized = [](const std::string& to, size_t bytes) {
    Frame frame{.from = kPod, .to = to, .protocol = kUdp};
    frame.payload = std::string(bytes - 28, 'x');
    frame.fragment = 0x4000;
    return frame;
  };
  const IcmpError less{3, 4, 1300};
  const Frame fits = sized(kRemote, 1300), large = sized(kRemote, 1301);
  out.push_back({"too large for the tunnel to one peer",
                 pods() + route("198.51.100.64/26", ROUTE_TUNNEL, kOther, 0, 1300),
                 {told(large, DROP_TOO_BIG, kThis, less),
                  {FROM_POD, fits.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(fits)))},
                  told(large, DROP_TOO_BIG, kThis, less)}});
  const std::string neighbour = "198.51.100.130";
  const Frame fits_there = sized(neighbour, 1300), large_there = sized(neighbour, 1301);
  const Rows direct = pods() + route("198.51.100.128/26", ROUTE_DIRECT, "192.0.2.3", 0, 1300);
  out.push_back({"too large for a direct route",
                 direct,
                 {{FROM_POD, fits_there.bytes(), redirected(HOP_DIRECT, routed(fits_there).bytes())},
                  told(large_there, DROP_TOO_BIG, kThis, less)}});
  Frame remote = sized(neighbour, 1301);
  remote.from = kRemote;
  out.push_back({"too large for a direct route, having come by tunnel",
                 direct,
                 {{FROM_UPLINK, from_tunnel(remote),
                   refused(DROP_TOO_BIG, HOP_TUNNEL,
                           Tunnel{kThis, kOther}.around(error_about(remote, kThis, less)))}}});
}

void too_many(std::vector<Case>& out) {
  const Frame tcp{.from = kPod, .to = kVip};
  std::vector<Step> steps(1000, reset(tcp, DROP_NO_BACKEND));
  steps.push_back(silent(FROM_POD, tcp.bytes(), DROP_NO_BACKEND));
  Step later = steps.front();
  later.after_s = 1;
  steps.push_back(later);
  out.push_back({"answers have a rate", pods() + service(kVip, 80, kTcp, "", 0), steps, true});
}

}  // namespace

std::vector<Case> refused_cases() {
  std::vector<Case> out;
  services(out);
  elsewhere(out);
  routers(out);
  peers_that_carry_less(out);
  too_many(out);
  return out;
}

}  // namespace thalweg::packet
