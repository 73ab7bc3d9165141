/* The path's port to XDP: packets as struct xdp_md, before the kernel has made an skb of them. It reads what
 * is behind a tunnel header where it stands, and makes no rows: whatever needs one, tc does. Included by
 * xdp.bpf.c. */
#ifndef THALWEG_PORT_XDP_H
#define THALWEG_PORT_XDP_H

#include "bpf/port/kernel.h"

#define lookup(p, table, key)        bpf_map_lookup_elem(&tw_##table, key)
#define insert(p, table, key, value) ((void)(key), (void)(value), 0)
#define forget(p, table, key)        ((void)(key))

/* Nothing is taken over here: meanwhile all packets pass (gate.bpf.c). */
#define is_taking_over            0
#define take_flow_over(p, key)    0
#define may_be_taken_over(p, key) 0

/* What the path calls the packet begins at base: behind a tunnel header not yet taken off, or behind the room
 * for one not yet written. */
struct xdp_packet {
  struct xdp_md* ctx;
  __u32 base;
};

static __always_inline struct xdp_packet* packet_of(const struct pkt* p) {
  return ((const struct carried*)p)->port;
}

/* The bytes at offset, or NULL where the packet is shorter. Valid until the packet is next resized. */
static __always_inline void* header(struct pkt* p, __u32 offset, __u32 length) {
  const struct xdp_packet* packet = packet_of(p);
  void *data = (void*)(long)packet->ctx->data, *end = (void*)(long)packet->ctx->data_end;
  if (offset > MOST_HEADER_BYTES) return 0;
  asm volatile(
      "%0 &= 511"
      : "+r"(offset)); /* the verifier forgets the comparison above when the compiler copies offset */
  void* at = data + packet->base + offset;
  return at + length > end ? 0 : at;
}

/* Nothing moves yet: the packet may still be left to tc, as it came. */
static __always_inline int pop_tunnel(struct pkt* p, __u32 bytes, _Bool inner_v4) {
  packet_of(p)->base = bytes;
  return 0;
}
static __always_inline int take_tunnel_off(struct pkt* p) {
  const __u32 bytes = packet_of(p)->base;
  packet_of(p)->base = 0;
  return bpf_xdp_adjust_head(packet_of(p)->ctx, bytes);
}

/* Room for a tunnel header comes first, since a driver may have none; the header itself last. */
static __always_inline int make_room(struct pkt* p, __u32 bytes) {
  packet_of(p)->base = bytes;
  return bpf_xdp_adjust_head(packet_of(p)->ctx, -(__s32)bytes);
}
static __always_inline int push_tunnel(struct pkt* p, __u32 bytes, _Bool outer_v4) {
  packet_of(p)->base = 0;
  return 0;
}

#define segment_payload(p) 0u /* no one has put segments together yet, or else they are too big */
#define is_tagged(p)       0  /* a tag is among the bytes */

/* RFC 1624 eqn. 3. A UDP checksum of 0 means "none" and stays; one that becomes 0 is sent as 0xffff (RFC
 * 768). */
static __always_inline int fix_checksum(struct pkt* p, __u32 at, __u32 change, enum checksum_part part) {
  __u16* field = header(p, at, sizeof *field);
  if (!field) return -1;
  const _Bool udp = p->protocol == 17;
  if (udp && !*field) return 0;
  __u32 sum = (__u16) ~*field + (change & 0xffff) + (change >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  const __u16 checksum = (__u16) ~((sum & 0xffff) + (sum >> 16));
  *field = udp && !checksum ? 0xffff : checksum;
  return 0;
}

#endif
