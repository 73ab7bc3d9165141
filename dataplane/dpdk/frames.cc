#include "dataplane/dpdk/frames.h"

#include <rte_arp.h>
#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include <cstring>

namespace thalweg::dataplane::dpdk {
namespace {

constexpr size_t kEther = sizeof(rte_ether_hdr);
constexpr size_t kIp4 = sizeof(rte_ipv4_hdr);
constexpr size_t kIp6 = sizeof(rte_ipv6_hdr);
constexpr uint8_t kIcmp4 = 1, kTcp = 6, kUdp = 17, kIcmp6 = 58;
constexpr uint8_t kEcho6Request = 128, kEcho6Reply = 129, kSolicitation = 135, kAdvertisement = 136;
constexpr uint8_t kOptionSource = 1, kOptionTarget = 2;
constexpr size_t kNdBody = 24;  // type, code, checksum, flags, target
constexpr uint8_t kFlagSolicited = 0x40, kFlagOverride = 0x20;
constexpr uint8_t kTtl = 64, kNdHopLimit = 255;

// Headers are read in place: x86 does not mind their alignment, and every caller has checked the length.
template <class T>
T* at(Frame frame, size_t offset) {
  return reinterpret_cast<T*>(frame.data() + offset);
}
template <class T>
const T* at(ConstFrame frame, size_t offset) {
  return reinterpret_cast<const T*>(frame.data() + offset);
}

void write_ether(Frame frame, const Mac& to, const Mac& from, uint16_t type) {
  set_ether(frame, to, from);
  at<rte_ether_hdr>(frame, 0)->ether_type = rte_cpu_to_be_16(type);
}

Mac mac_at(ConstFrame frame, size_t offset) {
  Mac mac;
  std::memcpy(mac.data(), frame.data() + offset, mac.size());
  return mac;
}

// Length of an IPv4 header that is whole, not a fragment, and whose packet lies within the frame; else 0.
size_t whole_ip4(ConstFrame frame) {
  if (frame.size() < kEther + kIp4) return 0;
  const auto* ip = at<rte_ipv4_hdr>(frame, kEther);
  const size_t length = rte_ipv4_hdr_len(ip);
  const size_t total = rte_be_to_cpu_16(ip->total_length);
  const bool fragment = (ip->fragment_offset & rte_cpu_to_be_16(0x3fff)) != 0;
  if (ip->version != 4 || length < kIp4 || fragment || total < length || kEther + total > frame.size())
    return 0;
  return length;
}

bool whole_ip6(ConstFrame frame) {
  if (frame.size() < kEther + kIp6) return false;
  const auto* ip = at<rte_ipv6_hdr>(frame, kEther);
  return (frame[kEther] >> 4) == 6 && kEther + kIp6 + rte_be_to_cpu_16(ip->payload_len) <= frame.size();
}

bool icmp6_sum_holds(ConstFrame frame) {
  const auto* ip = at<rte_ipv6_hdr>(frame, kEther);
  uint32_t sum = rte_ipv6_phdr_cksum(ip, 0);
  sum += rte_raw_cksum(frame.data() + kEther + kIp6, rte_be_to_cpu_16(ip->payload_len));
  return ((sum >> 16) + (sum & 0xffff)) == 0xffff;
}

std::array<uint8_t, 16> solicited_node(const Ip& target) {  // RFC 4291 §2.7.1
  std::array<uint8_t, 16> group = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::memcpy(group.data() + 13, target.bytes().data() + 13, 3);
  return group;
}

Mac multicast_mac(const std::array<uint8_t, 16>& group) {  // RFC 2464 §7
  return {0x33, 0x33, group[12], group[13], group[14], group[15]};
}

// The option's address, when the options are well formed and it is there; false: malformed.
bool find_option(ConstFrame options, uint8_t wanted, std::optional<Mac>& found) {
  while (!options.empty()) {
    if (options.size() < 8 || options[1] == 0 || options[1] * 8u > options.size()) return false;
    if (options[0] == wanted && options[1] == 1) found = mac_at(options, 2);
    options = options.subspan(options[1] * 8u);
  }
  return true;
}

void write_nd(Frame frame, const Station& from, const Mac& to_mac, const std::array<uint8_t, 16>& to,
              const Ip& target, uint8_t type, uint8_t flags) {
  std::memset(frame.data(), 0, kNdFrameBytes);
  write_ether(frame, to_mac, from.mac, RTE_ETHER_TYPE_IPV6);
  auto* ip = at<rte_ipv6_hdr>(frame, kEther);
  ip->vtc_flow = rte_cpu_to_be_32(6u << 28);
  ip->payload_len = rte_cpu_to_be_16(kNdBody + 8);
  ip->proto = kIcmp6;
  ip->hop_limits = kNdHopLimit;
  std::memcpy(ip->src_addr, from.ip.bytes().data(), 16);
  std::memcpy(ip->dst_addr, to.data(), 16);
  uint8_t* body = frame.data() + kEther + kIp6;
  body[0] = type;
  body[4] = flags;
  std::memcpy(body + 8, target.bytes().data(), 16);
  body[kNdBody] = type == kSolicitation ? kOptionSource : kOptionTarget;
  body[kNdBody + 1] = 1;
  std::memcpy(body + kNdBody + 2, from.mac.data(), 6);
  const uint16_t sum = rte_ipv6_udptcp_cksum(ip, body);
  std::memcpy(body + 2, &sum, 2);
}

// Completes the L4 checksum at `field` when it is the pseudo header's bare sum.
void finish(uint8_t* field, uint16_t pseudo, uint16_t (*full)(const void*, const void*), const void* ip,
            void* l4) {
  uint16_t stored;
  std::memcpy(&stored, field, 2);
  if (stored != pseudo) return;
  std::memset(field, 0, 2);
  const uint16_t sum = full(ip, l4);
  std::memcpy(field, &sum, 2);
}

uint16_t full4(const void* ip, const void* l4) {
  return rte_ipv4_udptcp_cksum(static_cast<const rte_ipv4_hdr*>(ip), l4);
}
uint16_t full6(const void* ip, const void* l4) {
  return rte_ipv6_udptcp_cksum(static_cast<const rte_ipv6_hdr*>(ip), l4);
}

// Where the checksum stands in the L4 header; 0: none that is ours to finish.
size_t checksum_offset(uint8_t protocol, size_t l4_bytes) {
  if (protocol == kTcp && l4_bytes >= 20) return 16;
  if (protocol == kUdp && l4_bytes >= 8) return 6;
  return 0;
}

}  // namespace

uint16_t ether_type(ConstFrame frame) {
  return frame.size() < kEther ? 0 : rte_be_to_cpu_16(at<rte_ether_hdr>(frame, 0)->ether_type);
}

Mac ether_destination(ConstFrame frame) { return frame.size() < kEther ? Mac{} : mac_at(frame, 0); }

void set_ether(Frame frame, const Mac& destination, const Mac& source) {
  std::memcpy(frame.data(), destination.data(), 6);
  std::memcpy(frame.data() + 6, source.data(), 6);
}

std::optional<NeighbourMessage> parse_arp(ConstFrame frame) {
  if (frame.size() < kArpFrameBytes || ether_type(frame) != RTE_ETHER_TYPE_ARP) return std::nullopt;
  const auto* arp = at<rte_arp_hdr>(frame, kEther);
  const uint16_t op = rte_be_to_cpu_16(arp->arp_opcode);
  if (rte_be_to_cpu_16(arp->arp_hardware) != RTE_ARP_HRD_ETHER ||
      rte_be_to_cpu_16(arp->arp_protocol) != RTE_ETHER_TYPE_IPV4 || arp->arp_hlen != 6 ||
      arp->arp_plen != 4 || (op != RTE_ARP_OP_REQUEST && op != RTE_ARP_OP_REPLY))
    return std::nullopt;
  const auto& data = arp->arp_data;
  const Mac mac = mac_at({data.arp_sha.addr_bytes, 6}, 0);
  if (mac[0] & 1) return std::nullopt;  // no station has a group address
  NeighbourMessage message{.request = op == RTE_ARP_OP_REQUEST, .sender_mac = mac};
  if (data.arp_sip != 0) message.sender = Ip::from_v4_bytes(&data.arp_sip);
  message.target = Ip::from_v4_bytes(&data.arp_tip);
  return message;
}

std::optional<NeighbourMessage> parse_nd(ConstFrame frame) {
  if (ether_type(frame) != RTE_ETHER_TYPE_IPV6 || !whole_ip6(frame)) return std::nullopt;
  const auto* ip = at<rte_ipv6_hdr>(frame, kEther);
  const size_t payload = rte_be_to_cpu_16(ip->payload_len);
  const auto body = frame.subspan(kEther + kIp6, payload);
  if (ip->proto != kIcmp6 || payload < kNdBody || (body[0] != kSolicitation && body[0] != kAdvertisement))
    return std::nullopt;
  if (ip->hop_limits != kNdHopLimit || body[1] != 0 || !icmp6_sum_holds(frame)) return std::nullopt;
  NeighbourMessage message{.request = body[0] == kSolicitation};
  message.sender = Ip::from_v6_bytes(ip->src_addr);
  message.target = Ip::from_v6_bytes(body.data() + 8);
  message.solicited = (body[4] & kFlagSolicited) != 0;
  message.override_mac = (body[4] & kFlagOverride) != 0;
  const uint8_t option = message.request ? kOptionSource : kOptionTarget;
  if (!find_option(body.subspan(kNdBody), option, message.sender_mac)) return std::nullopt;
  if (message.target.is_multicast() || message.sender.is_multicast()) return std::nullopt;
  if (message.sender_mac && ((*message.sender_mac)[0] & 1)) return std::nullopt;
  return message;
}

void write_arp(Frame frame, bool request, const Station& from, const Station& to) {
  std::memset(frame.data(), 0, kArpFrameBytes);
  write_ether(frame, to.mac, from.mac, RTE_ETHER_TYPE_ARP);
  auto* arp = at<rte_arp_hdr>(frame, kEther);
  arp->arp_hardware = rte_cpu_to_be_16(RTE_ARP_HRD_ETHER);
  arp->arp_protocol = rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4);
  arp->arp_hlen = 6;
  arp->arp_plen = 4;
  arp->arp_opcode = rte_cpu_to_be_16(request ? RTE_ARP_OP_REQUEST : RTE_ARP_OP_REPLY);
  std::memcpy(arp->arp_data.arp_sha.addr_bytes, from.mac.data(), 6);
  std::memcpy(&arp->arp_data.arp_sip, from.ip.v4_bytes(), 4);
  if (!request) std::memcpy(arp->arp_data.arp_tha.addr_bytes, to.mac.data(), 6);
  std::memcpy(&arp->arp_data.arp_tip, to.ip.v4_bytes(), 4);
}

void write_nd_question(Frame frame, const Station& from, const Ip& target, const std::optional<Mac>& known) {
  const auto group = solicited_node(target);
  if (known)
    write_nd(frame, from, *known, target.bytes(), target, kSolicitation, 0);
  else
    write_nd(frame, from, multicast_mac(group), group, target, kSolicitation, 0);
}

void write_nd_answer(Frame frame, const Station& from, const Station& to, const Ip& target) {
  if (!to.ip.is_none())
    return write_nd(frame, from, to.mac, to.ip.bytes(), target, kAdvertisement,
                    kFlagSolicited | kFlagOverride);
  const std::array<uint8_t, 16> all_nodes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  write_nd(frame, from, multicast_mac(all_nodes), all_nodes, target, kAdvertisement, kFlagOverride);
}

std::optional<Echo> parse_echo_request(ConstFrame frame) {
  const uint16_t type = ether_type(frame);
  if (type == RTE_ETHER_TYPE_IPV4) {
    const size_t length = whole_ip4(frame);
    const auto* ip = at<rte_ipv4_hdr>(frame, kEther);
    if (length == 0 || ip->next_proto_id != kIcmp4) return std::nullopt;
    const auto icmp = frame.subspan(kEther + length, rte_be_to_cpu_16(ip->total_length) - length);
    if (icmp.size() < sizeof(rte_icmp_hdr) || icmp[0] != RTE_IP_ICMP_ECHO_REQUEST || icmp[1] != 0)
      return std::nullopt;
    if (rte_raw_cksum(icmp.data(), icmp.size()) != 0xffff) return std::nullopt;
    return Echo{Ip::from_v4_bytes(&ip->src_addr), Ip::from_v4_bytes(&ip->dst_addr)};
  }
  if (type != RTE_ETHER_TYPE_IPV6 || !whole_ip6(frame)) return std::nullopt;
  const auto* ip = at<rte_ipv6_hdr>(frame, kEther);
  const auto icmp = frame.subspan(kEther + kIp6, rte_be_to_cpu_16(ip->payload_len));
  if (ip->proto != kIcmp6 || icmp.size() < 8 || icmp[0] != kEcho6Request || icmp[1] != 0) return std::nullopt;
  if (!icmp6_sum_holds(frame)) return std::nullopt;
  return Echo{Ip::from_v6_bytes(ip->src_addr), Ip::from_v6_bytes(ip->dst_addr)};
}

void answer_echo(Frame frame) {
  set_ether(frame, mac_at(frame, 6), mac_at(frame, 0));
  if (ether_type(frame) == RTE_ETHER_TYPE_IPV4) {
    auto* ip = at<rte_ipv4_hdr>(frame, kEther);
    const size_t length = rte_ipv4_hdr_len(ip);
    const uint32_t asked = ip->dst_addr;
    ip->dst_addr = ip->src_addr;
    ip->src_addr = asked;
    ip->time_to_live = kTtl;
    ip->hdr_checksum = 0;
    ip->hdr_checksum = static_cast<uint16_t>(~rte_raw_cksum(ip, length));
    auto* icmp = at<rte_icmp_hdr>(frame, kEther + length);
    icmp->icmp_type = RTE_IP_ICMP_ECHO_REPLY;
    icmp->icmp_cksum = 0;
    icmp->icmp_cksum =
        static_cast<uint16_t>(~rte_raw_cksum(icmp, rte_be_to_cpu_16(ip->total_length) - length));
    return;
  }
  auto* ip = at<rte_ipv6_hdr>(frame, kEther);
  std::swap(ip->src_addr, ip->dst_addr);
  ip->hop_limits = kTtl;
  uint8_t* icmp = frame.data() + kEther + kIp6;
  icmp[0] = kEcho6Reply;
  std::memset(icmp + 2, 0, 2);
  const uint16_t sum = rte_ipv6_udptcp_cksum(ip, icmp);
  std::memcpy(icmp + 2, &sum, 2);
}

std::optional<Ip> ip_destination(ConstFrame frame) {
  const uint16_t type = ether_type(frame);
  if (type == RTE_ETHER_TYPE_IPV4 && frame.size() >= kEther + kIp4)
    return Ip::from_v4_bytes(&at<rte_ipv4_hdr>(frame, kEther)->dst_addr);
  if (type == RTE_ETHER_TYPE_IPV6 && frame.size() >= kEther + kIp6)
    return Ip::from_v6_bytes(at<rte_ipv6_hdr>(frame, kEther)->dst_addr);
  return std::nullopt;
}

void finish_checksums(Frame frame, uint16_t tunnel_port) {
  const uint16_t type = ether_type(frame);
  size_t l4 = 0, l4_bytes = 0;
  uint8_t protocol = 0;
  if (type == RTE_ETHER_TYPE_IPV4) {
    const size_t length = whole_ip4(frame);
    if (length == 0) return;
    const auto* ip = at<rte_ipv4_hdr>(frame, kEther);
    protocol = ip->next_proto_id;
    l4 = kEther + length;
    l4_bytes = rte_be_to_cpu_16(ip->total_length) - length;
  } else if (type == RTE_ETHER_TYPE_IPV6 && whole_ip6(frame)) {
    const auto* ip = at<rte_ipv6_hdr>(frame, kEther);
    protocol = ip->proto;
    l4 = kEther + kIp6;
    l4_bytes = rte_be_to_cpu_16(ip->payload_len);
  }
  const size_t offset = checksum_offset(protocol, l4_bytes);
  if (offset == 0) return;
  uint8_t* start = frame.data() + l4;
  const void* ip = frame.data() + kEther;
  if (type == RTE_ETHER_TYPE_IPV4)
    finish(start + offset, rte_ipv4_phdr_cksum(static_cast<const rte_ipv4_hdr*>(ip), 0), full4, ip, start);
  else
    finish(start + offset, rte_ipv6_phdr_cksum(static_cast<const rte_ipv6_hdr*>(ip), 0), full6, ip, start);
  constexpr size_t kTunnelHeader = 16;  // UDP and VXLAN
  const bool tunnel =
      protocol == kUdp && at<rte_udp_hdr>(frame, l4)->dst_port == rte_cpu_to_be_16(tunnel_port);
  if (tunnel && tunnel_port != 0 && l4_bytes > kTunnelHeader)
    finish_checksums(frame.subspan(l4 + kTunnelHeader, l4_bytes - kTunnelHeader), 0);
}

}  // namespace thalweg::dataplane::dpdk
