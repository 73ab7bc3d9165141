// A real packet of a flow, as the path would meet it on this node: built by `thalweg why`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/link.h"

namespace thalweg::cli {

struct FlowSpec {
  Ip source, destination;  // of one family
  uint8_t protocol = 0;    // IPPROTO_*; IPPROTO_ICMP becomes ICMPv6 between IPv6 addresses
  uint16_t source_port = 40000, destination_port = 0;
  nl::Mac source_mac{}, destination_mac{};
};

struct TunnelSpec {
  Ip source, destination;  // IPv4
  uint16_t port = 4789;
  uint32_t vni = 1;
};

// The first packet of the flow as an Ethernet frame (TCP: a SYN; ICMP: an echo request).
std::string build_frame(const FlowSpec& flow);
// The frame in a VXLAN header (RFC 7348).
std::string build_tunnelled(const FlowSpec& flow, const TunnelSpec& tunnel);

}  // namespace thalweg::cli
