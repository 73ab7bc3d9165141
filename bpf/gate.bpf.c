/* The gate: while the tables of another layout take over, every tc hook runs one of these, and one word says
 * whose programs go on: those of the build before, or the new ones. All hooks change sides with that word, so
 * no flow is opened by one and answered by the other. XDP meanwhile leaves everything to tc. Attached and
 * taken away by dataplane/ebpf/program.cc.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

enum side { BEFORE = 0, AFTER, SIDES };
enum hook { POD_SENDS = 0, POD_RECEIVES, UPLINK_RECEIVES, HOST_SENDS, UPLINK_SENDS, HOOKS };

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32); /* enum side */
} gate SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, SIDES* HOOKS);
  __type(key, __u32);
  __type(value, __u32);
} sides SEC(".maps");

#define TC_NEXT (-1)
#define TC_DROP 2

static __always_inline int pass(struct __sk_buff* skb, enum hook hook) {
  const __u32 zero = 0;
  const __u32* side = bpf_map_lookup_elem(&gate, &zero);
  bpf_tail_call(skb, &sides, side && *side ? HOOKS + hook : hook);
  /* No program there: fail closed. But what the host sends by the uplink a build may have left alone. */
  return hook == UPLINK_SENDS ? TC_NEXT : TC_DROP;
}

SEC("tc") int from_pod(struct __sk_buff* skb) { return pass(skb, POD_SENDS); }
SEC("tc") int to_pod(struct __sk_buff* skb) { return pass(skb, POD_RECEIVES); }
SEC("tc") int from_uplink(struct __sk_buff* skb) { return pass(skb, UPLINK_RECEIVES); }
SEC("tc") int from_host(struct __sk_buff* skb) { return pass(skb, HOST_SENDS); }
SEC("tc") int to_uplink(struct __sk_buff* skb) { return pass(skb, UPLINK_SENDS); }
SEC("xdp.frags") int at_uplink(struct xdp_md* ctx) { return XDP_PASS; }

char LICENSE[] SEC("license") = "GPL";
