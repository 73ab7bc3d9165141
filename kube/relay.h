// Serves the objects of a Cluster read-only over the Kubernetes list/watch protocol on a unix socket, so that
// DNS, ingress and curl on this node share the agent's one API stream. Never Secrets. Run by thalwegd.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/asio_fwd.h"
#include "base/result.h"
#include "kube/cluster.h"

namespace thalweg::kube {

struct RelayOptions {
  size_t max_clients = 256;            // more are answered 503 and closed
  size_t history = 2'048;              // changes kept a kind; a watcher further behind is told 410
  uint32_t write_timeout_ms = 15'000;  // a client that takes nothing for so long is cut
  uint32_t idle_timeout_ms = 60'000;   // between two requests of a connection
  uint32_t bookmark_ms = 30'000;
  uint32_t max_watch_s = 600;
};

struct RelayStats {
  uint64_t clients = 0;  // now
  uint64_t watches = 0;  // now
  uint64_t requests = 0;
  uint64_t refused_clients = 0;  // over max_clients
  uint64_t slow_clients = 0;     // cut for taking nothing
  uint64_t expired = 0;          // answered 410
  uint64_t bad_requests = 0;
};

// Answers 503 until the first update. Lives on the loop of io.
class Relay {
 public:
  Relay(asio::io_context& io, std::string socket_path, RelayOptions options = {});
  ~Relay();  // stops
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Binds the socket (mode 0660); a socket left by a dead process is replaced, a live one is an error.
  Result<> start();
  // Takes over the named objects as they now stand in cluster (gone: deleted). Straight from on_change.
  void update(const Cluster& cluster, std::span<const ObjectRef> changed);
  void stop();
  RelayStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::kube
