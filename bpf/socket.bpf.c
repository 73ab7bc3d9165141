/* The socket entries: a host process or pod that connects to a service's address gets a backend before a
 * packet exists. Attached by dataplane/ebpf to a cgroup. What a socket was told is remembered by its cookie,
 * so that getpeername() and recvmsg() tell the service's address back. Shares its tables with tc.bpf.c. */
#include "bpf/port/bpf.h"

#include <asm-generic/errno.h>

#define REFUSE 0
#define GO_ON  1

static __always_inline struct addr address_v6(const struct bpf_sock_addr* ctx) {
  struct addr address = {.words = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
  return address;
}

static __always_inline struct addr address_v4(const struct bpf_sock_addr* ctx) {
  struct addr address = {.words = {0, 0, bpf_htonl(0xffff), ctx->user_ip4}};
  return address;
}

static __always_inline void set_v6(struct bpf_sock_addr* ctx, const struct addr* address, __u16 port) {
  ctx->user_ip6[0] = address->words[0];
  ctx->user_ip6[1] = address->words[1];
  ctx->user_ip6[2] = address->words[2];
  ctx->user_ip6[3] = address->words[3];
  ctx->user_port = port;
}

static __always_inline void set_v4(struct bpf_sock_addr* ctx, const struct addr* address, __u16 port) {
  ctx->user_ip4 = address->words[3];
  ctx->user_port = port;
}

static __always_inline void remember(struct bpf_sock_addr* ctx, const struct service_key* asked,
                                     const struct backend* backend) {
  struct socket_key key = {
      .cookie = bpf_get_socket_cookie(ctx), .address = backend->address, .port = backend->port};
  struct socket_peer peer = {.address = asked->address, .port = asked->port};
  bpf_map_update_elem(&tw_sockets, &key, &peer, BPF_ANY);
}

/* The backend for what the process asked for; NULL: not a service, leave it alone. `refused`: a service
 * without one. */
static __always_inline const struct backend* choose(struct bpf_sock_addr* ctx,
                                                    const struct service_key* asked, _Bool* refused) {
  const struct service* service = bpf_map_lookup_elem(&tw_services, asked);
  if (!service) return 0;
  *refused = 1;
  if (!service->backends[INSIDE]) return 0;
  struct backend_key slot = {.service = *asked, .slot = bpf_get_prandom_u32() % service->backends[INSIDE]};
  const struct backend* backend = bpf_map_lookup_elem(&tw_backends, &slot);
  if (!backend) return 0;
  *refused = 0;
  remember(ctx, asked, backend);
  return backend;
}

static __always_inline int refuse(void) {
  bpf_set_retval(-ECONNREFUSED);
  return REFUSE;
}

static __always_inline struct service_key asked_for(struct bpf_sock_addr* ctx, const struct addr* address) {
  struct service_key key = {
      .address = *address, .port = (__u16)ctx->user_port, .protocol = (__u8)ctx->protocol};
  return key;
}

static __always_inline int to_backend_v4(struct bpf_sock_addr* ctx) {
  const struct addr address = address_v4(ctx);
  const struct service_key asked = asked_for(ctx, &address);
  _Bool refused = 0;
  const struct backend* backend = choose(ctx, &asked, &refused);
  if (backend) set_v4(ctx, &backend->address, backend->port);
  return refused ? refuse() : GO_ON;
}

static __always_inline int to_backend_v6(struct bpf_sock_addr* ctx) {
  const struct addr address = address_v6(ctx); /* of a dual-stack socket: v4-mapped, the tables' own form */
  const struct service_key asked = asked_for(ctx, &address);
  _Bool refused = 0;
  const struct backend* backend = choose(ctx, &asked, &refused);
  if (backend) set_v6(ctx, &backend->address, backend->port);
  return refused ? refuse() : GO_ON;
}

static __always_inline const struct socket_peer* told(struct bpf_sock_addr* ctx, const struct addr* address) {
  struct socket_key key = {
      .cookie = bpf_get_socket_cookie(ctx), .address = *address, .port = (__u16)ctx->user_port};
  return lookup(0, sockets, &key);
}

static __always_inline int as_told_v4(struct bpf_sock_addr* ctx) {
  const struct addr address = address_v4(ctx);
  const struct socket_peer* peer = told(ctx, &address);
  if (peer) set_v4(ctx, &peer->address, peer->port);
  return GO_ON;
}

static __always_inline int as_told_v6(struct bpf_sock_addr* ctx) {
  const struct addr address = address_v6(ctx);
  const struct socket_peer* peer = told(ctx, &address);
  if (peer) set_v6(ctx, &peer->address, peer->port);
  return GO_ON;
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr* ctx) { return to_backend_v4(ctx); }
SEC("cgroup/connect6") int connect6(struct bpf_sock_addr* ctx) { return to_backend_v6(ctx); }
SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr* ctx) { return to_backend_v4(ctx); }
SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr* ctx) { return to_backend_v6(ctx); }
SEC("cgroup/recvmsg4") int recvmsg4(struct bpf_sock_addr* ctx) { return as_told_v4(ctx); }
SEC("cgroup/recvmsg6") int recvmsg6(struct bpf_sock_addr* ctx) { return as_told_v6(ctx); }
SEC("cgroup/getpeername4") int getpeername4(struct bpf_sock_addr* ctx) { return as_told_v4(ctx); }
SEC("cgroup/getpeername6") int getpeername6(struct bpf_sock_addr* ctx) { return as_told_v6(ctx); }

char LICENSE[] SEC("license") = "GPL";
