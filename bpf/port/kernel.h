/* What the ports to the kernel have in common: tables as BPF maps, words, time, counters. Included by bpf.h
 * (tc) and xdp.h. */
#ifndef THALWEG_PORT_KERNEL_H
#define THALWEG_PORT_KERNEL_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define net16(x)          bpf_htons(x)
#define net32(x)          bpf_htonl(x)
#define copy(to, from, n) __builtin_memcpy(to, from, n)
#define unrolled          _Pragma("unroll")
#define rolled            _Pragma("clang loop unroll(disable)") /* less stack */
#define on_wire
/* A call of its own: its variables have left the stack (512 bytes in all) when it returns. */
#define own_frame static __attribute__((noinline))
/* Also verified by itself, for any struct pkt, so that what it can come to does not multiply with what its
 * caller can. It sees tables, but neither the packet's bytes nor node_of(). For what only the first packet of
 * a flow meets. */
#define proved_alone __attribute__((noinline))

#include "bpf/abi.h"
#include "bpf/path/pkt.h"

/* ---- tables, from maps.def ---------------------------------------------------------------------------- */

#define FLAGS_ARRAY        0
#define FLAGS_SETS         BPF_F_MMAPABLE /* from a page on: a set is a cache line, a row four */
#define FLAGS_ROWS         BPF_F_MMAPABLE
#define FLAGS_HASH         BPF_F_NO_PREALLOC
#define FLAGS_LPM          BPF_F_NO_PREALLOC
#define FLAGS_LRU          0
#define FLAGS_PERCPU_ARRAY 0
#define FLAGS_SOCKET       BPF_F_NO_PREALLOC
#define TYPE_ARRAY         BPF_MAP_TYPE_ARRAY
#define TYPE_SETS          BPF_MAP_TYPE_ARRAY
#define TYPE_ROWS          BPF_MAP_TYPE_ARRAY
#define TYPE_HASH          BPF_MAP_TYPE_HASH
#define TYPE_LPM           BPF_MAP_TYPE_LPM_TRIE
#define TYPE_LRU           BPF_MAP_TYPE_LRU_HASH
#define TYPE_PERCPU_ARRAY  BPF_MAP_TYPE_PERCPU_ARRAY
#define TYPE_SOCKET        BPF_MAP_TYPE_SK_STORAGE

#define TABLE(name, kind, key_type, value_type, entries, writer) \
  struct {                                                       \
    __uint(type, TYPE_##kind);                                   \
    __uint(max_entries, entries);                                \
    __uint(map_flags, FLAGS_##kind);                             \
    __type(key, key_type);                                       \
    __type(value, value_type);                                   \
  } tw_##name SEC(".maps");
#include "bpf/maps.def"
#undef TABLE

static __always_inline __u64 now(struct pkt* p) { return bpf_ktime_get_coarse_ns(); }
static __always_inline __u32 random32(struct pkt* p) { return bpf_get_prandom_u32(); }

static __always_inline void count(struct pkt* p, __u32 row, __u32 bytes) {
  struct counter* counter = bpf_map_lookup_elem(&tw_counters, &row);
  if (!counter) return;
  counter->packets += 1;
  counter->bytes += bytes;
}

#define trace(p, stage, verdict) ((void)(verdict))

#define MOST_HEADER_BYTES 511u

#endif
