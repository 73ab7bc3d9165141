/* Taking over the path's own memory when its layout has changed (docs/survival.md). The programs of the new
 * build look into the LRU tables of the build before when their own have no row, and move what they find: a
 * flow is never lost between two tables. Included by bpf.h; pruned by the verifier except while
 * dataplane/ebpf/exchange.cc takes over. */
#ifndef THALWEG_PORT_TAKE_OVER_H
#define THALWEG_PORT_TAKE_OVER_H

const volatile _Bool taking_over = 0;

#define MOST_KEY_BYTES   64
#define MOST_VALUE_BYTES 512
#define NOT_CARRIED      0xffffu /* this byte is new: zero */

/* A row on its way from one layout to the other. */
struct taken {
  __u8 key[MOST_KEY_BYTES];
  __u8 value[MOST_VALUE_BYTES];
};

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct taken);
} tw_taken SEC(".maps");

/* For an LRU table: the table before (its sizes come from the real one), and for every byte of the old key
 * and of the new value the byte of the new key and of the old value it is taken from. All of it is known when
 * the programs are loaded, so the verifier sees constant offsets. A function verified by itself: it is the
 * same for every caller. */
#define TAKE_OVER_LRU(name, key_type, value_type)                                                 \
  struct {                                                                                        \
    __uint(type, BPF_MAP_TYPE_HASH);                                                              \
    __uint(max_entries, 1);                                                                       \
    __type(key, key_type);                                                                        \
    __type(value, value_type);                                                                    \
  } tw_##name##_before SEC(".maps");                                                              \
  const volatile __u8 name##_taken_over = 0;                                                      \
  const volatile __u16 name##_old_key[MOST_KEY_BYTES] = {};                                       \
  const volatile __u16 name##_new_value[sizeof(value_type)] = {};                                 \
  __attribute__((noinline)) int take_over_##name(const key_type* key) {                           \
    const __u32 zero = 0;                                                                         \
    struct taken* taken = bpf_map_lookup_elem(&tw_taken, &zero);                                  \
    if (!key || !taken || !name##_taken_over) return 0;                                           \
    for (__u32 i = 0; i < MOST_KEY_BYTES; ++i) {                                                  \
      const __u32 from = name##_old_key[i];                                                       \
      taken->key[i] = from < sizeof *key ? ((const __u8*)key)[from] : 0;                          \
    }                                                                                             \
    const __u8* before = bpf_map_lookup_elem(&tw_##name##_before, taken->key);                    \
    if (!before) return 0;                                                                        \
    for (__u32 i = 0; i < sizeof(value_type); ++i) {                                              \
      const __u32 from = name##_new_value[i];                                                     \
      taken->value[i] = from != NOT_CARRIED ? before[from] : 0;                                   \
    }                                                                                             \
    bpf_map_update_elem(&tw_##name, key, taken->value, BPF_NOEXIST);                              \
    bpf_map_delete_elem(&tw_##name##_before, taken->key);                                         \
    return 1;                                                                                     \
  }                                                                                               \
  static __always_inline value_type* row_of_##name(const key_type* key) {                         \
    value_type* row = bpf_map_lookup_elem(&tw_##name, key);                                       \
    if (taking_over && !row && take_over_##name(key)) row = bpf_map_lookup_elem(&tw_##name, key); \
    return row;                                                                                   \
  }

/* Flows stand in rows that the path finds by itself (path/flows.h), also those of the build before: by a hash
 * of their keys with the same secret. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct flow_set);
} tw_flow_sets_before SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct flow_row);
} tw_flows_before SEC(".maps");
const volatile __u8 flows_taken_over = 0;
const volatile __u32 flow_sets_before = 0;                          /* how many there are */
const volatile __u32 flows_key_before = 0, flows_key_words = 0;     /* where the key is in an old row */
const volatile __u16 flows_old_key[MOST_KEY_BYTES] = {};            /* as above */
const volatile __u16 flows_new_value[sizeof(struct flow_row)] = {}; /* as above, of whole rows */

struct flow_key;
struct pkt;
proved_alone __u32 find_before(const struct flow_key* key);
proved_alone int take_over_flow(struct pkt* p, const struct flow_key* key);

#define TAKE_OVER_NONE(name, key_type, value_type)                        \
  static __always_inline value_type* row_of_##name(const key_type* key) { \
    return bpf_map_lookup_elem(&tw_##name, key);                          \
  }
#define TAKE_OVER_ARRAY        TAKE_OVER_NONE
#define TAKE_OVER_SETS         TAKE_OVER_NONE
#define TAKE_OVER_ROWS         TAKE_OVER_NONE
#define TAKE_OVER_HASH         TAKE_OVER_NONE
#define TAKE_OVER_LPM          TAKE_OVER_NONE
#define TAKE_OVER_PERCPU_ARRAY TAKE_OVER_NONE
#define TAKE_OVER_SOCKET(name, key_type, value_type)

#define TABLE(name, kind, key_type, value_type, entries, writer) TAKE_OVER_##kind(name, key_type, value_type)
#include "bpf/maps.def"
#undef TABLE

#endif
