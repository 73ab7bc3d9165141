// Packet cases of direct server return: at the node the world asks, and at the backend's node, which answers
// the world itself.
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

const std::string kBalancer = "203.0.113.20", kThird = "198.51.100.71", kOtherNode = "192.0.2.3";
const Frame kAsked{.from = kWorld, .to = kBalancer};

FullService service_of(const std::string& backend, uint32_t more_flags = SERVICE_DSR) {
  return {.address = kBalancer, .inside = {backend}, .flags = SERVICE_LOAD_BALANCER | more_flags};
}
Frame sent_to(Frame asked, const std::string& backend) {
  asked.to = backend, asked.to_port = 8080;
  return asked;
}
Frame flagged(Frame frame, uint8_t flags) {
  frame.tcp_flags = flags;
  return frame;
}

// At the node asked: on to the backend's node as it came.
Step left_to_other(const Frame& asked, uint32_t after_s = 0, const Rows& before = {}) {
  return {FROM_UPLINK, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(asked))), before, 128, after_s};
}
// At the backend's node.
Step comes_by(const std::string& node, const Frame& asked, const Expected& expected) {
  return {FROM_UPLINK, Tunnel{node, kThis}.around(asked.bytes()), expected};
}
Expected given_to(const Frame& asked, const std::string& pod) {
  return redirected(HOP_ENDPOINT, delivered(sent_to(asked, pod)).bytes());
}
Step answered(const Frame& asked, const std::string& pod) {
  return {FROM_POD, answer(sent_to(asked, pod)).bytes(),
          redirected(HOP_WORLD, routed(answer(asked)).bytes())};
}

void asked_here(std::vector<Case>& out) {
  const Rows world = pods() + service_of(kRemote).rows(), after = service_of(kPod).rows();
  const Frame on = flagged(kAsked, kAck);
  out.push_back({"DSR: on to the backend's node as it came, also when the tables have changed",
                 world,
                 {left_to_other(kAsked), left_to_other(on, 0, after + generation(2)), left_to_other(on)}});
  out.push_back({"DSR: a connection with an answer stays for two hours",
                 world,
                 {left_to_other(kAsked), left_to_other(on), left_to_other(on, 7000, after)}});
  out.push_back({"DSR: one without is over after a minute",
                 world,
                 {left_to_other(kAsked),
                  left_to_other(kAsked, 5),
                  {FROM_UPLINK, kAsked.bytes(), given_to(kAsked, kPod), after, 128, 61}}});
  out.push_back({"DSR: a backend here is served as without",
                 pods() + after,
                 {{FROM_UPLINK, kAsked.bytes(), given_to(kAsked, kPod)}, answered(kAsked, kPod)}});
  out.push_back(
      {"DSR is for the world: a pod's packet is translated here",
       world,
       {{FROM_POD, Frame{.from = kPod, .to = kBalancer}.bytes(),
         redirected(HOP_TUNNEL, by_tunnel(routed(sent_to({.from = kPod, .to = kBalancer}, kRemote))))}}});
  FullService udp = service_of(kRemote), moved_udp = service_of(kThird);
  udp.protocol = moved_udp.protocol = kUdp;
  moved_udp.inside = {kPod};
  Frame datagram = kAsked;
  datagram.protocol = kUdp;
  out.push_back({"DSR: a UDP flow moves when its backend stops serving",
                 pods() + udp.rows() + member(udp, kRemote),
                 {left_to_other(datagram),
                  {FROM_UPLINK, datagram.bytes(), given_to(datagram, kPod),
                   moved_udp.rows() + no_member(udp, kRemote) + moved(kRemote, 1)}}});
  FullService affine = service_of(kRemote);
  affine.affinity_s = 100;
  Frame again = kAsked;
  again.from_port = 40001;
  FullService affine_after = affine;
  affine_after.inside = {kPod};
  out.push_back(
      {"DSR: affinity is the table's, which both nodes have",
       pods() + affine.rows() + member(affine, kRemote),
       {left_to_other(kAsked), {FROM_UPLINK, again.bytes(), given_to(again, kPod), affine_after.rows()}}});
  Frame error{.from = "203.0.113.77", .to = kBalancer, .protocol = kIcmp};
  error.quotes = ip_packet(answer(kAsked).bytes()).substr(0, 28);
  out.push_back({"DSR: an ICMP error about an answer goes where the answer came from",
                 world,
                 {left_to_other(kAsked), left_to_other(error)}});
}

void answered_here(std::vector<Case>& out) {
  const Rows world =
      pods() + service_of(kPod).rows() + route(kOtherNode, ROUTE_TUNNEL, kOtherNode, ROUTE_NODE_ADDRESS);
  const Frame on = flagged(kAsked, kAck);
  out.push_back({"DSR: the backend's node answers the world itself",
                 world,
                 {comes_by(kOther, kAsked, given_to(kAsked, kPod)), answered(kAsked, kPod),
                  comes_by(kOther, on, given_to(on, kPod))}});
  out.push_back({"DSR: the underlay asks another node from now on",
                 world,
                 {comes_by(kOther, kAsked, given_to(kAsked, kPod)), answered(kAsked, kPod),
                  comes_by(kOtherNode, on, given_to(on, kPod))}});
  const Expected disbelieved = dropped(DROP_UNKNOWN_TUNNEL_PEER);
  out.push_back({"DSR: no one but a node leaves something to this one",
                 world,
                 {comes_by("192.0.2.9", kAsked, disbelieved),
                  comes_by(kOther, kAsked, given_to(kAsked, kPod)), comes_by("192.0.2.9", on, disbelieved)}});
  out.push_back({"without DSR, a node does not speak for the world",
                 pods() + service_of(kPod, 0).rows(),
                 {comes_by(kOther, kAsked, disbelieved)}});
  for (const std::string& pod : {kNeighbour, std::string("198.51.100.200"), kThis}) {
    Frame forged = kAsked;
    forged.from = pod;
    const bool is_world = pod == "198.51.100.200";
    out.push_back({"DSR: what is not of the world is not believed to be",
                   world,
                   {comes_by(kOther, forged, is_world ? given_to(forged, kPod) : disbelieved)}});
  }
  Frame from_pod = kAsked;
  from_pod.from = kRemote;
  out.push_back({"DSR: a pod of another node asks as any service is asked",
                 world,
                 {comes_by(kOther, from_pod, given_to(from_pod, kPod))}});
  out.push_back({"DSR: the other node's tables are not this one's",
                 pods() + service_of(kRemote).rows(),
                 {comes_by(kOther, kAsked, dropped(DROP_NO_LOCAL_BACKEND))}});
  FullService table = service_of(kNeighbour);
  table.inside = {kNeighbour, kPod};
  table.maglev = std::vector<uint16_t>(251, 1);
  out.push_back({"DSR: both nodes choose by the same Maglev table",
                 pods() + table.rows(),
                 {comes_by(kOther, kAsked, given_to(kAsked, kPod)),
                  comes_by(kOther, flagged(kAsked, kAck), given_to(flagged(kAsked, kAck), kPod))}});
  FullService ranges = service_of(kPod);
  ranges.flags |= SERVICE_SOURCE_RANGES;
  ranges.source_ranges = {"198.51.100.0/24"};
  out.push_back({"DSR: source ranges hold at the backend's node as well",
                 pods() + ranges.rows(),
                 {comes_by(kOther, kAsked, dropped(DROP_SOURCE_RANGE))}});
  Frame error{.from = "203.0.113.77", .to = kBalancer, .protocol = kIcmp};
  error.quotes = ip_packet(answer(kAsked).bytes()).substr(0, 28);
  Frame told = error;
  told.to = kPod;
  told.quotes = ip_packet(answer(sent_to(kAsked, kPod)).bytes()).substr(0, 28);
  out.push_back({"DSR: an ICMP error about an answer finds the pod",
                 world,
                 {comes_by(kOther, kAsked, given_to(kAsked, kPod)), answered(kAsked, kPod),
                  comes_by(kOther, error, redirected(HOP_ENDPOINT, delivered(told).bytes()))}});
}

}  // namespace

std::vector<Case> dsr_cases() {
  std::vector<Case> out;
  asked_here(out);
  answered_here(out);
  return out;
}

}  // namespace thalweg::packet
