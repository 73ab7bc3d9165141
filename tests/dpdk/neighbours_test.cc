// The neighbour table: resolution, its queues and bounds, and the states of RFC 4861 §7.3. No DPDK is
// started: a packet is only a pointer here.
#include "dataplane/dpdk/neighbours.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thalweg::dataplane::dpdk {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const Ip kNode = Ip::v4(192, 0, 2, 11);
const Ip kOther = Ip::v4(192, 0, 2, 12);
constexpr Mac kMac = {2, 0, 0, 0, 0, 1};
constexpr Mac kNewMac = {2, 0, 0, 0, 0, 2};

rte_mbuf* packet(uintptr_t number) { return reinterpret_cast<rte_mbuf*>(number); }

struct Recorded : Neighbours::Actions {
  void solicit(const Ip& ip, const std::optional<Mac>& known) override {
    asked.push_back(ip);
    asked_alone.push_back(known.has_value());
  }
  void transmit(rte_mbuf* packet, const Mac& to) override {
    sent.push_back(packet);
    last_mac = to;
  }
  void discard(rte_mbuf* packet) override { discarded.push_back(packet); }
  std::vector<Ip> asked;
  std::vector<bool> asked_alone;
  std::vector<rte_mbuf*> sent, discarded;
  Mac last_mac{};
};

struct NeighboursTest : ::testing::Test {
  Recorded recorded;
  Neighbours::Limits limits{.entries = 3, .waiting_each = 2, .waiting = 3};
  Neighbours table{recorded, limits};
};

TEST_F(NeighboursTest, FirstPacketAsksAndWaitsThenGoes) {
  table.send(packet(1), kNode, 0);
  EXPECT_THAT(recorded.asked, ElementsAre(kNode));
  EXPECT_FALSE(recorded.asked_alone[0]);
  EXPECT_THAT(recorded.sent, IsEmpty());
  table.heard(kNode, kMac, false, true, 5);
  EXPECT_THAT(recorded.sent, ElementsAre(packet(1)));
  EXPECT_EQ(recorded.last_mac, kMac);
  EXPECT_EQ(table.waiting(), 0u);
  table.send(packet(2), kNode, 6);
  EXPECT_THAT(recorded.sent, ElementsAre(packet(1), packet(2)));
  EXPECT_EQ(recorded.asked.size(), 1u);
}

TEST_F(NeighboursTest, WaitingPacketsLeaveInOrderAndTheOldestGivesWay) {
  for (uintptr_t i = 1; i <= 3; ++i) table.send(packet(i), kNode, 0);
  EXPECT_THAT(recorded.discarded, ElementsAre(packet(1)));
  table.heard(kNode, kMac, false, true, 1);
  EXPECT_THAT(recorded.sent, ElementsAre(packet(2), packet(3)));
  EXPECT_EQ(table.stats().discarded, 1u);
}

TEST_F(NeighboursTest, AllQueuesTogetherAreBounded) {
  table.send(packet(1), kNode, 0);
  table.send(packet(2), kNode, 0);
  table.send(packet(3), kOther, 0);
  table.send(packet(4), kOther, 0);
  EXPECT_THAT(recorded.discarded, ElementsAre(packet(4)));
  EXPECT_EQ(table.waiting(), 3u);
}

TEST_F(NeighboursTest, SilenceIsAskedThriceThenGivenUp) {
  table.send(packet(1), kNode, 0);
  table.tick(999);
  EXPECT_EQ(recorded.asked.size(), 1u);
  table.tick(1000);
  table.tick(2000);
  EXPECT_EQ(recorded.asked.size(), 3u);
  table.tick(3000);
  EXPECT_THAT(recorded.discarded, ElementsAre(packet(1)));
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.stats().failed, 1u);
}

TEST_F(NeighboursTest, AnOldAnswerIsUsedWhileThatStationIsAskedAgain) {
  table.heard(kNode, kMac, true, true, 0);
  table.send(packet(1), kNode, limits.reachable_ms - 1);
  EXPECT_THAT(recorded.asked, IsEmpty());
  table.send(packet(2), kNode, limits.reachable_ms);
  EXPECT_THAT(recorded.sent, ElementsAre(packet(1), packet(2)));
  ASSERT_THAT(recorded.asked_alone, ElementsAre(true));
  table.heard(kNode, kMac, false, true, limits.reachable_ms + 1);
  table.send(packet(3), kNode, limits.reachable_ms + 2);
  EXPECT_EQ(recorded.asked.size(), 1u);
}

TEST_F(NeighboursTest, AStationThatStoppedAnsweringIsForgotten) {
  table.heard(kNode, kMac, true, false, 0);
  table.send(packet(1), kNode, 0);
  for (uint64_t now = 1000; now <= 3000; now += 1000) table.tick(now);
  EXPECT_EQ(table.find(kNode), std::nullopt);
}

TEST_F(NeighboursTest, GratuitousWordsOnlyRefreshWhatIsThere) {
  table.heard(kNode, kMac, false, false, 0);
  EXPECT_EQ(table.size(), 0u);
  table.heard(kNode, kMac, true, true, 0);
  table.heard(kNode, kNewMac, false, false, 1);
  EXPECT_EQ(table.find(kNode), kNewMac);
  table.send(packet(1), kNode, 2);  // unconfirmed: used, and asked about
  EXPECT_THAT(recorded.asked_alone, ElementsAre(true));
}

TEST_F(NeighboursTest, AFullTableForgetsTheOneUnusedForLongest) {
  for (uint8_t i = 1; i <= 3; ++i) table.heard(Ip::v4(192, 0, 2, i), kMac, true, true, 0);
  table.send(packet(1), Ip::v4(192, 0, 2, 1), 1);
  table.heard(Ip::v4(192, 0, 2, 4), kMac, true, true, 2);
  EXPECT_EQ(table.size(), 3u);
  EXPECT_TRUE(table.find(Ip::v4(192, 0, 2, 1)));
  EXPECT_FALSE(table.find(Ip::v4(192, 0, 2, 2)));
  EXPECT_EQ(table.stats().evicted, 1u);
}

TEST(NeighboursEnd, PacketsStillWaitingAreDiscarded) {
  Recorded recorded;
  { Neighbours(recorded, {}).send(packet(1), kNode, 0); }
  EXPECT_THAT(recorded.discarded, ElementsAre(packet(1)));
}

}  // namespace
}  // namespace thalweg::dataplane::dpdk
