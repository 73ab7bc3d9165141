#include "dataplane/cli/packet.h"

#include <netinet/in.h>

namespace thalweg::cli {
namespace {

class Writer {
 public:
  Writer& u8(uint8_t value) { return bytes_ += static_cast<char>(value), *this; }
  Writer& u16(uint16_t value) { return u8(value >> 8).u8(value & 255); }
  Writer& u32(uint32_t value) { return u16(value >> 16).u16(value & 65535); }
  Writer& raw(const void* data, size_t size) {
    return bytes_.append(static_cast<const char*>(data), size), *this;
  }
  Writer& raw(const std::string& data) { return bytes_ += data, *this; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// RFC 1071.
uint16_t internet_sum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) sum += static_cast<uint8_t>(bytes[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

void store16(std::string& bytes, size_t at, uint16_t value) {
  bytes[at] = static_cast<char>(value >> 8);
  bytes[at + 1] = static_cast<char>(value & 255);
}

std::string ethernet(const nl::Mac& to, const nl::Mac& from, bool v4) {
  return Writer().raw(to.data(), 6).raw(from.data(), 6).u16(v4 ? 0x0800 : 0x86dd).take();
}

std::string ipv4_header(const Ip& source, const Ip& destination, uint8_t protocol, size_t payload) {
  std::string header = Writer()
                           .u8(0x45)
                           .u8(0)
                           .u16(20 + payload)
                           .u16(1)
                           .u16(0x4000)
                           .u8(64)
                           .u8(protocol)
                           .u16(0)
                           .raw(source.v4_bytes(), 4)
                           .raw(destination.v4_bytes(), 4)
                           .take();
  store16(header, 10, internet_sum(header));
  return header;
}

std::string ipv6_header(const Ip& source, const Ip& destination, uint8_t protocol, size_t payload) {
  return Writer()
      .u32(0x60000000)
      .u16(payload)
      .u8(protocol)
      .u8(64)
      .raw(source.bytes().data(), 16)
      .raw(destination.bytes().data(), 16)
      .take();
}

// The transport header, and where in it the checksum stands.
std::pair<std::string, size_t> transport(const FlowSpec& flow, uint8_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:  // SYN
      return {Writer()
                  .u16(flow.source_port)
                  .u16(flow.destination_port)
                  .u32(1)
                  .u32(0)
                  .u16(0x5002)
                  .u16(65535)
                  .u32(0)
                  .take(),
              16};
    case IPPROTO_ICMP: return {Writer().u8(8).u8(0).u16(0).u16(flow.source_port).u16(1).take(), 2};
    case IPPROTO_ICMPV6: return {Writer().u8(128).u8(0).u16(0).u16(flow.source_port).u16(1).take(), 2};
    default: return {Writer().u16(flow.source_port).u16(flow.destination_port).u16(8).u16(0).take(), 6};
  }
}

void sum_transport(std::string& header, size_t at, const FlowSpec& flow, uint8_t protocol) {
  std::string pseudo;
  if (protocol != IPPROTO_ICMP) {
    const bool v4 = flow.source.is_v4();
    Writer writer;
    writer.raw(v4 ? flow.source.v4_bytes() : flow.source.bytes().data(), v4 ? 4 : 16);
    writer.raw(v4 ? flow.destination.v4_bytes() : flow.destination.bytes().data(), v4 ? 4 : 16);
    pseudo = writer.u32(header.size()).u32(protocol).take();
  }
  store16(header, at, internet_sum(pseudo + header));
}

}  // namespace

std::string build_frame(const FlowSpec& flow) {
  const bool v4 = flow.source.is_v4();
  const uint8_t protocol = flow.protocol == IPPROTO_ICMP && !v4 ? uint8_t{IPPROTO_ICMPV6} : flow.protocol;
  auto [header, sum_at] = transport(flow, protocol);
  sum_transport(header, sum_at, flow, protocol);
  const std::string ip = v4 ? ipv4_header(flow.source, flow.destination, protocol, header.size())
                            : ipv6_header(flow.source, flow.destination, protocol, header.size());
  return ethernet(flow.destination_mac, flow.source_mac, v4) + ip + header;
}

std::string build_tunnelled(const FlowSpec& flow, const TunnelSpec& tunnel) {
  const std::string inner = build_frame(flow);
  const std::string vxlan = Writer().u32(0x08000000).u32(tunnel.vni << 8).take();
  const std::string udp =
      Writer().u16(50000).u16(tunnel.port).u16(8 + vxlan.size() + inner.size()).u16(0).take();
  return ethernet({}, {}, true) +
         ipv4_header(tunnel.source, tunnel.destination, IPPROTO_UDP,
                     udp.size() + vxlan.size() + inner.size()) +
         udp + vxlan + inner;
}

}  // namespace thalweg::cli
