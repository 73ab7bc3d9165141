#include "tests/packet/refusal_frames.h"

#include <utility>

namespace thalweg::packet {

namespace {

uint16_t word_at(const Bytes& bytes, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 | static_cast<uint8_t>(bytes[at + 1]));
}

size_t network_bytes(const Frame& frame) { return frame.from.find(':') == std::string::npos ? 20 : 40; }

Bytes with_word(Bytes bytes, size_t at, unsigned value) {
  bytes[at] = static_cast<char>(value >> 8), bytes[at + 1] = static_cast<char>(value);
  return bytes;
}

// What a device makes of a checksum it still has to finish: `rest` is the sum of everything but the field.
uint16_t finished(uint32_t rest, uint32_t field) {
  uint32_t sum = rest + field;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum == 0xffff ? 0xffff : static_cast<uint16_t>(~sum);
}

uint16_t sum_without(const Bytes& bytes, size_t field) {
  return static_cast<uint16_t>(~checksum(with_word(bytes, field, 0)));
}

// The quoted packet with the checksum that stays.
Bytes steady(const Bytes& packet, size_t header, size_t field) {
  const uint16_t rest = sum_without(packet.substr(header), field);
  for (unsigned value = 1; value <= 0xffff; ++value)
    if (finished(rest, value) == value) return with_word(packet, header + field, value);
  return packet;
}

}  // namespace

Frame reset_of(const Frame& asked) {
  Frame reset = asked;
  std::swap(reset.from, reset.to);
  std::swap(reset.from_port, reset.to_port);
  reset.payload = "";
  reset.ttl = 64, reset.id = 0, reset.fragment = 0x4000;
  const bool acknowledges = asked.tcp_flags & kAck;
  const uint32_t length =
      static_cast<uint32_t>(asked.payload.size()) + !!(asked.tcp_flags & kSyn) + !!(asked.tcp_flags & kFin);
  reset.sequence = acknowledges ? asked.acknowledged : 0;
  reset.acknowledged = acknowledges ? 0 : asked.sequence + length;
  reset.tcp_flags = acknowledges ? kRst : kRst | kAck;
  const size_t header = 14 + network_bytes(asked);
  reset.window = 0;
  const Bytes without = reset.bytes();
  const uint16_t right = word_at(without, header + 16), rest = sum_without(without.substr(header), 16);
  for (unsigned window = 0; window <= 0xffff; ++window) {
    const uint16_t field = finished(static_cast<uint16_t>(~right), window);  // as a window alone changes it
    if (finished(rest + window, field) != field) continue;
    reset.window = static_cast<uint16_t>(window);
    break;
  }
  return reset;
}

Bytes error_about(const Frame& asked, const std::string& speaker, const IcmpError& error) {
  const size_t network = network_bytes(asked), transport = asked.protocol == kTcp    ? 20
                                                           : asked.protocol == kSctp ? 12
                                                                                     : 8;
  Bytes quoted = ip_packet(asked.bytes()).substr(0, network + transport);
  if (asked.protocol == kTcp) quoted = steady(quoted, network, 16);
  if (asked.protocol == kUdp) quoted = steady(quoted, network, 6);
  Frame frame = asked;
  frame.from = speaker, frame.to = asked.from;
  frame.protocol = network == 20 ? kIcmp : kIcmpv6;
  frame.ttl = 64, frame.id = 0, frame.fragment = 0x4000;
  frame.quotes = quoted;
  frame.icmp_type = error.type, frame.icmp_code = error.code, frame.icmp_mtu = error.mtu;
  return frame.bytes();
}

}  // namespace thalweg::packet
