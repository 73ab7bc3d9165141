// Exchange: one request and its response, from the first byte of the head to the line in the access log.
#pragma once

#include <memory>
#include <string>

#include "ingress/message.h"
#include "ingress/refusal.h"
#include "ingress/routes.h"
#include "ingress/sanitize.h"
#include "ingress/upstream.h"

namespace thalweg::ingress {

struct Exchange {
  RequestHead request;
  ResponseHead response;
  std::shared_ptr<const RouteTable> routes;  // holds what route and backend point into
  const Route* route = nullptr;
  const Backend* backend = nullptr;
  std::unique_ptr<Connection> upstream;
  Endpoint endpoint;  // the last one tried

  Clock::time_point started = Clock::now();
  uint64_t request_bytes = 0;   // of the body
  uint64_t response_bytes = 0;  // of the body
  int status = 0;               // what the client was told; 0: nothing
  Refusal refusal = Refusal::None;
  bool head_read = false;    // there is a request to speak of
  bool keep_client = false;  // the client's connection can carry another request
  bool uploaded = true;      // the whole request body has gone to the service
  bool abandoned = false;    // the upload is to end, whatever is left of it
  Refusal upload_refusal = Refusal::None;

  double seconds() const { return std::chrono::duration<double>(Clock::now() - started).count(); }
};

// GET, HEAD, OPTIONS, PUT, DELETE (RFC 9110 §9.2.2): may be sent again when the first time came to nothing.
bool idempotent(std::string_view method);
// IMF-fixdate of now (RFC 9110 §5.6.7).
const std::string& http_date();
// The response the ingress gives itself, with its short body appended when the request is no HEAD.
std::string refusal_response(const Exchange& exchange);
// One line; no header values, no query: they may hold secrets.
void log_access(const Exchange& exchange, const Client& client);

}  // namespace thalweg::ingress
