// What a packet costs the edge: the load balancer's path over a memory port, beside DPDK's plain forwarding
// loop (swap MACs, send back) on the same port as the floor. One core, CPU time, rounds A B B A.
//
// Fresh packets: the path rewrites what it gets, so every packet is copied anew from its template (and the
// port filled) outside the timed part; the timed part is burst in, path, burst out, nothing else. `new`
// packets open a connection each: their client's address and port have not been seen before.
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_version.h>
#include <time.h>

#include <algorithm>
#include <cstdio>

#include "bpf/port/native.h"
#include "dataplane/intent/compile.h"
#include "tests/dpdk/memory.h"
#include "tests/packet/frame.h"

namespace thalweg::dataplane::dpdk {
namespace {

constexpr uint32_t kBatch = 1024;  // packets on the port at a time
constexpr int kBatches = 16;       // a round
constexpr int kRounds = 12;        // of each side, pairs A B B A
constexpr int kBackends = 50;
constexpr Mac kEdgeMac = {2, 0, 0, 0, 0, 0x20}, kNodeMac = {2, 0, 0, 0, 0, 0x11};
const Ip kEdge = Ip::v4(192, 0, 2, 20), kNode = Ip::v4(192, 0, 2, 11), kGateway = Ip::v4(192, 0, 2, 254);
constexpr const char* kVip = "203.0.113.80";

double cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// A node, the edge, and a service of kBackends endpoints: the Intent is compiled as thalweg-edge does it.
kube::Cluster cluster() {
  kube::Cluster out;
  auto node = std::make_shared<kube::Node>();
  node->meta.key.name = "n1";
  node->pod_cidrs = {*Cidr::parse("10.244.0.0/16")};
  node->addresses = {kNode};
  auto edge = std::make_shared<kube::Node>();
  edge->meta.key.name = "edge";
  edge->addresses = {kEdge};
  auto service = std::make_shared<kube::Service>();
  service->meta.key = {"demo", "web"};
  service->type = kube::Service::Type::LoadBalancer;
  service->load_balancer_ips = {*Ip::parse(kVip)};
  service->ports = {{.name = "http", .port = 80, .target_port = {.number = 8080}}};
  auto slice = std::make_shared<kube::EndpointSlice>();
  slice->meta.key = {"demo", "web-1"};
  slice->service = "web";
  slice->ports = {{.name = "http", .port = 8080}};
  for (uint8_t i = 1; i <= kBackends; ++i) slice->endpoints.push_back({.addresses = {Ip::v4(10, 244, 1, i)}});
  for (const kube::Object& object : {kube::Object(std::shared_ptr<const kube::Node>(node)),
                                     kube::Object(std::shared_ptr<const kube::Node>(edge)),
                                     kube::Object(std::shared_ptr<const kube::Service>(service)),
                                     kube::Object(std::shared_ptr<const kube::EndpointSlice>(slice))})
    kube::put(out, object);
  return out;
}

class Bench {
 public:
  Bench(Pool& pool, MemoryPort& port) : pool_(pool), port_(port), packets_(kBatch) {}

  Result<> prepare() {
    Worker::Config config;
    config.ports = {{port_.id(), FROM_UPLINK}};
    config.mac = kEdgeMac;
    config.addresses = {{kEdge, 120}};
    config.gateway_v4 = kGateway;
    worker_ = TRY(Worker::create(config, pool_));
    TRY(program());
    meet_neighbours();
    return {};
  }
  void meet_neighbours() {
    know(kNode);
    know(kGateway);
  }

  // CPU ns a packet of the worker, resp. of the floor, for one round of packets from `make`.
  template <class Make>
  double ours(Make make) {
    return round(make, [this] { worker_->poll(); });
  }
  template <class Make>
  double theirs(Make make) {
    return round(make, [this] { forward_plainly(); });
  }

  // Opens a connection with this frame and returns the node's reply to it.
  std::string reply_to(const std::string& frame) {
    rte_mbuf* packet = to_mbuf(pool_, frame);
    port_.put(&packet, 1);
    worker_->poll();
    if (port_.take(&packet, 1) != 1) return {};
    const std::string out = take_bytes(packet);
    const auto at16 = [&](size_t at) {
      return static_cast<uint16_t>(static_cast<uint8_t>(out[at]) << 8 | static_cast<uint8_t>(out[at + 1]));
    };
    packet::Frame back{.from = Ip::from_v4_bytes(out.data() + 80).str(),
                       .to = kEdge.str(),
                       .from_port = at16(86),
                       .to_port = at16(84),
                       .tcp_flags = packet::kSyn | packet::kAck};
    std::string outer = packet::Tunnel{.from = kNode.str(), .to = kEdge.str()}.around(back.bytes());
    outer.replace(0, 6, std::string(kEdgeMac.begin(), kEdgeMac.end()));
    return outer;
  }

  uint64_t lost() const { return lost_; }
  // What became of the lost.
  std::string drops() {
    std::string out;
    for (uint32_t reason = 1; reason < DROP_REASONS; ++reason) {
      const auto* row = static_cast<const counter*>(native_get(&worker_->engine(), TABLE_counters, &reason));
      if (row && row->packets) out += fmt::format(" reason {}: {}", reason, row->packets);
    }
    for (size_t i = 0; i < std::size(kDiscardNames); ++i)
      if (const auto count = worker_->stats().discarded[i])
        out += fmt::format(" {}: {}", kDiscardNames[i], count);
    return out;
  }

 private:
  Result<> program() {
    Config config;
    config.node_name = "edge";
    config.edge = true;
    config.v4 = kEdge;
    config.uplink_ifindex = 1, config.host_ifindex = 2;
    config.masquerade_first = 1024, config.masquerade_last = 65535;
    const Intent intent = compile_from_scratch(config, cluster(), {});
    int error = 0;
    for_each_table(intent, [&](table_id table, const auto& rows) {
      for (const auto& [key, value] : rows) error |= native_put(&worker_->engine(), table, &key, &value);
    });
    return error ? Result<>(fail("program: {}", error)) : Result<>();
  }

  // As a question and an answer from that station: known, and confirmed for 30 s.
  void know(const Ip& ip) {
    for (const bool request : {true, false}) {
      std::string frame(kArpFrameBytes, '\0');
      const Frame bytes{reinterpret_cast<uint8_t*>(frame.data()), frame.size()};
      write_arp(bytes, request, {kNodeMac, ip}, {kEdgeMac, kEdge});
      rte_mbuf* packet = to_mbuf(pool_, frame);
      port_.put(&packet, 1);
      worker_->poll();
    }
    drain();
  }

  uint32_t drain() {
    uint32_t total = 0;
    while (const uint32_t count = port_.take(packets_.data(), kBatch)) {
      total += count;
      rte_pktmbuf_free_bulk(packets_.data(), count);
    }
    return total;
  }

  template <class Make, class Turn>
  double round(Make make, Turn turn) {
    double spent = 0;
    for (int batch = 0; batch < kBatches; ++batch) {
      for (auto& packet : packets_) packet = to_mbuf(pool_, make());
      port_.put(packets_.data(), kBatch);
      const double start = cpu_ns();
      for (uint32_t turns = 0; turns < kBatch / 32; ++turns) turn();
      spent += cpu_ns() - start;
      lost_ += kBatch - drain();
    }
    return spent / (kBatch * kBatches);
  }

  void forward_plainly() {
    rte_mbuf* packets[32];
    const uint16_t count = rte_eth_rx_burst(port_.id(), 0, packets, 32);
    for (uint16_t i = 0; i < count; ++i) {
      auto* ether = rte_pktmbuf_mtod(packets[i], rte_ether_hdr*);
      std::swap(ether->src_addr, ether->dst_addr);
    }
    const uint16_t sent = rte_eth_tx_burst(port_.id(), 0, packets, count);
    rte_pktmbuf_free_bulk(packets + sent, count - sent);
  }

  Pool& pool_;
  MemoryPort& port_;
  std::unique_ptr<Worker> worker_;
  std::vector<rte_mbuf*> packets_;
  uint64_t lost_ = 0;
};

std::string client_frame(uint32_t number) {
  packet::Frame frame{.from = "198.18.0.1", .to = kVip};
  frame.to_mac = std::string(kEdgeMac.begin(), kEdgeMac.end());
  frame.from_port = static_cast<uint16_t>(1024 + number % 60000);
  frame.from = fmt::format("198.18.{}.{}", (number / 60000) >> 8 & 255, (number / 60000) & 255);
  return frame.bytes();
}

void row(const char* metric, const char* unit, double ours, double theirs) {
  std::printf(
      "{\"bench\": \"edge\", \"metric\": \"%s\", \"unit\": \"%s\", \"ours\": %.2f, \"peer\": "
      "\"%s l2 forward loop, same port (floor)\", \"theirs\": %.2f, \"ratio\": %.2f}\n",
      metric, unit, ours, rte_version(), theirs, ours / theirs);
}

template <class Make>
void measure(Bench& bench, const std::string& name, Make make, int warm_rounds = 1) {
  std::vector<double> ours, theirs;
  bench.meet_neighbours();
  while (warm_rounds-- > 0) bench.ours(make);
  for (int pair = 0; pair < kRounds / 2; ++pair) {
    ours.push_back(bench.ours(make));
    theirs.push_back(bench.theirs(make));
    theirs.push_back(bench.theirs(make));
    ours.push_back(bench.ours(make));
  }
  const double we = median(ours), they = median(theirs);
  row((name + " CPU").c_str(), "ns/packet", we, they);
  row((name + " rate on one core").c_str(), "Mpps", 1000 / we, 1000 / they);
}

Result<> run() {
  Pool& pool = *TRY(shared_pool());
  auto port = TRY(MemoryPort::create("wire", pool, 2 * kBatch));
  Bench bench(pool, port);
  TRY(bench.prepare());
  std::vector<std::string> opened, replies;
  for (uint32_t i = 0; i < kBatch; ++i) {
    opened.push_back(client_frame(i));
    replies.push_back(bench.reply_to(opened.back()));
    if (replies.back().empty()) return fail("connection {} was not forwarded", i);
  }
  size_t next = 0;
  measure(bench, "load balancer, established, client to endpoint",
          [&] { return std::string_view(opened[next++ % kBatch]); });
  measure(bench, "load balancer, established, reply to client",
          [&] { return std::string_view(replies[next++ % kBatch]); });
  uint32_t fresh = 100'000;
  constexpr int kUntilFull = 10;  // of the flow table: from there on each connection takes another's place
  measure(
      bench, "load balancer, new connection", [&] { return client_frame(fresh++); }, kUntilFull);
  if (bench.lost() != 0)
    return fail("{} packets did not come out, the figures are void:{}", bench.lost(), bench.drops());
  return {};
}

}  // namespace
}  // namespace thalweg::dataplane::dpdk

int main() {
  const auto done = thalweg::dataplane::dpdk::run();
  if (!done) std::fprintf(stderr, "edge_bench: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
