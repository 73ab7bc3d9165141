// Packet cases of SCTP: a checksum over the whole packet and no address, associations that begin and end, and
// refusals.
#include "tests/packet/case_frames.h"
#include "tests/packet/refusal_frames.h"

namespace thalweg::packet {

namespace {

constexpr uint8_t kData = 0, kInit = 1, kAbort = 6, kShutdownComplete = 14;

const Frame kAsked{.from = kPod, .to = kVip, .protocol = kSctp};

Frame chunk(Frame frame, uint8_t type) {
  frame.sctp_chunk = type;
  return frame;
}
Frame of_size(Frame frame, size_t payload) {
  frame.payload.assign(payload, 'x');
  return frame;
}
Frame unsummed(Frame frame) {
  frame.no_sctp_checksum = true;
  return frame;
}
Frame sent_to(Frame asked, const std::string& backend, uint16_t port = 3868) {
  asked.to = backend, asked.to_port = port;
  return asked;
}
Step goes_to(const Frame& asked, const std::string& backend, uint16_t port = 3868, uint32_t after_s = 0,
             const Rows& before = {}) {
  return {FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(sent_to(asked, backend, port)))),
          before,   128,           after_s};
}
Step comes_back(const Frame& asked, uint8_t type, uint32_t after_s = 0) {
  const Frame back = chunk(answer(sent_to(asked, kRemote)), type);
  return {FROM_UPLINK,
          from_tunnel(back),
          redirected(HOP_ENDPOINT, delivered(chunk(answer(asked), type)).bytes()),
          {},
          128,
          after_s};
}

void checksums(std::vector<Case>& out) {
  const Rows world = pods() + service(kVip, 80, kSctp, kRemote, 3868);
  for (const size_t payload : {0, 1, 7, 255, 256, 1381})
    out.push_back({"SCTP: a service's ports are under the checksum, both ways",
                   world,
                   {goes_to(of_size(kAsked, payload), kRemote), comes_back(of_size(kAsked, payload), 2)}});
  out.push_back({"SCTP: a checksum still to be made is left to be made",
                 world,
                 {goes_to(unsummed(kAsked), kRemote), comes_back(unsummed(kAsked), 2)}});
  Bytes padded = kAsked.bytes() + std::string(6, '\0');
  out.push_back(
      {"SCTP: Ethernet's padding is not under the checksum",
       pods() + service(kVip, 80, kSctp, kNeighbour, 3868),
       {{FROM_POD, padded,
         redirected(HOP_ENDPOINT, delivered(sent_to(kAsked, kNeighbour)).bytes() + std::string(6, '\0'))}}});
  const Frame asked6{.from = kPod6, .to = "2001:db8:f::1", .protocol = kSctp, .ipv6_extension = true};
  out.push_back({"SCTP over IPv6",
                 pods() + service("2001:db8:f::1", 80, kSctp, kRemote6, 3868),
                 {goes_to(asked6, kRemote6)}});
  out.push_back({"SCTP: the same port behind: the addresses are not under the checksum",
                 pods() + service(kVip, 80, kSctp, kRemote, 80),
                 {goes_to(kAsked, kRemote, 80)}});
  const Frame outside{.from = kPod, .to = kWorld, .protocol = kSctp};
  Frame masqueraded = routed(outside);
  masqueraded.from = kThis, masqueraded.from_port = kMasqueradePort;
  out.push_back({"SCTP under the node's address, and back",
                 pods(),
                 {{FROM_POD, outside.bytes(), redirected(HOP_WORLD, masqueraded.bytes())},
                  {FROM_UPLINK, answer(masqueraded).bytes(),
                   redirected(HOP_ENDPOINT, delivered(routed(answer(outside))).bytes())}}});
}

void fragments(std::vector<Case>& out) {
  Frame first = kAsked;
  first.fragment = 0x2000;
  first.payload = std::string(36, 'x');  // a multiple of eight with its headers
  Frame later = kAsked;
  later.fragment = 52 / 8, later.no_transport = true;
  out.push_back({"SCTP: part of a datagram cannot have its ports changed",
                 pods() + service(kVip, 80, kSctp, kRemote, 3868),
                 {{FROM_POD, first.bytes(), dropped(DROP_FRAGMENT)},
                  {FROM_POD, later.bytes(), dropped(DROP_FRAGMENT)}}});
  out.push_back({"SCTP: … but its addresses",
                 pods() + service(kVip, 80, kSctp, kRemote, 80),
                 {goes_to(first, kRemote, 80), goes_to(later, kRemote, 80)}});
  Bytes cut = Frame{.from = kPod, .to = kRemote, .protocol = kSctp, .payload = ""}.bytes();
  cut.resize(cut.size() - 4);
  cut[14 + 3] = static_cast<char>(cut[14 + 3] - 4);
  cut[14 + 11] = static_cast<char>(cut[14 + 11] + 4);  // the header's checksum
  out.push_back({"SCTP without a chunk", pods(), {{FROM_POD, cut, dropped(DROP_TRUNCATED)}}});
}

void associations(std::vector<Case>& out) {
  const Rows world = pods() + service(kVip, 80, kSctp, kRemote, 3868),
             after = service(kVip, 80, kSctp, kNeighbour, 3868);
  const Frame data = chunk(kAsked, kData);
  const auto anew = [&](uint32_t after_s) {
    return Step{FROM_POD,
                kAsked.bytes(),
                redirected(HOP_ENDPOINT, delivered(sent_to(kAsked, kNeighbour)).bytes()),
                {},
                128,
                after_s};
  };
  out.push_back({"SCTP: an association keeps its backend, silent for as long as five heartbeats take",
                 world,
                 {goes_to(kAsked, kRemote), comes_back(kAsked, 2), goes_to(data, kRemote, 3868, 209, after),
                  anew(211)}});
  out.push_back({"SCTP: an INIT that nobody answered is over after a minute",
                 world,
                 {goes_to(kAsked, kRemote), goes_to(kAsked, kRemote, 3868, 59, after), anew(61)}});
  for (const uint8_t last : {kAbort, kShutdownComplete})
    out.push_back({"SCTP: after the end the same ports may have another backend",
                   world,
                   {goes_to(kAsked, kRemote), comes_back(kAsked, 2),
                    goes_to(chunk(kAsked, last), kRemote, 3868, 0, after), anew(0)}});
  out.push_back(
      {"SCTP: another INIT in the middle is a restart, and stays where it is",
       world,
       {goes_to(kAsked, kRemote), comes_back(kAsked, 2), goes_to(kAsked, kRemote, 3868, 0, after)}});
  out.push_back({"SCTP is under policy",
                 node() + endpoint(kPod, kSenderIfindex, 3) + rule_set(3, RULE_SET_ISOLATES_EGRESS) +
                     allow(3, EGRESS, IDENTITY_ANY, kTcp),
                 {{FROM_POD, sent_to(kAsked, kRemote).bytes(), dropped(DROP_POLICY_EGRESS)}}});
}

void refusals(std::vector<Case>& out) {
  const Rows empty = pods() + service(kVip, 80, kSctp, "", 0);
  Bytes told = error_about(kAsked, kVip, kPortUnreachable);
  told.replace(0, 12, kPodMac + kVethMac);
  out.push_back({"SCTP: a service without endpoints",
                 empty,
                 {{FROM_POD, kAsked.bytes(), refused(DROP_NO_BACKEND, HOP_ENDPOINT, told)},
                  {FROM_POD, chunk(kAsked, kAbort).bytes(), dropped(DROP_NO_BACKEND)},
                  {FROM_POD, unsummed(kAsked).bytes(), dropped(DROP_NO_BACKEND)}}});
  const Frame asked{.from = kPod, .to = kRemote, .protocol = kSctp};
  Frame error{.from = "198.51.100.99", .to = kPod, .protocol = kIcmp};
  error.quotes = ip_packet(asked.bytes()).substr(0, 28);
  out.push_back({"an ICMP error about an SCTP packet",
                 pods(),
                 {{FROM_POD, asked.bytes(), redirected(HOP_TUNNEL, by_tunnel(routed(asked)))},
                  {FROM_UPLINK, from_tunnel(error), redirected(HOP_ENDPOINT, delivered(error).bytes())}}});
}

}  // namespace

std::vector<Case> sctp_cases() {
  std::vector<Case> out;
  checksums(out);
  fragments(out);
  associations(out);
  refusals(out);
  return out;
}

}  // namespace thalweg::packet
