// Resolver: a query's whole way, zone → cache → upstream, for one worker. The UDP and TCP servers hand it
// queries.
#pragma once

#include <functional>
#include <memory>

#include "base/snapshot.h"
#include "dns/cache.h"
#include "dns/stats.h"
#include "dns/upstream.h"
#include "dns/zone.h"

namespace thalweg::dns {

struct Origin {
  bool stream = false;  // TCP
  bool v6 = false;
};

class Resolver {
 public:
  // Sends a reply that came later. Called at most once, on the loop's thread.
  using Later = std::function<void(Bytes reply)>;
  using MakeLater = std::function<Later()>;

  static Result<std::unique_ptr<Resolver>> make(asio::io_context& io, const Snapshot<Zone>& zone,
                                                const UpstreamConfig& upstream, const CacheLimits& cache,
                                                Stats& stats);

  // The reply's size in `out`, or 0: there is none, or what make_later() gives is called with it later.
  // `zone` is the current one (a caller with many queries reads the snapshot once). out holds 64 KiB on a
  // stream, kEdnsUdpSize else.
  size_t handle(const Zone& zone, Bytes message, const Origin& origin, std::span<uint8_t> out,
                const MakeLater& make_later);
  std::shared_ptr<const Zone> zone() const { return zone_.get(); }
  Stats& stats() { return stats_; }
  void stop() { upstream_->stop(); }

 private:
  // A query that waits for an upstream.
  struct Pending {
    std::vector<uint8_t> message;
    Query query;
    Transport transport;
    bool follows = false;  // asks for the target of a CNAME the query's own name leads to
    Question question;
    Later later;
  };

  Resolver(const Snapshot<Zone>& zone, const CacheLimits& cache, Stats& stats,
           std::unique_ptr<Upstream> upstream, bool forwards, uint64_t seed);
  size_t ask(Bytes message, const Query& query, const Transport& transport, const Reply& reply,
             std::span<uint8_t> out, const MakeLater& make_later);
  void finish(const Pending& pending, Bytes upstream_reply);
  Reply write(const Pending& pending, const Forwarded* forwarded, uint32_t age_s, std::span<uint8_t> out);
  std::optional<Cache::Hit> cached(const CacheKey& key);
  void count_upstream();

  const Snapshot<Zone>& zone_;
  Cache cache_;
  Stats& stats_;
  std::unique_ptr<Upstream> upstream_;
  bool forwards_;
  std::vector<uint8_t> later_out_;
};

}  // namespace thalweg::dns
