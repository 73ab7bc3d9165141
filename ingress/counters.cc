#include "ingress/counters.h"

#include <string>

namespace thalweg::ingress {

namespace {

std::array<metrics::Counter, 6> count_responses(metrics::Registry& registry) {
  std::array<metrics::Counter, 6> counters;
  for (size_t digit = 0; digit < counters.size(); ++digit)
    counters[digit] =
        registry.counter("thalweg_ingress_responses_total", "responses sent, by class of status",
                         {{"class", digit == 0 ? "none" : std::to_string(digit) + "xx"}});
  return counters;
}

std::array<metrics::Counter, std::size(kRefusals)> count_refusals(metrics::Registry& registry) {
  std::array<metrics::Counter, std::size(kRefusals)> counters;
  for (size_t i = 1; i < counters.size(); ++i)
    counters[i] = registry.counter("thalweg_ingress_refusals_total",
                                   "requests the ingress answered itself or gave up, by reason",
                                   {{"reason", std::string(kRefusals[i].label)}});
  return counters;
}

}  // namespace

Counters::Counters(metrics::Registry& registry)
    : accepted(registry.counter("thalweg_ingress_connections_total", "connections accepted")),
      refused_connections(registry.counter("thalweg_ingress_connections_refused_total",
                                           "connections closed at once: --max-connections are open")),
      accept_errors(registry.counter("thalweg_ingress_accept_errors_total", "accept() failed")),
      handshakes_failed(
          registry.counter("thalweg_ingress_handshakes_failed_total", "TLS handshakes that failed")),
      open_connections(registry.gauge("thalweg_ingress_connections", "connections open now")),
      responses(count_responses(registry)),
      refusals(count_refusals(registry)),
      request_bytes(registry.counter("thalweg_ingress_request_body_bytes_total", "body bytes from clients")),
      response_bytes(registry.counter("thalweg_ingress_response_body_bytes_total", "body bytes to clients")),
      tunnels(registry.counter("thalweg_ingress_tunnels_total", "connections upgraded to another protocol")),
      upstream_connects(
          registry.counter("thalweg_ingress_upstream_connects_total", "connections to endpoints")),
      upstream_reuses(
          registry.counter("thalweg_ingress_upstream_reuses_total", "requests on a kept connection")),
      upstream_failures(
          registry.counter("thalweg_ingress_upstream_failures_total", "connects to endpoints that failed")),
      retries(registry.counter("thalweg_ingress_retries_total",
                               "requests tried again, nothing having been sent or lost")),
      seconds(registry.histogram("thalweg_ingress_request_seconds",
                                 "from the head of a request to the end of its response",
                                 {0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30})) {}

}  // namespace thalweg::ingress
