// answer(): what a zone says to a query. Pure, staged, allocates nothing; the server calls it for every
// query, and sends to an upstream what it hands on.
#pragma once

#include "dns/message.h"
#include "dns/zone.h"

namespace thalweg::dns {

struct Reply {
  enum class Action : uint8_t {
    Send,     // out holds the reply
    Forward,  // not ours: ask an upstream, or REFUSED
    Follow,   // out holds a reply that ends in a CNAME leading out of the zone; ask an upstream for target
    Drop,     // not to be answered
  };
  Action action = Action::Drop;
  Rcode rcode = Rcode::NoError;
  bool truncated = false;
  size_t size = 0;
  std::optional<Name> target;
};

struct Transport {
  bool stream = false;               // TCP: replies up to 64 KiB
  bool recursion_available = false;  // an upstream is configured: RA
};

// The room a reply has: the client's EDNS size, at most ours; 64 KiB on a stream.
size_t reply_limit(const Query& query, const Transport& transport);

// `parsed` is what parse_query(message, query) said. out must hold reply_limit() bytes.
Reply answer(const Zone& zone, Parsed parsed, const Query& query, Bytes message, const Transport& transport,
             std::span<uint8_t> out);

// A reply of no records: SERVFAIL, REFUSED, …
Reply refuse(const Query& query, Bytes message, Rcode rcode, const Transport& transport,
             std::span<uint8_t> out);

// The reply to a query that ended in Follow, once an upstream answered for its target (empty: it did not).
Reply follow(const Zone& zone, const Query& query, Bytes message, Bytes upstream, const Transport& transport,
             std::span<uint8_t> out);

}  // namespace thalweg::dns
