// Listens to what others do to links, addresses, routes and neighbours of this namespace (rtnetlink groups),
// so that damage is put right at once and not with the next verification. Used by the agent.
#pragma once

#include <linux/netlink.h>

#include <functional>
#include <memory>

#include "base/asio_fwd.h"
#include "base/result.h"

namespace thalweg::dataplane {

class HostMonitor {
 public:
  // nullptr: messages were lost, anything may have changed.
  using OnMessage = std::function<void(const nlmsghdr*)>;
  HostMonitor(asio::io_context& io, OnMessage on_message);
  ~HostMonitor();

  Result<> start();
  void stop();

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace thalweg::dataplane
