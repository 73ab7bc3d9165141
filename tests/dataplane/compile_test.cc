// Incremental compilation is a function of the state, not of how it came to be.
#include "dataplane/intent/compile.h"

#include <gmock/gmock.h>

#include <set>

#include "dataplane/intent/diff.h"
#include "tests/dataplane/world.h"

namespace thalweg::dataplane {
namespace {

using namespace test;

class RandomHistoryTest : public testing::TestWithParam<uint32_t> {};

TEST_P(RandomHistoryTest, IncrementalEqualsFromScratch) {
  World world(GetParam());
  for (int step = 0; step < 60; ++step) {
    world.step(1 + world.dice().below(step == 0 ? 30 : 3));
    const auto scratch = world.from_scratch();
    ASSERT_TRUE(world.compiler().intent() == scratch)
        << "step " << step << ": " << differing(world.compiler().intent(), scratch).size()
        << " rows differ, the first in " << info(differing(world.compiler().intent(), scratch)[0].first).name;
  }
}

TEST_P(RandomHistoryTest, WhatIsNotTouchedHasNotChanged) {
  World world(GetParam() + 500);
  for (int step = 0; step < 60; ++step) {
    const Intent before = world.compiler().intent();
    const auto touched = world.step(1 + world.dice().below(3));
    const std::set<RowKey> named(touched.begin(), touched.end());
    for (const auto& row : differing(before, world.compiler().intent()))
      ASSERT_TRUE(named.contains(row)) << "step " << step << ": a row of " << info(row.first).name;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomHistoryTest, testing::Range(1u, 21u));

TEST(CompilerTest, NothingNewCompilesToNothing) {
  World world(3);
  world.step(40);
  const auto version = world.compiler().numbering_version();
  EXPECT_TRUE(world.compiler().compile().empty());
  world.compiler().update(world.cluster(), kube::refs(world.cluster()));
  EXPECT_TRUE(world.compiler().compile().empty());
  EXPECT_EQ(world.compiler().numbering_version(), version);
}

TEST(CompilerTest, WithoutItsNumberingANewCompilerGivesOutNoNumberTheTablesHold) {
  World world(5);
  world.step(40);
  const Intent old = world.compiler().intent();
  ASSERT_FALSE(old.identities.empty());
  ASSERT_FALSE(old.rule_sets.empty());
  Compiler fresh(World::config());
  fresh.avoid(old);
  fresh.update(world.cluster(), kube::refs(world.cluster()));
  for (const auto& [key, link] : world.links()) fresh.put_link(link);
  fresh.compile();
  EXPECT_EQ(fresh.intent().rule_sets.size(), old.rule_sets.size());
  for (const auto& [number, row] : fresh.intent().rule_sets) EXPECT_FALSE(old.rule_sets.contains(number));
  std::set<uint32_t> held;
  for (const auto& [key, identity] : old.identities) held.insert(identity);
  for (const auto& [key, identity] : fresh.intent().identities) EXPECT_FALSE(held.contains(identity));
}

TEST(CompilerTest, AnotherConfigurationRewritesWhatDependsOnIt) {
  World world(7);
  world.step(30);
  auto config = World::config();
  config.mtu = 1300;
  config.v4 = ip("192.0.2.77");
  world.compiler().configure(config);
  EXPECT_FALSE(world.compiler().compile().empty());
  EXPECT_EQ(world.compiler().intent().node.at(0).mtu, 1300);
  EXPECT_TRUE(world.compiler().intent().routes.contains(to_prefix(cidr("192.0.2.77/32"))));
  std::vector<LocalPod> links;
  for (const auto& [key, link] : world.links()) links.push_back(link);
  EXPECT_TRUE(world.compiler().intent() ==
              compile_from_scratch(config, world.cluster(), links, world.compiler().numbering()));
}

}  // namespace
}  // namespace thalweg::dataplane
