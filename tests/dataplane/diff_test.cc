// The order of Changes: whatever they lead from and to, the tables make sense after every single one of them.
#include "dataplane/intent/diff.h"

#include <gmock/gmock.h>

#include "dataplane/fake/fake.h"
#include "policy/rules.h"
#include "tests/dataplane/world.h"

namespace thalweg::dataplane {
namespace {

using namespace test;

// Every row of the datapath, as the path would find it at this moment.
Intent now(const FakeDatapath& datapath) { return *dump_all(datapath); }

uint32_t class_of(const Intent& tables, const Ip& address) {
  if (const auto row = tables.identities.find(to_addr(address)); row != tables.identities.end())
    return row->second;
  int longest = -1;
  uint32_t out = 0;
  for (const auto& [key, identity] : tables.prefixes) {
    const Cidr cidr(Ip::from_v6_bytes(key.bytes), static_cast<uint8_t>(key.prefixlen));
    if (cidr.contains(address) && cidr.length() > longest) longest = cidr.length(), out = identity;
  }
  return out;
}

std::map<uint32_t, policy::RuleRows> rules_by_set(const Intent& tables) {
  std::map<uint32_t, policy::RuleRows> out;
  for (const auto& [key, value] : tables.rules) out[key.rule_set].emplace(key, value);
  return out;
}

// No service counts a backend that is missing.
void expect_services_whole(const Intent& tables) {
  for (const auto& [key, value] : tables.services) {
    backend_key at{};
    at.service = key;
    for (; at.slot < value.backends[INSIDE]; ++at.slot)
      ASSERT_TRUE(tables.backends.contains(at)) << to_ip(key.address).str() << " slot " << at.slot;
  }
}

// A rule set in force holds exactly what its epoch is the hash of.
void expect_epochs_true(const Intent& tables) {
  const auto rules = rules_by_set(tables);
  for (const auto& [number, row] : tables.rule_sets) {
    if (row.epoch == 0) continue;
    const auto found = rules.find(number);
    ASSERT_EQ(row.epoch,
              policy::epoch_of(row.flags, found == rules.end() ? policy::RuleRows{} : found->second))
        << "rule set " << number;
  }
}

// A pod's rule set isolates as it did before or as it will, never less than both.
void expect_isolation(const Intent& tables, const Intent& before, const Intent& after) {
  const auto flags = [](const Intent& in, uint32_t set) {
    const auto row = in.rule_sets.find(set);
    return row == in.rule_sets.end() ? 0u : row->second.flags;
  };
  for (const auto& [key, value] : tables.endpoints) {
    uint32_t least = RULE_SET_ISOLATES_INGRESS | RULE_SET_ISOLATES_EGRESS;
    for (const auto* end : {&before, &after})
      if (const auto row = end->endpoints.find(key); row != end->endpoints.end())
        least &= flags(*end, row->second.rule_set);
    ASSERT_EQ(flags(tables, value.rule_set) & least, least) << to_ip(key).str();
  }
}

// An address goes from its old class straight to its new one.
void expect_classes(const Intent& tables, const Intent& before, const Intent& after,
                    const std::vector<Ip>& addresses) {
  for (const auto& address : addresses) {
    const uint32_t is = class_of(tables, address);
    ASSERT_TRUE(is == class_of(before, address) || is == class_of(after, address))
        << address.str() << " is in " << is;
  }
}

// What both ends allow is allowed in between: the rules of a class are there before an address bears it.
void expect_rules_of_classes(const Intent& tables, const Intent& before, const Intent& after,
                             const std::vector<Ip>& addresses) {
  const auto allows = [](const Intent& in, uint32_t set, uint32_t identity) {
    rule_key key{};
    key.prefixlen = RULE_BITS_ANY_PROTOCOL;
    key.rule_set = set;
    key.identity = identity;
    return in.rules.contains(key);
  };
  for (const auto& [set, row] : before.rule_sets) {
    if (!after.rule_sets.contains(set)) continue;
    for (const auto& address : addresses) {
      if (allows(before, set, class_of(before, address)) && allows(after, set, class_of(after, address))) {
        ASSERT_TRUE(allows(tables, set, class_of(tables, address)))
            << "rule set " << set << ", " << address.str();
      }
    }
  }
}

class ReplayTest : public testing::TestWithParam<uint32_t> {};

TEST_P(ReplayTest, TheTablesMakeSenseAfterEverySingleChange) {
  World world(GetParam());
  FakeDatapath datapath;
  std::vector<Ip> addresses;
  for (int n = 0; n < 30; ++n) addresses.push_back(random_address(world.dice()));
  for (int step = 0; step < 25; ++step) {
    const Intent before = now(datapath);
    const auto touched = world.step(1 + world.dice().below(step == 0 ? 30 : 4));
    const Intent& after = world.compiler().intent();
    for (const auto& change : diff(before, after, touched)) {
      ASSERT_TRUE(datapath.apply({&change, 1}));
      const Intent tables = now(datapath);
      expect_services_whole(tables);
      expect_epochs_true(tables);
      expect_isolation(tables, before, after);
      expect_classes(tables, before, after, addresses);
      expect_rules_of_classes(tables, before, after, addresses);
      if (HasFatalFailure()) FAIL() << "step " << step << " after a change of " << info(change.table).name;
    }
    ASSERT_TRUE(now(datapath) == after) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReplayTest, testing::Range(1u, 16u));

std::vector<std::string> words(const std::vector<Change>& changes) {
  std::vector<std::string> out;
  for (const auto& change : changes)
    out.push_back(
        fmt::format("{} {}", change.op == Change::Op::Put ? "put" : "delete", info(change.table).name));
  return out;
}

class DiffTest : public testing::Test {
 protected:
  void isolate(Intent& intent, uint32_t set, std::vector<uint32_t> identities, uint64_t epoch) {
    intent.rule_sets[set] = {epoch, RULE_SET_ISOLATES_INGRESS, 0};
    for (const uint32_t identity : identities)
      intent.rules[{RULE_BITS_ANY_PROTOCOL, set, identity, INGRESS, 0, 0}] = {1, 0};
  }
  void serve(Intent& intent, uint32_t backends) {
    const auto key = service_key_of("10.96.0.1", 80, IPPROTO_TCP);
    intent.services[key] = {{backends, backends}, 0, 0, 0, 0};
    for (uint32_t slot = 0; slot < backends; ++slot) {
      backend_key at{};
      at.service = key;
      at.slot = slot;
      intent.backends[at] = backend{to_addr(Ip::v4(10, 0, 0, static_cast<uint8_t>(slot))), htons(80), {}};
    }
  }
  Intent actual_, desired_;
};

TEST_F(DiffTest, EqualIntentsNeedNoChange) {
  isolate(actual_, 3, {1, 2}, 7);
  serve(actual_, 2);
  EXPECT_TRUE(diff(actual_, actual_).empty());
}

TEST_F(DiffTest, ARuleSetIsInTransitionWhileItsRulesChange) {
  isolate(actual_, 3, {1}, 7);
  isolate(desired_, 3, {2}, 8);
  const auto changes = diff(actual_, desired_);
  EXPECT_THAT(words(changes), testing::ElementsAre("put rule_sets", "put rules", "put rule_sets",
                                                   "delete rules", "put rule_sets"));
  EXPECT_EQ(from_bytes<rule_set>(changes[0].value).epoch, 0u);
  EXPECT_EQ(from_bytes<rule_set>(changes[2].value).epoch, 0u);
  EXPECT_EQ(from_bytes<rule_set>(changes[4].value).epoch, 8u);
}

TEST_F(DiffTest, ANewRuleSetComesIntoForceWithItsRules) {
  isolate(desired_, 3, {2}, 8);
  EXPECT_THAT(words(diff(actual_, desired_)), testing::ElementsAre("put rules", "put rule_sets"));
}

TEST_F(DiffTest, AServiceShrinksBeforeItsBackendsGoAndGrowsAfterTheyCame) {
  serve(actual_, 3);
  serve(desired_, 1);
  EXPECT_THAT(words(diff(actual_, desired_)),
              testing::ElementsAre("put services", "delete backends", "delete backends"));
  EXPECT_THAT(words(diff(desired_, actual_)),
              testing::ElementsAre("put backends", "put backends", "put services"));
}

TEST_F(DiffTest, PrefixesComeLongestFirstAndGoShortestFirst) {
  for (const auto* one : {"10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24"})
    desired_.prefixes[to_prefix(cidr(one))] = 1;
  const auto lengths = [](const std::vector<Change>& changes) {
    std::vector<uint32_t> out;
    for (const auto& change : changes) out.push_back(from_bytes<prefix>(change.key).prefixlen - 96);
    return out;
  };
  EXPECT_THAT(lengths(diff(actual_, desired_)), testing::ElementsAre(24, 16, 8));
  EXPECT_THAT(lengths(diff(desired_, actual_)), testing::ElementsAre(8, 16, 24));
}

TEST_F(DiffTest, OnlyTheRowsNamedAreLookedAt) {
  serve(desired_, 2);
  desired_.identities[to_addr(ip("10.0.0.1"))] = 5;
  const Touched one = {{TABLE_identities, to_bytes(to_addr(ip("10.0.0.1")))}};
  EXPECT_THAT(words(diff(actual_, desired_, one)), testing::ElementsAre("put identities"));
}

TEST_F(DiffTest, FlowsAreInvalidWhenWhatTheyRestOnChangesNotWhenAnAddressComes) {
  desired_.identities[to_addr(ip("10.0.0.1"))] = 5;
  desired_.endpoints[to_addr(ip("10.0.0.1"))] = {};
  isolate(desired_, 3, {5}, 8);
  serve(desired_, 1);
  EXPECT_FALSE(invalidates_flows(actual_, diff(actual_, desired_)));
  actual_ = desired_;
  actual_.identities[to_addr(ip("10.0.0.1"))] = 4;
  EXPECT_TRUE(invalidates_flows(actual_, diff(actual_, desired_)));
  EXPECT_TRUE(invalidates_flows(desired_, diff(desired_, Intent{})));
  actual_ = desired_;
  desired_.routes[to_prefix(cidr("10.2.0.0/24"))] = {};
  EXPECT_TRUE(invalidates_flows(actual_, diff(actual_, desired_)))
      << "what went to the world goes by tunnel now";
}

}  // namespace
}  // namespace thalweg::dataplane
