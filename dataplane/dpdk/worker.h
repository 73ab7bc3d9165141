// Worker: one core, one native engine, burst in → path → burst out. Shares nothing: the control thread
// reaches it only through a bounded ring of Tasks, which run between bursts. datapath.h puts them there.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <semaphore>
#include <vector>

#include "base/ip.h"
#include "bpf/port/native.h"
#include "dataplane/dpdk/frames.h"
#include "dataplane/dpdk/neighbours.h"
#include "dataplane/dpdk/port.h"

struct rte_mbuf;
struct rte_ring;

namespace thalweg::dataplane::dpdk {

// Why the worker itself, not the path, let a packet go: metric label and text.
#define THALWEG_EDGE_DISCARDS(DISCARD)                                                  \
  DISCARD(OTHER_STATION, "addressed to another station's MAC")                          \
  DISCARD(NO_WAY, "neither on a connected network nor has its family a gateway")        \
  DISCARD(NO_PORT, "its next hop is a pod or a host stack, which this machine has not") \
  DISCARD(UNANSWERED, "for the edge itself, and nothing here answers it")               \
  DISCARD(SCATTERED, "its bytes are not in one piece")                                  \
  DISCARD(TRANSMIT_FULL, "the port took no more")                                       \
  DISCARD(NO_MEMORY, "no packet buffer left")                                           \
  DISCARD(UNRESOLVED, "its next hop did not answer, or too many waited for it")

enum class Discard : uint8_t {
#define DISCARD(name, text) name,
  THALWEG_EDGE_DISCARDS(DISCARD)
#undef DISCARD
};
inline constexpr std::string_view kDiscardNames[] = {
#define DISCARD(name, text) #name,
    THALWEG_EDGE_DISCARDS(DISCARD)
#undef DISCARD
};

struct WorkerStats {
  uint64_t received = 0, sent = 0, polls = 0, empty_polls = 0;
  uint64_t arp_answers = 0, nd_answers = 0, echo_answers = 0, announced = 0;
  std::array<uint64_t, std::size(kDiscardNames)> discarded{};
  Neighbours::Stats neighbours;
  uint64_t neighbour_entries = 0, neighbours_waiting = 0;
};

class Worker;

// Something the worker does between two bursts. step() does a bounded piece and says whether that was the
// last; then `done` is released. `failed`: the worker ended first.
struct Task {
  virtual ~Task() = default;
  virtual bool step(Worker& worker) = 0;
  bool failed = false;
  std::binary_semaphore done{0};
};

class Worker final : private Neighbours::Actions {
 public:
  struct Role {
    uint16_t port;
    origin from;           // what the path takes its packets for
    uint32_t ifindex = 1;  // ditto
  };
  struct Own {
    Ip ip;
    uint8_t length = 128;  // of 128: the connected network
  };
  struct Config {
    std::vector<Role> ports;  // everything leaves by the first
    Mac mac{};
    std::vector<Own> addresses;    // none: nothing is answered, the path sees every packet
    Ip gateway_v4, gateway_v6;     // none: connected networks only
    uint16_t tunnel_port = 4789;   // host order
    bool finish_checksums = true;  // for ports whose peers leave them undone (veth)
    bool busy_poll = false;        // never sleep: the core is given to the edge
    Neighbours::Limits neighbours = {};
  };

  static Result<std::unique_ptr<Worker>> create(const Config& config, const Pool& pool);
  ~Worker();

  // ---- on the worker's core
  // Until stop(). Sleeps when idle, at most kLongestSleepUs at a time.
  void run();
  // One round over all ports; how many packets came.
  uint32_t poll();
  native& engine() { return *engine_; }
  WorkerStats stats() const;
  // Tells the segment where an address of ours is (gratuitous ARP, unsolicited advertisement).
  void announce(const Ip& ip);

  // ---- from the control thread
  // Runs the task on the worker and waits for it; false: the worker is not running, or ended first.
  bool perform(Task& task);
  void stop() { stopping_.store(true, std::memory_order_relaxed); }
  bool running() const { return running_.load(std::memory_order_acquire); }

  // What the path said of each packet, with the packet as it left the path. For tests.
  using Tap = std::function<void(const native_outcome&, ConstFrame)>;
  void tap(Tap tap) { tap_ = std::move(tap); }

  static constexpr uint32_t kLongestSleepUs = 1000;

 private:
  Worker(const Config& config, const Pool& pool, native* engine, rte_ring* tasks);

  void receive(const Role& role, rte_mbuf* packet);
  bool answered_here(rte_mbuf* packet, Frame frame);
  void meet_neighbour(const NeighbourMessage& message, bool arp, Frame frame);
  void answer_neighbour(const NeighbourMessage& message, bool arp, const Mac& to);
  void decide(rte_mbuf* packet, origin from, uint32_t ifindex);
  void redirect(rte_mbuf* packet, const native_outcome& outcome);
  void to_host(rte_mbuf* packet, origin from);
  void send_to(rte_mbuf* packet, const Ip& destination);
  bool is_own(const Ip& ip) const;
  bool is_ours(const Ip& ip) const;  // own, or a service's
  bool is_connected(const Ip& ip) const;
  Ip source_for(const Ip& ip) const;

  void solicit(const Ip& ip, const std::optional<Mac>& known) override;
  void transmit(rte_mbuf* packet, const Mac& to) override;
  void discard(rte_mbuf* packet) override;
  void discard(rte_mbuf* packet, Discard why);
  rte_mbuf* blank(size_t bytes);
  void queue(rte_mbuf* packet);
  void flush();
  void read_clock();
  static __u64 burst_clock(void* worker);
  void run_tasks();
  void end_tasks();

  Config config_;
  Ip link_local_;
  rte_mempool* pool_;
  std::unique_ptr<native, void (*)(native*)> engine_;
  rte_ring* tasks_;
  Task* task_ = nullptr;
  Neighbours neighbours_;
  WorkerStats stats_;
  Tap tap_;
  uint64_t now_ns_ = 0, now_ms_ = 0, next_tick_ms_ = 0;
  static constexpr uint16_t kBurst = 32, kOut = 64;
  std::array<rte_mbuf*, kOut> out_{};
  uint16_t out_count_ = 0;
  std::atomic<bool> stopping_ = false, running_ = false;
};

}  // namespace thalweg::dataplane::dpdk
