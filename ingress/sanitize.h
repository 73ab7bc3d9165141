// Sanitize: the phase that makes a head safe to pass on. Pure functions; every refusal of a hostile message
// is here.
#pragma once

#include <string>
#include <string_view>

#include "ingress/message.h"
#include "ingress/refusal.h"

namespace thalweg::ingress {

// The raw bytes of a head, its empty line included: what a lenient parser would read differently from the
// next one. Folded lines (RFC 9112 §5.2), bare CR or LF, control characters, a space before the colon.
Refusal check_head_text(std::string_view text);

// What the service is told about the client.
struct Client {
  std::string ip;
  bool tls = false;
};

// Fills the derived fields of the head and leaves only what may be passed on: framing decided once (RFC 9112
// §6.3), target in origin-form with its path normalised, Host as RFC 9112 §3.2 demands, hop-by-hop fields
// removed (RFC 9110 §7.6.1), X-Forwarded-For, -Proto and -Host set by us alone.
Refusal sanitize(RequestHead& head, const Client& client);

// The same for a response to that request: framing (RFC 9112 §6.3), hop-by-hop fields.
Refusal sanitize(ResponseHead& head, const RequestHead& request);

// A path as routes see it: percent-encoded unreserved characters decoded, dot segments removed (RFC 3986
// §6.2.2). False: a broken or forbidden (%00) encoding.
bool normalize_path(std::string& path);

}  // namespace thalweg::ingress
