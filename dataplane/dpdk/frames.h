// Frames the edge itself reads and writes as bytes: ARP (RFC 826), neighbour discovery (RFC 4861), echo
// (RFC 792, RFC 4443), and checksums a virtual peer left unfinished. Pure functions; the worker calls them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/ip.h"
#include "base/link.h"

namespace thalweg::dataplane::dpdk {

using nl::Mac;
using Frame = std::span<uint8_t>;
using ConstFrame = std::span<const uint8_t>;

inline constexpr size_t kArpFrameBytes = 42;
inline constexpr size_t kNdFrameBytes = 86;  // Ethernet, IPv6, NS or NA, one link-layer address option
inline constexpr Mac kBroadcast = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

uint16_t ether_type(ConstFrame frame);  // host order; 0 when the frame is shorter than its header
Mac ether_destination(ConstFrame frame);
void set_ether(Frame frame, const Mac& destination, const Mac& source);

// ARP and ND say the same things: who asks whom for which address, or who answers.
struct NeighbourMessage {
  bool request = false;
  Ip sender;  // none: an IPv6 station that has no address yet (RFC 4862 DAD)
  std::optional<Mac> sender_mac;
  Ip target;              // request: the address asked for; ND answer: the address answered for
  bool solicited = true;  // an answer to a question; ARP does not tell
  bool override_mac = true;
};
// Nothing: not such a message, or one its RFC says to ignore (hop limit, checksum, code, options).
std::optional<NeighbourMessage> parse_arp(ConstFrame frame);
std::optional<NeighbourMessage> parse_nd(ConstFrame frame);

struct Station {
  Mac mac{};
  Ip ip;
};
// frame: kArpFrameBytes. to.mac is where the frame goes (and the target in an answer).
void write_arp(Frame frame, bool request, const Station& from, const Station& to);
// frame: kNdFrameBytes. A question for `target` (to a single station when `known`), or an answer from.ip →
// to.ip that target is at from.mac; to.ip none: to all nodes.
void write_nd_question(Frame frame, const Station& from, const Ip& target, const std::optional<Mac>& known);
void write_nd_answer(Frame frame, const Station& from, const Station& to, const Ip& target);

struct Echo {
  Ip source, destination;
};
// An unfragmented echo request with a sound checksum.
std::optional<Echo> parse_echo_request(ConstFrame frame);
// Turns it into its answer in place: addresses and MACs swapped, TTL 64.
void answer_echo(Frame frame);

// The destination of the IP packet in the frame.
std::optional<Ip> ip_destination(ConstFrame frame);

// Linux hands frames between virtual interfaces with TCP and UDP checksums left to hardware that is not
// there: the field then holds the pseudo header's sum alone. Completes it, also inside VXLAN to tunnel_port
// (host order). A checksum that is complete stays as it is.
void finish_checksums(Frame frame, uint16_t tunnel_port);

}  // namespace thalweg::dataplane::dpdk
