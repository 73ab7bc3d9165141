// Refusal: every reason why the ingress answers a request itself, or gives a connection up. One list makes
// the enum, the status code, the short body, the metric label and the word in the access log.
#pragma once

#include <cstdint>
#include <string_view>

namespace thalweg::ingress {

// R(Name, status, "metric_label", "text a client may read"). Status 0: nobody is left to be answered.
#define THALWEG_REFUSALS(R)                                                            \
  R(None, 0, "none", "")                                                               \
  R(BadSyntax, 400, "bad_syntax", "malformed request")                                 \
  R(BadFolding, 400, "obs_fold", "folded header lines are not accepted")               \
  R(BadTarget, 400, "bad_target", "malformed request target")                          \
  R(NoHost, 400, "no_host", "the request names no host")                               \
  R(BadHost, 400, "bad_host", "malformed or repeated Host")                            \
  R(AmbiguousLength, 400, "ambiguous_length", "the length of the body is ambiguous")   \
  R(BadTransferCoding, 501, "bad_transfer_coding", "transfer coding not supported")    \
  R(BadMethod, 501, "bad_method", "method not supported")                              \
  R(BadExpectation, 417, "bad_expectation", "expectation not supported")               \
  R(BadVersion, 505, "bad_version", "HTTP version not supported")                      \
  R(HeadTooLarge, 431, "head_too_large", "request header fields too large")            \
  R(HeadTimeout, 408, "head_timeout", "the request did not arrive in time")            \
  R(BodyTimeout, 408, "body_timeout", "the request body did not arrive in time")       \
  R(BadBody, 400, "bad_body", "malformed request body")                                \
  R(NoRoute, 404, "no_route", "no route for this host and path")                       \
  R(NoBackend, 503, "no_backend", "the service does not exist")                        \
  R(NoEndpoints, 503, "no_endpoints", "the service has no ready endpoints")            \
  R(ConnectFailed, 502, "connect_failed", "cannot connect to the service")             \
  R(ConnectTimeout, 504, "connect_timeout", "cannot connect to the service in time")   \
  R(UpstreamClosed, 502, "upstream_closed", "the service closed the connection")       \
  R(BadResponse, 502, "bad_response", "the service sent a malformed response")         \
  R(ResponseTimeout, 504, "response_timeout", "the service did not answer in time")    \
  R(UpstreamCut, 0, "upstream_cut", "the service stopped in the middle of a response") \
  R(ClientGone, 0, "client_gone", "the client went away")                              \
  R(TunnelIdle, 0, "tunnel_idle", "an upgraded connection was silent for too long")

enum class Refusal : uint8_t {
#define R(name, status, label, text) name,
  THALWEG_REFUSALS(R)
#undef R
};

struct RefusalText {
  int status;
  std::string_view label;
  std::string_view text;
};

inline constexpr RefusalText kRefusals[] = {
#define R(name, status, label, text) {status, label, text},
    THALWEG_REFUSALS(R)
#undef R
};

constexpr const RefusalText& describe(Refusal refusal) { return kRefusals[static_cast<int>(refusal)]; }

}  // namespace thalweg::ingress
