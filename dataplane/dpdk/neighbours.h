// Neighbours: IP → MAC on the edge's one segment, and the packets that wait for an answer. Holds no sockets
// and no clock: the worker tells it what was heard and what time it is, and does what it is asked. States
// follow RFC 4861 §7.3, for ARP (RFC 826) too.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/ip.h"
#include "base/link.h"

struct rte_mbuf;

namespace thalweg::dataplane::dpdk {

using nl::Mac;

class Neighbours {
 public:
  struct Limits {
    size_t entries = 1024;           // full: the one unused for longest goes
    size_t waiting_each = 16;        // packets; full: the oldest is discarded
    size_t waiting = 512;            // packets, over all entries; full: the new one is discarded
    uint64_t reachable_ms = 30'000;  // RFC 4861 §10 REACHABLE_TIME
    uint64_t retry_ms = 1'000;       // RETRANS_TIMER
    uint32_t tries = 3;              // MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT
  };

  // What the table asks for; called from within its own calls.
  class Actions {
   public:
    virtual ~Actions() = default;
    // Ask who has ip; `known`: ask that station alone whether it still has it.
    virtual void solicit(const Ip& ip, const std::optional<Mac>& known) = 0;
    virtual void transmit(rte_mbuf* packet, const Mac& to) = 0;
    virtual void discard(rte_mbuf* packet) = 0;
  };

  struct Stats {
    uint64_t solicited = 0, learned = 0, evicted = 0, failed = 0, discarded = 0;
  };

  Neighbours(Actions& actions, const Limits& limits) : actions_(actions), limits_(limits) {}
  ~Neighbours();
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

  // Transmits the packet to ip's MAC now, or once it is known, or discards it. Takes the packet over.
  void send(rte_mbuf* packet, const Ip& ip, uint64_t now_ms);
  // An answer to us, or a station that asked for us: `create` false only refreshes what is there (gratuitous
  // ARP, RFC 826's merge flag; unsolicited advertisements, RFC 4861 §7.2.5). `confirmed`: it answered us.
  void heard(const Ip& ip, const Mac& mac, bool create, bool confirmed, uint64_t now_ms);
  // Retries and gives up; at least every retry_ms.
  void tick(uint64_t now_ms);

  const Stats& stats() const { return stats_; }
  size_t size() const { return entries_.size(); }
  size_t waiting() const { return waiting_; }
  std::optional<Mac> find(const Ip& ip) const;

 private:
  enum class State : uint8_t { Incomplete, Reachable, Stale, Probe };
  struct Entry {
    Ip ip;
    State state = State::Incomplete;
    Mac mac{};
    uint64_t until_ms = 0;  // Reachable: confirmed until; Incomplete, Probe: the next solicitation
    uint32_t tries = 0;
    std::vector<rte_mbuf*> waiting;
  };
  using List = std::list<Entry>;  // the one used last in front

  List::iterator touch(const Ip& ip);  // finds or makes; moves to the front
  void erase(List::iterator entry);
  void enqueue(Entry& entry, rte_mbuf* packet);
  void solicit(Entry& entry, uint64_t now_ms);
  void discard_waiting(Entry& entry);

  Actions& actions_;
  Limits limits_;
  Stats stats_;
  List list_;
  std::unordered_map<Ip, List::iterator> entries_;
  size_t waiting_ = 0;
};

}  // namespace thalweg::dataplane::dpdk
