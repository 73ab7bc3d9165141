// TcpServer: queries over TCP (RFC 7766): length framing, pipelining, replies in any order; connections,
// their time and their buffers are bounded. Owned by a worker.
#pragma once

#include <memory>

#include "base/asio_fwd.h"
#include "base/fd.h"
#include "dns/resolver.h"

namespace thalweg::dns {

struct TcpLimits {
  size_t max_connections = 1000;  // further ones are closed at once
  size_t max_outstanding =
      32;  // forwarded queries of one connection; it is read no further until some are answered
  size_t max_unsent_bytes = 256 << 10;  // replies a connection does not take; it is read no further
  uint32_t idle_ms = 10'000;            // without a whole query, or without taking replies
};

class TcpServer {
 public:
  TcpServer(asio::io_context& io, Fd listener, bool v6, Resolver& resolver, const TcpLimits& limits);
  ~TcpServer();
  void start();
  // Closes the listener and every connection.
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace thalweg::dns
