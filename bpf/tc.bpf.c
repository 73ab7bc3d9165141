/* The tc entries: hand a packet to the path, turn its verdict into what tc understands. Attached by
 * dataplane/ebpf: from_pod     ingress of the host side of a pod's veth to_pod       egress of it: what the
 * host's stack sends to the pod from_uplink  ingress of the interface to the underlay to_uplink    egress of
 * it from_host    ingress of the far end of the host's leg */
#include "bpf/port/bpf.h"

#include "bpf/path/path.h"
#include "bpf/port/take_over_flows.h"

#define PULL_BYTES \
  192 /* enough for every header the path reads: Ethernet, IPv6 with extensions, ICMP, a quoted packet */

/* What the last packet on this CPU came to, for BPF_PROG_TEST_RUN: tests compare it with the other engines'.
 */
struct outcome {
  __u32 verdict;
  __u32 reason;
  struct hop hop;
  __u32 rule;
  __u32 pad;
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct outcome);
} tw_outcome SEC(".maps");

const volatile _Bool record_outcomes =
    0; /* set by tests before loading; otherwise the verifier prunes it all */

static __always_inline void record(const struct pkt* p, enum verdict verdict) {
  const __u32 zero = 0;
  struct outcome* out = bpf_map_lookup_elem(&tw_outcome, &zero);
  if (!out) return;
  out->verdict = verdict;
  out->reason = p->reason;
  out->hop = p->hop;
  out->rule = p->rule;
}

/* To a neighbour on the link. The kernel then looks for its MAC only, and for no route. */
static __always_inline int redirect_to_peer(const struct pkt* p) {
  struct bpf_redir_neigh next = {};
  if (is_v4(&p->hop.peer)) {
    next.nh_family = 2; /* AF_INET */
    next.ipv4_nh = p->hop.peer.words[3];
  } else {
    next.nh_family = 10; /* AF_INET6 */
    copy(next.ipv6_nh, p->hop.peer.words, 16);
  }
  return bpf_redirect_neigh(p->hop.ifindex, &next, sizeof next, 0);
}

static __always_inline int redirect(struct __sk_buff* skb, const struct pkt* p) {
  switch (p->hop.kind) {
    case HOP_ENDPOINT: return bpf_redirect_peer(p->hop.ifindex, 0);
    case HOP_HOST: return bpf_redirect(p->hop.ifindex, BPF_F_INGRESS);
    case HOP_DIRECT: return redirect_to_peer(p);
    case HOP_TUNNEL:
      if (p->hop.flags & ROUTE_NEIGHBOUR) return redirect_to_peer(p);
      break;
    default: break;
  }
  return bpf_redirect_neigh(p->hop.ifindex, 0, 0, 0); /* the kernel's own routes and neighbours */
}

/* Where the IP packet at `at` has its payload, if it is plain TCP and its headers are in one piece; or 0. */
static __always_inline void* payload_of_tcp(void* at, void* end) {
  const struct ipv4_header* ip = at;
  const struct ipv6_header* ip6 = at;
  struct tcp_header* tcp;
  if ((void*)(ip + 1) > end) return 0;
  if (ip->version_and_length == 0x45) {
    if (ip->protocol != PROTO_TCP || ip->fragment & net16(0x3fff)) return 0;
    tcp = (void*)(ip + 1);
  } else {
    if ((void*)(ip6 + 1) > end || ip->version_and_length >> 4 != 6 || ip6->next != PROTO_TCP) return 0;
    tcp = (void*)(ip6 + 1);
  }
  if ((void*)(tcp + 1) > end) return 0;
  return (void*)tcp + (tcp->data_offset >> 4) * 4;
}

/* A stack keeps TCP's headers in one piece and its payload elsewhere. To pull that in would copy the headers,
 * since the sender holds the packet until it is acknowledged. */
static __always_inline _Bool has_headers(struct __sk_buff* skb, enum origin origin) {
  void *data = (void*)(long)skb->data, *end = (void*)(long)skb->data_end;
  if (data + PULL_BYTES <= end || end - data == skb->len) return 1;
  void* payload = payload_of_tcp(data + sizeof(struct eth_header), end);
  if (!payload && origin == FROM_UPLINK)
    payload = payload_of_tcp(data + sizeof(struct eth_header) + sizeof(struct tunnel_header), end);
  return payload && payload <= end;
}

static __always_inline int run(struct __sk_buff* skb, enum origin origin) {
  /* The host's stack has its headers in one piece, and what it keeps of the packet is not to be copied. */
  if (origin != TO_UPLINK && !has_headers(skb, origin))
    bpf_skb_pull_data(skb, skb->len < PULL_BYTES ? skb->len : PULL_BYTES);
  struct carried c = {.pkt = {.origin = origin, .ifindex = skb->ifindex, .length = skb->len}, .port = skb};
  const enum verdict verdict = origin == TO_UPLINK ? host_answer(&c) : path(&c);
  if (record_outcomes) record(&c.pkt, verdict);
  switch (verdict) {
    case DROP: return TC_DROP;
    case REDIRECT: return redirect(skb, &c.pkt);
    default: return TC_NEXT;
  }
}

SEC("tc") int from_pod(struct __sk_buff* skb) { return run(skb, FROM_POD); }
SEC("tc") int to_pod(struct __sk_buff* skb) { return run(skb, TO_POD); }
SEC("tc") int from_uplink(struct __sk_buff* skb) { return run(skb, FROM_UPLINK); }
SEC("tc") int from_host(struct __sk_buff* skb) { return run(skb, FROM_HOST); }

/* What came in by any interface is no answer of the host's: it was redirected by the programs above, or
 * routed. */
SEC("tc") int to_uplink(struct __sk_buff* skb) {
  return skb->ingress_ifindex ? TC_NEXT : run(skb, TO_UPLINK);
}

char LICENSE[] SEC("license") = "GPL";
