// Proxy: one loop's share of the ingress. Accepts connections and takes every request through the phases.
#pragma once

#include <memory>

#include "base/asio_fwd.h"
#include "base/fd.h"
#include "base/snapshot.h"
#include "ingress/counters.h"
#include "ingress/routes.h"
#include "ingress/tls.h"
#include "ingress/upstream.h"

namespace thalweg::ingress {

// What the outside world asked for, compiled; swapped whole.
struct Routing {
  std::shared_ptr<const RouteTable> routes = std::make_shared<RouteTable>();
  std::shared_ptr<const Certificates> certificates;
};

struct ProxyLimits {
  size_t max_connections = 8192;  // of clients, one loop; beyond: closed at once, counted
  size_t max_head_bytes = 16 << 10;
  size_t body_buffer_bytes = 32 << 10;     // one each way, while a body is under way
  uint64_t head_timeout_ms = 10'000;       // a TLS handshake; a head, from its first byte
  uint64_t idle_timeout_ms = 60'000;       // between requests
  uint64_t body_timeout_ms = 60'000;       // without any progress of a body
  uint64_t response_timeout_ms = 60'000;   // from the end of a request to the head of its response
  uint64_t tunnel_timeout_ms = 3'600'000;  // without any byte on an upgraded connection
  unsigned max_tries = 3;                  // endpoints tried before a request is given up
  bool access_log = true;
  UpstreamLimits upstream;
};

class Proxy {
 public:
  Proxy(asio::io_context& io, const Snapshot<Routing>& routing, const ProxyLimits& limits,
        const Counters& counters);
  ~Proxy();

  // A bound, listening TCP socket.
  void listen(Fd socket, bool tls);
  // Stops accepting, ends idle connections now and the others after their response.
  void drain();
  // Ends everything.
  void stop();
  size_t connections() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::ingress
