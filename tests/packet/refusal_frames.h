// What a refused sender must get back, made byte by byte and knowing nothing of how the path does it.
#pragma once

#include "tests/packet/frame.h"

namespace thalweg::packet {

// The reset that answers this segment (RFC 9293 §3.10.7.1). Its window makes its checksum equal the
// pseudo-header's sum, so that a device which still finishes the checksum changes nothing; found by trying
// all.
Frame reset_of(const Frame& asked);

struct IcmpError {
  uint8_t type, code;
  uint16_t mtu = 0;
};
inline constexpr IcmpError kPortUnreachable{3, 3}, kPortUnreachable6{1, 4};
inline constexpr IcmpError kExpired{11, 0}, kExpired6{3, 0};
inline constexpr IcmpError kTooBig{3, 4, 1450}, kTooBig6{2, 0, 1450};

// The ICMP error about this packet, from the speaker given: a frame. The quoted packet's own checksum is one
// that finishing does not change either.
Bytes error_about(const Frame& asked, const std::string& speaker, const IcmpError& error);

}  // namespace thalweg::packet
