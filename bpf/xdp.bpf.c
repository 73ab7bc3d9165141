/* The XDP entry: what comes in by the uplink and leaves by it again, without an skb in between: NodePort and
 * load balancer traffic whose backend is on another node, and the answers to it. Only flows that stand
 * written down; the first packets, and whatever is not plain, pass untouched to from_uplink of tc.bpf.c,
 * whose tables these are. Attached by dataplane/ebpf. */
#include "bpf/port/xdp.h"

#include "bpf/path/1_parse.h"
#include "bpf/path/2_flow.h"
#include "bpf/path/4_identity.h"
#include "bpf/path/6_rewrite.h"
#include "bpf/path/7_forward.h"

/* Only TCP and UDP whole in one packet, with nothing to be told to anyone. */
static __always_inline _Bool is_plain(const struct pkt* p) {
  return (p->protocol == PROTO_TCP || p->protocol == PROTO_UDP) && !p->quoted && !p->fragment &&
         p->l3 == sizeof(struct eth_header) && !is_connecting(p);
}

/* On its way out again, as the flow's entry says: without one that holds there is no hop. The first answer
 * moves the entry: tc's. */
static __always_inline _Bool is_passing_through(const struct pkt* p) {
  if (p->hop.ifindex != p->ifindex || (p->opening && p->reply)) return 0;
  return p->hop.kind == HOP_WORLD ||
         (!p->tunneled && (p->hop.kind == HOP_TUNNEL || p->hop.kind == HOP_DIRECT));
}

/* A sender on this machine leaves a checksum to a device that never comes: what stands there then is the sum
 * of the pseudo-header alone, not complemented. A finished one may look the same, once in 65535. */
static __always_inline _Bool is_unfinished(struct pkt* p) {
  const __u16* field = header(p, p->l4 + checksum_offset(p), sizeof *field);
  if (!field) return 1;
  __u32 sum = add_sum(p->now.source.words[3], p->now.destination.words[3]);
  if (!p->v4)
    unrolled for (int i = 0; i < 3; ++i) sum =
        add_sum(sum, add_sum(p->now.source.words[i], p->now.destination.words[i]));
  sum = add_sum(sum, add_sum(net16(p->protocol), net16((__u16)(p->end - p->l4))));
  return *field == fold(sum);
}

#define AF_INET  2
#define AF_INET6 10

static __always_inline void say_v4(struct bpf_fib_lookup* way, __u32 source, __u32 destination) {
  way->family = AF_INET;
  way->ipv4_src = source;
  way->ipv4_dst = destination;
}
static __always_inline void say_v6(struct bpf_fib_lookup* way, const struct addr* source,
                                   const struct addr* destination) {
  way->family = AF_INET6;
  copy(way->ipv6_src, source, sizeof *source);
  copy(way->ipv6_dst, destination, sizeof *destination);
}

static __always_inline __u16 tunnel_bytes(const struct pkt* p) {
  return is_v4(&p->hop.peer) ? sizeof(struct tunnel_header) : sizeof(struct tunnel6_header);
}

/* Whose address is on the wire, and what the frame will then be. */
static __always_inline void describe_way(struct pkt* p, struct bpf_fib_lookup* way) {
  const struct addr* to = p->hop.kind == HOP_DIRECT ? &p->hop.peer : &p->to.destination;
  way->ifindex = p->ifindex;
  way->l4_protocol = p->protocol;
  way->tot_len = (__u16)(p->length - p->l3);
  if (p->hop.kind == HOP_TUNNEL) {
    way->l4_protocol = PROTO_UDP;
    way->tot_len += tunnel_bytes(p);
    if (is_v4(&p->hop.peer))
      say_v4(way, node_of(p)->v4.words[3], p->hop.peer.words[3]);
    else
      say_v6(way, &node_of(p)->v6, &p->hop.peer);
  } else if (is_v4(to)) {
    say_v4(way, p->to.source.words[3], to->words[3]);
  } else {
    say_v6(way, &p->to.source, to);
  }
}

/* By the kernel's own routes and neighbours, as tc goes: no other interface, and a neighbour that is known.
 * The frame must have been for this node's MAC, which is the one it leaves with. */
own_frame _Bool find_next_hop(struct pkt* p) {
  struct bpf_fib_lookup way = {};
  describe_way(p, &way);
  if (bpf_fib_lookup(packet_of(p)->ctx, &way, sizeof way, BPF_FIB_LOOKUP_OUTPUT)) return 0;
  if (way.ifindex != p->ifindex) return 0;
  copy(p->hop.mac, way.dmac, 6);
  copy(p->hop.host_mac, way.smac, 6);
  return 1;
}

static __always_inline _Bool is_for_this_mac(struct pkt* p) {
  const void* data = (const void*)(long)packet_of(p)->ctx->data;
  const void* end = (const void*)(long)packet_of(p)->ctx->data_end;
  if (data + sizeof(struct eth_header) > end) return 0;
  return same_mac(data, p->hop.host_mac);
}

static __always_inline _Bool has_ttl(struct pkt* p) {
  const __u8* ttl = header(p, p->l3 + (p->v4 ? 8 : 7), 1);
  return ttl && *ttl > 1;
}

/* Until this says yes the packet is as it came. */
static __always_inline _Bool takes(struct pkt* p) {
  if (parse(p) || !is_plain(p)) return 0;
  if (flow(p) || !is_passing_through(p)) return 0;
  if (is_too_big(p) || !has_ttl(p) || is_unfinished(p)) return 0;
  if (!find_next_hop(p) || !is_for_this_mac(p)) return 0;
  return p->hop.kind != HOP_TUNNEL || !make_room(p, tunnel_bytes(p));
}

static __always_inline enum verdict send(struct pkt* p) {
  enum verdict verdict = spend_ttl(p);
  if (!verdict && p->nat) verdict = translate(p);
  if (!verdict && p->tunneled && take_tunnel_off(p)) verdict = drop(p, DROP_NO_ROOM);
  if (!verdict && p->hop.kind == HOP_TUNNEL) verdict = forward_by_tunnel(p);
  return verdict == DROP ? DROP : write_macs(p, p->hop.mac, p->hop.host_mac);
}

/* Whether any packet has ever come that is not for here: this is all that most nodes pay. */
static __always_inline _Bool passes_by(void) {
  const __u32 zero = 0;
  const __u32* noted = lookup(0, passes_by, &zero);
  return noted && *noted;
}

SEC("xdp.frags") int at_uplink(struct xdp_md* ctx) {
  if (!passes_by()) return XDP_PASS;
  const __u32 zero = 0;
  struct xdp_packet packet = {.ctx = ctx};
  struct carried c = {.pkt = {.origin = FROM_UPLINK,
                              .ifindex = ctx->ingress_ifindex,
                              .length = (__u32)bpf_xdp_get_buff_len(ctx)},
                      .port = &packet};
  struct pkt* p = &c.pkt;
  const __u32 length = p->length;
  c.node = lookup(p, node, &zero);
  if (!c.node || !c.node->masquerade_last || !takes(p)) return XDP_PASS;
  const enum verdict verdict = send(p);
  if (verdict == REDIRECT) p->reason = DROP_NONE;
  count(p, p->reason, length);
  count(p, COUNTER_XDP, length);
  return verdict == REDIRECT ? XDP_TX : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
