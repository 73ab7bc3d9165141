/* Tables in memory for the native engine: a hash, a longest-prefix match over it, an array, an LRU. Used by
 * native.c. */
#ifndef THALWEG_PORT_NATIVE_TABLES_H
#define THALWEG_PORT_NATIVE_TABLES_H

#include <linux/types.h>

enum table_kind {
  ARRAY,
  SETS,
  ROWS,
  HASH,
  LPM,
  LRU,
  PERCPU_ARRAY,
  SOCKET
}; /* SETS and ROWS are arrays, too */

#define LONGEST_PREFIX 288u /* bits, of all LPM tables: source_ranges */

struct table {
  enum table_kind kind;
  __u32 key_size, value_size;
  __u32 bound;                       /* most rows, as maps.def says */
  __u32 rows;                        /* of arrays: always the bound */
  __u32 slots;                       /* a power of two; grows with the rows. Arrays: the bound */
  __u32 hand;                        /* LRU: where the search for a victim goes on */
  __u32 tick;                        /* LRU: counts uses */
  __u32 lengths[LONGEST_PREFIX + 1]; /* LPM: how many rows have each prefix length */
  __u8* used;                        /* a slot: 0 free, 1 taken */
  __u32* age;                        /* LRU: the tick of its last use */
  __u8 *keys, *values;
};

int table_init(struct table* table, enum table_kind kind, __u32 key_size, __u32 value_size, __u32 bound);
void table_free(struct table* table);
void* table_lookup(struct table* table,
                   const void* key); /* as the path looks up: longest prefix, marks use */
void* table_get(const struct table* table, const void* key); /* exact */
int table_put(struct table* table, const void* key, const void* value);
int table_delete(struct table* table, const void* key);

#endif
