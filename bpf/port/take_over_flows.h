/* Taking over flows from tables of another layout (take_over.h): the row of a key that this build's tables do
 * not have. Included by tc.bpf.c after the stages, since it writes rows as they do. */
#ifndef THALWEG_PORT_TAKE_OVER_FLOWS_H
#define THALWEG_PORT_TAKE_OVER_FLOWS_H

static __always_inline void translate_key(struct taken* taken, const struct flow_key* key) {
  for (__u32 i = 0; i < MOST_KEY_BYTES; ++i) {
    const __u32 from = flows_old_key[i];
    taken->key[i] = from < sizeof *key ? ((const __u8*)key)[from] : 0;
  }
}

static __always_inline _Bool has_old_key(const __u8* row, const __u64* key) {
  for (__u32 i = 0; i < MOST_KEY_BYTES / 8 && i < flows_key_words; ++i)
    if (*(const __u64*)(row + flows_key_before + i * 8) != key[i]) return 0;
  return 1;
}

/* The old row's number; what is left in tw_taken is its key. */
proved_alone __u32 find_before(const struct flow_key* key) {
  const __u32 zero = 0;
  struct taken* taken = bpf_map_lookup_elem(&tw_taken, &zero);
  const struct flow_secret* secret = bpf_map_lookup_elem(&tw_flow_secret, &zero);
  if (!key || !taken || !secret || !flows_taken_over) return 0;
  translate_key(taken, key);
  const __u64* words = (const __u64*)taken->key;
  __u64 sum = 0;
  for (__u32 i = 0; i < MOST_KEY_BYTES / 8 && i < flows_key_words; ++i)
    sum += scattered(words[i], &secret->words[2 * i]);
  const struct home home = home_at(sum, flow_sets_before);
  const struct flow_set* set = bpf_map_lookup_elem(&tw_flow_sets_before, &home.set);
  if (!set) return 0;
  for (__u32 way = 0; way < SET_WAYS; ++way) {
    if (now_in_memory(set->tags[way]) != home.tag) continue;
    const __u32 index = row_index(home.set, way, flow_sets_before);
    const __u8* row = bpf_map_lookup_elem(&tw_flows_before, &index);
    if (row && has_old_key(row, words)) return number_of(home.set, way);
  }
  return 0;
}

/* Only one CPU takes it out of the old table; had two written it here, one takes its own away. */
static __always_inline _Bool forget_before(__u32 number) {
  const __u32 at = set_of(number);
  struct flow_set* set = bpf_map_lookup_elem(&tw_flow_sets_before, &at);
  __u32 way = way_of_row(number);
  bounded(way, SET_WAYS);
  if (!set) return 0;
  const __u16 tag = now_in_memory(set->tags[way]);
  return tag >= FIRST_TAG && change_tag(set, way, tag, TAG_NONE);
}

/* Whether to look again. */
proved_alone int take_over_flow(struct pkt* p, const struct flow_key* key) {
  const __u32 zero = 0;
  const __u32 number = find_before(key);
  if (!p || !key || !number) return 0;
  struct taken* taken = bpf_map_lookup_elem(&tw_taken, &zero);
  const __u32 index = row_index(set_of(number), way_of_row(number), flow_sets_before);
  const __u8* before = bpf_map_lookup_elem(&tw_flows_before, &index);
  if (!taken || !before) return 0;
  for (__u32 i = 0; i < sizeof(struct flow_row); ++i) {
    const __u32 from = flows_new_value[i];
    taken->value[i] = from != NOT_CARRIED ? before[from] : 0;
  }
  if (find_before(key) != number) return 0; /* it went while it was read */
  struct flow_row* row = (struct flow_row*)taken->value;
  row->key = *key;
  const __u32 written = write_row(p, row, is_opening_row(number));
  if (written && !forget_before(number)) forget_row(p, written, key);
  return 1;
}

#endif
