/* The socket entries: a process that connects to a service's address gets a backend before a packet exists.
 * Attached by dataplane/ebpf to a cgroup.
 *
 * Which backend, or why none, is stage 3's to say: it is asked as if by the first packet of the flow to come.
 * What these hooks leave alone goes on as packets, and meets stage 3 there. That is all UDP of pods: only
 * packets can move to another backend while the socket stays connected. A host's own UDP has to be here,
 * since the path does not see what the host sends to its own and to balancers' addresses. */
#include "bpf/port/bpf.h"

#include "bpf/path/path.h"
#include "bpf/port/take_over_flows.h"

#include <asm-generic/errno.h>

#define REFUSE 0
#define GO_ON  1

enum call { CONNECT, SENDMSG };

/* What a process said, and what it gets instead. IPv4 as v4-mapped, as also a dual-stack socket says it. */
struct place {
  struct addr address;
  __u16 port; /* network order */
};

/* ---- who asks ----------------------------------------------------------------------------------------- */

static __always_inline const struct node* this_node(void) {
  const __u32 zero = 0;
  return row_of_node(&zero);
}

static __always_inline _Bool is_of_host(struct bpf_sock_addr* ctx, const struct node* node) {
  return node->netns_cookie && bpf_get_netns_cookie(ctx) == node->netns_cookie;
}

/* A pod's own address is not chosen yet when it connects. For session affinity its namespace stands for it:
 * in the form of an address that no packet can have (multicast), and no source range holds but the one of
 * everybody. */
static __always_inline struct addr client_of(struct bpf_sock_addr* ctx, const struct node* node,
                                             const struct addr* asked) {
  if (is_of_host(ctx, node)) return is_v4(asked) ? node->v4 : node->v6;
  struct addr pod = {.words = {0xffffffff, 0xffffffff}};
  pod.halves[1] = bpf_get_netns_cookie(ctx);
  return pod;
}

static __always_inline _Bool is_asked_here(struct bpf_sock_addr* ctx, const struct node* node) {
  return ctx->protocol == PROTO_TCP || (ctx->protocol == PROTO_UDP && is_of_host(ctx, node));
}

/* ---- what sockets were told --------------------------------------------------------------------------- */

static __always_inline struct socket_key row_key(struct bpf_sock_addr* ctx, const struct addr* address,
                                                 __u16 port) {
  struct socket_key key = {.cookie = bpf_get_socket_cookie(ctx), .address = *address, .port = port};
  return key;
}

own_frame void remember(struct bpf_sock_addr* ctx, const struct pkt* p, enum call call) {
  const struct socket_key backend = row_key(ctx, &p->to.destination, p->to.destination_port);
  const struct socket_peer asked = {.address = p->now.destination, .port = p->now.destination_port};
  insert(p, sockets, &backend, &asked);
  if (call == CONNECT) return;
  const struct socket_key service = row_key(ctx, &p->now.destination, p->now.destination_port);
  const struct socket_peer chosen = {.address = p->to.destination, .port = p->to.destination_port};
  insert(p, sockets, &service, &chosen);
}

/* TCP has one peer, and the socket itself keeps it: that costs half of a row in a full table. */
static __always_inline void remember_peer(struct bpf_sock_addr* ctx, const struct pkt* p) {
  struct told_peer* told = bpf_sk_storage_get(&tw_peers, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
  if (!told) return;
  told->backend = p->to.destination;
  told->backend_port = p->to.destination_port;
  told->asked = p->now.destination;
  told->asked_port = p->now.destination_port;
}

/* An unconnected socket stays with its backend, as a flow does. */
own_frame _Bool has_backend(struct bpf_sock_addr* ctx, struct pkt* p) {
  const struct socket_key key = row_key(ctx, &p->now.destination, p->now.destination_port);
  const struct socket_peer* chosen = lookup(p, sockets, &key);
  if (!chosen) return 0;
  p->to.destination = chosen->address;
  p->to.destination_port = chosen->port;
  return still_serves(p);
}

/* ---- connect() and sendmsg() -------------------------------------------------------------------------- */

own_frame int refuse_call(struct bpf_sock_addr* ctx, struct pkt* p, const struct node* node, enum call call) {
  /* UDP's connect() says nothing to anyone: getaddrinfo() does it to learn its own address. */
  if (ctx->protocol == PROTO_UDP && call == CONNECT) return GO_ON;
  /* Whether a pod may ask is decided by its address, which its packets have. */
  if (p->reason == DROP_SOURCE_RANGE && !is_of_host(ctx, node)) return GO_ON;
  /* An answer of this host to itself, perhaps: it was asked in the service's name (stage 6). Packets know. */
  const __u16 port = net16(p->now.destination_port);
  if (p->reason == DROP_NO_SERVICE_PORT && port >= node->masquerade_first && port <= node->masquerade_last)
    return GO_ON;
  count(p, p->reason, 0);
  const _Bool is_told = p->reason == DROP_NO_BACKEND || p->reason == DROP_NO_SERVICE_PORT;
  bpf_set_retval(is_told ? -ECONNREFUSED : -EHOSTUNREACH);
  return REFUSE;
}

/* place: what was asked for, and then where it goes. */
static __always_inline int to_backend(struct bpf_sock_addr* ctx, struct place* place, enum call call) {
  const struct node* node = this_node();
  if (!node || !is_asked_here(ctx, node)) return GO_ON;
  struct pkt p = {.origin = FROM_HOST, .protocol = (__u8)ctx->protocol, .now_ns = bpf_ktime_get_coarse_ns()};
  p.now.source = client_of(ctx, node, &place->address);
  p.now.destination = place->address;
  p.now.destination_port = place->port;
  if (call == CONNECT || !has_backend(ctx, &p)) {
    p.to = p.now;
    if (service(&p) == DROP) return refuse_call(ctx, &p, node, call);
    if (!p.nat) return GO_ON;
    if (ctx->protocol == PROTO_TCP)
      remember_peer(ctx, &p);
    else
      remember(ctx, &p, call);
  }
  place->address = p.to.destination;
  place->port = p.to.destination_port;
  return GO_ON;
}

/* ---- getpeername() and recvmsg() ---------------------------------------------------------------------- */

/* A socket may have been connected again, to a peer of its own choice. */
static __always_inline void put_asked(const struct told_peer* told, struct place* place) {
  if (!told || told->backend_port != place->port || !same_addr(&told->backend, &place->address)) return;
  place->address = told->asked;
  place->port = told->asked_port;
}

static __always_inline int as_told(struct bpf_sock_addr* ctx, struct place* place) {
  if (ctx->protocol == PROTO_TCP) {
    put_asked(bpf_sk_storage_get(&tw_peers, ctx->sk, 0, 0), place);
    return GO_ON;
  }
  const struct socket_key key = row_key(ctx, &place->address, place->port);
  const struct socket_peer* peer = lookup(0, sockets, &key);
  if (!peer) return GO_ON;
  place->address = peer->address;
  place->port = peer->port;
  return GO_ON;
}

/* ---- the two families --------------------------------------------------------------------------------- */

static __always_inline struct place place_v4(const struct bpf_sock_addr* ctx) {
  struct place place = {.address = from_v4(ctx->user_ip4), .port = (__u16)ctx->user_port};
  return place;
}

static __always_inline struct place place_v6(const struct bpf_sock_addr* ctx) {
  struct place place = {
      .address = {.words = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}},
      .port = (__u16)ctx->user_port};
  return place;
}

static __always_inline void put_v4(struct bpf_sock_addr* ctx, const struct place* place) {
  ctx->user_ip4 = place->address.words[3];
  ctx->user_port = place->port;
}

static __always_inline void put_v6(struct bpf_sock_addr* ctx, const struct place* place) {
  ctx->user_ip6[0] = place->address.words[0];
  ctx->user_ip6[1] = place->address.words[1];
  ctx->user_ip6[2] = place->address.words[2];
  ctx->user_ip6[3] = place->address.words[3];
  ctx->user_port = place->port;
}

#define HOOK(name, family, verdict_of)          \
  SEC("cgroup/" #name #family)                  \
  int name##family(struct bpf_sock_addr* ctx) { \
    struct place place = place_v##family(ctx);  \
    const int verdict = verdict_of;             \
    put_v##family(ctx, &place);                 \
    return verdict;                             \
  }

HOOK(connect, 4, to_backend(ctx, &place, CONNECT))
HOOK(connect, 6, to_backend(ctx, &place, CONNECT))
HOOK(sendmsg, 4, to_backend(ctx, &place, SENDMSG))
HOOK(sendmsg, 6, to_backend(ctx, &place, SENDMSG))
HOOK(recvmsg, 4, as_told(ctx, &place))
HOOK(recvmsg, 6, as_told(ctx, &place))
HOOK(getpeername, 4, as_told(ctx, &place))
HOOK(getpeername, 6, as_told(ctx, &place))

char LICENSE[] SEC("license") = "GPL";
