// Something to talk to in a namespace, and talking to it: for tests of what leads where.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "tests/base/scratch_netns.h"

namespace thalweg {

struct Place {
  int type = SOCK_STREAM;  // or SOCK_DGRAM
  std::string ip = "0.0.0.0";
  uint16_t port = 0;
};

inline socklen_t socket_address(const Place& place, sockaddr_storage& out) {
  out = {};
  auto& v4 = reinterpret_cast<sockaddr_in&>(out);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  if (::inet_pton(AF_INET, place.ip.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET, v4.sin_port = htons(place.port);
    return sizeof v4;
  }
  ::inet_pton(AF_INET6, place.ip.c_str(), &v6.sin6_addr);
  v6.sin6_family = AF_INET6, v6.sin6_port = htons(place.port);
  return sizeof v6;
}

// A socket of that namespace, bound there; port 0: any.
inline Fd bound_socket(const ScratchNetns& ns, const Place& place) {
  return ns.netns()
      .run([&]() -> Result<Fd> {
        sockaddr_storage address;
        const socklen_t size = socket_address(place, address);
        Fd fd(::socket(address.ss_family, place.type | SOCK_CLOEXEC, 0));
        const int on = 1;
        ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (address.ss_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
        if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0)
          return fail_errno(errno, "bind {}:{}", place.ip, place.port);
        return fd;
      })
      .value();
}

// Answers whoever asks with its own name, until it goes.
class Speaker {
 public:
  Speaker(const ScratchNetns& ns, const Place& place, std::string name)
      : type_(place.type), name_(std::move(name)), socket_(bound_socket(ns, place)) {
    if (type_ == SOCK_STREAM) ::listen(socket_.get(), 8);
    thread_ = std::thread([this] {
      for (pollfd waiting{socket_.get(), POLLIN, 0}; !stop_; ::poll(&waiting, 1, 20))
        if (waiting.revents) answer();
    });
  }
  ~Speaker() {
    stop_ = true;
    thread_.join();
  }

 private:
  void answer() {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    char asked[64];
    if (type_ == SOCK_STREAM) {
      const Fd client(::accept(socket_.get(), nullptr, nullptr));
      (void)!::write(client.get(), name_.data(), name_.size());
    } else if (::recvfrom(socket_.get(), asked, sizeof asked, 0, reinterpret_cast<sockaddr*>(&from), &size) >
               0) {
      ::sendto(socket_.get(), name_.data(), name_.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
  }
  int type_;
  std::string name_;
  Fd socket_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// Who answers there, asked from that namespace (and that port, if any); "nobody" within a fifth of a second.
inline std::string who_answers(const ScratchNetns& from, const Place& there, uint16_t own_port = 0) {
  const bool v4 = there.ip.find(':') == std::string::npos;
  const Fd fd = bound_socket(from, {there.type, v4 ? "0.0.0.0" : "::", own_port});
  const timeval patience{.tv_sec = 0, .tv_usec = 200'000};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_storage address;
  const socklen_t size = socket_address(there, address);
  char answer[64];
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return "nobody";
  if (there.type == SOCK_DGRAM) (void)!::write(fd.get(), "?", 1);
  const ssize_t n = ::read(fd.get(), answer, sizeof answer);
  return n > 0 ? std::string(answer, n) : "nobody";
}

}  // namespace thalweg
