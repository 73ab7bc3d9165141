#include "dns/resolver.h"

#include <sys/random.h>
#include <time.h>

namespace thalweg::dns {

namespace {

uint64_t now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

CacheKey key_of(const Question& question) {
  return {question.name, question.type, question.dnssec_ok, question.checking_disabled};
}

}  // namespace

Result<std::unique_ptr<Resolver>> Resolver::make(asio::io_context& io, const Snapshot<Zone>& zone,
                                                 const UpstreamConfig& upstream, const CacheLimits& cache,
                                                 Stats& stats) {
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) return fail_errno(errno, "getrandom");
  auto made = TRY(Upstream::make(io, upstream));
  return std::unique_ptr<Resolver>(
      new Resolver(zone, cache, stats, std::move(made), !upstream.servers.empty(), seed));
}

Resolver::Resolver(const Snapshot<Zone>& zone, const CacheLimits& cache, Stats& stats,
                   std::unique_ptr<Upstream> upstream, bool forwards, uint64_t seed)
    : zone_(zone),
      cache_(cache, seed),
      stats_(stats),
      upstream_(std::move(upstream)),
      forwards_(forwards),
      later_out_(kMaxMessage) {}

size_t Resolver::handle(const Zone& zone, Bytes message, const Origin& origin, std::span<uint8_t> out,
                        const MakeLater& make_later) {
  const Transport transport{.stream = origin.stream, .recursion_available = forwards_};
  Query query;
  const Parsed parsed = parse_query(message, query);
  const Reply reply = answer(zone, parsed, query, message, transport, out);
  if (reply.action == Reply::Action::Drop) {
    stats_.drop(Drop::NotAQuery);
    return 0;
  }
  stats_.requests[origin.stream][origin.v6][Stats::type_index(parsed == Parsed::Ok ? query.type : 0)].add();
  if (reply.action != Reply::Action::Send) return ask(message, query, transport, reply, out, make_later);
  stats_.zone_replies[Stats::rcode_index(reply.rcode)].add();
  return reply.size;
}

// From the cache at once, or from an upstream later.
size_t Resolver::ask(Bytes message, const Query& query, const Transport& transport, const Reply& reply,
                     std::span<uint8_t> out, const MakeLater& make_later) {
  Pending pending{.message = {message.begin(), message.end()},
                  .query = query,
                  .transport = transport,
                  .follows = reply.action == Reply::Action::Follow,
                  .question = {reply.target ? reply.target->lowered() : query.lower, query.type,
                               query.dnssec_ok, (query.flags & kCd) != 0},
                  .later = {}};
  if (const auto hit = cached(key_of(pending.question)))
    return write(pending, hit->reply.get(), hit->age_s, out).size;
  pending.later = make_later();
  auto shared = std::make_shared<Pending>(std::move(pending));
  upstream_->ask(shared->question, [this, shared](Bytes upstream_reply) { finish(*shared, upstream_reply); });
  count_upstream();
  return 0;
}

std::optional<Cache::Hit> Resolver::cached(const CacheKey& key) {
  auto hit = cache_.find(key, now_ms());
  if (!hit)
    stats_.cache_misses.add();
  else if (hit->reply->negative)
    stats_.cache_negative_hits.add();
  else
    stats_.cache_hits.add();
  return hit;
}

void Resolver::finish(const Pending& pending, Bytes upstream_reply) {
  std::shared_ptr<const Forwarded> forwarded;
  if (auto accepted = accept_reply(upstream_reply, pending.question.name, pending.question.type)) {
    forwarded = std::make_shared<const Forwarded>(std::move(*accepted));
    cache_.put(key_of(pending.question), forwarded, now_ms());
  }
  const Reply reply = write(pending, forwarded.get(), 0, later_out_);
  count_upstream();
  pending.later(Bytes(later_out_).first(reply.size));
}

Reply Resolver::write(const Pending& pending, const Forwarded* forwarded, uint32_t age_s,
                      std::span<uint8_t> out) {
  Reply reply;
  if (pending.follows)
    reply = follow(*zone(), pending.query, pending.message, forwarded ? Bytes(forwarded->message) : Bytes(),
                   pending.transport, out);
  else if (forwarded)
    reply = deliver(*forwarded, age_s, pending.query, pending.message, pending.transport, out);
  else
    reply = refuse(pending.query, pending.message, Rcode::ServFail, pending.transport, out);
  stats_.forward_replies[Stats::rcode_index(reply.rcode)].add();
  return reply;
}

void Resolver::count_upstream() {
  const UpstreamCounts& counts = upstream_->counts();
  stats_.upstream_asked.set(counts.asked);
  stats_.upstream_coalesced.set(counts.coalesced);
  stats_.upstream_failed.set(counts.failed);
  stats_.upstream_rejected.set(counts.rejected);
  stats_.upstream_in_flight.set(upstream_->in_flight());
  stats_.cache_entries.set(cache_.entries());
  stats_.cache_evictions.set(cache_.evictions());
}

}  // namespace thalweg::dns
