// One Connection per client, each a small chain of callbacks: read, dispatch, write, again.
#include "base/asio.h"  // first: it is the precompiled header

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <list>
#include <map>

#include "base/fd.h"
#include "base/file.h"
#include "base/http.h"

namespace thalweg::http {

namespace {

namespace beast = boost::beast;
namespace bh = beast::http;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Acceptor = asio::basic_socket_acceptor<Protocol>;
using Stream = beast::basic_stream<Protocol>;
using Wire = bh::response<bh::string_body>;

Response plain(int status) {
  return {status, "text/plain", fmt::format("{}\n", bh::obsolete_reason(static_cast<bh::status>(status)))};
}

struct Listener {
  Acceptor acceptor;
  asio::steady_timer pause;  // after accept failed for want of descriptors
  std::string path;          // of the socket file, to remove
  Fd lock;
};

}  // namespace

class Connection;

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
  Impl(asio::io_context& io, const Limits& limits) : io(io), limits(limits) {}
  asio::io_context& io;
  const Limits limits;
  std::map<std::string, std::map<std::string, AsyncHandler>> routes;  // path → method
  AsyncHandler rest;
  std::list<std::shared_ptr<Listener>> listeners;
  std::map<const Connection*, std::weak_ptr<Connection>> connections;
  uint64_t refused = 0;
  bool stopped = false;

  Result<> listen(const Protocol::endpoint& endpoint, std::shared_ptr<Listener> listener);
  void accept(const std::shared_ptr<Listener>& listener);
  void admit(Protocol::socket socket);
  void dispatch(Request request, Respond respond);
  void call(const AsyncHandler& of, Request request, const Respond& respond);
};

// One client: read a request, wait for its answer, write it, again. It keeps itself alive by the operation
// pending; the server knows it weakly.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Protocol::socket socket, std::shared_ptr<Server::Impl> server)
      : stream_(std::move(socket)),
        server_(std::move(server)),
        buffer_(server_->limits.max_header_bytes + 65536) {}
  ~Connection() {
    if (server_) server_->connections.erase(this);
  }

  void read_next();
  void refuse(int status);
  void close();

 private:
  void on_first_byte();
  void on_request(error_code code);
  void answer(Response response, bool keep_alive, bool head);
  void write(bool keep_alive);

  Stream stream_;
  std::shared_ptr<Server::Impl> server_;
  beast::flat_buffer buffer_;
  std::optional<bh::request_parser<bh::string_body>> parser_;
  Wire reply_;
};

void Connection::close() {
  error_code ignored;
  stream_.socket().shutdown(Protocol::socket::shutdown_both, ignored);
  stream_.socket().close(ignored);
}

void Connection::read_next() {
  parser_.emplace();
  parser_->header_limit(server_->limits.max_header_bytes);
  parser_->body_limit(server_->limits.max_body_bytes);
  if (buffer_.size() > 0) return on_first_byte();  // pipelined
  stream_.expires_after(std::chrono::milliseconds(server_->limits.idle_timeout_ms));
  stream_.async_read_some(buffer_.prepare(4096), [self = shared_from_this()](error_code code, size_t n) {
    if (code) return self->close();
    self->buffer_.commit(n);
    self->on_first_byte();
  });
}

void Connection::on_first_byte() {
  stream_.expires_after(std::chrono::milliseconds(server_->limits.read_timeout_ms));
  bh::async_read(stream_, buffer_, *parser_,
                 [self = shared_from_this()](error_code code, size_t) { self->on_request(code); });
}

void Connection::on_request(error_code code) {
  stream_.expires_never();
  if (server_->stopped) return close();
  if (code == bh::error::body_limit) return refuse(413);
  if (code == bh::error::header_limit || code == bh::error::buffer_overflow) return refuse(431);
  const bool gone = code == bh::error::end_of_stream || code == bh::error::partial_message;
  if (code.category() == make_error_code(bh::error::bad_method).category() && !gone) return refuse(400);
  if (code) return close();
  auto& message = parser_->get();
  const bool keep_alive = message.keep_alive(), head = message.method() == bh::verb::head;
  const std::string_view target(message.target().data(), message.target().size());
  const size_t mark = std::min(target.find('?'), target.size());
  Request request{.method = std::string(message.method_string()),
                  .path = std::string(target.substr(0, mark)),
                  .query = std::string(target.substr(std::min(mark + 1, target.size()))),
                  .body = std::move(message.body())};
  // Whoever holds the callback holds the connection; when it is dropped uncalled, the connection closes.
  struct Pending {
    std::shared_ptr<Connection> connection;
    ~Pending() {
      if (connection) connection->close();
    }
  };
  auto pending = std::make_shared<Pending>(shared_from_this());
  server_->dispatch(std::move(request), [pending, keep_alive, head](Response response) {
    if (const auto self = std::exchange(pending->connection, nullptr))
      self->answer(std::move(response), keep_alive, head);
  });
}

void Connection::refuse(int status) { answer(plain(status), false, false); }

void Connection::answer(Response response, bool keep_alive, bool head) {
  if (server_->stopped) return close();
  reply_ = Wire(static_cast<bh::status>(response.status), 11);
  reply_.set(bh::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) reply_.set(name, value);
  reply_.keep_alive(keep_alive);
  reply_.content_length(response.body.size());
  if (!head) reply_.body() = std::move(response.body);
  write(keep_alive);
}

void Connection::write(bool keep_alive) {
  stream_.expires_after(std::chrono::milliseconds(server_->limits.write_timeout_ms));
  bh::async_write(stream_, reply_, [self = shared_from_this(), keep_alive](error_code code, size_t) {
    if (code || !keep_alive || self->server_->stopped) return self->close();
    self->read_next();
  });
}

// ---- Server

void Server::Impl::dispatch(Request request, Respond respond) {
  const auto path = routes.find(request.path);
  if (path == routes.end()) return rest ? call(rest, std::move(request), respond) : respond(plain(404));
  auto method = path->second.find(request.method);
  if (method == path->second.end() && request.method == "HEAD") method = path->second.find("GET");
  if (method == path->second.end()) return respond(plain(405));
  call(method->second, std::move(request), respond);
}

void Server::Impl::call(const AsyncHandler& of, Request request, const Respond& respond) {
  const std::string path = request.path;
  try {
    const AsyncHandler handler = of;  // a copy: the call may stop the server
    handler(std::move(request), respond);
  } catch (const std::exception& error) {
    log::error("http handler threw", {{"path", path}, {"what", error.what()}});
    respond(plain(500));
  }
}

void Server::Impl::accept(const std::shared_ptr<Listener>& listener) {
  listener->acceptor.async_accept(
      [self = shared_from_this(), listener](error_code code, Protocol::socket socket) {
        if (self->stopped || code == asio::error::operation_aborted) return;
        if (!code) {
          self->admit(std::move(socket));
          return self->accept(listener);
        }
        // Out of descriptors: trying again at once would only spin.
        listener->pause.expires_after(std::chrono::milliseconds(100));
        listener->pause.async_wait([self, listener](error_code stopped) {
          if (!stopped && !self->stopped) self->accept(listener);
        });
      });
}

void Server::Impl::admit(Protocol::socket socket) {
  const auto connection = std::make_shared<Connection>(std::move(socket), shared_from_this());
  if (connections.size() >= limits.max_connections) {
    ++refused;
    return connection->refuse(503);
  }
  connections[connection.get()] = connection;
  connection->read_next();
}

Result<> Server::Impl::listen(const Protocol::endpoint& endpoint, std::shared_ptr<Listener> listener) {
  if (stopped) return fail("server is stopped");
  try {
    auto& acceptor = listener->acceptor;
    acceptor.open(endpoint.protocol());
    if (endpoint.protocol().family() != AF_UNIX) acceptor.set_option(asio::socket_base::reuse_address(true));
    acceptor.bind(endpoint);
    acceptor.listen();
  } catch (const boost::system::system_error& error) {
    return fail_errno(error.code().value(), "listen");
  }
  listeners.push_back(listener);
  accept(listener);
  return {};
}

Server::Server(asio::io_context& io, const Limits& limits) : impl_(std::make_shared<Impl>(io, limits)) {}
Server::~Server() { stop(); }

void Server::route(std::string_view method, std::string_view path, Handler handler) {
  route_async(method, path, [handler = std::move(handler)](Request request, const Respond& respond) {
    respond(handler(request));
  });
}

void Server::route_rest(Handler handler) {
  impl_->rest = [handler = std::move(handler)](const Request& request, const Respond& respond) {
    respond(handler(request));
  };
}

void Server::route_async(std::string_view method, std::string_view path, AsyncHandler handler) {
  impl_->routes[std::string(path)][std::string(method)] = std::move(handler);
}

namespace {

// Held as long as the socket is served, so that of two programs started on one path the second fails, and a
// file left behind by a killed one is told from a living one without connecting to it.
Result<Fd> lock_socket(const std::string& path) {
  const std::string lock_path = path + ".lock";
  Fd fd(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(errno, "open {}", lock_path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) < 0)
    return fail_errno(errno == EWOULDBLOCK ? EADDRINUSE : errno, "listen on {}", path);
  return fd;
}

}  // namespace

Result<> Server::listen_unix(const std::string& path, mode_t mode) {
  const std::string fresh = path + ".new";
  sockaddr_un limit;
  if (fresh.size() >= sizeof limit.sun_path) return fail_errno(ENAMETOOLONG, "listen on {}", path);
  auto listener = std::make_shared<Listener>(
      Listener { Acceptor(impl_->io), asio::steady_timer(impl_->io), path, TRY(lock_socket(path)) });
  TRY(remove_file(fresh));
  TRY(context(impl_->listen(asio::local::stream_protocol::endpoint(fresh), listener), "{}", path));
  // Already listening under the other name: whoever sees the file can connect.
  if (::chmod(fresh.c_str(), mode) == 0 && ::rename(fresh.c_str(), path.c_str()) == 0) return {};
  const int code = errno;
  listener->acceptor.close();
  impl_->listeners.remove(listener);
  return fail_errno(code, "listen on {}", path);
}

Result<uint16_t> Server::listen_tcp(const Ip& ip, uint16_t port) {
  error_code code;
  const auto address = asio::ip::make_address(ip.str(), code);
  if (code) return fail("listen on {}: {}", ip, code.message());
  auto listener =
      std::make_shared<Listener>(Listener{Acceptor(impl_->io), asio::steady_timer(impl_->io), "", Fd()});
  TRY(context(impl_->listen(asio::ip::tcp::endpoint(address, port), listener), "{} port {}", ip, port));
  sockaddr_in6 bound = {};
  socklen_t size = sizeof bound;
  ::getsockname(listener->acceptor.native_handle(), reinterpret_cast<sockaddr*>(&bound), &size);
  return ntohs(bound.sin6_port);  // at the same place in sockaddr_in
}

void Server::stop() {
  if (std::exchange(impl_->stopped, true)) return;
  error_code ignored;
  for (const auto& listener : impl_->listeners) {
    if (!listener->path.empty()) ::unlink(listener->path.c_str());
    listener->acceptor.close(ignored);
    listener->pause.cancel();
    listener->lock.reset();
  }
  impl_->listeners.clear();
  const auto connections = impl_->connections;
  for (const auto& [key, weak] : connections)
    if (const auto connection = weak.lock()) connection->close();
  impl_->routes.clear();  // handlers may hold what holds this server
  impl_->rest = nullptr;
}

uint64_t Server::refused_connections() const { return impl_->refused; }

}  // namespace thalweg::http
