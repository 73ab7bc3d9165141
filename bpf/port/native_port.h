/* The path's port to plain memory: the dozen names the path may use, over struct native. Included by native.c
 * alone. */
#ifndef THALWEG_PORT_NATIVE_PORT_H
#define THALWEG_PORT_NATIVE_PORT_H

#include <errno.h>
#include <string.h>

#include "bpf/port/native.h"

#undef __always_inline /* glibc has one of its own */
#define __always_inline inline __attribute__((always_inline))
#define own_frame       static __attribute__((noinline))
#define proved_alone    static __attribute__((noinline))
#define unrolled
#define rolled
#define on_wire           __attribute__((packed))
#define net16(x)          __builtin_bswap16((__u16)(x))
#define net32(x)          __builtin_bswap32((__u32)(x))
#define copy(to, from, n) memcpy(to, from, n)
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "net16 and net32 swap");

#include "bpf/path/pkt.h"

/* One run: what the port points to. */
struct native_run_state {
  struct native* engine;
  struct native_packet* packet;
};

void* native_lookup(struct native* engine, enum table_id table, const void* key);
__u64 native_now(struct native* engine);
__u32 native_random32(struct native* engine);
void native_count(struct native* engine, __u32 row, __u32 bytes);
void native_show(struct native* engine, const char* stage, const struct pkt* p, enum verdict verdict);

static inline struct native_run_state* state_of(const struct pkt* p) {
  return ((const struct carried*)p)->port;
}

#define lookup(p, table, key)        native_lookup(state_of(p)->engine, TABLE_##table, key)
#define insert(p, table, key, value) native_put(state_of(p)->engine, TABLE_##table, key, value)
#define forget(p, table, key)        native_delete(state_of(p)->engine, TABLE_##table, key)
#define is_taking_over               0
#define take_flow_over(p, key)       0
#define may_be_taken_over(p, key)    0
#define now(p)                       native_now(state_of(p)->engine)
#define random32(p)                  native_random32(state_of(p)->engine)
#define count(p, row, bytes)         native_count(state_of(p)->engine, row, bytes)
#define trace(p, stage, verdict)     native_show(state_of(p)->engine, stage, p, verdict)
#define segment_payload(p)           0u
#define is_tagged(p)                 0 /* a tag is among the bytes */

static inline void* header(struct pkt* p, __u32 offset, __u32 length) {
  struct native_packet* packet = state_of(p)->packet;
  if (offset > packet->length || length > packet->length - offset) return 0;
  return packet->buffer + packet->start + offset;
}

#define OUTER_ETH 14u

/* Room between the Ethernet header and what follows: the Ethernet header moves to the front. */
static inline int push(struct pkt* p, __u32 bytes) {
  struct native_packet* packet = state_of(p)->packet;
  if (packet->start < bytes || packet->length < OUTER_ETH) return -ENOSPC;
  packet->start -= bytes;
  packet->length += bytes;
  __u8* data = packet->buffer + packet->start;
  memmove(data, data + bytes, OUTER_ETH);
  memset(data + OUTER_ETH, 0, bytes);
  return 0;
}

static inline int push_tunnel(struct pkt* p, __u32 bytes, _Bool outer_v4) {
  (void)outer_v4;
  return push(p, bytes);
}

static inline int resize(struct pkt* p, __u32 length) {
  struct native_packet* packet = state_of(p)->packet;
  if (length > packet->length) return -EINVAL;
  packet->length = length;
  return 0;
}

static inline int pop_tunnel(struct pkt* p, __u32 bytes, _Bool inner_v4) {
  struct native_packet* packet = state_of(p)->packet;
  (void)inner_v4;
  if (packet->length < OUTER_ETH + bytes) return -EINVAL;
  __u8* data = packet->buffer + packet->start;
  memmove(data + bytes, data, OUTER_ETH);
  packet->start += bytes;
  packet->length -= bytes;
  return 0;
}

/* RFC 1624 eqn. 3. A UDP checksum of 0 means "none" and stays; one that becomes 0 is sent as 0xffff (RFC
 * 768). */
static inline int fix_checksum(struct pkt* p, __u32 at, __u32 change, enum checksum_part part) {
  __u16* field = header(p, at, 2);
  __u16 checksum;
  (void)part;
  if (!field) return -EINVAL;
  memcpy(&checksum, field, 2);
  const _Bool udp = p->protocol == 17 && !p->quoted;
  if (udp && !checksum) return 0;
  __u32 sum = (__u16)~checksum + (change & 0xffff) + (change >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  checksum = (__u16) ~((sum & 0xffff) + (sum >> 16));
  if (udp && !checksum) checksum = 0xffff;
  memcpy(field, &checksum, 2);
  return 0;
}

#endif
