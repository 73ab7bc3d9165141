// Packet cases of what a Service may ask for beside a backend: traffic policies, affinity, source ranges,
// Maglev, and UDP flows that outlive their backend.
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

const std::string kThird = "198.51.100.71";  // another pod of the other node
const Frame kAsked{.from = kPod, .to = kVip};
const Frame kFromWorld{.from = kWorld, .to = kThis, .to_port = 30080};

Frame sent_to(Frame asked, const std::string& backend) {
  asked.to = backend, asked.to_port = 8080;
  return asked;
}

// A pod asks, and the packet goes to that backend on the other node.
Step goes_to(const Frame& asked, const std::string& backend, const Rows& before = {}, uint32_t after_s = 0) {
  return {FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent_to(asked, backend)))),
          before,   128,           after_s};
}
// The world asks, and the packet goes to a pod here with its source kept.
Step comes_to(const Frame& asked, const std::string& backend) {
  Frame there = delivered(sent_to(asked, backend));
  return {FROM_UPLINK, asked.bytes(), redirected(HOP_ENDPOINT, there.bytes())};
}
Step refused(origin from, const Frame& asked, drop_reason reason) {
  return {from, asked.bytes(), dropped(reason)};
}

Frame from_port(Frame frame, uint16_t port) {
  frame.from_port = port;
  return frame;
}

void policies(std::vector<Case>& out) {
  const FullService apart{.address = kThis,
                          .port = 30080,
                          .inside = {kRemote},
                          .outside = {kPod},
                          .flags = SERVICE_NODE_PORT | SERVICE_APART | SERVICE_OUTSIDE_LOCAL};
  Frame inside = kAsked;
  inside.to = kThis, inside.to_port = 30080;
  out.push_back({"externalTrafficPolicy Local: the world is served here, pods wherever",
                 pods() + apart.rows(),
                 {goes_to(inside, kRemote), comes_to(kFromWorld, kPod)}});
  FullService nothing_here = apart;
  nothing_here.outside = {};
  out.push_back({"externalTrafficPolicy Local without an endpoint here",
                 pods() + nothing_here.rows(),
                 {refused(FROM_UPLINK, kFromWorld, DROP_NO_LOCAL_BACKEND), goes_to(inside, kRemote)}});
  const FullService internal{.address = kVip, .flags = SERVICE_CLUSTER_IP | SERVICE_INSIDE_LOCAL};
  out.push_back({"internalTrafficPolicy Local without an endpoint here",
                 pods() + internal.rows(),
                 {refused(FROM_POD, kAsked, DROP_NO_LOCAL_BACKEND)}});
}

void source_ranges(std::vector<Case>& out) {
  const std::string balancer = "203.0.113.200";
  const auto allowing = [&](const std::vector<std::string>& ranges) {
    return pods() + FullService{.address = balancer,
                                .inside = {kNeighbour},
                                .flags = SERVICE_LOAD_BALANCER,
                                .source_ranges = ranges}
                        .rows();
  };
  const Frame world{.from = kWorld, .to = balancer}, pod{.from = kPod, .to = balancer};
  Frame there = delivered(sent_to(world, kNeighbour));
  const Step served{FROM_UPLINK, world.bytes(), redirected(HOP_ENDPOINT, there.bytes())};
  out.push_back(
      {"a client in one of the source ranges", allowing({"192.0.2.128/25", "203.0.113.0/28"}), {served}});
  out.push_back({"a client in none of the source ranges",
                 allowing({"203.0.113.16/28"}),
                 {refused(FROM_UPLINK, world, DROP_SOURCE_RANGE)}});
  out.push_back({"source ranges hold for pods as well",
                 allowing({"203.0.113.0/28"}),
                 {refused(FROM_POD, pod, DROP_SOURCE_RANGE)}});
  out.push_back({"every address is in ::/0's IPv4 half, and no IPv4 client in an IPv6 range",
                 allowing({"0.0.0.0/0"}),
                 {served}});
  out.push_back({"an IPv6 range says nothing of IPv4",
                 allowing({"2001:db8::/32"}),
                 {refused(FROM_UPLINK, world, DROP_SOURCE_RANGE)}});
}

void affinity(std::vector<Case>& out) {
  const FullService before{.address = kVip, .inside = {kRemote}, .affinity_s = 100};
  FullService after = before;
  after.inside = {kThird};
  const Rows world = pods() + before.rows() + member(before, kRemote) + member(before, kThird);
  const Frame first = kAsked, again = from_port(kAsked, 40001), third = from_port(kAsked, 40002);
  Frame other = again;
  other.from = kNeighbour;
  out.push_back({"ClientIP: a client comes back to its backend, and its time begins anew",
                 world,
                 {goes_to(first, kRemote), goes_to(again, kRemote, after.rows(), 90),
                  goes_to(third, kRemote, {}, 90)}});
  out.push_back(
      {"ClientIP: too late is too late",
       world,
       {goes_to(first, kRemote), goes_to(again, kThird, after.rows(), 101), goes_to(third, kThird)}});
  out.push_back(
      {"ClientIP: a backend that serves no more is not come back to",
       world,
       {goes_to(first, kRemote), goes_to(again, kThird, after.rows() + no_member(before, kRemote))}});
  FullService elsewhere = before;
  elsewhere.address = "203.0.113.140", elsewhere.inside = {kThird};
  Frame there = again;
  there.to = elsewhere.address;
  out.push_back({"ClientIP: another service is another matter",
                 world + elsewhere.rows() + member(elsewhere, kRemote),
                 {goes_to(first, kRemote), goes_to(there, kThird)}});
}

void maglev(std::vector<Case>& out) {
  FullService table{.address = kThis,
                    .port = 30080,
                    .inside = {kNeighbour, kPod},
                    .flags = SERVICE_NODE_PORT,
                    .maglev = std::vector<uint16_t>(251, 1)};
  out.push_back({"outside clients are served as the Maglev table says",
                 pods() + table.rows(),
                 {comes_to(kFromWorld, kPod), comes_to(from_port(kFromWorld, 1), kPod),
                  comes_to(from_port(kFromWorld, 2), kPod), comes_to(from_port(kFromWorld, 3), kPod)}});
  FullService shrunk = table;
  shrunk.inside = {kPod};
  out.push_back({"a Maglev table that still speaks of more backends than there are",
                 pods() + shrunk.rows(),
                 {comes_to(kFromWorld, kPod)}});
}

void udp_moves(std::vector<Case>& out) {
  const FullService before{.address = kVip, .protocol = kUdp, .inside = {kRemote}};
  FullService after = before;
  after.inside = {kThird};
  Frame asked = kAsked;
  asked.protocol = kUdp, asked.tcp_flags = 0;
  const Rows world = pods() + before.rows() + member(before, kRemote) + member(before, kThird);
  const Rows gone = after.rows() + no_member(before, kRemote) + moved(kRemote, 1);
  const Frame got = answer(sent_to(asked, kRemote));
  const Step answered{FROM_UPLINK, from_tunnel(got),
                      redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes())};
  out.push_back({"a UDP flow moves when its backend stops serving",
                 world,
                 {goes_to(asked, kRemote), goes_to(asked, kThird, gone), goes_to(asked, kThird)}});
  const Rows back = before.rows() + member(before, kRemote);
  out.push_back({"… and does not go back when that one serves again",
                 world,
                 {goes_to(asked, kRemote), goes_to(asked, kThird, gone), goes_to(asked, kThird, back)}});
  out.push_back({"… also when it has been answered",
                 world,
                 {goes_to(asked, kRemote), answered, goes_to(asked, kRemote), goes_to(asked, kThird, gone),
                  goes_to(asked, kThird)}});
  out.push_back({"a UDP flow stays when another backend of its row stops serving",
                 world,
                 {goes_to(asked, kRemote), answered,
                  goes_to(asked, kRemote, after.rows() + moved(kRemote, 1)), goes_to(asked, kRemote)}});
  out.push_back({"a UDP flow to a service that is gone does not go on",
                 world,
                 {goes_to(asked, kRemote),
                  {FROM_POD, asked.bytes(), dropped(DROP_NO_SUCH_SERVICE),
                   Rows{} + PutRow{TABLE_services, before.rows()[0].key, ""} + no_member(before, kRemote) +
                       moved(kRemote, 1)}}});
}

void one_port_twice(std::vector<Case>& out) {
  const std::string other_vip = "203.0.113.140";
  Frame second = kAsked, second_sent = sent_to(kAsked, kRemote);
  second.to = other_vip;
  second_sent.from_port = kMasqueradePort;
  const Frame first_sent = sent_to(kAsked, kRemote);
  const auto answers = [](const Frame& asked, const Frame& sent) {
    return Step{FROM_UPLINK, from_tunnel(answer(sent)),
                redirected(HOP_ENDPOINT, delivered(answer(asked)).bytes())};
  };
  const Step second_goes{FROM_POD, second.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(second_sent)))};
  out.push_back(
      {"two services asked from one port, one backend: the answers are told apart",
       pods() + service(kVip, 80, kTcp, kRemote, 8080) + service(other_vip, 80, kTcp, kRemote, 8080),
       {goes_to(kAsked, kRemote), second_goes, answers(second, second_sent), answers(kAsked, first_sent),
        second_goes}});
  const Frame straight = sent_to(kAsked, kRemote);
  Frame by_service = kAsked, by_service_sent = straight;
  by_service_sent.from_port = kMasqueradePort;
  out.push_back({"a service and its backend itself asked from one port",
                 pods() + service(kVip, 80, kTcp, kRemote, 8080),
                 {{FROM_POD, straight.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(straight)))},
                  {FROM_POD, by_service.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(by_service_sent)))},
                  answers(straight, straight),
                  answers(by_service, by_service_sent)}});
}

}  // namespace

std::vector<Case> service_cases() {
  std::vector<Case> out;
  policies(out);
  source_ranges(out);
  affinity(out);
  maglev(out);
  udp_moves(out);
  one_port_twice(out);
  return out;
}

}  // namespace thalweg::packet
