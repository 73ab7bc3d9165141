/* The path's port to the kernel: tables as BPF maps, packets as struct __sk_buff. The dozen names the path
 * may use. */
#ifndef THALWEG_PORT_BPF_H
#define THALWEG_PORT_BPF_H

#include "bpf/port/kernel.h"

#include "bpf/port/take_over.h"

#define lookup(p, table, key)        row_of_##table(key)
#define insert(p, table, key, value) bpf_map_update_elem(&tw_##table, key, value, BPF_ANY)

#define forget(p, table, key) bpf_map_delete_elem(&tw_##table, key)

#define is_taking_over            taking_over
#define take_flow_over(p, key)    (taking_over && take_over_flow(p, key))
#define may_be_taken_over(p, key) (taking_over && find_before(key))

/* ---- the packet --------------------------------------------------------------------------------------- */

static __always_inline struct __sk_buff* skb_of(const struct pkt* p) {
  return ((const struct carried*)p)->port;
}

/* The bytes at offset, or NULL where the packet is shorter. Valid until the packet is next resized or summed.
 */
static __always_inline void* header(struct pkt* p, __u32 offset, __u32 length) {
  void *data = (void*)(long)skb_of(p)->data, *end = (void*)(long)skb_of(p)->data_end;
  if (offset > MOST_HEADER_BYTES) return 0;
  __u64 bytes = offset;
  asm volatile("%0 &= 511"
               : "+r"(bytes)); /* the verifier forgets the comparison above when the compiler copies offset */
  void* at = data + bytes;
  return at + length > end ? 0 : at;
}

/* Newer than the headers of Debian 12 (linux/bpf.h of 6.3 and 6.6). */
#define ADJ_ROOM_DECAP_L3_IPV4 (1ull << 7)
#define ADJ_ROOM_DECAP_L3_IPV6 (1ull << 8)
#define TC_NEXT                (-1)
#define TC_DROP                2

#define INNER_ETH 14

static __always_inline int push_tunnel(struct pkt* p, __u32 bytes, _Bool outer_v4) {
  const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
                      (outer_v4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6) |
                      BPF_F_ADJ_ROOM_ENCAP_L2(INNER_ETH) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
  return bpf_skb_adjust_room(skb_of(p), bytes, BPF_ADJ_ROOM_MAC, flags);
}

static __always_inline int pop_tunnel(struct pkt* p, __u32 bytes, _Bool inner_v4) {
  const __u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | (inner_v4 ? ADJ_ROOM_DECAP_L3_IPV4 : ADJ_ROOM_DECAP_L3_IPV6);
  return bpf_skb_adjust_room(skb_of(p), -(__s32)bytes, BPF_ADJ_ROOM_MAC, flags);
}

/* Room between the Ethernet header and what follows. */
static __always_inline int push(struct pkt* p, __u32 bytes) {
  return bpf_skb_adjust_room(skb_of(p), bytes, BPF_ADJ_ROOM_MAC, 0);
}

/* Cuts the packet to length; what was to be segmented no longer is. */
static __always_inline int resize(struct pkt* p, __u32 length) {
  return bpf_skb_change_tail(skb_of(p), length, 0);
}

/* What each segment will carry of a packet that is cut on its way out, bytes; 0: it goes as it is. */
static __always_inline __u32 segment_payload(struct pkt* p) { return skb_of(p)->gso_size; }

/* A VLAN tag the kernel has taken off and keeps beside the packet. */
static __always_inline _Bool is_tagged(struct pkt* p) { return skb_of(p)->vlan_present != 0; }

static __always_inline int fix_checksum(struct pkt* p, __u32 at, __u32 change, enum checksum_part part) {
  __u64 flags = part == PSEUDO_HEADER ? BPF_F_PSEUDO_HDR : 0;
  if (p->protocol == 17 && !p->quoted) flags |= BPF_F_MARK_MANGLED_0;
  return bpf_l4_csum_replace(skb_of(p), at, 0, change, flags);
}

#endif
