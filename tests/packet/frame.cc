#include "tests/packet/frame.h"

#include "base/ip.h"

namespace thalweg::packet {

// RFC 1071, the long way.
uint16_t checksum(std::string bytes) {
  if (bytes.size() % 2) bytes += '\0';
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2)
    sum += static_cast<uint8_t>(bytes[i]) << 8 | static_cast<uint8_t>(bytes[i + 1]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// Bit by bit.
uint32_t crc32c(const std::string& bytes) {
  uint32_t crc = 0xffffffff;
  for (const char byte : bytes) {
    crc ^= static_cast<uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
  }
  return ~crc;
}

namespace {

std::string be16(unsigned value) { return {static_cast<char>(value >> 8), static_cast<char>(value)}; }
std::string be32(uint32_t value) { return be16(value >> 16) + be16(value & 0xffff); }

Ip ip(const std::string& text) { return Ip::parse(text).value(); }

std::string address(const Ip& ip) {
  return ip.is_v4() ? std::string(reinterpret_cast<const char*>(ip.v4_bytes()), 4)
                    : std::string(reinterpret_cast<const char*>(ip.bytes().data()), 16);
}

std::string with_checksum(std::string bytes, size_t at, const std::string& pseudo) {
  const uint16_t sum = checksum(pseudo + bytes);
  return bytes.replace(at, 2, be16(sum));
}

std::string transport(const Frame& f, const std::string& pseudo_addresses) {
  if (f.no_transport) return f.payload;
  const auto pseudo = [&](size_t length) {
    return pseudo_addresses + be32(static_cast<uint32_t>(length)) + be32(f.protocol);
  };
  if (f.protocol == kTcp) {
    const std::string segment =
        be16(f.from_port) + be16(f.to_port) + be32(f.sequence) + be32(f.acknowledged) +
        static_cast<char>((20 + f.tcp_options.size()) / 4 << 4) + static_cast<char>(f.tcp_flags) +
        be16(f.window) + be16(0) + be16(0) + f.tcp_options + f.payload;
    return with_checksum(segment, 16, pseudo(segment.size()));
  }
  if (f.protocol == kUdp) {
    const std::string datagram = be16(f.from_port) + be16(f.to_port) +
                                 be16(static_cast<unsigned>(8 + f.payload.size())) + be16(0) + f.payload;
    if (f.no_udp_checksum) return datagram;
    const std::string summed = with_checksum(datagram, 6, pseudo(datagram.size()));
    // RFC 768: 0 means that there is none.
    return summed.compare(6, 2, "\0\0", 2) == 0 ? std::string(summed).replace(6, 2, 2, '\xff') : summed;
  }
  if (f.protocol == kSctp) {
    const std::string packet = be16(f.from_port) + be16(f.to_port) + be32(f.sequence) + be32(0) +
                               static_cast<char>(f.sctp_chunk) + '\0' +
                               be16(static_cast<unsigned>(4 + f.payload.size())) + f.payload;
    const uint32_t sum = f.no_sctp_checksum ? 0 : __builtin_bswap32(crc32c(packet));
    return std::string(packet).replace(8, 4, be32(sum));
  }
  if (f.protocol != kIcmp && f.protocol != kIcmpv6) return f.payload;
  const bool v6 = f.protocol == kIcmpv6;
  int type = v6 ? (f.icmp_type == 8 ? 128 : f.icmp_type == 0 ? 129 : f.icmp_type) : f.icmp_type;
  std::string body = f.quotes ? be32(f.icmp_mtu) + *f.quotes : be16(f.from_port) + be16(1) + f.payload;
  if (f.quotes) type = f.icmp_type != 8 ? f.icmp_type : v6 ? 1 : 3;  // destination unreachable
  const std::string message =
      std::string{static_cast<char>(type), static_cast<char>(f.icmp_code)} + be16(0) + body;
  return with_checksum(message, 2, v6 ? pseudo(message.size()) : "");
}

std::string ipv4(const Frame& f) {
  const Ip from = ip(f.from), to = ip(f.to);
  const std::string body = transport(f, address(from) + address(to));
  const unsigned header = 20 + f.ipv4_options;
  const std::string bytes = std::string{static_cast<char>(0x40 | header / 4), 0} +
                            be16(static_cast<unsigned>(header + body.size())) + be16(f.id) +
                            be16(f.fragment) +
                            std::string{static_cast<char>(f.ttl), static_cast<char>(f.protocol)} + be16(0) +
                            address(from) + address(to) + std::string(f.ipv4_options, '\x01');
  return with_checksum(bytes, 10, "") + body;
}

std::string ipv6(const Frame& f) {
  const Ip from = ip(f.from), to = ip(f.to);
  std::string body = transport(f, address(from) + address(to));
  uint8_t next = f.protocol;
  if (f.ipv6_extension) {
    body = std::string{static_cast<char>(next), 0, 1, 4, 0, 0, 0, 0} + body;
    next = 60;
  }
  if (f.fragment & 0x3fff) {
    const unsigned offset_and_more = (f.fragment & 0x1fffu) << 3 | (f.fragment & 0x2000 ? 1 : 0);
    body = std::string{static_cast<char>(next), 0} + be16(offset_and_more) + be32(f.id) + body;
    next = 44;
  }
  return be32(0x60000000) + be16(static_cast<unsigned>(body.size())) +
         std::string{static_cast<char>(next), static_cast<char>(f.ttl)} + address(from) + address(to) + body;
}

}  // namespace

Bytes Frame::bytes() const {
  const bool v4 = ip(from).is_v4();
  const std::string type = (vlan ? be16(0x8100) + be16(5) : "") + be16(v4 ? 0x0800 : 0x86dd);
  return to_mac + from_mac + type + (v4 ? ipv4(*this) : ipv6(*this));
}

Bytes ip_packet(const Bytes& frame) { return frame.substr(14); }

Bytes Tunnel::around(const Bytes& frame) const {
  const Bytes inner_packet = ip_packet(frame);
  const bool v4 = (inner_packet[0] & 0xf0) == 0x40;
  const std::string inner_macs("\x02\x54\x57\0\0\x02\x02\x54\x57\0\0\x01", 12);
  const std::string vxlan = std::string("\x08\0\0\0", 4) + be32(vni << 8);
  Frame outer{.from = from, .to = to, .protocol = kUdp, .from_port = source_port, .to_port = port};
  outer.payload = vxlan + inner_macs + be16(v4 ? 0x0800 : 0x86dd) + inner_packet;
  outer.no_udp_checksum = true;
  outer.id = 0;  // DF is set: RFC 6864 §4.1 leaves it free
  if (ip(from).is_v4()) outer.fragment = 0x4000;
  outer.to_mac = frame.substr(0, 6);
  outer.from_mac = frame.substr(6, 6);
  return outer.bytes();
}

}  // namespace thalweg::packet
