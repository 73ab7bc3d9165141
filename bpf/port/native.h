/* The path as a plain function over tables in memory: what tests, fuzzers, `thalweg why` and the DPDK engine
 * run. One `struct native` is one engine with its own tables; a process may hold many. Not thread-safe: one
 * thread each. */
#ifndef THALWEG_BPF_PORT_NATIVE_H
#define THALWEG_BPF_PORT_NATIVE_H

#include "bpf/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

struct native;

/* Tables are made as maps.def says, but grow as they fill, up to its bound. NULL: out of memory. */
struct native* native_new(void);
void native_free(struct native* engine);

/* Raw rows by table; sizes as maps.def says. 0, or a negative errno: -E2BIG full, -EINVAL no such table or
 * index, -ENOENT nothing to delete. Deleting a row of an array sets it to zero. */
int native_put(struct native* engine, enum table_id table, const void* key, const void* value);
int native_delete(struct native* engine, enum table_id table, const void* key);
/* The row, valid until the next put or delete of that table; NULL: none. Exact match also for LPM tables. */
const void* native_get(const struct native* engine, enum table_id table, const void* key);
/* Calls back for every row (arrays: rows not all zero). The callback must not change the table. */
void native_each(const struct native* engine, enum table_id table,
                 void (*row)(void* context, const void* key, const void* value), void* context);
__u32 native_key_size(enum table_id table);
__u32 native_value_size(enum table_id table);

/* A clock that stands still makes runs repeatable. Default: CLOCK_MONOTONIC. */
void native_set_clock(struct native* engine, __u64 (*now_ns)(void* context), void* context);
void native_seed(struct native* engine, __u64 seed); /* of the choice of backends and ports */

/* A packet in memory: [buffer … data … data+length … buffer+capacity). Headers are pushed into the room
 * before data. */
struct native_packet {
  __u8* buffer;
  __u32 capacity;
  __u32 start; /* data begins at buffer + start */
  __u32 length;
  __u32 ifindex; /* where it came in */
  enum origin origin;
};

/* What the path made of it; the packet itself is changed in place. */
struct native_outcome {
  enum verdict verdict; /* PASS, DROP or REDIRECT */
  enum drop_reason reason;
  struct hop hop;      /* REDIRECT: where to */
  __u32 rule;          /* the rule that allowed it; 0: no policy applied */
  __u32 identities[2]; /* of the flow's opener and of the other side; 0 when the flow was known already */
  __u32 rule_sets[2];  /* ditto */
  struct tuple now;    /* as it came in */
  struct tuple to;     /* as it goes out */
};

/* Called after each stage the packet went through: its name, and what is known by then. */
typedef void (*native_trace)(void* context, const char* stage, const struct native_outcome* so_far);
void native_set_trace(struct native* engine, native_trace trace, void* context);

struct native_outcome native_run(struct native* engine, struct native_packet* packet);

#ifdef __cplusplus
}
#endif
#endif
