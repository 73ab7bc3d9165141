/* The wire formats the path reads and writes: Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293), UDP
 * (RFC 768), SCTP (RFC 9260), ICMP (RFC 792, RFC 4443), VXLAN (RFC 7348). Fields are in network order. */
#ifndef THALWEG_HEADERS_H
#define THALWEG_HEADERS_H

#include "bpf/abi.h"

/* on_wire: where the engine's packets may stand at any address, as an attribute of the port. The kernel's BPF
 * reads whole words wherever they stand; packed structs would be read byte by byte there. */

struct eth_header {
  __u16 destination[3];
  __u16 source[3];
  __u16 type;
} on_wire;

struct vlan_tag {
  __u16 control;
  __u16 type;
} on_wire;

struct ipv4_header {
  __u8 version_and_length;
  __u8 tos;
  __u16 total_length;
  __u16 id;
  __u16 fragment;
  __u8 ttl;
  __u8 protocol;
  __u16 checksum;
  __u32 source;
  __u32 destination;
} on_wire;

struct ipv6_header {
  __u32 version_class_flow;
  __u16 payload_length;
  __u8 next;
  __u8 hop_limit;
  struct addr source;
  struct addr destination;
} on_wire;

struct ipv6_extension {
  __u8 next;
  __u8 length; /* in 8 bytes, the first 8 not counted; of a fragment header: reserved */
  __u16 fragment;
  __u32 rest;
} on_wire;

struct word {
  __u16 value;
} on_wire;

struct tcp_header {
  __u16 source;
  __u16 destination;
  __u32 sequence;
  __u32 acknowledged;
  __u8 data_offset;
  __u8 flags;
  __u16 window;
  __u16 checksum;
  __u16 urgent;
} on_wire;

struct tcp_option {
  __u8 kind;
  __u8 length; /* both bytes included */
  __u16 value; /* of MSS */
} on_wire;
#define TCP_OPTIONS_END 0
#define TCP_OPTION_NONE 1 /* of one byte */
#define TCP_OPTION_MSS  2

struct udp_header {
  __u16 source;
  __u16 destination;
  __u16 length;
  __u16 checksum;
} on_wire;

struct sctp_header {
  __u16 source;
  __u16 destination;
  __u32 tag;
  __u32 checksum; /* the least significant byte first */
  __u8 chunk;     /* type of the first chunk */
} on_wire;

struct icmp_header {
  __u8 type;
  __u8 code;
  __u16 checksum;
  __u16 id; /* echo */
  __u16 sequence;
} on_wire;

struct vxlan_header {
  __u8 flags; /* 0x08: the VNI is valid */
  __u8 reserved[3];
  __u32 vni; /* in the upper 24 bits */
} on_wire;

/* What stage 7 puts between the outer and the inner packet's IP header, after the Ethernet header that is
 * there. */
struct vxlan_frame {
  struct udp_header udp;
  struct vxlan_header vxlan;
  struct eth_header inner;
} __attribute__((packed));
struct tunnel_header {
  struct ipv4_header ip;
  struct vxlan_frame frame;
} __attribute__((packed)); /* 50 bytes */
struct tunnel6_header {
  struct ipv6_header ip;
  struct vxlan_frame frame;
} __attribute__((packed)); /* 70 bytes */

#define ETH_IPV4 0x0800
#define ETH_IPV6 0x86dd
#define ETH_VLAN 0x8100

#define IPV4_END_OF_OPTIONS      0
#define IPV4_NO_OPTION           1
#define IPV4_LOOSE_SOURCE_ROUTE  131
#define IPV4_STRICT_SOURCE_ROUTE 137

#define PROTO_HOP_BY_HOP  0
#define PROTO_ICMP        1
#define PROTO_TCP         6
#define PROTO_UDP         17
#define PROTO_ROUTING     43
#define PROTO_FRAGMENT    44
#define PROTO_ICMPV6      58
#define PROTO_DESTINATION 60
#define PROTO_SCTP        132

#define SCTP_HEADER            12 /* bytes, common to all packets */
#define SCTP_INIT              1
#define SCTP_INIT_ACK          2
#define SCTP_ABORT             6
#define SCTP_SHUTDOWN_COMPLETE 14

#define PORT_DHCP_SERVER   67 /* RFC 2131 §4.1 */
#define PORT_DHCP_CLIENT   68
#define PORT_DHCPV6_CLIENT 546 /* RFC 8415 §7.2 */
#define PORT_DHCPV6_SERVER 547

#define ICMP_ECHO_REPLY         0
#define ICMP_UNREACHABLE        3
#define ICMP_PORT_UNREACHABLE   3 /* code */
#define ICMP_TOO_BIG            4 /* code: fragmentation needed and DF set */
#define ICMPV6_UNREACHABLE      1
#define ICMPV6_PORT_UNREACHABLE 4 /* code */
#define ICMPV6_TOO_BIG          2
#define ICMPV6_TIME_EXCEEDED    3
#define ICMP_ECHO               8
#define ICMP_TIME_EXCEEDED      11
#define ICMP_PARAMETER          12
#define ICMPV6_FIRST_ERROR      1
#define ICMPV6_LAST_ERROR       4
#define ICMPV6_ECHO             128
#define ICMPV6_ECHO_REPLY       129

static __always_inline _Bool is_connection(__u8 protocol) {
  return protocol == PROTO_TCP || protocol == PROTO_SCTP;
}
static __always_inline _Bool has_ports(__u8 protocol) {
  return protocol == PROTO_UDP || is_connection(protocol);
}

#endif
