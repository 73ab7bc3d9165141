// Packet cases of datagrams in parts: the first fragment has the ports, and the others go where it went.
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

const std::string kVip6 = "2001:db8:f::1";

Frame first_of(const std::string& from, const std::string& to, uint8_t protocol = kUdp) {
  Frame frame{.from = from, .to = to, .protocol = protocol, .tcp_flags = 0};
  frame.payload = std::string(24, 'a');  // with its header a multiple of eight
  frame.fragment = 0x2000;               // more to come
  return frame;
}
Frame later_of(Frame first, uint16_t offset = 4) {
  first.no_transport = true;
  first.fragment = offset;
  first.payload = "the rest";
  return first;
}
Frame sent_to(Frame asked, const std::string& backend) {
  asked.to = backend, asked.to_port = 8080;
  return asked;
}
Step goes(const Frame& asked, const std::string& backend, uint32_t after_s = 0) {
  return {FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent_to(asked, backend)))),
          {},       128,           after_s};
}
Step lost(const Frame& frame, drop_reason reason = DROP_FRAGMENT, uint32_t after_s = 0) {
  return {FROM_POD, frame.bytes(), dropped(reason), {}, 128, after_s};
}

void services(std::vector<Case>& out) {
  const Frame first = first_of(kPod, kVip), first6 = first_of(kPod6, kVip6);
  const Rows world =
      pods() + service(kVip, 80, kUdp, kRemote, 8080) + service(kVip6, 80, kUdp, kRemote6, 8080);
  out.push_back(
      {"a datagram in parts through a service",
       world,
       {goes(first, kRemote), goes(later_of(first), kRemote), goes(later_of(first, 0x2008), kRemote)}});
  out.push_back({"… over IPv6", world, {goes(first6, kRemote6), goes(later_of(first6), kRemote6)}});
  Frame other = later_of(first);
  other.id = 8;
  out.push_back({"a fragment whose first one was not seen, or was another datagram's",
                 world,
                 {lost(later_of(first)), goes(first, kRemote), lost(other)}});
  out.push_back({"a fragment half a minute late",
                 world,
                 {goes(first, kRemote), lost(later_of(first), DROP_FRAGMENT, 31)}});
  const Frame answer_first = [&] {
    Frame frame = answer(sent_to(first, kRemote));
    frame.tcp_flags = 0;
    return frame;
  }();
  const Frame got = answer(first);
  out.push_back({"the answer in parts",
                 world,
                 {goes(first, kRemote),
                  {FROM_UPLINK, from_tunnel(answer_first), redirected(HOP_ENDPOINT, delivered(got).bytes())},
                  {FROM_UPLINK, from_tunnel(later_of(answer_first)),
                   redirected(HOP_ENDPOINT, delivered(later_of(got)).bytes())}}});
}

void guards(std::vector<Case>& out) {
  const Frame first = first_of(kPod, kRemote);
  out.push_back({"fragments are asked for their policy like the first",
                 node() + endpoint(kPod, kSenderIfindex, 4) + rule_set(4, RULE_SET_ISOLATES_EGRESS),
                 {lost(first, DROP_POLICY_EGRESS), lost(later_of(first), DROP_POLICY_EGRESS)}});
  const Frame tcp = first_of(kPod, kRemote, kTcp);
  out.push_back(
      {"a TCP header in two parts",
       pods(),
       {{FROM_POD, tcp.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(tcp)))}, lost(later_of(tcp, 1))}});
  Frame tiny = later_of(tcp, 0x2000);
  tiny.payload = std::string(16, 'x');
  out.push_back({"a first fragment without a whole TCP header", pods(), {lost(tiny, DROP_TRUNCATED)}});
  Frame claimed = later_of(first);
  claimed.from = kNeighbour;
  Frame neighbours = first;
  neighbours.from = kNeighbour;
  out.push_back({"a fragment from an address that is another pod's",
                 pods(),
                 {lost(neighbours, DROP_SPOOFED_SOURCE), lost(claimed, DROP_SPOOFED_SOURCE)}});
  const Frame outer_part = first_of(kOther, kThis);
  out.push_back({"a tunnel packet in parts is the host's",
                 pods(),
                 {{FROM_UPLINK,
                   [&] {
                     Frame part = outer_part;
                     part.to_port = 4789;
                     return part.bytes();
                   }(),
                   pass()}}});
  out.push_back({"an echo in parts",
                 pods(),
                 {[&] {
                    const Frame echo = first_of(kPod, kRemote, kIcmp);
                    return Step{FROM_POD, echo.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(echo)))};
                  }(),
                  [&] {
                    const Frame rest = later_of(first_of(kPod, kRemote, kIcmp));
                    return Step{FROM_POD, rest.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(rest)))};
                  }()}});
}

}  // namespace

std::vector<Case> fragment_cases() {
  std::vector<Case> out;
  services(out);
  guards(out);
  return out;
}

}  // namespace thalweg::packet
