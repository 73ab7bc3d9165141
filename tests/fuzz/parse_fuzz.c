/* libFuzzer target: stage 1 alone. The first byte of an input is the origin, the rest a frame. What the
 * parser says of it must lie inside the packet, and what pads the frame behind the packet must not matter. */
#include <stdio.h>

#include "bpf/port/native.c"

static void expect(_Bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "does not hold: %s\n", what);
  abort();
}
#define EXPECT(condition) expect(condition, #condition)

static __u64 same_time(void* context) {
  (void)context;
  return 1000000000000ull;
}

static struct native* new_engine(void) {
  static const struct node kNode = {.v4 = {.bytes = {[10] = 0xff, 0xff, 192, 0, 2, 1}},
                                    .tunnel_port = 0xb512, /* 4789 */
                                    .mtu = 1450,
                                    .masquerade_last = 1,
                                    .vni = 1};
  const __u32 zero = 0;
  struct native* engine = native_new();
  native_set_clock(engine, same_time, NULL);
  native_put(engine, TABLE_node, &zero, &kNode);
  return engine;
}

static enum verdict parse_in_exact_buffer(struct native* engine, struct carried* c, __u8 origin,
                                          const __u8* frame, __u32 size, __u32 padding) {
  __u8* buffer = malloc(size + padding);
  memcpy(buffer, frame, size);
  memset(buffer + size, 0xa5, padding);
  struct native_packet packet = {buffer, size + padding, 0, size + padding, 1, origin};
  struct native_run_state state = {.engine = engine, .packet = &packet};
  const __u32 zero = 0;
  *c = (struct carried){.pkt = {.origin = origin, .ifindex = 1, .length = size + padding},
                        .port = &state,
                        .node = native_lookup(engine, TABLE_node, &zero)};
  const enum verdict verdict = parse(&c->pkt);
  EXPECT(c->pkt.length == packet.length);
  c->port = NULL;
  free(buffer);
  return verdict;
}

static void check(const struct pkt* p, enum verdict verdict) {
  EXPECT(verdict == CONTINUE || verdict == PASS || verdict == DROP);
  EXPECT((verdict == DROP) == (p->reason != DROP_NONE));
  if (verdict != CONTINUE) return;
  EXPECT(p->l3 >= sizeof(struct eth_header) && p->l4 >= p->l3 + sizeof(struct ipv4_header));
  EXPECT(p->end <= p->length);
  EXPECT(p->later || p->l4 + 8u <= p->end);
  EXPECT(!p->quoted || (p->quoted > p->l4 && p->quoted_l4 > p->quoted && p->quoted_l4 + 8u <= p->end));
  EXPECT(!p->later || p->fragment);
  EXPECT(p->v4 == is_v4(&p->now.source) || p->quoted);
}

int LLVMFuzzerTestOneInput(const __u8* data, size_t size) {
  static struct native* engine;
  struct carried plain, padded;
  if (!size) return 0;
  if (!engine) engine = new_engine();
  const __u8 origin = data[0] % 5;
  const enum verdict verdict = parse_in_exact_buffer(engine, &plain, origin, data + 1, (__u32)size - 1, 0);
  check(&plain.pkt, verdict);
  if (verdict == CONTINUE) {
    EXPECT(parse_in_exact_buffer(engine, &padded, origin, data + 1, (__u32)size - 1, 46) == CONTINUE);
    padded.pkt.length -= 46;
    EXPECT(!memcmp(&plain, &padded, sizeof plain));
  }
  if (plain.pkt.fragment) { /* it may have been written down */
    native_free(engine);
    engine = NULL;
  }
  return 0;
}
