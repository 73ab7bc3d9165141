#include "base/asio.h"
// Asio first: it is precompiled.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <set>

#include "dns/tcp.h"

namespace thalweg::dns {

namespace {

constexpr size_t kMaxQuery = 4096;  // no honest query is longer; a longer frame ends the connection

}  // namespace

struct TcpServer::Impl : std::enable_shared_from_this<TcpServer::Impl> {
  class Connection;

  Impl(asio::io_context& io, Fd listener, bool v6, Resolver& resolver, const TcpLimits& limits)
      : io(io),
        resolver(resolver),
        limits(limits),
        v6(v6),
        listener_fd(listener.get()),
        listener(io, listener.release()),
        pause(io),
        scratch(kMaxMessage) {}

  void wait() {
    listener.async_wait(asio::posix::descriptor_base::wait_read, [self = shared_from_this()](auto error) {
      if (!error && !self->stopped) self->accept_all();
    });
  }

  void accept_all() {
    while (true) {
      Fd fd(accept4(listener_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd) {
        take(std::move(fd));
        continue;
      }
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN) return wait();
      return wait_after_pause();
    }
  }

  // Out of descriptors or memory: the connection stays in the kernel's queue, so trying at once would spin.
  void wait_after_pause() {
    pause.expires_after(std::chrono::milliseconds(100));
    pause.async_wait([self = shared_from_this()](auto error) {
      if (!error && !self->stopped) self->wait();
    });
  }

  void take(Fd fd);
  void stop();

  asio::io_context& io;
  Resolver& resolver;
  TcpLimits limits;
  bool v6;
  bool stopped = false;
  int listener_fd;
  asio::posix::stream_descriptor listener;
  asio::steady_timer pause;
  std::vector<uint8_t> scratch;  // one reply at a time is written here
  std::set<std::shared_ptr<Connection>> connections;
};

class TcpServer::Impl::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(const std::shared_ptr<Impl>& server, Fd fd)
      : server_(server), stream_(server->io, fd.release()), deadline_(server->io), in_(kMaxQuery + 2) {}

  void start() {
    extend_deadline();
    read();
  }

  void close() {
    if (std::exchange(closed_, true)) return;
    boost::system::error_code ignored;
    deadline_.cancel();
    stream_.close(ignored);
  }

 private:
  void leave() {
    if (closed_) return;
    close();
    server_->connections.erase(shared_from_this());
    Count& open = server_->resolver.stats().tcp_open;
    open.set(open.value() - 1);
  }

  void leave(Drop reason) {
    if (!closed_) server_->resolver.stats().drop(reason);
    leave();
  }

  void extend_deadline() {
    deadline_.expires_after(std::chrono::milliseconds(server_->limits.idle_ms));
    deadline_.async_wait([self = shared_from_this()](auto error) {
      if (!error) self->leave(Drop::TcpTimeout);
    });
  }

  // Reads on when the client has taken enough of what it asked for.
  void read() {
    if (closed_ || reading_ || ended_) return;
    if (outstanding_ >= server_->limits.max_outstanding || unsent() >= server_->limits.max_unsent_bytes)
      return;
    reading_ = true;
    stream_.async_read_some(
        asio::buffer(in_.data() + filled_, in_.size() - filled_),
        [self = shared_from_this()](auto error, size_t size) { self->on_read(error, size); });
  }

  void on_read(const boost::system::error_code& error, size_t size) {
    reading_ = false;
    if (closed_) return;
    if (error == asio::error::eof) {  // the client may still wait for replies
      ended_ = true;
      return leave_when_done();
    }
    if (error) return leave();
    filled_ += size;
    take_queries();
  }

  void take_queries() {
    size_t at = 0;
    while (filled_ - at >= 2 && outstanding_ < server_->limits.max_outstanding &&
           unsent() < server_->limits.max_unsent_bytes) {
      const size_t length = get_u16(in_.data() + at);
      if (length < kHeaderSize || length > kMaxQuery) return leave(Drop::TcpBadFrame);
      if (filled_ - at < 2 + length) break;
      extend_deadline();
      answer_one({in_.data() + at + 2, length});
      at += 2 + length;
    }
    std::copy(in_.begin() + static_cast<ptrdiff_t>(at), in_.begin() + static_cast<ptrdiff_t>(filled_),
              in_.begin());
    filled_ -= at;
    write();
    read();
  }

  bool has_query() const { return filled_ >= 2 && filled_ >= 2u + get_u16(in_.data()); }

  void answer_one(Bytes query) {
    const Resolver::MakeLater make_later = [this] { return later(); };
    const auto zone = server_->resolver.zone();
    const size_t size = server_->resolver.handle(*zone, query, {.stream = true, .v6 = server_->v6},
                                                 server_->scratch, make_later);
    if (size > 0) queue(Bytes(server_->scratch).first(size));
  }

  Resolver::Later later() {
    ++outstanding_;
    return [self = weak_from_this(), server = std::weak_ptr(server_)](Bytes reply) {
      if (const auto connection = self.lock(); connection && !connection->closed_)
        connection->on_later(reply);
      else if (const auto alive = server.lock())
        alive->resolver.stats().drop(Drop::ClientGone);
    };
  }

  void on_later(Bytes reply) {
    --outstanding_;
    queue(reply);
    extend_deadline();
    write();
    resume();
  }

  // What stands read already comes first. Posted: a refused question calls back from within take_queries().
  void resume() {
    asio::post(server_->io, [self = shared_from_this()] {
      if (self->closed_ || self->reading_) return;
      if (self->has_query())
        self->take_queries();
      else
        self->read();
    });
  }

  void queue(Bytes reply) {
    uint8_t length[2];
    put_u16(length, static_cast<uint16_t>(reply.size()));
    queued_.insert(queued_.end(), length, length + 2);
    queued_.insert(queued_.end(), reply.begin(), reply.end());
  }

  size_t unsent() const { return queued_.size() + sending_.size(); }

  void write() {
    if (closed_ || !sending_.empty()) return;
    if (queued_.empty()) return leave_when_done();
    sending_.swap(queued_);
    asio::async_write(stream_, asio::buffer(sending_), [self = shared_from_this()](auto error, size_t) {
      if (error) return self->leave();
      self->sending_.clear();
      self->extend_deadline();
      self->write();
      if (!self->closed_) self->resume();
    });
  }

  void leave_when_done() {
    if (ended_ && outstanding_ == 0 && unsent() == 0) leave();
  }

  std::shared_ptr<Impl> server_;
  asio::posix::stream_descriptor stream_;
  asio::steady_timer deadline_;
  std::vector<uint8_t> in_;
  size_t filled_ = 0;
  std::vector<uint8_t> queued_, sending_;
  size_t outstanding_ = 0;
  bool reading_ = false, ended_ = false, closed_ = false;
};

void TcpServer::Impl::take(Fd fd) {
  if (connections.size() >= limits.max_connections) return resolver.stats().drop(Drop::TcpConnections);
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  auto connection = std::make_shared<Connection>(shared_from_this(), std::move(fd));
  connections.insert(connection);
  resolver.stats().tcp_open.add();
  connection->start();
}

void TcpServer::Impl::stop() {
  if (std::exchange(stopped, true)) return;
  boost::system::error_code ignored;
  listener.close(ignored);
  pause.cancel();
  for (const auto& connection : std::exchange(connections, {})) connection->close();
  resolver.stats().tcp_open.set(0);
}

TcpServer::TcpServer(asio::io_context& io, Fd listener, bool v6, Resolver& resolver, const TcpLimits& limits)
    : impl_(std::make_shared<Impl>(io, std::move(listener), v6, resolver, limits)) {}
TcpServer::~TcpServer() { stop(); }
void TcpServer::start() { impl_->wait(); }
void TcpServer::stop() { impl_->stop(); }

}  // namespace thalweg::dns
