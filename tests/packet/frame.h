// Frames, written so that a test reads aloud: Frame{.from = "198.51.100.1", .to = "203.0.113.9", .to_port =
// 80}.bytes(). Checksums are computed here from scratch, word by word, knowing nothing of how the path
// adjusts them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tests/packet/engine.h"

namespace thalweg::packet {

inline constexpr uint8_t kTcp = 6, kUdp = 17, kSctp = 132, kIcmp = 1, kIcmpv6 = 58;
inline constexpr uint8_t kSyn = 0x02, kAck = 0x10, kFin = 0x01, kRst = 0x04;

struct Frame {
  std::string from;
  std::string to;
  uint8_t protocol = kTcp;
  uint16_t from_port = 40000;  // ICMP echo: the identifier
  uint16_t to_port = 80;
  uint8_t tcp_flags = kSyn;
  uint8_t sctp_chunk = 1;         // type of the first: INIT
  bool no_sctp_checksum = false;  // still to be made by a device
  std::string tcp_options = "";   // a multiple of 4 bytes
  uint32_t sequence = 1000, acknowledged = 2000;
  uint16_t window = 65535;
  uint8_t ttl = 64;
  std::string payload = "thalweg";
  std::string to_mac{"\x02\0\0\0\0\x02", 6};
  std::string from_mac{"\x02\0\0\0\0\x01", 6};
  uint8_t icmp_type = 8;      // ICMP: 8 echo, 0 reply; ICMPv6 is written with the same numbers and translated
  uint16_t id = 7;            // IPv4's identification
  uint16_t fragment = 0;      // IPv4's fragment field; over IPv6 a fragment header if set, offset and M alike
  bool no_transport = false;  // the payload alone follows: a fragment other than the first
  uint8_t ipv4_options = 0;   // bytes of NOP options, a multiple of 4
  bool vlan = false;
  bool ipv6_extension = false;  // a destination-options header in between
  bool no_udp_checksum = false;
  std::optional<std::string>
      quotes;  // ICMP error: the IP packet quoted (a frame without its Ethernet header)
  // Of an ICMP error, as on the wire; type 8: destination unreachable.
  uint8_t icmp_code = 0;
  uint16_t icmp_mtu = 0;

  Bytes bytes() const;
  bool operator==(const Frame&) const = default;
};

// The frame's IP packet in VXLAN between two nodes, as stage 7 makes it (source port aside).
struct Tunnel {
  std::string from, to;
  uint32_t vni = 1;
  uint16_t port = 4789;
  uint16_t source_port = 50000;
  Bytes around(const Bytes& frame) const;
};

uint16_t checksum(std::string bytes);  // RFC 1071

uint32_t crc32c(const std::string& bytes);  // RFC 9260 Appendix A

Bytes ip_packet(const Bytes& frame);  // a frame without its 14 bytes of Ethernet header

}  // namespace thalweg::packet
