// The worker on a memory port: what it answers itself, how it finds next hops, what it discards, and the
// tables behind it as a Datapath while it runs on its core.
#include "dataplane/dpdk/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/dpdk/datapath.h"
#include "dataplane/intent/intent.h"
#include "tests/dpdk/memory.h"
#include "tests/packet/frame.h"
#include "tests/packet/world.h"

namespace thalweg::dataplane::dpdk {
namespace {

using packet::Tunnel;

constexpr Mac kEdgeMac = {2, 0, 0, 0, 0, 0x20}, kPeerMac = {2, 0, 0, 0, 0, 0x11},
              kClientMac = {2, 0, 0, 0, 0, 0x64};
const Ip kEdge = Ip::v4(192, 0, 2, 1), kNode = Ip::v4(192, 0, 2, 2), kClient = Ip::v4(192, 0, 2, 100);
const Ip kGateway = Ip::v4(192, 0, 2, 254);
const std::string kVip = "203.0.113.200", kPod = "198.51.100.70";

std::string mac(const Mac& mac) { return std::string(mac.begin(), mac.end()); }

class WorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto pool = shared_pool();
    if (!pool) GTEST_SKIP() << pool.error().message;
    pool_ = *pool;
    static auto port = MemoryPort::create("wire", *pool_, 256);
    ASSERT_TRUE(port) << port.error().message;
    port_ = &*port;
    sent();  // what an earlier test left
    Worker::Config config;
    config.ports = {{port_->id(), FROM_UPLINK}};
    config.mac = kEdgeMac;
    config.addresses = {{kEdge, 120}};
    config.gateway_v4 = kGateway;
    auto worker = Worker::create(config, *pool_);
    ASSERT_TRUE(worker) << worker.error().message;
    worker_ = std::move(*worker);
  }

  // The world of the packet cases; a VIP with one backend on the other node.
  void program() {
    auto rows = packet::node() + packet::service(kVip, 80, packet::kTcp, kPod, 8080, SERVICE_LOAD_BALANCER);
    for (const auto& row : rows) put(row.table, row.key, row.value);
    service_key whole{};
    whole.address = packet::abi_address(kVip);
    service value{};
    value.flags = SERVICE_LOAD_BALANCER;
    put(TABLE_services, to_bytes(whole), to_bytes(value));
  }
  void put(table_id table, const Bytes& key, const Bytes& value) {
    ASSERT_EQ(native_put(&worker_->engine(), table, key.data(), value.data()), 0);
  }

  std::vector<std::string> send(const std::string& frame) {
    rte_mbuf* packet = to_mbuf(*pool_, frame);
    EXPECT_EQ(port_->put(&packet, 1), 1u);
    EXPECT_EQ(worker_->poll(), 1u);
    return sent();
  }
  std::vector<std::string> sent() {
    std::vector<std::string> out;
    rte_mbuf* packet = nullptr;
    while (port_->take(&packet, 1) == 1) out.push_back(take_bytes(packet));
    return out;
  }

  static std::string arp(bool request, const Station& from, const Station& to) {
    std::string frame(kArpFrameBytes, '\0');
    write_arp(bytes_of(frame), request, from, to);
    return frame;
  }
  static Frame bytes_of(std::string& frame) {
    return {reinterpret_cast<uint8_t*>(frame.data()), frame.size()};
  }
  static std::optional<NeighbourMessage> read_arp(std::string frame) { return parse_arp(bytes_of(frame)); }

  packet::Frame client_frame() {
    return {.from = kClient.str(), .to = kVip, .to_mac = mac(kEdgeMac), .from_mac = mac(kClientMac)};
  }
  uint64_t discarded(Discard why) { return worker_->stats().discarded[static_cast<size_t>(why)]; }

  Pool* pool_ = nullptr;
  MemoryPort* port_ = nullptr;
  std::unique_ptr<Worker> worker_;
};

TEST_F(WorkerTest, AnswersArpForItsAddressAndForServicesOnly) {
  const auto own = send(arp(true, {kClientMac, kClient}, {kBroadcast, kEdge}));
  ASSERT_EQ(own.size(), 1u);
  EXPECT_EQ(own[0], arp(false, {kEdgeMac, kEdge}, {kClientMac, kClient}));
  const Ip vip = *Ip::parse(kVip);
  EXPECT_TRUE(send(arp(true, {kClientMac, kClient}, {kBroadcast, vip})).empty());
  program();
  EXPECT_EQ(send(arp(true, {kClientMac, kClient}, {kBroadcast, vip})).size(), 1u);
  EXPECT_TRUE(send(arp(true, {kClientMac, kClient}, {kBroadcast, kNode})).empty());
  EXPECT_EQ(worker_->stats().arp_answers, 2u);
}

TEST_F(WorkerTest, AnswersEchoForItsAddressAndForServices) {
  program();
  for (const std::string& to : {kEdge.str(), kVip}) {
    auto frame = client_frame();
    frame.to = to, frame.protocol = packet::kIcmp;
    auto answers = send(frame.bytes());
    ASSERT_EQ(answers.size(), 1u) << to;
    EXPECT_EQ(ether_destination(bytes_of(answers[0])), kClientMac);
    EXPECT_EQ(ip_destination(bytes_of(answers[0])), kClient);
    EXPECT_EQ(answers[0][34], 0);
  }
}

TEST_F(WorkerTest, AServicePacketWaitsForTheNodesMacThenGoesByTunnel) {
  program();
  auto asked = send(client_frame().bytes());
  ASSERT_EQ(asked.size(), 1u);
  const auto question = read_arp(asked[0]);
  ASSERT_TRUE(question && question->request);
  EXPECT_EQ(question->target, kNode);
  EXPECT_EQ(question->sender, kEdge);
  auto released = send(arp(false, {kPeerMac, kNode}, {kEdgeMac, kEdge}));
  ASSERT_EQ(released.size(), 1u);
  EXPECT_EQ(ether_destination(bytes_of(released[0])), kPeerMac);
  EXPECT_EQ(ip_destination(bytes_of(released[0])), kNode);
  EXPECT_EQ(released[0].size(), client_frame().bytes().size() + 50);
}

TEST_F(WorkerTest, TheReplyLeavesTheTunnelAndGoesToTheClient) {
  program();
  send(client_frame().bytes());
  auto released = send(arp(false, {kPeerMac, kNode}, {kEdgeMac, kEdge}));
  ASSERT_EQ(released.size(), 1u);
  const std::string& out = released[0];  // SNAT chose the port: read it from the inner TCP header
  const auto port = static_cast<uint16_t>(static_cast<uint8_t>(out[84]) << 8 | static_cast<uint8_t>(out[85]));
  const auto reply = packet::Frame{.from = kPod,
                                   .to = kEdge.str(),
                                   .from_port = 8080,
                                   .to_port = port,
                                   .tcp_flags = packet::kSyn | packet::kAck};
  auto outer = Tunnel{.from = kNode.str(), .to = kEdge.str()}.around(reply.bytes());
  outer.replace(0, 6, mac(kEdgeMac));
  auto asked = send(outer);
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(read_arp(asked[0])->target, kClient);
  auto answer = send(arp(false, {kClientMac, kClient}, {kEdgeMac, kEdge}));
  ASSERT_EQ(answer.size(), 1u);
  EXPECT_EQ(ip_destination(bytes_of(answer[0])), kClient);
  EXPECT_EQ(ether_destination(bytes_of(answer[0])), kClientMac);
  EXPECT_EQ(answer[0].size(), reply.bytes().size());
}

TEST_F(WorkerTest, FramesForOthersAndForNobodyHereAreDiscarded) {
  program();
  auto frame = client_frame();
  frame.to_mac = mac(kPeerMac);
  EXPECT_TRUE(send(frame.bytes()).empty());
  EXPECT_EQ(discarded(Discard::OTHER_STATION), 1u);
  frame = client_frame();
  frame.to = kEdge.str(), frame.to_port = 22;
  EXPECT_TRUE(send(frame.bytes()).empty());
  EXPECT_EQ(discarded(Discard::UNANSWERED), 1u);
}

TEST_F(WorkerTest, NoPacketBufferIsLost) {
  program();
  const uint32_t before = pool_->available();
  for (int i = 0; i < 100; ++i) send(client_frame().bytes());
  send(std::string(13, 'x'));
  send(std::string(60, '\xff'));
  worker_.reset();
  sent();
  EXPECT_EQ(pool_->available(), before);
}

// ---- on its own core
// ----------------------------------------------------------------------------------------

struct Running : WorkerTest {
  void SetUp() override {
    WorkerTest::SetUp();
    if (!worker_) return;
    ASSERT_TRUE(shared_eal()->launch([this] { worker_->run(); }));
    while (!worker_->running()) {
    }
  }
  void TearDown() override {
    if (!worker_) return;
    worker_->stop();
    shared_eal()->wait();
  }
};

Change put_of(table_id table, const Bytes& key, const Bytes& value) {
  return {table, Change::Op::Put, key, value};
}

TEST_F(Running, AppliesAndDumpsAsADatapathDoes) {
  DpdkDatapath datapath(*worker_);
  std::vector<Change> changes;
  for (const auto& row : packet::node()) changes.push_back(put_of(row.table, row.key, row.value));
  for (uint32_t i = 1; i <= 1000; ++i)
    changes.push_back(
        put_of(TABLE_identities, to_bytes(to_addr(Ip::v4(10, 0, i >> 8, i & 255))), to_bytes(i)));
  ASSERT_TRUE(datapath.apply(changes));
  EXPECT_EQ(datapath.dump(TABLE_identities)->size(), 1000u);
  EXPECT_EQ(datapath.dump(TABLE_node)->size(), 1u);
  Change gone{TABLE_identities, Change::Op::Delete, to_bytes(to_addr(Ip::v4(10, 0, 0, 1))), {}};
  ASSERT_TRUE(datapath.apply(std::vector{gone, gone}));  // absent is no error
  EXPECT_EQ(datapath.dump(TABLE_identities)->size(), 999u);
  EXPECT_TRUE(datapath.counters());
}

TEST_F(Running, ARowThatIsNoneNamesItsTable) {
  DpdkDatapath datapath(*worker_);
  const auto done = datapath.apply(std::vector{put_of(TABLE_routes, "short", "x")});
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, testing::HasSubstr("routes"));
}

TEST_F(Running, AWorkerThatEndedSaysSo) {
  DpdkDatapath datapath(*worker_);
  ASSERT_TRUE(datapath.stats());
  worker_->stop();
  shared_eal()->wait();
  EXPECT_FALSE(datapath.stats());
  EXPECT_FALSE(datapath.dump(TABLE_node));
}

}  // namespace
}  // namespace thalweg::dataplane::dpdk
