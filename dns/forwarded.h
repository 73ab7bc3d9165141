// Forwarded: an upstream's reply, checked and stripped of what belonged to that exchange alone, so that it
// can be handed to any client now or, from the cache, later. Made by the resolver.
#pragma once

#include <vector>

#include "dns/answer.h"

namespace thalweg::dns {

struct Forwarded {
  // Header, question, records; no OPT. The id is 0.
  std::vector<uint8_t> message;
  std::vector<uint16_t> ttl_at;  // offsets of every record's TTL
  // How long it may be kept: the smallest TTL, for negative answers by SOA (RFC 2308 §5); 0: not at all.
  uint32_t keep_s = 0;
  bool negative = false;
};

// Checks that `reply` answers the question and reads every record. Nothing: malformed, or another question's.
std::optional<Forwarded> accept_reply(Bytes reply, const Name& name, uint16_t type);

// Writes it for one client: id, case, flags and size are the client's; TTLs are age_s smaller.
Reply deliver(const Forwarded& forwarded, uint32_t age_s, const Query& query, Bytes message,
              const Transport& transport, std::span<uint8_t> out);

}  // namespace thalweg::dns
