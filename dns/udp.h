// UdpServer: queries from one UDP socket in batches, replies from the address each query came to. Owned by a
// worker.
#pragma once

#include <memory>

#include "base/asio_fwd.h"
#include "base/fd.h"
#include "dns/resolver.h"

namespace thalweg::dns {

class UdpServer {
 public:
  UdpServer(asio::io_context& io, Fd socket, bool v6, Resolver& resolver);
  ~UdpServer();
  void start();
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace thalweg::dns
