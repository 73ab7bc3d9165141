// Upstream: connections to endpoints, one pool a loop. The proxy takes one for a request and gives it back.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "ingress/http1.h"
#include "ingress/routes.h"

namespace thalweg::ingress {

// A connection to an endpoint, with what has been read of it.
struct Connection {
  Connection(Endpoint where, std::unique_ptr<Stream> opened, size_t max_head_bytes)
      : endpoint(where), stream(std::move(opened)), reader(*stream, max_head_bytes) {}
  Endpoint endpoint;
  std::unique_ptr<Stream> stream;
  Reader reader;
  bool reused = false;
  Clock::time_point idle_since{};
};

struct UpstreamLimits {
  size_t max_head_bytes = 32 << 10;
  size_t idle_per_endpoint = 64;  // beyond: the connection is closed instead of kept
  size_t idle_total = 1024;
  uint64_t idle_ms = 30'000;
  uint64_t connect_timeout_ms = 3'000;
};

class Upstream {
 public:
  Upstream(asio::io_context& io, Deadlines& deadlines, const UpstreamLimits& limits);

  // The endpoint whose turn it is, leaving out those already tried. None: all were.
  std::optional<Endpoint> choose(const Backend& backend, const std::vector<Endpoint>& tried);
  // An idle connection that is still quiet, or null.
  std::unique_ptr<Connection> reuse(const Endpoint& endpoint);
  Task<Result<std::unique_ptr<Connection>>> connect(Endpoint endpoint);
  // Only with nothing of a message left to read on it.
  void keep(std::unique_ptr<Connection> connection);

  // Closes what has been idle for too long.
  void sweep(Clock::time_point now);
  // Closes what goes to endpoints the table no longer has.
  void prune(const RouteTable& routes);
  void clear();
  size_t idle() const { return idle_total_; }

 private:
  using Idle = std::map<Endpoint, std::vector<std::unique_ptr<Connection>>>;

  asio::io_context& io_;
  Deadlines& deadlines_;
  UpstreamLimits limits_;
  Idle idle_;  // of one endpoint the longest idle first
  size_t idle_total_ = 0;
  std::map<std::string, uint32_t> turns_;  // by Backend name: whose turn it is
};

}  // namespace thalweg::ingress
