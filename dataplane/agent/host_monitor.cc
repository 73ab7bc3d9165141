#include "dataplane/agent/host_monitor.h"
#include "base/asio.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>

#include "base/fd.h"

namespace thalweg::dataplane {

struct HostMonitor::Impl : std::enable_shared_from_this<Impl> {
  asio::posix::stream_descriptor socket;
  OnMessage on_message;
  alignas(nlmsghdr) std::array<char, 32'768> buffer{};

  Impl(asio::io_context& io, OnMessage callback) : socket(io), on_message(std::move(callback)) {}

  void wait() {
    socket.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        if (error || !self->socket.is_open()) return;
                        self->read();
                        if (self->socket.is_open()) self->wait();
                      });
  }

  // A bounded number of messages, then the loop's other work.
  void read() {
    constexpr int kMostReads = 16;
    for (int i = 0; i < kMostReads; ++i) {
      const ssize_t got = ::recv(socket.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got < 0 && errno == ENOBUFS) on_message(nullptr);
      if (got <= 0) return;
      auto left = static_cast<unsigned>(got);
      for (auto* message = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(message, left);
           message = NLMSG_NEXT(message, left))
        on_message(message);
    }
  }
};

HostMonitor::HostMonitor(asio::io_context& io, OnMessage on_message)
    : impl_(std::make_shared<Impl>(io, std::move(on_message))) {}
HostMonitor::~HostMonitor() { stop(); }

Result<> HostMonitor::start() {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                      RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(errno, "listen to changes of links and routes");
  impl_->socket.assign(fd.release());
  impl_->wait();
  return {};
}

void HostMonitor::stop() {
  boost::system::error_code ignored;
  if (impl_->socket.is_open()) impl_->socket.close(ignored);
}

}  // namespace thalweg::dataplane
