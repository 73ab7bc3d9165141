/* Stage 7: out of here. Writes the Ethernet header for a pod, or puts the tunnel header on for another node;
 * how the frame then leaves is the engine's business. */
#ifndef THALWEG_7_FORWARD_H
#define THALWEG_7_FORWARD_H

#include "bpf/path/headers.h"
#include "bpf/path/pkt.h"

#define TUNNEL_TTL        64
#define TUNNEL_PORT_FIRST 49152 /* RFC 7348 §5: the outer source port comes from the dynamic range */
#define TUNNEL_PORTS      16384

static __always_inline enum verdict write_macs(struct pkt* p, const __u8* destination, const __u8* source) {
  struct eth_header* eth = header(p, 0, sizeof *eth);
  if (!eth) return drop(p, DROP_TRUNCATED);
  copy(eth->destination, destination, 6);
  copy(eth->source, source, 6);
  return REDIRECT;
}

static __always_inline enum verdict forward_to_endpoint(struct pkt* p) {
  if (p->origin == TO_POD) return PASS; /* the host stack has it on its way already */
  return write_macs(p, p->hop.mac, p->hop.host_mac);
}

/* From a pod, the host's stack is where the packet goes by itself. What came by tunnel, or from the host's
 * own leg, has to be put before it; but what another node left to this one goes on as if the world had sent
 * it here, which is where the host looks for the world (reverse-path filter). */
static __always_inline enum verdict forward_to_host(struct pkt* p) {
  if ((!p->tunneled || p->dsr) && p->origin != FROM_HOST) return PASS;
  return write_macs(p, node_of(p)->host_mac, node_of(p)->host_mac);
}

/* The same flow takes the same port, different flows different ones: so the underlay can spread them (RFC
 * 7348 §5). */
static __always_inline __u16 tunnel_source_port(const struct pkt* p) {
  return net16((__u16)(TUNNEL_PORT_FIRST + (mix_of(&p->to, p->protocol) >> 40) % TUNNEL_PORTS));
}

static __always_inline __u16 ipv4_checksum(const struct ipv4_header* ip) {
  __u16 words[sizeof *ip / 2];
  __u32 sum = 0;
  copy(words, ip, sizeof words);
  unrolled for (int i = 0; i < 10; ++i) sum += words[i];
  return (__u16)~fold(sum);
}

/* What both kinds of tunnel header end in. */
static __always_inline void fill_frame(struct pkt* p, struct vxlan_frame* to, __u16 inner_length) {
  const struct udp_header udp = {
      .source = tunnel_source_port(p),
      .destination = node_of(p)->tunnel_port,
      .length = net16((__u16)(inner_length + sizeof *to)),
      .checksum = 0, /* RFC 7348 §5: SHOULD be zero; the inner packet has its own. IPv6: RFC 6935 */
  };
  const struct vxlan_header vxlan = {.flags = 0x08, .vni = net32(node_of(p)->vni << 8)};
  /* The inner Ethernet header only has to be there: both ends route by the inner IP address. Locally
   * administered. */
  const struct eth_header inner = {
      .destination = {net16(0x0254), net16(0x5700), net16(0x0002)},
      .source = {net16(0x0254), net16(0x5700), net16(0x0001)},
      .type = net16(p->v4 ? ETH_IPV4 : ETH_IPV6),
  };
  *(struct udp_header*)(void*)&to->udp = udp;
  *(struct vxlan_header*)(void*)&to->vxlan = vxlan;
  *(struct eth_header*)(void*)&to->inner = inner;
}

static __always_inline enum verdict fill_tunnel(struct pkt* p, __u16 inner_length) {
  struct eth_header* eth = header(p, 0, sizeof *eth + sizeof(struct tunnel_header));
  if (!eth) return drop(p, DROP_NO_ROOM);
  struct tunnel_header* outer = (struct tunnel_header*)(eth + 1);
  struct ipv4_header ip = {
      .version_and_length = 0x45,
      .total_length = net16((__u16)(inner_length + sizeof *outer)),
      .fragment = net16(0x4000), /* DF: an outer fragment would be dropped at the other end anyway */
      .ttl = TUNNEL_TTL,
      .protocol = PROTO_UDP,
      .source = node_of(p)->v4.words[3],
      .destination = p->hop.peer.words[3],
  };
  ip.checksum = ipv4_checksum(&ip);
  eth->type = net16(ETH_IPV4);
  *(struct ipv4_header*)(void*)&outer->ip = ip;
  fill_frame(p, &outer->frame, inner_length);
  return REDIRECT;
}

own_frame enum verdict fill_tunnel6(struct pkt* p, __u16 inner_length) {
  struct eth_header* eth = header(p, 0, sizeof *eth + sizeof(struct tunnel6_header));
  if (!eth) return drop(p, DROP_NO_ROOM);
  struct tunnel6_header* outer = (struct tunnel6_header*)(eth + 1);
  const struct ipv6_header ip = {
      .version_class_flow = net32(6u << 28),
      .payload_length = net16((__u16)(inner_length + sizeof *outer - sizeof ip)),
      .next = PROTO_UDP,
      .hop_limit = TUNNEL_TTL,
      .source = node_of(p)->v6,
      .destination = p->hop.peer,
  };
  eth->type = net16(ETH_IPV6);
  *(struct ipv6_header*)(void*)&outer->ip = ip;
  fill_frame(p, &outer->frame, inner_length);
  return REDIRECT;
}

static __always_inline enum verdict forward_by_tunnel(struct pkt* p) {
  const __u32 l3 = p->l3, inner_length = p->length - l3;
  if (l3 != sizeof(struct eth_header))
    return drop(p, DROP_BAD_HEADER); /* a VLAN tag has no place inside the tunnel */
  const _Bool v4 = is_v4(&p->hop.peer);
  const __u32 bytes = v4 ? sizeof(struct tunnel_header) : sizeof(struct tunnel6_header);
  if (push_tunnel(p, bytes, v4)) return drop(p, DROP_NO_ROOM);
  p->length += bytes;
  return v4 ? fill_tunnel(p, (__u16)inner_length) : fill_tunnel6(p, (__u16)inner_length);
}

static __always_inline enum verdict forward(struct pkt* p) {
  switch (p->hop.kind) {
    case HOP_ENDPOINT: return forward_to_endpoint(p);
    case HOP_HOST: return forward_to_host(p);
    case HOP_TUNNEL: return forward_by_tunnel(p);
    case HOP_DIRECT:
    case HOP_WORLD: return REDIRECT; /* next hop and its MAC are the engine's to find */
    default: return drop(p, DROP_NO_ROUTE);
  }
}

#endif
