#include "bpf/port/native_tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FIRST_SLOTS       16u
#define VICTIMS_LOOKED_AT 8u /* an LRU gives up the oldest of this many: near enough, and bounded */
#define LARGEST_KEY       64u

static int is_array(const struct table* table) {
  return table->kind == ARRAY || table->kind == SETS || table->kind == ROWS || table->kind == PERCPU_ARRAY;
}

static __u32 hash_of(const struct table* table, const void* key) {
  const __u8* bytes = key;
  __u64 hash = 0x9e3779b97f4a7c15ull;
  for (__u32 i = 0; i < table->key_size; i += 4) {
    __u32 word;
    memcpy(&word, bytes + i, 4);
    hash = (hash ^ word) * 0xff51afd7ed558ccdull;
    hash ^= hash >> 32;
  }
  return (__u32)hash;
}

static __u8* key_at(const struct table* table, __u32 slot) {
  return table->keys + (size_t)slot * table->key_size;
}
static __u8* value_at(const struct table* table, __u32 slot) {
  return table->values + (size_t)slot * table->value_size;
}

static size_t array_bytes(const struct table* table) { return (size_t)table->bound * table->value_size; }

/* Zeroes, and memory only for what is touched: few engines meet as many flows as there is room for. */
static int allocate_array(struct table* table) {
  void* rows = mmap(NULL, array_bytes(table), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (rows == MAP_FAILED) return -ENOMEM;
  table->slots = table->bound;
  table->values = rows;
  return 0;
}

static int allocate(struct table* table, __u32 slots) {
  table->slots = slots;
  table->used = calloc(slots, 1);
  table->keys = calloc(slots, table->key_size);
  table->values = calloc(slots, table->value_size);
  table->age = table->kind == LRU ? calloc(slots, sizeof *table->age) : NULL;
  return table->used && table->keys && table->values && (table->kind != LRU || table->age) ? 0 : -ENOMEM;
}

int table_init(struct table* table, enum table_kind kind, __u32 key_size, __u32 value_size, __u32 bound) {
  memset(table, 0, sizeof *table);
  table->kind = kind;
  table->key_size = key_size;
  table->value_size = value_size;
  table->bound = bound;
  if (key_size % 4 || key_size > LARGEST_KEY) return -EINVAL;
  return is_array(table) ? allocate_array(table) : allocate(table, FIRST_SLOTS);
}

void table_free(struct table* table) {
  free(table->used);
  free(table->age);
  free(table->keys);
  if (is_array(table) && table->values)
    munmap(table->values, array_bytes(table));
  else
    free(table->values);
}

/* The slot of the key, or the free slot where it would go. Linear probing; never more than 3/4 full. */
static __u32 slot_of(const struct table* table, const void* key) {
  __u32 slot = hash_of(table, key) & (table->slots - 1);
  while (table->used[slot] && memcmp(key_at(table, slot), key, table->key_size) != 0)
    slot = (slot + 1) & (table->slots - 1);
  return slot;
}

static void store(struct table* table, __u32 slot, const void* key, const void* value, __u32 age) {
  table->used[slot] = 1;
  memcpy(key_at(table, slot), key, table->key_size);
  memcpy(value_at(table, slot), value, table->value_size);
  if (table->age) table->age[slot] = age;
}

static int grow(struct table* table) {
  struct table old = *table;
  if (allocate(table, old.slots * 2) != 0) {
    table_free(table);
    *table = old;
    return -ENOMEM;
  }
  for (__u32 slot = 0; slot < old.slots; ++slot)
    if (old.used[slot])
      store(table, slot_of(table, key_at(&old, slot)), key_at(&old, slot), value_at(&old, slot),
            old.age ? old.age[slot] : 0);
  table_free(&old);
  return 0;
}

/* Moves later rows of the run back, so that lookups need no tombstones. */
static void empty_slot(struct table* table, __u32 hole) {
  const __u32 mask = table->slots - 1;
  for (__u32 slot = (hole + 1) & mask; table->used[slot]; slot = (slot + 1) & mask) {
    const __u32 home = hash_of(table, key_at(table, slot)) & mask;
    if (((slot - home) & mask) < ((slot - hole) & mask)) continue;
    store(table, hole, key_at(table, slot), value_at(table, slot), table->age ? table->age[slot] : 0);
    hole = slot;
  }
  table->used[hole] = 0;
  table->rows--;
}

static void evict(struct table* table) {
  __u32 oldest = table->slots, looked_at = 0;
  for (__u32 i = 0; i < table->slots && looked_at < VICTIMS_LOOKED_AT; ++i) {
    const __u32 slot = table->hand = (table->hand + 1) & (table->slots - 1);
    if (!table->used[slot]) continue;
    ++looked_at;
    if (oldest == table->slots || (__s32)(table->age[slot] - table->age[oldest]) < 0) oldest = slot;
  }
  if (oldest != table->slots) empty_slot(table, oldest);
}

/* ---- longest prefix match: one hash, asked once for each prefix length in use -----------------------------
 */

static __u32 data_bits(const struct table* table) { return (table->key_size - 4) * 8; }

static void mask_key(const struct table* table, const void* key, __u32 length, __u8* masked) {
  memcpy(masked, key, table->key_size);
  memcpy(masked, &length, 4);
  for (__u32 i = 0; i < table->key_size - 4; ++i) {
    const __u32 bits = length > i * 8 ? length - i * 8 : 0;
    if (bits < 8) masked[4 + i] &= (__u8)(0xff00u >> bits);
  }
}

static __u32 length_of(const void* key) {
  __u32 length;
  memcpy(&length, key, 4);
  return length;
}

static void* longest_match(struct table* table, const void* key) {
  __u8 masked[LARGEST_KEY];
  __u32 length = length_of(key);
  if (length > data_bits(table)) return NULL;
  for (;; --length) {
    if (table->lengths[length]) {
      mask_key(table, key, length, masked);
      const __u32 slot = slot_of(table, masked);
      if (table->used[slot]) return value_at(table, slot);
    }
    if (length == 0) return NULL;
  }
}

/* ---- what every kind offers -------------------------------------------------------------------------------
 */

void* table_get(const struct table* table, const void* key) {
  __u8 masked[LARGEST_KEY];
  if (is_array(table)) {
    const __u32 index = length_of(key);
    return index < table->bound ? value_at(table, index) : NULL;
  }
  if (table->kind == LPM) {
    if (length_of(key) > data_bits(table)) return NULL;
    mask_key(table, key, length_of(key), masked);
    key = masked;
  }
  const __u32 slot = slot_of(table, key);
  return table->used[slot] ? value_at(table, slot) : NULL;
}

void* table_lookup(struct table* table, const void* key) {
  if (table->kind == LPM) return longest_match(table, key);
  if (is_array(table)) return table_get(table, key);
  const __u32 slot = slot_of(table, key);
  if (!table->used[slot]) return NULL;
  if (table->age) table->age[slot] = ++table->tick;
  return value_at(table, slot);
}

int table_put(struct table* table, const void* key, const void* value) {
  __u8 masked[LARGEST_KEY];
  if (is_array(table)) {
    void* row = table_get(table, key);
    if (!row) return -EINVAL;
    memcpy(row, value, table->value_size);
    return 0;
  }
  if (table->kind == LPM) {
    if (length_of(key) > data_bits(table)) return -EINVAL;
    mask_key(table, key, length_of(key), masked);
    key = masked;
  }
  __u32 slot = slot_of(table, key);
  if (!table->used[slot]) {
    if (table->rows >= table->bound) {
      if (table->kind != LRU) return -E2BIG;
      evict(table);
    }
    if (table->rows >= table->slots / 4 * 3 && grow(table) != 0) return -ENOMEM;
    slot = slot_of(table, key);
    table->rows++;
    if (table->kind == LPM) table->lengths[length_of(key)]++;
  }
  store(table, slot, key, value, ++table->tick);
  return 0;
}

int table_delete(struct table* table, const void* key) {
  __u8 masked[LARGEST_KEY];
  if (is_array(table)) {
    void* row = table_get(table, key);
    if (!row) return -EINVAL;
    memset(row, 0, table->value_size);
    return 0;
  }
  if (table->kind == LPM) {
    if (length_of(key) > data_bits(table)) return -EINVAL;
    mask_key(table, key, length_of(key), masked);
    key = masked;
  }
  const __u32 slot = slot_of(table, key);
  if (!table->used[slot]) return -ENOENT;
  if (table->kind == LPM) table->lengths[length_of(key)]--;
  empty_slot(table, slot);
  return 0;
}
