// Counters: what the ingress counts, over all its loops. Made once in main(), written by every proxy.
#pragma once

#include <array>

#include "base/metrics.h"
#include "ingress/refusal.h"

namespace thalweg::ingress {

struct Counters {
  explicit Counters(metrics::Registry& registry);

  metrics::Counter accepted, refused_connections, accept_errors, handshakes_failed;
  metrics::Gauge open_connections;
  std::array<metrics::Counter, 6> responses;  // by first digit of the status; 0: none was sent
  std::array<metrics::Counter, std::size(kRefusals)> refusals;
  metrics::Counter request_bytes, response_bytes, tunnels;
  metrics::Counter upstream_connects, upstream_reuses, upstream_failures, retries;
  metrics::Histogram seconds;

  const metrics::Counter& refusal(Refusal which) const { return refusals[static_cast<size_t>(which)]; }
};

}  // namespace thalweg::ingress
