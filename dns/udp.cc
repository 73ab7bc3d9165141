#include "base/asio.h"
// Asio first: it is precompiled.
#include <netinet/in.h>
#include <sys/socket.h>

#include "dns/udp.h"

namespace thalweg::dns {

namespace {

constexpr size_t kBatch = 32;
constexpr int kBatchesPerTurn = 8;  // then others on the loop get their turn
constexpr size_t kMaxQuery = 2048;  // EDNS options included; longer datagrams are dropped
constexpr size_t kControl = CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo));

// Who asked, and at which of our addresses.
struct Peer {
  sockaddr_storage address{};
  socklen_t address_size = sizeof(sockaddr_storage);
  alignas(cmsghdr) std::array<uint8_t, kControl> control{};
  size_t control_size = 0;
};

// The reply leaves from the address the query came to, by whatever interface leads to the client; only
// link-local addresses name theirs.
void free_interface(msghdr& message) {
  for (cmsghdr* each = CMSG_FIRSTHDR(&message); each != nullptr; each = CMSG_NXTHDR(&message, each)) {
    if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO)
      reinterpret_cast<in_pktinfo*>(CMSG_DATA(each))->ipi_ifindex = 0;
    if (each->cmsg_level == IPPROTO_IPV6 && each->cmsg_type == IPV6_PKTINFO) {
      auto* info = reinterpret_cast<in6_pktinfo*>(CMSG_DATA(each));
      if (!IN6_IS_ADDR_LINKLOCAL(&info->ipi6_addr)) info->ipi6_ifindex = 0;
    }
  }
}

}  // namespace

struct UdpServer::Impl : std::enable_shared_from_this<UdpServer::Impl> {
  Impl(asio::io_context& io, Fd socket, bool v6, Resolver& resolver)
      : resolver(resolver), stream(io, socket.get()), fd(socket.release()), v6(v6) {
    for (size_t i = 0; i < kBatch; ++i) {
      in_vectors[i] = {in[i].data(), in[i].size()};
      out_vectors[i] = {out[i].data(), 0};
    }
  }

  void wait() {
    stream.async_wait(asio::posix::descriptor_base::wait_read, [self = shared_from_this()](auto error) {
      if (!error && !self->stopped) self->turn();
    });
  }

  void turn() {
    for (int i = 0; i < kBatchesPerTurn; ++i) {
      const int received = receive();
      if (received > 0) answer_batch(static_cast<size_t>(received));
      if (received < static_cast<int>(kBatch)) return wait();
    }
    asio::post(stream.get_executor(), [self = shared_from_this()] {
      if (!self->stopped) self->turn();
    });
  }

  int receive() {
    for (size_t i = 0; i < kBatch; ++i) {
      msghdr& message = in_messages[i].msg_hdr;
      message = {.msg_name = &peers[i].address,
                 .msg_namelen = sizeof peers[i].address,
                 .msg_iov = &in_vectors[i],
                 .msg_iovlen = 1,
                 .msg_control = peers[i].control.data(),
                 .msg_controllen = peers[i].control.size()};
    }
    int received;
    do received = recvmmsg(fd, in_messages.data(), kBatch, MSG_DONTWAIT, nullptr);
    while (received < 0 && errno == EINTR);
    return received;
  }

  void answer_batch(size_t received) {
    const auto zone = resolver.zone();
    size_t current = 0;
    const Resolver::MakeLater make_later = [this, &current] { return later(peers[current]); };
    size_t replies = 0;
    for (; current < received; ++current) {
      msghdr& from = in_messages[current].msg_hdr;
      Peer& peer = peers[current];
      peer.address_size = from.msg_namelen;
      peer.control_size = from.msg_controllen;
      free_interface(from);
      if (from.msg_flags & MSG_TRUNC) {
        resolver.stats().drop(Drop::TooLong);
        continue;
      }
      const Bytes query(in[current].data(), in_messages[current].msg_len);
      const size_t size =
          resolver.handle(*zone, query, {.stream = false, .v6 = v6}, out[replies], make_later);
      if (size > 0) reply_to(peer, replies++, size);
    }
    send(replies);
  }

  void reply_to(Peer& peer, size_t slot, size_t size) {
    out_vectors[slot].iov_len = size;
    out_messages[slot].msg_hdr = {.msg_name = &peer.address,
                                  .msg_namelen = peer.address_size,
                                  .msg_iov = &out_vectors[slot],
                                  .msg_iovlen = 1,
                                  .msg_control = peer.control.data(),
                                  .msg_controllen = peer.control_size};
  }

  // A reply the kernel does not take is lost, as any datagram may be; the rest of the batch goes out.
  void send(size_t count) {
    for (size_t done = 0; done < count;) {
      const int sent =
          sendmmsg(fd, out_messages.data() + done, static_cast<unsigned>(count - done), MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) resolver.stats().drop(Drop::SendFailed);
      done += sent > 0 ? static_cast<size_t>(sent) : 1;
    }
  }

  Resolver::Later later(const Peer& peer) {
    return [self = weak_from_this(), peer = Peer(peer)](Bytes reply) mutable {
      if (const auto server = self.lock(); server && !server->stopped) server->send_one(peer, reply);
    };
  }

  void send_one(Peer& peer, Bytes reply) {
    iovec vector{const_cast<uint8_t*>(reply.data()), reply.size()};
    const msghdr message{.msg_name = &peer.address,
                         .msg_namelen = peer.address_size,
                         .msg_iov = &vector,
                         .msg_iovlen = 1,
                         .msg_control = peer.control.data(),
                         .msg_controllen = peer.control_size};
    if (sendmsg(fd, &message, MSG_DONTWAIT) < 0) resolver.stats().drop(Drop::SendFailed);
  }

  Resolver& resolver;
  asio::posix::stream_descriptor stream;  // owns the socket
  int fd;
  bool v6;
  bool stopped = false;
  std::array<Peer, kBatch> peers;
  std::array<std::array<uint8_t, kMaxQuery>, kBatch> in;
  std::array<std::array<uint8_t, kEdnsUdpSize>, kBatch> out;
  std::array<iovec, kBatch> in_vectors{}, out_vectors{};
  std::array<mmsghdr, kBatch> in_messages{}, out_messages{};
};

UdpServer::UdpServer(asio::io_context& io, Fd socket, bool v6, Resolver& resolver)
    : impl_(std::make_shared<Impl>(io, std::move(socket), v6, resolver)) {}
UdpServer::~UdpServer() { stop(); }
void UdpServer::start() { impl_->wait(); }
void UdpServer::stop() {
  if (std::exchange(impl_->stopped, true)) return;
  boost::system::error_code ignored;
  impl_->stream.close(ignored);
}

}  // namespace thalweg::dns
