#include "bpf/port/native.h"

#include <stdlib.h>
#include <time.h>

#include "bpf/port/native_port.h"
#include "bpf/port/native_tables.h"

#include "bpf/path/path.h"

struct native {
  struct table tables[TABLES];
  __u64 (*clock)(void* context);
  void* clock_context;
  native_trace show;
  void* show_context;
  __u64 random;
};

static const struct {
  enum table_kind kind;
  __u32 key_size, value_size, bound;
} kTables[TABLES] = {
#define TABLE(name, kind, key, value, entries, writer) {kind, sizeof(key), sizeof(value), entries},
#include "bpf/maps.def"
#undef TABLE
};

static __u64 monotonic_ns(void* context) {
  struct timespec now;
  (void)context;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (__u64)now.tv_sec * 1000000000ull + (__u64)now.tv_nsec;
}

struct native* native_new(void) {
  struct native* engine = calloc(1, sizeof *engine);
  if (!engine) return NULL;
  engine->clock = monotonic_ns;
  native_seed(engine, monotonic_ns(NULL));
  for (int i = 0; i < TABLES; ++i)
    if (table_init(&engine->tables[i], kTables[i].kind, kTables[i].key_size, kTables[i].value_size,
                   kTables[i].bound) != 0) {
      native_free(engine);
      return NULL;
    }
  return engine;
}

void native_free(struct native* engine) {
  if (!engine) return;
  for (int i = 0; i < TABLES; ++i) table_free(&engine->tables[i]);
  free(engine);
}

static int is_table(enum table_id table) { return (unsigned)table < TABLES; }

int native_put(struct native* engine, enum table_id table, const void* key, const void* value) {
  return is_table(table) ? table_put(&engine->tables[table], key, value) : -EINVAL;
}

int native_delete(struct native* engine, enum table_id table, const void* key) {
  return is_table(table) ? table_delete(&engine->tables[table], key) : -EINVAL;
}

const void* native_get(const struct native* engine, enum table_id table, const void* key) {
  return is_table(table) ? table_get(&engine->tables[table], key) : NULL;
}

static int is_zero(const __u8* bytes, __u32 size) {
  for (__u32 i = 0; i < size; ++i)
    if (bytes[i]) return 0;
  return 1;
}

void native_each(const struct native* engine, enum table_id id,
                 void (*row)(void* context, const void* key, const void* value), void* context) {
  if (!is_table(id)) return;
  const struct table* table = &engine->tables[id];
  const int array = !table->keys;
  for (__u32 slot = 0; slot < table->slots; ++slot) {
    const __u8* value = table->values + (size_t)slot * table->value_size;
    if (array ? is_zero(value, table->value_size) : !table->used[slot]) continue;
    row(context, array ? (const void*)&slot : table->keys + (size_t)slot * table->key_size, value);
  }
}

__u32 native_key_size(enum table_id table) { return is_table(table) ? kTables[table].key_size : 0; }
__u32 native_value_size(enum table_id table) { return is_table(table) ? kTables[table].value_size : 0; }

void native_set_clock(struct native* engine, __u64 (*now_ns)(void* context), void* context) {
  engine->clock = now_ns;
  engine->clock_context = context;
}

void native_seed(struct native* engine, __u64 seed) { engine->random = seed | 1; }

void native_set_trace(struct native* engine, native_trace show, void* context) {
  engine->show = show;
  engine->show_context = context;
}

/* ---- what native_port.h calls -----------------------------------------------------------------------------
 */

void* native_lookup(struct native* engine, enum table_id table, const void* key) {
  return table_lookup(&engine->tables[table], key);
}

__u64 native_now(struct native* engine) { return engine->clock(engine->clock_context); }

/* xorshift64*: backends and ports need spread, not secrecy. */
__u32 native_random32(struct native* engine) {
  engine->random ^= engine->random >> 12;
  engine->random ^= engine->random << 25;
  engine->random ^= engine->random >> 27;
  return (__u32)((engine->random * 0x2545f4914f6cdd1dull) >> 32);
}

void native_count(struct native* engine, __u32 row, __u32 bytes) {
  struct counter* counter = table_lookup(&engine->tables[TABLE_counters], &row);
  if (!counter) return;
  counter->packets += 1;
  counter->bytes += bytes;
}

static struct native_outcome outcome_of(const struct pkt* p, enum verdict verdict) {
  struct native_outcome out = {
      .verdict = verdict,
      .reason = p->reason,
      .hop = p->hop,
      .rule = p->rule,
      .identities = {p->identities[0], p->identities[1]},
      .rule_sets = {p->rule_sets[0], p->rule_sets[1]},
      .now = p->now,
      .to = p->to,
  };
  return out;
}

void native_show(struct native* engine, const char* stage, const struct pkt* p, enum verdict verdict) {
  if (!engine->show) return;
  const struct native_outcome so_far = outcome_of(p, verdict);
  engine->show(engine->show_context, stage, &so_far);
}

struct native_outcome native_run(struct native* engine, struct native_packet* packet) {
  struct native_run_state state = {.engine = engine, .packet = packet};
  struct carried c = {
      .pkt = {.origin = (__u8)packet->origin, .ifindex = packet->ifindex, .length = packet->length},
      .port = &state};
  const enum verdict verdict = packet->origin == TO_UPLINK ? host_answer(&c) : path(&c);
  return outcome_of(&c.pkt, verdict);
}
