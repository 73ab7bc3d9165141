#include "dataplane/agent/stuck_sockets.h"

#include <bpf/bpf.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>

namespace thalweg::dataplane {
namespace {

struct UdpSocket {
  uint8_t family = 0;
  inet_diag_sockid id{};
};

nl::Message request(uint16_t type, uint16_t flags, uint8_t family, const inet_diag_sockid& id) {
  nl::Message message(type, flags);
  auto& header = message.header<inet_diag_req_v2>();
  header.sdiag_family = family;
  header.sdiag_protocol = IPPROTO_UDP;
  header.idiag_states = 1u << TCP_ESTABLISHED;  // of UDP: connected
  header.id = id;
  return message;
}

Result<std::vector<UdpSocket>> connected(nl::Socket& socket, uint8_t family) {
  nl::Message message = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, {});
  return socket.dump<UdpSocket>(message, [](const nlmsghdr& reply) -> std::optional<UdpSocket> {
    if (mnl_nlmsg_get_payload_len(&reply) < sizeof(inet_diag_msg)) return std::nullopt;
    inet_diag_msg row{};
    std::memcpy(&row, mnl_nlmsg_get_payload(&reply), sizeof row);
    return UdpSocket{row.idiag_family, row.id};
  });
}

// What the socket is connected to, as the hooks wrote it down.
socket_key peer_of(const UdpSocket& socket) {
  socket_key key{};
  key.cookie = socket.id.idiag_cookie[0] | uint64_t{socket.id.idiag_cookie[1]} << 32;
  key.port = socket.id.idiag_dport;
  key.address = to_addr(socket.family == AF_INET ? Ip::from_v4_bytes(socket.id.idiag_dst)
                                                 : Ip::from_v6_bytes(socket.id.idiag_dst));
  return key;
}

// No row: a peer the process chose by itself.
bool is_stuck(const UdpSocket& socket, const EbpfDatapath& datapath, const Intent& applied) {
  const socket_key backend = peer_of(socket);
  socket_peer asked{};
  if (bpf_map_lookup_elem(datapath.fd(TABLE_sockets), &backend, &asked) != 0) return false;
  member_key member{};
  member.service = {.address = asked.address, .port = asked.port, .protocol = IPPROTO_UDP, .pad = {}};
  member.address = backend.address;
  member.port = backend.port;
  member.audience = INSIDE;
  return !applied.members.contains(member);
}

// Gone meanwhile is as good.
Result<bool> close_socket(nl::Socket& netlink, const UdpSocket& socket) {
  nl::Message message = request(SOCK_DESTROY, 0, socket.family, socket.id);
  const auto done = netlink.transact(message);
  if (done) return true;
  if (done.error().code == ENOENT) return false;
  return context(Result<bool>(std::unexpected(done.error())), "close a socket whose backend is gone");
}

}  // namespace

Result<> StuckSockets::close_after(uint64_t moves, const EbpfDatapath& datapath, const Intent& applied) {
  if (seen_moves_ == moves) return {};
  TRY(close_all(datapath, applied));
  seen_moves_ = moves;
  return {};
}

Result<> StuckSockets::close_all(const EbpfDatapath& datapath, const Intent& applied) {
  nl::Socket netlink = TRY(nl::Socket::open(NETLINK_SOCK_DIAG));
  for (const uint8_t family : {AF_INET, AF_INET6})
    for (const UdpSocket& socket : TRY(connected(netlink, family)))
      if (is_stuck(socket, datapath, applied)) closed_ += TRY(close_socket(netlink, socket));
  return {};
}

}  // namespace thalweg::dataplane
