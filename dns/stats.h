// Stats: what one worker counted. Its thread alone writes, without locks; the metrics endpoint's thread
// reads.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dns/message.h"

namespace thalweg::metrics {
class Registry;
}

namespace thalweg::dns {

class Count {
 public:
  void add(uint64_t n = 1) { set(value() + n); }
  void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

// Why a query got no reply, or a client no service: the metric's label.
#define THALWEG_DNS_DROPS(X)                                               \
  X(NotAQuery, "not_a_query")          /* no header, or a response */      \
  X(TooLong, "too_long")               /* longer than a query may be */    \
  X(SendFailed, "send_failed")         /* the kernel refused the reply */  \
  X(TcpConnections, "tcp_connections") /* over the connection bound */     \
  X(TcpBadFrame, "tcp_bad_frame")      /* a length no query has */         \
  X(TcpTimeout, "tcp_timeout")         /* idle, or slow to send a query */ \
  X(ClientGone, "client_gone")         /* before its forwarded answer came */

enum class Drop : uint8_t {
#define X(name, label) name,
  THALWEG_DNS_DROPS(X)
#undef X
      kCount
};

struct Stats {
  static constexpr size_t kTypes = 12;  // the last is "other"
  static constexpr size_t kRcodes = 8;  // the last is "other"

  std::array<std::array<std::array<Count, kTypes>, 2>, 2> requests;  // [tcp][v6][type]
  std::array<Count, kRcodes> zone_replies, forward_replies;
  std::array<Count, static_cast<size_t>(Drop::kCount)> drops;
  Count cache_hits, cache_negative_hits, cache_misses, cache_entries, cache_evictions;
  Count upstream_asked, upstream_coalesced, upstream_failed, upstream_rejected, upstream_in_flight;
  Count tcp_open;

  void drop(Drop reason) { drops[static_cast<size_t>(reason)].add(); }
  static size_t type_index(uint16_t type);
  static size_t rcode_index(Rcode rcode);
};

// Writes the sums of all workers as metrics, under CoreDNS's names where they mean the same. Called before
// each scrape; the stats must outlive the registry's last text().
class StatsMetrics {
 public:
  StatsMetrics(metrics::Registry& registry, std::vector<const Stats*> workers, std::string zone);
  void collect() const;

 private:
  void requests() const;
  void replies() const;
  void cache() const;
  void upstream() const;
  template <class Pick>
  double sum(Pick pick) const;

  metrics::Registry& registry_;
  std::vector<const Stats*> workers_;
  std::string zone_;
};

}  // namespace thalweg::dns
