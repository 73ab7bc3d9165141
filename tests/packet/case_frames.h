// The people of the packet cases, and how a frame looks once the path has done its work.
#pragma once

#include <string>
#include <vector>

#include "tests/packet/case.h"
#include "tests/packet/frame.h"

namespace thalweg::packet {

// Who lives where (world.h): two pods here, one there, a stranger in the world.
inline const std::string kPod = "198.51.100.10", kNeighbour = "198.51.100.11", kRemote = "198.51.100.70";
inline const std::string kPod6 = "2001:db8:1::10", kRemote6 = "2001:db8:2::70";
inline const std::string kWorld = "203.0.113.9", kWorld6 = "2001:db8:9::9";
inline const std::string kVip = "203.0.113.130", kThis = "192.0.2.1", kOther = "192.0.2.2";

inline Rows pods() { return node() + endpoint(kPod) + endpoint(kNeighbour, kOtherIfindex) + endpoint(kPod6); }

// What a pod's veth carries to it.
inline Frame delivered(Frame frame) {
  frame.to_mac = kPodMac;
  frame.from_mac = kVethMac;
  frame.ttl--;
  return frame;
}
inline Frame to_host(Frame frame) {
  frame.to_mac = frame.from_mac = kHostMac;
  return frame;
}
inline Frame routed(Frame frame) {
  frame.ttl--;
  return frame;
}
inline Frame answer(const Frame& frame) {
  Frame back = frame;
  std::swap(back.from, back.to);
  if (frame.protocol != kIcmp && frame.protocol != kIcmpv6) std::swap(back.from_port, back.to_port);
  back.tcp_flags = kSyn | kAck;
  back.sctp_chunk = 2;  // INIT ACK
  back.icmp_type = 0;
  return back;
}
inline Bytes by_tunnel(const Frame& inner) { return Tunnel{kThis, kOther}.around(inner.bytes()); }
inline Bytes from_tunnel(const Frame& inner) { return Tunnel{kOther, kThis}.around(inner.bytes()); }

// The parts of cases() that have files of their own.
std::vector<Case> hostile_cases();   // cases_hostile.cc
std::vector<Case> lasting_cases();   // cases_lasting.cc
std::vector<Case> fragment_cases();  // cases_fragments.cc
std::vector<Case> refused_cases();   // cases_refused.cc
std::vector<Case> service_cases();   // cases_services.cc
std::vector<Case> edge_cases();      // cases_edges.cc
std::vector<Case> sctp_cases();      // cases_sctp.cc
std::vector<Case> dsr_cases();       // cases_dsr.cc
std::vector<Case> host_cases();      // cases_host.cc
std::vector<Case> alike_cases();     // cases_alike.cc

}  // namespace thalweg::packet
