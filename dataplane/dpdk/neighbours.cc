#include "dataplane/dpdk/neighbours.h"

namespace thalweg::dataplane::dpdk {

Neighbours::~Neighbours() {
  for (auto& entry : list_) discard_waiting(entry);
}

void Neighbours::send(rte_mbuf* packet, const Ip& ip, uint64_t now_ms) {
  const bool known = entries_.contains(ip);
  Entry& entry = *touch(ip);
  if (entry.state == State::Incomplete) {
    enqueue(entry, packet);
    if (!known) solicit(entry, now_ms);
    return;
  }
  if (entry.state == State::Stale || (entry.state == State::Reachable && now_ms >= entry.until_ms)) {
    entry.state = State::Probe;  // used while it is asked again
    entry.tries = 0;
    solicit(entry, now_ms);
  }
  actions_.transmit(packet, entry.mac);
}

void Neighbours::heard(const Ip& ip, const Mac& mac, bool create, bool confirmed, uint64_t now_ms) {
  if (!create && !entries_.contains(ip)) return;
  Entry& entry = *touch(ip);
  const bool same = entry.state != State::Incomplete && entry.mac == mac;
  if (!same) ++stats_.learned;
  if (confirmed) {
    entry.state = State::Reachable;
    entry.until_ms = now_ms + limits_.reachable_ms;
  } else if (!same) {
    entry.state = State::Stale;
  }
  entry.mac = mac;
  auto packets = std::exchange(entry.waiting, {});
  waiting_ -= packets.size();
  for (rte_mbuf* packet : packets) actions_.transmit(packet, mac);
}

void Neighbours::tick(uint64_t now_ms) {
  for (auto entry = list_.begin(); entry != list_.end();) {
    const auto next = std::next(entry);
    const bool asking = entry->state == State::Incomplete || entry->state == State::Probe;
    if (asking && now_ms >= entry->until_ms) {
      if (entry->tries >= limits_.tries) {
        ++stats_.failed;
        erase(entry);
      } else {
        solicit(*entry, now_ms);
      }
    }
    entry = next;
  }
}

std::optional<Mac> Neighbours::find(const Ip& ip) const {
  const auto found = entries_.find(ip);
  if (found == entries_.end() || found->second->state == State::Incomplete) return std::nullopt;
  return found->second->mac;
}

Neighbours::List::iterator Neighbours::touch(const Ip& ip) {
  if (const auto found = entries_.find(ip); found != entries_.end()) {
    list_.splice(list_.begin(), list_, found->second);
    return list_.begin();
  }
  if (entries_.size() >= limits_.entries) {
    ++stats_.evicted;
    erase(std::prev(list_.end()));
  }
  list_.push_front(Entry{.ip = ip});
  entries_.emplace(ip, list_.begin());
  return list_.begin();
}

void Neighbours::erase(List::iterator entry) {
  discard_waiting(*entry);
  entries_.erase(entry->ip);
  list_.erase(entry);
}

void Neighbours::enqueue(Entry& entry, rte_mbuf* packet) {
  if (entry.waiting.size() >= limits_.waiting_each) {
    actions_.discard(entry.waiting.front());
    entry.waiting.erase(entry.waiting.begin());
    --waiting_;
    ++stats_.discarded;
  } else if (waiting_ >= limits_.waiting) {
    actions_.discard(packet);
    ++stats_.discarded;
    return;
  }
  entry.waiting.push_back(packet);
  ++waiting_;
}

void Neighbours::solicit(Entry& entry, uint64_t now_ms) {
  ++entry.tries;
  ++stats_.solicited;
  entry.until_ms = now_ms + limits_.retry_ms;
  actions_.solicit(entry.ip, entry.state == State::Probe ? std::optional(entry.mac) : std::nullopt);
}

void Neighbours::discard_waiting(Entry& entry) {
  for (rte_mbuf* packet : entry.waiting) actions_.discard(packet);
  stats_.discarded += entry.waiting.size();
  waiting_ -= entry.waiting.size();
  entry.waiting.clear();
}

}  // namespace thalweg::dataplane::dpdk
