#include "dataplane/dpdk/worker.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pause.h>
#include <rte_prefetch.h>
#include <rte_ring.h>

#include <chrono>
#include <cstring>
#include <thread>

namespace thalweg::dataplane::dpdk {
namespace {

constexpr unsigned kTasks = 64;
constexpr uint64_t kTickMs = 100;
constexpr uint32_t kSpinPolls = 512;  // empty rounds before the first sleep
constexpr uint32_t kFirstSleepUs = 20;

Frame frame_of(rte_mbuf* packet) {
  return {rte_pktmbuf_mtod(packet, uint8_t*), rte_pktmbuf_data_len(packet)};
}

addr abi_address(const Ip& ip) {
  addr address;
  std::memcpy(address.bytes, ip.bytes().data(), 16);
  return address;
}

// RFC 4291 appendix A.
Ip link_local_of(const Mac& mac) {
  return Ip({0xfe, 0x80, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(mac[0] ^ 2), mac[1], mac[2], 0xff, 0xfe,
             mac[3], mac[4], mac[5]});
}

// Whether the worker itself may have to say something to it: ARP, or ICMP of either family.
bool may_be_answered_here(ConstFrame frame) {
  if (frame.size() < 34) return false;
  switch (ether_type(frame)) {
    case 0x0806: return true;
    case 0x0800: return frame[23] == 1;
    case 0x86dd: return frame[20] == 58;
    default: return false;
  }
}

}  // namespace

Result<std::unique_ptr<Worker>> Worker::create(const Config& config, const Pool& pool) {
  static std::atomic<unsigned> count = 0;
  native* engine = native_new();
  rte_ring* tasks =
      rte_ring_create(fmt::format("tasks-{}", count++).c_str(), kTasks, SOCKET_ID_ANY, RING_F_SC_DEQ);
  if (!engine || !tasks) {
    native_free(engine);
    rte_ring_free(tasks);
    return fail("worker: {}", engine ? rte_strerror(rte_errno) : "out of memory");
  }
  return std::unique_ptr<Worker>(new Worker(config, pool, engine, tasks));
}

Worker::Worker(const Config& config, const Pool& pool, native* engine, rte_ring* tasks)
    : config_(config),
      link_local_(link_local_of(config.mac)),
      pool_(pool.get()),
      engine_(engine, native_free),
      tasks_(tasks),
      neighbours_(*this, config.neighbours) {
  read_clock();
  native_set_clock(engine_.get(), burst_clock, this);
}

// Once a burst: a packet's own reading would cost a tenth of its way.
void Worker::read_clock() {
  now_ns_ = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  now_ms_ = now_ns_ / 1'000'000;
}

__u64 Worker::burst_clock(void* worker) { return static_cast<Worker*>(worker)->now_ns_; }

Worker::~Worker() {
  end_tasks();
  rte_ring_free(tasks_);
  for (uint16_t i = 0; i < out_count_; ++i) rte_pktmbuf_free(out_[i]);
}

// ---- the loop
// ----------------------------------------------------------------------------------------------

void Worker::run() {
  running_.store(true, std::memory_order_release);
  for (const auto& own : config_.addresses) announce(own.ip);
  uint32_t empty = 0, sleep_us = kFirstSleepUs;
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (poll() > 0 || task_) {
      empty = 0, sleep_us = kFirstSleepUs;
    } else if (config_.busy_poll || ++empty < kSpinPolls) {
      rte_pause();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(sleep_us));
      sleep_us = std::min(sleep_us * 2, kLongestSleepUs);
    }
  }
  running_.store(false, std::memory_order_release);
  end_tasks();
}

uint32_t Worker::poll() {
  read_clock();
  uint32_t total = 0;
  rte_mbuf* packets[kBurst];
  for (const auto& role : config_.ports) {
    const uint16_t count = rte_eth_rx_burst(role.port, 0, packets, kBurst);
    for (uint16_t i = 0; i < count; ++i) {
      if (i + 1 < count) rte_prefetch0(rte_pktmbuf_mtod(packets[i + 1], void*));
      receive(role, packets[i]);
    }
    total += count;
  }
  if (now_ms_ >= next_tick_ms_) {
    neighbours_.tick(now_ms_);
    next_tick_ms_ = now_ms_ + kTickMs;
  }
  flush();
  run_tasks();
  ++stats_.polls;
  if (total == 0) ++stats_.empty_polls;
  stats_.received += total;
  return total;
}

// ---- a packet's way
// ----------------------------------------------------------------------------------------

void Worker::receive(const Role& role, rte_mbuf* packet) {
  if (packet->nb_segs != 1) return discard(packet, Discard::SCATTERED);
  Frame frame = frame_of(packet);
  if (!config_.addresses.empty()) {
    const Mac to = ether_destination(frame);
    if (to != config_.mac && !(to[0] & 1)) return discard(packet, Discard::OTHER_STATION);
    if (may_be_answered_here(frame) && answered_here(packet, frame)) return;
  }
  if (config_.finish_checksums) thalweg::dataplane::dpdk::finish_checksums(frame, config_.tunnel_port);
  decide(packet, role.from, role.ifindex);
}

// True: it was for the edge itself, and is dealt with.
bool Worker::answered_here(rte_mbuf* packet, Frame frame) {
  const auto arp = parse_arp(frame);
  const auto message = arp ? arp : parse_nd(frame);
  if (message || ether_type(frame) == 0x0806) {
    if (message) meet_neighbour(*message, arp.has_value(), frame);
    rte_pktmbuf_free(packet);
    return true;
  }
  const auto echo = parse_echo_request(frame);
  if (!echo || !is_ours(echo->destination)) return false;
  answer_echo(frame);
  ++stats_.echo_answers;
  queue(packet);
  return true;
}

void Worker::meet_neighbour(const NeighbourMessage& message, bool arp, Frame frame) {
  const bool for_us = message.request ? is_ours(message.target) : ether_destination(frame) == config_.mac;
  const Ip& station = arp || message.request ? message.sender : message.target;
  const bool answer = !message.request && for_us && message.solicited;
  // Without the override flag an advertisement does not replace what is known (RFC 4861 §7.2.5).
  const auto known = neighbours_.find(station);
  const bool replaces = message.override_mac || message.request || !known || known == message.sender_mac;
  if (message.sender_mac && replaces && !station.is_none() && !is_ours(station) && is_connected(station))
    neighbours_.heard(station, *message.sender_mac, message.request && for_us, answer, now_ms_);
  if (!message.request || !for_us) return;
  Mac to;
  std::memcpy(to.data(), frame.data() + 6, to.size());
  answer_neighbour(message, arp, message.sender_mac.value_or(to));
}

void Worker::answer_neighbour(const NeighbourMessage& message, bool arp, const Mac& to) {
  rte_mbuf* packet = blank(arp ? kArpFrameBytes : kNdFrameBytes);
  if (!packet) return;
  if (arp)
    write_arp(frame_of(packet), false, {config_.mac, message.target}, {to, message.sender});
  else
    write_nd_answer(frame_of(packet), {config_.mac, message.target}, {to, message.sender}, message.target);
  ++(arp ? stats_.arp_answers : stats_.nd_answers);
  queue(packet);
}

void Worker::decide(rte_mbuf* packet, origin from, uint32_t ifindex) {
  native_packet view{.buffer = static_cast<uint8_t*>(packet->buf_addr),
                     .capacity = packet->buf_len,
                     .start = packet->data_off,
                     .length = packet->data_len,
                     .ifindex = ifindex,
                     .origin = from};
  const native_outcome outcome = native_run(engine_.get(), &view);
  packet->data_off = static_cast<uint16_t>(view.start);
  packet->data_len = static_cast<uint16_t>(view.length);
  packet->pkt_len = view.length;
  if (tap_) tap_(outcome, frame_of(packet));
  switch (outcome.verdict) {
    case REDIRECT: return redirect(packet, outcome);
    case PASS: return to_host(packet, from);
    default: return rte_pktmbuf_free(packet);  // the path has counted it, with its reason
  }
}

void Worker::redirect(rte_mbuf* packet, const native_outcome& outcome) {
  switch (outcome.hop.kind) {
    case HOP_TUNNEL:
    case HOP_DIRECT: return send_to(packet, Ip(std::to_array(outcome.hop.peer.bytes)));
    case HOP_WORLD: {
      const auto destination = ip_destination(frame_of(packet));
      return destination ? send_to(packet, *destination) : discard(packet, Discard::NO_WAY);
    }
    case HOP_HOST: return to_host(packet, FROM_HOST);
    default: return discard(packet, Discard::NO_PORT);
  }
}

// The edge's host stack is this: it answers echoes. One that came by tunnel is answered the way back through
// the path.
void Worker::to_host(rte_mbuf* packet, origin from) {
  Frame frame = frame_of(packet);
  const auto echo = config_.addresses.empty() ? std::nullopt : parse_echo_request(frame);
  if (!echo || from != FROM_HOST || !is_ours(echo->destination)) return discard(packet, Discard::UNANSWERED);
  answer_echo(frame);
  ++stats_.echo_answers;
  decide(packet, FROM_HOST, config_.ports.front().ifindex);
}

void Worker::send_to(rte_mbuf* packet, const Ip& destination) {
  const Ip gateway = destination.is_v4() ? config_.gateway_v4 : config_.gateway_v6;
  const Ip hop = is_connected(destination) ? destination : gateway;
  if (hop.is_none()) return discard(packet, Discard::NO_WAY);
  neighbours_.send(packet, hop, now_ms_);
}

// ---- whose address it is
// -----------------------------------------------------------------------------------

bool Worker::is_own(const Ip& ip) const {
  for (const auto& own : config_.addresses)
    if (own.ip == ip) return true;
  return ip == link_local_;
}

bool Worker::is_ours(const Ip& ip) const {
  if (is_own(ip)) return true;
  service_key key{};
  key.address = abi_address(ip);
  return native_get(engine_.get(), TABLE_services, &key) != nullptr;
}

bool Worker::is_connected(const Ip& ip) const {
  if (!ip.is_v4() && ip.is_link_local()) return true;
  for (const auto& own : config_.addresses)
    if (own.ip.is_v4() == ip.is_v4() && Cidr(own.ip, own.length).contains(ip)) return true;
  return false;
}

Ip Worker::source_for(const Ip& ip) const {
  for (const auto& own : config_.addresses)
    if (own.ip.is_v4() == ip.is_v4()) return own.ip;
  return ip.is_v4() ? Ip::v4(0, 0, 0, 0) : link_local_;
}

void Worker::announce(const Ip& ip) {
  rte_mbuf* packet = blank(ip.is_v4() ? kArpFrameBytes : kNdFrameBytes);
  if (!packet) return;
  if (ip.is_v4())
    write_arp(frame_of(packet), true, {config_.mac, ip}, {kBroadcast, ip});  // RFC 5227 §3
  else
    write_nd_answer(frame_of(packet), {config_.mac, ip}, {}, ip);
  ++stats_.announced;
  queue(packet);
}

// ---- what the neighbour table asks for, and the way out
// -----------------------------------------------------

void Worker::solicit(const Ip& ip, const std::optional<Mac>& known) {
  rte_mbuf* packet = blank(ip.is_v4() ? kArpFrameBytes : kNdFrameBytes);
  if (!packet) return;
  const Station self{config_.mac, source_for(ip)};
  if (ip.is_v4())
    write_arp(frame_of(packet), true, self, {known.value_or(kBroadcast), ip});
  else
    write_nd_question(frame_of(packet), self, ip, known);
  queue(packet);
}

void Worker::transmit(rte_mbuf* packet, const Mac& to) {
  set_ether(frame_of(packet), to, config_.mac);
  queue(packet);
}

void Worker::discard(rte_mbuf* packet) { discard(packet, Discard::UNRESOLVED); }

void Worker::discard(rte_mbuf* packet, Discard why) {
  ++stats_.discarded[static_cast<size_t>(why)];
  rte_pktmbuf_free(packet);
}

rte_mbuf* Worker::blank(size_t bytes) {
  rte_mbuf* packet = rte_pktmbuf_alloc(pool_);
  if (!packet || !rte_pktmbuf_append(packet, static_cast<uint16_t>(bytes))) {
    ++stats_.discarded[static_cast<size_t>(Discard::NO_MEMORY)];
    rte_pktmbuf_free(packet);
    return nullptr;
  }
  return packet;
}

void Worker::queue(rte_mbuf* packet) {
  out_[out_count_++] = packet;
  if (out_count_ == kOut) flush();
}

void Worker::flush() {
  if (out_count_ == 0) return;
  const uint16_t sent = rte_eth_tx_burst(config_.ports.front().port, 0, out_.data(), out_count_);
  stats_.sent += sent;
  for (uint16_t i = sent; i < out_count_; ++i) discard(out_[i], Discard::TRANSMIT_FULL);
  out_count_ = 0;
}

WorkerStats Worker::stats() const {
  WorkerStats stats = stats_;
  stats.neighbours = neighbours_.stats();
  stats.neighbour_entries = neighbours_.size();
  stats.neighbours_waiting = neighbours_.waiting();
  return stats;
}

// ---- tasks
// -------------------------------------------------------------------------------------------------

void Worker::run_tasks() {
  void* next = nullptr;
  if (!task_ && rte_ring_dequeue(tasks_, &next) == 0) task_ = static_cast<Task*>(next);
  if (!task_ || !task_->step(*this)) return;
  std::exchange(task_, nullptr)->done.release();
}

void Worker::end_tasks() {
  void* next = task_;
  while (next || rte_ring_dequeue(tasks_, &next) == 0) {
    static_cast<Task*>(next)->failed = true;
    static_cast<Task*>(next)->done.release();
    next = nullptr;
  }
  task_ = nullptr;
}

bool Worker::perform(Task& task) {
  using namespace std::chrono_literals;
  if (!running() || rte_ring_enqueue(tasks_, &task) != 0) return false;
  while (!task.done.try_acquire_for(100ms))
    if (!running()) end_tasks();  // it ended between the question and the ring; nobody else takes from it now
  return !task.failed;
}

}  // namespace thalweg::dataplane::dpdk
