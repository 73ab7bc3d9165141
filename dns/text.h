// Records in zone-file text (RFC 1035 §5; unknown types as RFC 3597 §5): for zone dumps, tests and the query
// log.
#pragma once

#include <string>

#include "dns/message.h"

namespace thalweg::dns {

// "web.default.svc.cluster.local. 5 IN A 10.96.0.10", names in lower case.
std::string record_text(Bytes message, const Record& record);

// A whole reply, a line each: "NOERROR aa ra", then "answer …", "authority …", "additional …" (OPT left out).
// Malformed messages say "malformed" and where.
std::string message_text(Bytes message);

}  // namespace thalweg::dns
