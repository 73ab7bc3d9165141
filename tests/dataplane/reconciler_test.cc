// The reconciler against tables in memory: restarts, failures, drift.
#include "dataplane/agent/reconciler.h"

#include <gmock/gmock.h>

#include <set>

#include "dataplane/fake/fake.h"
#include "tests/dataplane/world.h"

namespace thalweg::dataplane {
namespace {

using namespace test;

class ReconcilerTest : public testing::Test {
 protected:
  ReconcilerTest() : world_(11) {
    for (int n = 0; n < 500 && smallest_table() < 3; ++n) world_.step(20);
  }

  size_t smallest_table() {
    size_t out = ~size_t{0};
    for_each_table(desired(), [&](table_id table, const auto& rows) {
      if (table != TABLE_node) out = std::min(out, rows.size());
    });
    return out;
  }
  const Intent& desired() { return world_.compiler().intent(); }
  bool as_desired() { return *dump_all(datapath_) == desired(); }
  uint64_t generation() {
    const auto rows = *datapath_.dump(TABLE_generation);
    return rows.empty() ? 0 : from_bytes<__u64>(rows[0].value);
  }
  void start(Reconciler& reconciler) {
    ASSERT_TRUE(reconciler.adopt());
    ASSERT_TRUE(reconciler.update_all(desired()));
    ASSERT_TRUE(as_desired());
  }

  World world_;
  FakeDatapath datapath_;
};

TEST_F(ReconcilerTest, ARestartWithItsNumberingWritesNothing) {
  Reconciler first(datapath_);
  start(first);
  const uint64_t writes = datapath_.writes();

  Compiler compiler(World::config());
  ASSERT_TRUE(compiler.restore(world_.compiler().numbering()));
  Reconciler second(datapath_);
  ASSERT_TRUE(second.adopt());
  compiler.avoid(second.applied());
  compiler.update(world_.cluster(), kube::refs(world_.cluster()));
  for (const auto& [key, link] : world_.links()) compiler.put_link(link);
  compiler.compile();
  ASSERT_TRUE(second.update_all(compiler.intent()));
  EXPECT_EQ(datapath_.writes(), writes);
  EXPECT_TRUE(as_desired());
}

TEST_F(ReconcilerTest, FollowsAHistoryByWhatWasTouched) {
  Reconciler reconciler(datapath_);
  start(reconciler);
  for (int n = 0; n < 30; ++n) {
    const auto touched = world_.step(2);
    ASSERT_TRUE(reconciler.update(desired(), touched));
    ASSERT_TRUE(as_desired()) << "step " << n;
  }
  EXPECT_TRUE(reconciler.settled());
}

TEST_F(ReconcilerTest, AFailureIsOwedAndMadeGood) {
  Reconciler reconciler(datapath_);
  ASSERT_TRUE(reconciler.adopt());
  datapath_.fail_after(5);
  const auto failed = reconciler.update_all(desired());
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, testing::HasSubstr("told to fail"));
  EXPECT_FALSE(reconciler.settled());
  datapath_.fail_after({});
  ASSERT_TRUE(reconciler.update(desired(), {}));
  EXPECT_TRUE(reconciler.settled());
  EXPECT_TRUE(as_desired());
}

TEST_F(ReconcilerTest, AFullTableLeavesTheRestInPlaceAndNothingHalfDone) {
  for (const auto table :
       {TABLE_routes, TABLE_rules, TABLE_rule_sets, TABLE_identities, TABLE_endpoints, TABLE_backends,
        TABLE_members, TABLE_maglev, TABLE_source_ranges, TABLE_services}) {
    FakeDatapath datapath;
    FakeDatapath roomy;
    ASSERT_TRUE(roomy.apply(diff(Intent{}, desired())));
    ASSERT_GE(roomy.table(table).size(), 2u) << info(table).name << ": the world is too small for this test";
    datapath.limit(table, roomy.table(table).size() - 1);
    Reconciler reconciler(datapath);
    ASSERT_TRUE(reconciler.adopt());
    const auto done = reconciler.update_all(desired());
    ASSERT_FALSE(done) << info(table).name;
    EXPECT_THAT(done.error().message, testing::HasSubstr(std::string(info(table).name)))
        << done.error().message;
    const Intent tables = *dump_all(datapath);
    EXPECT_EQ(tables.node.size(), desired().node.size());
    for (const auto& [key, value] : tables.services) {
      for (const audience whose : {INSIDE, OUTSIDE})
        for (uint32_t slot = 0;
             slot < value.backends[whose] && (whose == INSIDE || value.flags & SERVICE_APART); ++slot)
          EXPECT_TRUE(tables.backends.contains({key, slot, whose})) << info(table).name;
      for (uint32_t row = 0; row * MAGLEV_ROW < value.maglev; ++row)
        EXPECT_TRUE(tables.maglev.contains({key, row, 0})) << info(table).name;
      const uint32_t restricted = desired().services.at(key).flags & SERVICE_SOURCE_RANGES;
      EXPECT_EQ(value.flags & restricted, restricted) << "a balancer is open to all";
    }
    for (const auto& [key, value] : tables.endpoints)
      EXPECT_TRUE(value.rule_set == 0 || tables.rule_sets.contains(value.rule_set))
          << info(table).name << ": a pod without its policy";
    datapath.limit(table, 0);
    ASSERT_TRUE(reconciler.update(desired(), {})) << info(table).name;
    EXPECT_TRUE(*dump_all(datapath) == desired()) << info(table).name;
  }
}

TEST_F(ReconcilerTest, DriftIsRepairedCountedAndEndsCachedDecisions) {
  Reconciler reconciler(datapath_);
  start(reconciler);
  ASSERT_FALSE(desired().rules.empty());
  ASSERT_FALSE(desired().services.empty());
  const auto before = generation();
  datapath_.corrupt(TABLE_rules, to_bytes(desired().rules.begin()->first), std::nullopt);
  datapath_.corrupt(TABLE_routes, to_bytes(to_prefix(cidr("203.0.113.0/24"))), to_bytes(route{}));
  auto service_row = desired().services.begin();
  datapath_.corrupt(TABLE_services, to_bytes(service_row->first), to_bytes(::service{99, 0, 0, 0}));
  const auto drifted = reconciler.verify(desired());
  ASSERT_TRUE(drifted);
  EXPECT_EQ(*drifted, 3u);
  EXPECT_EQ(reconciler.stats().drift_repaired[TABLE_rules], 1u);
  EXPECT_EQ(reconciler.stats().drift_repaired[TABLE_routes], 1u);
  EXPECT_EQ(reconciler.stats().drift_repaired[TABLE_services], 1u);
  EXPECT_TRUE(as_desired());
  EXPECT_GT(generation(), before);
  EXPECT_EQ(*reconciler.verify(desired()), 0u);
}

TEST_F(ReconcilerTest, TheGenerationRisesWhenAddressesChangeAndOnlyThen) {
  Reconciler reconciler(datapath_);
  ASSERT_TRUE(reconciler.adopt());
  Intent intent;
  intent.endpoints[to_addr(ip("10.0.0.1"))].ifindex = 5;
  intent.services[service_key_of("10.96.0.1", 80, IPPROTO_TCP)] = {};
  ASSERT_TRUE(reconciler.update_all(intent));
  EXPECT_EQ(generation(), 0u) << "what was not there before was in no flow";
  intent.endpoints[to_addr(ip("10.0.0.1"))].ifindex = 6;
  ASSERT_TRUE(reconciler.update_all(intent));
  EXPECT_EQ(generation(), 1u);
  intent.services.clear();
  ASSERT_TRUE(reconciler.update_all(intent));
  EXPECT_EQ(generation(), 1u);
  intent.endpoints.clear();
  ASSERT_TRUE(reconciler.update_all(intent));
  EXPECT_EQ(generation(), 2u);

  Reconciler next(datapath_);
  ASSERT_TRUE(next.adopt());
  intent.endpoints[to_addr(ip("10.0.0.2"))].ifindex = 7;
  ASSERT_TRUE(next.update_all(intent));
  intent.endpoints.clear();
  ASSERT_TRUE(next.update_all(intent));
  EXPECT_EQ(generation(), 3u) << "it goes on from where the last agent left it";
}

TEST_F(ReconcilerTest, AnOwedGenerationIsNotForgotten) {
  Reconciler reconciler(datapath_);
  ASSERT_TRUE(reconciler.adopt());
  Intent intent;
  intent.endpoints[to_addr(ip("10.0.0.1"))].ifindex = 5;
  ASSERT_TRUE(reconciler.update_all(intent));
  intent.endpoints.clear();
  datapath_.fail_after(1);
  EXPECT_FALSE(reconciler.update_all(intent));
  EXPECT_FALSE(reconciler.settled());
  datapath_.fail_after({});
  ASSERT_TRUE(reconciler.update(intent, {}));
  EXPECT_EQ(generation(), 1u);
  EXPECT_TRUE(reconciler.settled());
}

// ---- UDP flows whose backend moved

class MovedTest : public testing::Test {
 protected:
  MovedTest() { EXPECT_TRUE(reconciler_.adopt()); }
  static service_key dns() { return service_key_of("10.96.0.10", 53, IPPROTO_UDP); }
  static addr backend(int n) { return to_addr(Ip::v4(10, 1, 0, static_cast<uint8_t>(n))); }

  // The service's slots and members.
  static Intent with(const service_key& key, const std::vector<int>& inside,
                     const std::vector<int>& outside = {}, uint32_t flags = 0) {
    Intent out;
    out.services[key] = {
        {static_cast<uint32_t>(inside.size()), static_cast<uint32_t>(outside.size())}, 0, flags, 0, 0};
    for (const audience whose : {INSIDE, OUTSIDE}) {
      uint32_t slot = 0;
      for (const int n : whose == INSIDE ? inside : outside) {
        out.backends[{key, slot++, whose}] = {backend(n), htons(53), {}};
        out.members[{key, backend(n), htons(53), static_cast<__u8>(whose), {}}] = 1;
      }
    }
    return out;
  }
  uint32_t moved(int n) const {
    const addr at = backend(n);
    const auto& rows = datapath_.table(TABLE_moved);
    const auto found = rows.find(to_bytes(moved_row(&at, htons(53))));
    return found == rows.end() ? 0 : from_bytes<__u32>(found->second);
  }

  FakeDatapath datapath_;
  Reconciler reconciler_{datapath_};
};

TEST_F(MovedTest, FlowsOfABackendThatStopsServingAreToldAndOthersAreNot) {
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2})));
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2, 3})));
  EXPECT_TRUE(datapath_.table(TABLE_moved).empty()) << "one more moves no one";
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 3})));
  EXPECT_EQ(moved(2), 1u);
  EXPECT_EQ(moved(1), 0u);
  EXPECT_EQ(moved(3), 0u);
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2, 3})));
  EXPECT_EQ(moved(2), 1u) << "who came back had lost its flows before";
  ASSERT_TRUE(reconciler_.update_all(Intent()));
  EXPECT_EQ(moved(1), 1u);
  EXPECT_EQ(moved(2), 2u);
}

TEST_F(MovedTest, PodsOfOneNodeAreSpreadOverTheRows) {
  std::set<uint32_t> rows;
  for (int n = 1; n <= 200; ++n) {
    const addr at = backend(n);
    rows.insert(moved_row(&at, htons(53)));
  }
  EXPECT_GT(rows.size(), 150u);
}

TEST_F(MovedTest, TcpKnowsByItself) {
  const auto web = service_key_of("10.96.0.1", 80, IPPROTO_TCP);
  ASSERT_TRUE(reconciler_.update_all(with(web, {1, 2})));
  ASSERT_TRUE(reconciler_.update_all(with(web, {1})));
  EXPECT_TRUE(datapath_.table(TABLE_moved).empty());
}

TEST_F(MovedTest, WhenTheOutsideIsSetApartItsFlowsAreAsked) {
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2})));
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2}, {1}, SERVICE_APART)));
  EXPECT_EQ(moved(2), 1u);
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2}, {}, SERVICE_APART)));
  EXPECT_EQ(moved(2), 1u);
  EXPECT_EQ(moved(1), 2u);
}

TEST_F(MovedTest, ARestartGoesOnFromWhatTheTableHolds) {
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2})));
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1})));
  Reconciler next(datapath_);
  ASSERT_TRUE(next.adopt());
  ASSERT_TRUE(next.update_all(with(dns(), {1, 2})));
  ASSERT_TRUE(next.update_all(with(dns(), {1})));
  EXPECT_EQ(moved(2), 2u);
}

TEST_F(MovedTest, TheRowsAreRaisedAfterTheTablesSaySo) {
  ASSERT_TRUE(reconciler_.update_all(with(dns(), {1, 2})));
  const auto after = with(dns(), {1});
  datapath_.fail_after(3);  // the service, then the slot and the member go
  EXPECT_FALSE(reconciler_.update_all(after));
  EXPECT_FALSE(reconciler_.settled());
  EXPECT_EQ(moved(2), 0u);
  EXPECT_TRUE(*dump_all(datapath_) == after);
  datapath_.fail_after({});
  ASSERT_TRUE(reconciler_.update(after, {}));
  EXPECT_TRUE(reconciler_.settled());
  EXPECT_EQ(moved(2), 1u);
}

}  // namespace
}  // namespace thalweg::dataplane
