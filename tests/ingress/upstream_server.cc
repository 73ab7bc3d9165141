#include "upstream_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace thalweg::ingress::test {

namespace {

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int listen_on_loopback(uint16_t& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return fd;
}

struct Request {
  std::string head, method, path;
  bool has(std::string_view text) const { return head.find(text) != head.npos; }
};

Request parse(std::string head) {
  const auto space = head.find(' ');
  const auto end = head.find(' ', space + 1);
  return {head, head.substr(0, space), head.substr(space + 1, end - space - 1)};
}

uint64_t number_after(std::string_view text, std::string_view mark) {
  uint64_t n = 0;
  const auto at = text.find(mark);
  if (at != text.npos) std::from_chars(text.data() + at + mark.size(), text.data() + text.size(), n);
  return n;
}

// The body by either framing.
std::string read_body(Wire& wire, const Request& request) {
  if (!request.has("Transfer-Encoding: chunked"))
    return wire.exactly(number_after(request.head, "Content-Length: "));
  std::string body;
  for (;;) {
    const std::string line = wire.until("\r\n");
    const size_t size = line.empty() ? 0 : std::stoul(line, nullptr, 16);
    body += wire.exactly(size);
    wire.until("\r\n");
    if (size == 0) return body;
  }
}

// /status/N, /big/N: the number at the end of the path.
uint64_t tail_number(const std::string& path) { return number_after(path.substr(1), "/"); }

// False: the connection ends.
bool answer(Wire& wire, const Request& request, const std::string& served_by) {
  const std::string& path = request.path;
  const auto ok = [&](const std::string& body, std::string_view more = "") {
    return wire.send(fmt::format("HTTP/1.1 200 OK\r\n{}{}Content-Length: {}\r\n\r\n{}", served_by, more,
                                 body.size(), request.method == "HEAD" ? "" : body));
  };
  if (path == "/early") {  // answers before the body, and reads none of it
    wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfull");
    return false;
  }
  if (path == "/continue") {
    wire.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    return ok(read_body(wire, request));
  }
  if (path == "/hop")
    return ok("hop", "Connection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n");
  if (path == "/cut") {
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
    return false;
  }
  if (path == "/cut-chunk") {
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n");
    return false;
  }
  if (path == "/close") {  // the body ends with the connection
    wire.send("HTTP/1.1 200 OK\r\n" + served_by + "\r\nuntil the end");
    return false;
  }
  if (path == "/silent-close") {  // promises a kept connection and closes it
    ok("gone after this");
    return false;
  }
  if (path == "/garbage") return wire.send("hello\r\n\r\n") && false;
  if (path == "/both")
    return wire.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n") &&
           false;
  if (path == "/fold")
    return wire.send("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n") && false;
  if (path == "/never") return wire.rest().empty() && false;
  if (path == "/chunked")
    return wire.send(
        "HTTP/1.1 200 OK\r\n" + served_by +
        "Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nfive,\r\n4\r\nfour\r\n0\r\nX-Trailer: 1\r\n\r\n");
  if (path == "/upgrade") {
    wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst;");
    for (std::string line; line = wire.until(";"), !line.empty();) wire.send("echo " + line);
    return false;
  }
  if (path.starts_with("/status/"))
    return wire.send(fmt::format("HTTP/1.1 {} Some\r\n{}\r\n", tail_number(path), served_by));
  if (path.starts_with("/big/")) {
    const std::string block(1 << 16, 'x');
    uint64_t left = tail_number(path);
    wire.send(fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", left));
    for (; left > 0; left -= std::min<uint64_t>(left, block.size()))
      if (!wire.send(std::string_view(block).substr(0, std::min<uint64_t>(left, block.size())))) return false;
    return true;
  }
  if (path == "/count") {
    const std::string body = read_body(wire, request);
    return ok(fmt::format("{} {}", body.size(), std::ranges::count(body, 'x')));
  }
  if (path == "/echo") return ok(read_body(wire, request));
  read_body(wire, request);
  return ok(request.head);
}

}  // namespace

UpstreamServer::UpstreamServer(std::string name)
    : name_(std::move(name)), listener_(listen_on_loopback(port_)) {
  ::listen(listener_, 128);
  acceptor_ = std::thread([this] { accept(); });
}

UpstreamServer::~UpstreamServer() {
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  for (auto& thread : threads_) thread.join();
}

void UpstreamServer::accept() {
  for (int fd; (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
    ++connections_;
    const std::lock_guard lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void UpstreamServer::serve(int fd) {
  {
    Wire wire(::dup(fd));
    for (bool more = true; more;) {
      const std::string head = wire.until("\r\n\r\n");
      if (!head.ends_with("\r\n\r\n")) break;
      ++requests_;
      more = answer(wire, parse(head), "X-Served-By: " + name_ + "\r\n");
    }
  }
  ::shutdown(fd, SHUT_RDWR);
  const std::lock_guard lock(mutex_);
  std::erase(open_, fd);
  ::close(fd);
}

uint16_t closed_port() {
  uint16_t port = 0;
  ::close(listen_on_loopback(port));
  return port;
}

int connect_to(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

bool send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

Wire::Wire(int fd) : fd_(fd) {
  const timeval patience{10, 0};
  const int on = 1;
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Wire::~Wire() { ::close(fd_); }

void Wire::end_sending() { ::shutdown(fd_, SHUT_WR); }

bool Wire::fill() {
  char chunk[65536];
  const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
  if (n > 0) buffer_.append(chunk, static_cast<size_t>(n));
  return n > 0;
}

std::string Wire::until(std::string_view mark) {
  size_t at = 0;
  while ((at = buffer_.find(mark)) == buffer_.npos)
    if (!fill()) return std::exchange(buffer_, {});
  std::string out = buffer_.substr(0, at + mark.size());
  buffer_.erase(0, out.size());
  return out;
}

std::string Wire::exactly(size_t n) {
  while (buffer_.size() < n && fill()) {
  }
  std::string out = buffer_.substr(0, n);
  buffer_.erase(0, out.size());
  return out;
}

std::string Wire::rest() {
  while (fill()) {
  }
  return std::exchange(buffer_, {});
}

bool Wire::closed() {
  if (!buffer_.empty()) return false;
  char one;
  const ssize_t n = ::recv(fd_, &one, 1, 0);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
}

}  // namespace thalweg::ingress::test
