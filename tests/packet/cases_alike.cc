// Packet cases of flows that look alike to the table of flows (bpf/path/flows.h): one home, one tag. They are
// told apart by their keys, and give way to each other in the right order.
#include "tests/packet/case_frames.h"

namespace thalweg::packet {

namespace {

Rows served_by(const std::string& backend) { return service(kVip, 80, kTcp, backend, 8080); }

Frame asked(uint16_t port, uint8_t flags) {
  return {.from = kPod, .to = kVip, .from_port = port, .tcp_flags = flags};
}

// From the pod to the service; it must come to the neighbour, or to the other node's pod.
Step to_neighbour(uint16_t port, uint8_t flags = kSyn, const Rows& before = {}) {
  Frame goes = delivered(asked(port, flags));
  goes.to = kNeighbour, goes.to_port = 8080;
  return {FROM_POD, asked(port, flags).bytes(), redirected(HOP_ENDPOINT, goes.bytes()), before};
}
Step to_remote(uint16_t port, uint8_t flags = kSyn, const Rows& before = {}) {
  Frame goes = routed(asked(port, flags));
  goes.to = kRemote, goes.to_port = 8080;
  return {FROM_POD, asked(port, flags).bytes(), redirected(HOP_TUNNEL, by_tunnel(goes)), before};
}
Step answered(uint16_t port) {
  Frame goes = asked(port, kSyn);
  goes.to = kRemote, goes.to_port = 8080;
  return {FROM_UPLINK, from_tunnel(answer(goes)),
          redirected(HOP_ENDPOINT, delivered(answer(asked(port, kSyn))).bytes())};
}

constexpr uint16_t kFirst = 40000;

std::vector<Step> opened(uint32_t flows) {
  std::vector<Step> steps;
  for (uint32_t i = 0; i < flows; ++i) steps.push_back(to_remote(kFirst + i));
  return steps;
}

std::vector<Step> settled(uint32_t flows) {
  std::vector<Step> steps;
  for (uint32_t i = 0; i < flows; ++i) {
    steps.push_back(to_remote(kFirst + i));
    steps.push_back(answered(kFirst + i));
  }
  return steps;
}

std::vector<Step> operator+(std::vector<Step> steps, const std::vector<Step>& more) {
  steps.insert(steps.end(), more.begin(), more.end());
  return steps;
}

}  // namespace

std::vector<Case> alike_cases() {
  constexpr uint32_t kOpening = SET_WAYS - SETTLED_WAYS;
  const Rows world = pods() + served_by(kRemote) + secret_of_likeness();
  const uint16_t other = kFirst + 1, late = kFirst + 1000;
  std::vector<Case> out;
  out.push_back({"flows that look alike are told apart",
                 world,
                 {to_remote(kFirst), to_neighbour(other, kSyn, served_by(kNeighbour)), to_remote(kFirst),
                  to_neighbour(other), answered(kFirst), to_remote(kFirst, kAck), to_neighbour(other)}});
  out.push_back({"as many opening flows that look alike as have room stay", world,
                 opened(kOpening) + std::vector{to_remote(kFirst, kSyn, served_by(kNeighbour))}});
  out.push_back({"the oldest opening flow gives way to one too many", world,
                 opened(kOpening + 1) + std::vector{to_remote(kFirst + kOpening, kSyn, served_by(kNeighbour)),
                                                    to_remote(kFirst + 1), to_neighbour(kFirst)}});
  out.push_back(
      {"a settled flow gives way to no opening one", world,
       std::vector{to_remote(late), answered(late)} + opened(5 * SET_WAYS) +
           std::vector{to_remote(late, kAck, served_by(kNeighbour)), answered(late), to_neighbour(kFirst)}});
  out.push_back(
      {"as many settled flows that look alike as have room stay, and an opening one beside them", world,
       settled(SETTLED_WAYS) + std::vector{to_remote(late), to_remote(kFirst, kAck, served_by(kNeighbour)),
                                           to_remote(kFirst + SETTLED_WAYS - 1, kAck), to_remote(late)}});
  out.push_back(
      {"a flow is settled where others stand in all places", world,
       settled(SETTLED_WAYS + 1) + std::vector{to_remote(kFirst + SETTLED_WAYS, kAck, served_by(kNeighbour)),
                                               answered(kFirst + SETTLED_WAYS)}});
  constexpr uint32_t kUnseen = 5;  // among the four whose turn it is then
  std::vector<Step> seen;
  for (uint32_t i = 0; i < SETTLED_WAYS; ++i)
    if (i != kUnseen) seen.push_back(to_remote(kFirst + i, kAck));
  seen.front().after_s = 100;
  out.push_back({"of the settled flows looked at, the one unseen for longest gives way", world,
                 settled(SETTLED_WAYS) + seen +
                     std::vector{to_remote(late), answered(late),
                                 to_remote(kFirst + kUnseen - 1, kAck, served_by(kNeighbour)),
                                 to_neighbour(kFirst + kUnseen, kAck)}});
  return out;
}

}  // namespace thalweg::packet
