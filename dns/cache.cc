#include "dns/cache.h"

namespace thalweg::dns {

CacheKey::CacheKey(const Name& lower_name, uint16_t type, bool dnssec_ok, bool checking_disabled)
    : bytes(reinterpret_cast<const char*>(lower_name.wire().data()), lower_name.size()) {
  bytes += static_cast<char>(type >> 8);
  bytes += static_cast<char>(type);
  bytes += static_cast<char>((dnssec_ok ? 1 : 0) | (checking_disabled ? 2 : 0));
}

size_t Cache::Entry::cost() const {
  constexpr size_t kBookkeeping = 200;  // list node, index node, control blocks
  return kBookkeeping + 2 * key.bytes.size() + reply->message.size() + reply->ttl_at.size() * 2;
}

std::optional<Cache::Hit> Cache::find(const CacheKey& key, uint64_t now_ms) {
  const auto found = index_.find(key);
  if (found == index_.end()) return std::nullopt;
  const uint64_t age_s = (now_ms - found->second->stored_ms) / 1000;
  if (age_s >= found->second->reply->keep_s) {
    erase(found->second);
    return std::nullopt;
  }
  entries_.splice(entries_.begin(), entries_, found->second);
  return Hit{found->second->reply, static_cast<uint32_t>(age_s)};
}

void Cache::put(const CacheKey& key, std::shared_ptr<const Forwarded> reply, uint64_t now_ms) {
  if (reply->keep_s == 0 || reply->message.size() > limits_.max_reply_bytes) return;
  if (const auto found = index_.find(key); found != index_.end()) erase(found->second);
  entries_.push_front({key, std::move(reply), now_ms});
  index_.emplace(key, entries_.begin());
  bytes_ += entries_.front().cost();
  while (entries_.size() > limits_.max_entries || bytes_ > limits_.max_bytes) {
    erase(std::prev(entries_.end()));
    ++evictions_;
  }
}

void Cache::erase(Entries::iterator entry) {
  bytes_ -= entry->cost();
  index_.erase(entry->key);
  entries_.erase(entry);
}

}  // namespace thalweg::dns
