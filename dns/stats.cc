#include "dns/stats.h"

#include <algorithm>

#include "base/metrics.h"

namespace thalweg::dns {

namespace {

constexpr std::array<uint16_t, Stats::kTypes - 1> kCountedTypes = {kA,  kAaaa, kSrv, kPtr, kTxt, kCname,
                                                                   kNs, kSoa,  kAny, 15,   65};
constexpr std::array<const char*, Stats::kTypes> kTypeLabels = {"A",  "AAAA", "SRV", "PTR", "TXT",   "CNAME",
                                                                "NS", "SOA",  "ANY", "MX",  "HTTPS", "other"};
constexpr std::array<Rcode, Stats::kRcodes - 1> kCountedRcodes = {
    Rcode::NoError, Rcode::FormErr, Rcode::ServFail, Rcode::NxDomain,
    Rcode::NotImp,  Rcode::Refused, Rcode::BadVers};

}  // namespace

size_t Stats::type_index(uint16_t type) {
  return static_cast<size_t>(std::find(kCountedTypes.begin(), kCountedTypes.end(), type) -
                             kCountedTypes.begin());
}

size_t Stats::rcode_index(Rcode rcode) {
  return static_cast<size_t>(std::find(kCountedRcodes.begin(), kCountedRcodes.end(), rcode) -
                             kCountedRcodes.begin());
}

StatsMetrics::StatsMetrics(metrics::Registry& registry, std::vector<const Stats*> workers, std::string zone)
    : registry_(registry), workers_(std::move(workers)), zone_(std::move(zone)) {}

template <class Pick>
double StatsMetrics::sum(Pick pick) const {
  uint64_t total = 0;
  for (const Stats* stats : workers_) total += pick(*stats).value();
  return static_cast<double>(total);
}

void StatsMetrics::collect() const {
  requests();
  replies();
  cache();
  upstream();
  constexpr const char* kDrops[] = {
#define X(name, label) label,
      THALWEG_DNS_DROPS(X)
#undef X
  };
  for (size_t i = 0; i < std::size(kDrops); ++i)
    registry_
        .counter("thalweg_dns_drops_total", "Queries without a reply, and clients without service",
                 {{"reason", kDrops[i]}})
        .raise_to(sum([i](const Stats& s) -> const Count& { return s.drops[i]; }));
  registry_.gauge("thalweg_dns_tcp_connections", "Open TCP connections")
      .set(sum([](const Stats& s) -> const Count& { return s.tcp_open; }));
}

void StatsMetrics::requests() const {
  for (size_t tcp = 0; tcp < 2; ++tcp)
    for (size_t v6 = 0; v6 < 2; ++v6)
      for (size_t type = 0; type < Stats::kTypes; ++type) {
        const double total = sum([=](const Stats& s) -> const Count& { return s.requests[tcp][v6][type]; });
        if (total > 0)
          registry_
              .counter(
                  "coredns_dns_requests_total", "DNS requests",
                  {{"proto", tcp ? "tcp" : "udp"}, {"family", v6 ? "2" : "1"}, {"type", kTypeLabels[type]}})
              .raise_to(total);
      }
}

void StatsMetrics::replies() const {
  for (size_t i = 0; i < Stats::kRcodes; ++i) {
    const std::string rcode = i + 1 < Stats::kRcodes ? rcode_name(kCountedRcodes[i]) : "other";
    const double zone = sum([i](const Stats& s) -> const Count& { return s.zone_replies[i]; });
    const double forward = sum([i](const Stats& s) -> const Count& { return s.forward_replies[i]; });
    const auto count = [&](const char* plugin, const std::string& of, double total) {
      if (total > 0)
        registry_
            .counter("coredns_dns_responses_total", "DNS responses",
                     {{"zone", of}, {"rcode", rcode}, {"plugin", plugin}})
            .raise_to(total);
    };
    count("kubernetes", zone_, zone);
    count("forward", ".", forward);
  }
}

void StatsMetrics::cache() const {
  const auto hits = [&](const char* type, double total) {
    registry_.counter("coredns_cache_hits_total", "Forwarded answers found in the cache", {{"type", type}})
        .raise_to(total);
  };
  hits("success", sum([](const Stats& s) -> const Count& { return s.cache_hits; }));
  hits("denial", sum([](const Stats& s) -> const Count& { return s.cache_negative_hits; }));
  registry_.counter("coredns_cache_misses_total", "Questions not found in the cache")
      .raise_to(sum([](const Stats& s) -> const Count& { return s.cache_misses; }));
  registry_.gauge("coredns_cache_entries", "Answers in the cache")
      .set(sum([](const Stats& s) -> const Count& { return s.cache_entries; }));
  registry_.counter("coredns_cache_evictions_total", "Answers dropped from the cache for room")
      .raise_to(sum([](const Stats& s) -> const Count& { return s.cache_evictions; }));
}

void StatsMetrics::upstream() const {
  const auto total = [&](const char* name, const char* help, double value) {
    registry_.counter(name, help).raise_to(value);
  };
  total("coredns_forward_requests_total", "Questions sent to upstreams",
        sum([](const Stats& s) -> const Count& { return s.upstream_asked; }));
  total("coredns_forward_max_concurrent_rejects_total", "Questions refused because too many were in flight",
        sum([](const Stats& s) -> const Count& { return s.upstream_rejected; }));
  total("thalweg_dns_upstream_coalesced_total", "Clients that shared a question already in flight",
        sum([](const Stats& s) -> const Count& { return s.upstream_coalesced; }));
  total("thalweg_dns_upstream_failed_total", "Questions no upstream answered properly in time",
        sum([](const Stats& s) -> const Count& { return s.upstream_failed; }));
  registry_.gauge("thalweg_dns_upstream_in_flight", "Questions at upstreams now")
      .set(sum([](const Stats& s) -> const Count& { return s.upstream_in_flight; }));
}

}  // namespace thalweg::dns
