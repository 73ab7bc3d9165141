// Plain POSIX for the socket, Beast's parser for what comes back.
#include "base/http_call.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>

#include "base/fd.h"

namespace thalweg {

namespace {

namespace bh = boost::beast::http;
using Clock = std::chrono::steady_clock;

Result<> await(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return fail_errno(ETIMEDOUT, "wait");
    pollfd entry = {.fd = fd, .events = events};
    const int n = ::poll(&entry, 1, static_cast<int>(std::min<long>(left + 1, 1 << 30)));
    if (n > 0) return {};
    if (n < 0 && errno != EINTR) return fail_errno(errno, "poll");
  }
}

Result<Fd> connect_unix(const std::string& path, Clock::time_point deadline) {
  sockaddr_un address = {.sun_family = AF_UNIX};
  if (path.size() >= sizeof address.sun_path) return fail_errno(ENAMETOOLONG, "socket path");
  path.copy(address.sun_path, path.size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno(errno, "socket");
  // A unix socket connects at once, or EAGAIN while the server's backlog is full: there is no event to wait
  // for.
  while (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) {
    if (errno != EAGAIN) return fail_errno(errno, "connect");
    if (Clock::now() >= deadline) return fail_errno(ETIMEDOUT, "connect");
    ::poll(nullptr, 0, 5);
  }
  return fd;
}

Result<> send_all(int fd, std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0) {
      bytes.remove_prefix(n);
    } else if (errno == EAGAIN) {
      TRY(await(fd, POLLOUT, deadline));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return {};  // it may have answered (413, 503) before it closed
    } else if (errno != EINTR) {
      return fail_errno(errno, "send");
    }
  }
  return {};
}

Result<HttpReply> receive(int fd, bool head, Clock::time_point deadline) {
  bh::response_parser<bh::string_body> parser;
  parser.body_limit(kMaxReplyBytes);
  parser.skip(head);
  parser.eager(true);
  std::string pending;
  boost::system::error_code code;
  for (char chunk[16384]; !parser.is_done();) {
    const ssize_t n = ::recv(fd, chunk, sizeof chunk, 0);
    if (n < 0) {
      if (errno != EAGAIN && errno != EINTR) return fail_errno(errno, "receive");
      TRY(await(fd, POLLIN, deadline));
      continue;
    }
    if (n == 0) {
      const bool answered = parser.is_header_done();
      if (answered) parser.put_eof(code);  // Beast asserts that it has been given something
      if (!answered || code || !parser.is_done()) return fail("the answer ends early");
      break;
    }
    pending.append(chunk, n);
    const size_t used = parser.put(boost::asio::buffer(pending), code);
    if (code && code != bh::error::need_more) return fail("bad answer: {}", code.message());
    pending.erase(0, used);
    if (pending.size() > (64u << 10) && used == 0) return fail("bad answer: header too long");
  }
  auto& message = parser.get();
  return HttpReply{static_cast<int>(message.result_int()), std::string(message[bh::field::content_type]),
                   std::move(message.body())};
}

Result<HttpReply> call(const std::string& path, std::string_view method, std::string_view target,
                       std::string_view body, Clock::time_point deadline) {
  const Fd fd = TRY(connect_unix(path, deadline));
  std::string request = fmt::format("{} {} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n", method, target);
  if (!body.empty())
    request += fmt::format("Content-Type: application/json\r\nContent-Length: {}\r\n", body.size());
  else if (method == "POST" || method == "PUT")
    request += "Content-Length: 0\r\n";
  TRY(send_all(fd.get(), request.append("\r\n").append(body), deadline));
  return receive(fd.get(), method == "HEAD", deadline);
}

}  // namespace

Result<HttpReply> http_call(const std::string& unix_socket_path, std::string_view method,
                            std::string_view target, std::string_view body, uint64_t timeout_ms) {
  for (const char c : target)
    if (static_cast<unsigned char>(c) <= 0x20) return fail_errno(EINVAL, "request target \"{}\"", target);
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  return context(call(unix_socket_path, method, target, body, deadline), "{}", unix_socket_path);
}

}  // namespace thalweg
