// Upstream: asks other name servers by c-ares, whose sockets the worker's Asio loop drives. Identical
// questions in flight are asked once. One per worker thread, used by its resolver.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/asio_fwd.h"
#include "dns/cache.h"
#include "dns/endpoint.h"

namespace thalweg::dns {

struct UpstreamConfig {
  std::vector<Endpoint> servers;  // asked in this order; the next when one fails or is silent
  uint32_t timeout_ms = 700;      // of the first try at each server; later tries wait longer
  uint32_t tries = 2;
  size_t max_in_flight = 1000;  // questions; further ones fail at once
  size_t max_waiting = 10'000;  // clients, who may share a question
};

struct Question {
  Name name;  // lower case
  uint16_t type;
  bool dnssec_ok;
  bool checking_disabled;
};

struct UpstreamCounts {
  uint64_t asked = 0;      // questions handed to c-ares
  uint64_t coalesced = 0;  // clients that joined a question in flight
  uint64_t failed = 0;     // no server answered, or not in time, or not properly
  uint64_t rejected = 0;   // over max_in_flight or max_waiting
};

class Upstream {
 public:
  // The reply as it came, checked by c-ares for source, id and question; empty when there is none.
  using Done = std::function<void(Bytes reply)>;

  static Result<std::unique_ptr<Upstream>> make(asio::io_context& io, const UpstreamConfig& config);
  ~Upstream();

  // Calls done once, now (rejected) or later, on the loop's thread.
  void ask(const Question& question, Done done);
  const UpstreamCounts& counts() const;
  size_t in_flight() const;
  // Forgets everyone who waits, without a call. Done by the destructor.
  void stop();

 private:
  struct Impl;
  explicit Upstream(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace thalweg::dns
