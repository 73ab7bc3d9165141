/* The table of flows: where the path writes its decisions down. Rows stand in sets; what tells a set's rows
 * apart are their tags, which share one cache line. That a flow is not there costs one access to memory, that
 * it is costs two. Where the kernel's hash tables move lists and give rows back, a row here is written in its
 * place.
 *
 * Of a set's rows the first are of flows that were answered, the others of flows that are opening. Each kind
 * gives way to its own: opening flows in turn, settled ones the longest unseen of some. So floods of opening
 * packets push each other out, and never an answered flow.
 *
 * CPUs meet here without locks. Who changes a tag to TAG_BUSY owns the row until it has another tag; readers
 * look at the stamp before and after. All of it counts on stores being seen in the order they were made
 * (x86). */
#ifndef THALWEG_FLOWS_H
#define THALWEG_FLOWS_H

#include "bpf/path/headers.h"
#include "bpf/path/pkt.h"

#define SECONDS 1000000000ull

/* How long an entry stands without a packet. TCP established: RFC 5382 §5 asks for at least 2 h 4 min; UDP:
 * RFC 4787 §4.3 for at least 2 minutes; ICMP: RFC 5508 §3.2 for at least 60 seconds. */
#define TIMEOUT_TCP_OPENING     (60 * SECONDS)
#define TIMEOUT_TCP_ESTABLISHED (7440 * SECONDS)
#define TIMEOUT_TCP_CLOSING     (30 * SECONDS)
#define TIMEOUT_SCTP            (210 * SECONDS) /* RFC 9260 §8.3, §16: five heartbeats unanswered, and RTO.Max */
#define TIMEOUT_UDP             (120 * SECONDS)
#define TIMEOUT_ICMP            (60 * SECONDS)

#define EVERY_LANE   0x0001000100010001ull /* four tags a word */
#define LANE_TOPS    0x8000800080008000ull
#define KEY_WORDS    (sizeof(struct flow_key) / 8)
#define CLAIM_TRIES  4
#define VICTIMS_SEEN 4

#define now_in_memory(where) (*(volatile __typeof__(where)*)&(where))
#define in_this_order()      __asm__ volatile("" ::: "memory")

/* For the verifier, which forgets what the compiler knows. */
#define bounded(number, bound)           \
  do {                                   \
    __asm__ volatile("" : "+r"(number)); \
    if (number >= (bound)) number = 0;   \
  } while (0)

struct home {
  __u32 set;
  __u16 tag;
};

/* Sums of such products are universal in their upper half (Dietzfelbinger 1996): who does not know the secret
 * finds no keys that meet. */
static __always_inline __u64 scattered(__u64 word, const __u64* secret) {
  return ((__u32)word + secret[0]) * ((word >> 32) + secret[1]);
}

static __always_inline struct home home_at(__u64 hash, __u32 sets) {
  const __u64 at = (hash >> 32) * sets;
  const __u16 tag = (__u16)((__u32)at >> 16);
  const struct home home = {.set = (__u32)(at >> 32), .tag = tag < FIRST_TAG ? tag + FIRST_TAG : tag};
  return home;
}

static __always_inline struct home home_of(struct pkt* p, const struct flow_key* key) {
  const __u32 zero = 0;
  const struct flow_secret* secret = lookup(p, flow_secret, &zero);
  const __u64* words = (const __u64*)(const void*)key;
  __u64 sum = 0;
  if (secret)
    unrolled for (__u32 i = 0; i < KEY_WORDS; ++i) sum += scattered(words[i], &secret->words[2 * i]);
  return home_at(sum, FLOW_SETS);
}

/* At the first packet of all. Whoever else does it meanwhile comes to the same words. */
proved_alone int make_secret(struct pkt* p) {
  const __u32 zero = 0;
  struct flow_secret* secret = p ? lookup(p, flow_secret, &zero) : 0;
  if (!secret) return 0;
  for (int i = 15; i >= 0; --i) {
    const __u64 word = (__u64)random32(p) << 32 | random32(p) | 1;
    (void)__sync_val_compare_and_swap(&secret->words[i], 0, word);
  }
  return 0;
}

static __always_inline void need_secret(struct pkt* p) {
  const __u32 zero = 0;
  const struct flow_secret* secret = lookup(p, flow_secret, &zero);
  if (secret && !secret->words[0]) make_secret(p);
}

/* The top bit of each lane that is zero; above the first such lane there may be others too many. */
static __always_inline __u64 empty_lanes(__u64 word) { return (word - EVERY_LANE) & ~word & LANE_TOPS; }

static __always_inline __u32 first_lane(__u64 tops) {
  if (tops & 0x80008000u) return tops & 0x8000u ? 0 : 1;
  return tops & 0x800000000000ull ? 2 : 3;
}

static __always_inline _Bool same_key(const struct flow_key* one, const struct flow_key* other) {
  const __u64 *a = (const __u64*)(const void*)one, *b = (const __u64*)(const void*)other;
  __u64 differs = 0;
  unrolled for (__u32 i = 0; i < KEY_WORDS; ++i) differs |= a[i] ^ b[i];
  return !differs;
}

/* A row's number: of its set, and which of that. Never 0. */
static __always_inline __u32 number_of(__u32 set, __u32 way) { return (set + 1) << 5 | way; }
static __always_inline __u32 set_of(__u32 number) { return (number >> 5) - 1; }
static __always_inline __u32 way_of_row(__u32 number) { return number & 31; }
static __always_inline _Bool is_opening_row(__u32 number) { return way_of_row(number) >= SETTLED_WAYS; }

static __always_inline __u32 row_index(__u32 set, __u32 way, __u32 sets) {
  if (way < SETTLED_WAYS) return set * SETTLED_WAYS + way;
  return (sets - 1) * SETTLED_WAYS + set * (SET_WAYS - SETTLED_WAYS) + way;
}

static __always_inline struct flow_row* row_in(struct pkt* p, __u32 set, __u32 way) {
  const __u32 index = row_index(set, way, FLOW_SETS);
  return lookup(p, flows, &index);
}
static __always_inline struct flow_row* row_of(struct pkt* p, __u32 number) {
  return row_in(p, set_of(number), way_of_row(number));
}

/* The number of the key's row; 0: it has none. */
proved_alone __u32 find_row(struct pkt* p, const struct flow_key* key) {
  if (!p || !key) return 0;
  const struct home home = home_of(p, key);
  const struct flow_set* set = lookup(p, flow_sets, &home.set);
  if (!set) return 0;
  rolled for (__u32 word = 0; word < SET_WAYS / 4; ++word) {
    __u64 hits = empty_lanes(now_in_memory(set->words[word]) ^ home.tag * EVERY_LANE);
    rolled for (int i = 0; i < 4 && hits; ++i, hits &= hits - 1) {
      const __u32 way = word * 4 + first_lane(hits);
      const struct flow_row* row = row_in(p, home.set, way);
      if (!row) continue;
      p->stamp = now_in_memory(row->stamp);
      in_this_order();
      if (same_key(&row->key, key)) return number_of(home.set, way);
    }
  }
  return 0;
}

/* Whether what was read of the row since it was found is all of the flow that was looked for. */
static __always_inline _Bool is_still_there(const struct pkt* p, const struct flow_row* row) {
  in_this_order();
  return p->stamp && now_in_memory(row->stamp) == p->stamp;
}

/* False: someone else was faster. */
static __always_inline _Bool change_tag(struct flow_set* set, __u32 way, __u16 from, __u16 to) {
  const __u32 shift = way % 4 * 16;
  __u64* word = &set->words[way / 4 % 8];
  rolled for (int i = 0; i < CLAIM_TRIES; ++i) {
    const __u64 before = now_in_memory(*word);
    if ((__u16)(before >> shift) != from) return 0;
    const __u64 after = before ^ (__u64)(__u16)(from ^ to) << shift;
    if (__sync_val_compare_and_swap(word, before, after) == before) return 1;
  }
  return 0;
}

static __always_inline void give_tag(struct flow_set* set, __u32 way, __u16 tag) {
  in_this_order();
  now_in_memory(set->tags[way]) = tag;
}

/* ---- how long they stand ------------------------------------------------------------------------------ */

static __always_inline __u64 timeout_ns(const struct flow* flow, __u8 protocol) {
  if (protocol == PROTO_UDP) return TIMEOUT_UDP;
  if (!is_connection(protocol)) return TIMEOUT_ICMP;
  if (flow->tcp & FLOW_TCP_CLOSING) return TIMEOUT_TCP_CLOSING;
  if (!(flow->tcp & FLOW_TCP_ANSWERED)) return TIMEOUT_TCP_OPENING;
  return protocol == PROTO_TCP ? TIMEOUT_TCP_ESTABLISHED : TIMEOUT_SCTP;
}

/* ---- making room -------------------------------------------------------------------------------------- */

static __always_inline __u32 free_way(const struct flow_set* set, __u32 from, __u32 to) {
  rolled for (__u32 word = from / 4; word < to / 4; ++word) {
    const __u64 none = empty_lanes(now_in_memory(set->words[word]));
    if (none) return word * 4 + first_lane(none);
  }
  return SET_WAYS;
}

/* Of some settled rows in turn, the one no packet has asked for the longest. */
static __always_inline __u32 longest_unseen(struct pkt* p, __u32 set, __u32 turn) {
  __u64 oldest_ns = ~0ull;
  __u32 oldest = 0;
  rolled for (__u32 i = 0; i < VICTIMS_SEEN; ++i) {
    const __u32 way = (turn * VICTIMS_SEEN + i) % SETTLED_WAYS;
    const struct flow_row* row = row_in(p, set, way);
    if (!row || row->flow.last_seen_ns >= oldest_ns) continue;
    oldest_ns = row->flow.last_seen_ns;
    oldest = way;
  }
  return oldest;
}

static __always_inline __u32 choose_way(struct pkt* p, const struct flow_set* set, __u32 at, _Bool opening,
                                        __u32 turn) {
  const __u32 free = opening ? free_way(set, SETTLED_WAYS, SET_WAYS) : free_way(set, 0, SETTLED_WAYS);
  if (free < SET_WAYS) return free;
  return opening ? SETTLED_WAYS + turn % (SET_WAYS - SETTLED_WAYS) : longest_unseen(p, at, turn);
}

/* Its way in the set, now this CPU's alone; SET_WAYS: none could be had. */
static __always_inline __u32 claim_way(struct pkt* p, struct flow_set* set, __u32 at, _Bool opening,
                                       __u32 turn) {
  rolled for (__u32 i = 0; i < CLAIM_TRIES; ++i) {
    __u32 way = choose_way(p, set, at, opening, turn + i);
    bounded(way, SET_WAYS);
    const __u16 tag = now_in_memory(set->tags[way]);
    if (tag == TAG_BUSY || !change_tag(set, way, tag, TAG_BUSY)) continue;
    if (now_in_memory(set->held) & 1u << way) {
      give_tag(set, way, tag);
      continue;
    }
    if (tag != TAG_NONE) count(p, opening ? COUNTER_OPENING_PUSHED_OUT : COUNTER_SETTLED_PUSHED_OUT, 0);
    return way;
  }
  return SET_WAYS;
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* What is to be written stands here: functions that write have little stack left. */
static __always_inline struct flow_row* draft_of(struct pkt* p) {
  const __u32 zero = 0;
  return lookup(p, scratch, &zero);
}

/* The number of the draft's row; 0: other CPUs were in the way, and the next packet will decide once more. */
proved_alone __u32 write_row(struct pkt* p, const struct flow_row* draft, __u32 opening) {
  if (!p || !draft) return 0;
  const struct home home = home_of(p, &draft->key);
  struct flow_set* set = lookup(p, flow_sets, &home.set);
  if (!set) return 0;
  const __u32 turn = __sync_fetch_and_add(&set->written, 1);
  __u32 way = claim_way(p, set, home.set, !!opening, turn);
  if (way >= SET_WAYS) return 0;
  bounded(way, SET_WAYS);
  struct flow_row* row = row_in(p, home.set, way);
  if (!row) return 0;
  now_in_memory(row->stamp) = 0;
  in_this_order();
  row->flow = draft->flow;
  row->key = draft->key;
  in_this_order();
  now_in_memory(row->stamp) = turn << 1 | 1;
  give_tag(set, way, home.tag);
  return number_of(home.set, way);
}

/* False: someone else has, or the row is another's by now. */
static __always_inline _Bool forget_row(struct pkt* p, __u32 number, const struct flow_key* key) {
  const struct home home = home_of(p, key);
  struct flow_set* set = lookup(p, flow_sets, &home.set);
  struct flow_row* row = number ? row_of(p, number) : 0;
  if (!set || !row) return 0;
  __u32 way = way_of_row(number);
  bounded(way, SET_WAYS);
  if (!change_tag(set, way, home.tag, TAG_BUSY)) return 0;
  now_in_memory(row->stamp) = 0;
  give_tag(set, way, TAG_NONE);
  return 1;
}

static __always_inline __u32 write_draft(struct pkt* p, __u32 opening) {
  const struct flow_row* draft = draft_of(p);
  return draft ? write_row(p, draft, opening) : 0;
}

/* Makes way for the draft: takes away what is over and stands under its key. */
proved_alone int clear_draft(struct pkt* p) {
  const struct flow_row* draft = p ? draft_of(p) : 0;
  if (!draft) return 0;
  const __u32 number = find_row(p, &draft->key);
  return number && forget_row(p, number, &draft->key);
}

/* The number of the key's row, should it be opening; it is the draft now. */
static __always_inline __u32 draft_opening(struct pkt* p, const struct flow_key* key) {
  const __u32 number = find_row(p, key);
  const struct flow_row* row = row_of(p, number);
  struct flow_row* draft = draft_of(p);
  if (!row || !draft || !is_opening_row(number)) return 0;
  draft->flow = row->flow;
  draft->key = *key;
  return is_still_there(p, row) ? number : 0;
}

/* The draft stands twice, opening and settled. Where two CPUs do this at once, only one of theirs stays. */
proved_alone int forget_opening(struct pkt* p, __u32 opening, __u32 settled) {
  const struct flow_row* draft = p ? draft_of(p) : 0;
  if (!draft || !settled) return 0;
  return forget_row(p, opening, &draft->key) || forget_row(p, settled, &draft->key);
}

/* To change a row in place: until it is let go, no one else does, and it gives way to no one. */
static __always_inline _Bool hold_row(struct pkt* p, __u32 number, const struct flow_key* key) {
  const struct home home = home_of(p, key);
  struct flow_set* set = lookup(p, flow_sets, &home.set);
  const struct flow_row* row = row_of(p, number);
  if (!set || !row) return 0;
  __u32 way = way_of_row(number);
  bounded(way, SET_WAYS);
  if (__sync_fetch_and_or(&set->held, 1u << way) & 1u << way) return 0;
  if (now_in_memory(set->tags[way]) == home.tag && same_key(&row->key, key)) return 1;
  (void)__sync_fetch_and_and(&set->held, ~(1u << way));
  return 0;
}

static __always_inline void let_go(struct pkt* p, __u32 number) {
  const __u32 at = set_of(number);
  struct flow_set* set = lookup(p, flow_sets, &at);
  if (set) (void)__sync_fetch_and_and(&set->held, ~(1u << way_of_row(number)));
}

#endif
