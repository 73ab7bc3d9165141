// Cache: forwarded answers for as long as their TTLs allow, least recently used out first. One per worker
// thread, used by its resolver.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "dns/forwarded.h"

namespace thalweg::dns {

// What two clients must agree on to be given the same upstream reply: name, type, and the bits that change
// it.
struct CacheKey {
  CacheKey(const Name& lower_name, uint16_t type, bool dnssec_ok, bool checking_disabled);
  std::string bytes;
  bool operator==(const CacheKey&) const = default;
};

struct CacheKeyHash {
  uint64_t seed;
  size_t operator()(const CacheKey& key) const {
    return hash_bytes({reinterpret_cast<const uint8_t*>(key.bytes.data()), key.bytes.size()}, seed);
  }
};

struct CacheLimits {
  size_t max_entries = 10'000;
  size_t max_bytes = 8u << 20;
  size_t max_reply_bytes = 16u << 10;  // larger replies are not kept
};

class Cache {
 public:
  Cache(const CacheLimits& limits, uint64_t seed) : limits_(limits), index_(64, CacheKeyHash{seed}) {}

  struct Hit {
    std::shared_ptr<const Forwarded> reply;
    uint32_t age_s;
  };
  std::optional<Hit> find(const CacheKey& key, uint64_t now_ms);
  void put(const CacheKey& key, std::shared_ptr<const Forwarded> reply, uint64_t now_ms);

  size_t entries() const { return index_.size(); }
  size_t bytes() const { return bytes_; }
  uint64_t evictions() const { return evictions_; }

 private:
  struct Entry {
    CacheKey key;
    std::shared_ptr<const Forwarded> reply;
    uint64_t stored_ms;
    size_t cost() const;
  };
  using Entries = std::list<Entry>;
  void erase(Entries::iterator entry);

  CacheLimits limits_;
  Entries entries_;  // most recently used first
  std::unordered_map<CacheKey, Entries::iterator, CacheKeyHash> index_;
  size_t bytes_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace thalweg::dns
