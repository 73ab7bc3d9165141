#include "policy/rules.h"

#include <gmock/gmock.h>

#include "policy/rule_book.h"
#include "tests/policy/builders.h"
#include "tests/policy/oracle.h"

namespace thalweg::policy {
namespace {

using namespace test;

TEST(PortPrefixesTest, CoverTheRangeAndNothingElse) {
  Dice dice(7);
  std::vector<std::pair<uint16_t, uint16_t>> ranges = {
      {0, 65535}, {1, 65535}, {80, 80}, {65535, 65535}, {8000, 8999}};
  for (int n = 0; n < 200; ++n) {
    const auto a = static_cast<uint16_t>(dice.below(65536)), b = static_cast<uint16_t>(dice.below(65536));
    ranges.emplace_back(std::min(a, b), std::max(a, b));
  }
  for (const auto& [first, last] : ranges) {
    std::vector<int> covered(65536);
    const auto blocks = port_prefixes(first, last);
    EXPECT_LE(blocks.size(), 30u);
    for (const auto& block : blocks)
      for (uint32_t port = block.port; port < block.port + (1u << (16 - block.length)); ++port)
        ++covered.at(port);
    for (uint32_t port = 0; port < 65536; ++port)
      ASSERT_EQ(covered[port], port >= first && port <= last ? 1 : 0)
          << first << "-" << last << " at " << port;
  }
}

TEST(DigestTest, PortsThatCannotBeAllowNothingRatherThanEverything) {
  const auto spec = digest(ingress("a/p", everything(), {{{}, {tcp(0)}}, {{}, {tcp(90, 80)}}}));
  ASSERT_EQ(spec.rules.size(), 2u);
  for (const auto& rule : spec.rules) {
    EXPECT_TRUE(rule.ports.empty());
    EXPECT_FALSE(rule.any_port);
  }
}

TEST(DigestTest, ADirectionThatDoesNotIsolateHasNoRules) {
  auto policy = ingress("a/p", everything(), {{{}, {}}});
  policy.egress = {{{}, {}}};
  const auto spec = digest(policy);
  EXPECT_EQ(spec.flags, RULE_SET_ISOLATES_INGRESS);
  EXPECT_EQ(spec.rules.size(), 1u);
  EXPECT_EQ(spec.rules[0].name, "NetworkPolicy a/p ingress[0]");
}

// A cluster with three pods, of which web is wired here.
class RuleBookTest : public testing::Test {
 protected:
  void put(const kube::Object& object) {
    kube::put(cluster_, object);
    changed_.push_back(kube::ref_of(object));
  }
  void erase(const kube::ObjectRef& ref) {
    kube::erase(cluster_, ref);
    changed_.push_back(ref);
  }
  void wire(const std::string& name) {
    const auto key = key_of(name);
    subjects_[key] = cluster_.pods.at(key)->ips;
    changed_subjects_.push_back(key);
  }
  RuleBookTouched compile() {
    return book_.compile(cluster_, std::exchange(changed_, {}), subjects_,
                         std::exchange(changed_subjects_, {}));
  }
  const RuleBook::RuleSet& set_of(const std::string& subject) {
    return *book_.rule_set_at(book_.rule_set_of(key_of(subject)));
  }

  kube::Cluster cluster_;
  Subjects subjects_;
  RuleBook book_;
  std::vector<kube::ObjectRef> changed_;
  std::vector<kube::ObjectKey> changed_subjects_;
};

const auto kWeb = with({{"app", "web"}});

TEST_F(RuleBookTest, SubjectsOfTheSamePoliciesShareOneRuleSet) {
  put(object(pod("a/web1", {{"app", "web"}}, {"10.0.0.1"})));
  put(object(pod("a/web2", {{"app", "web"}}, {"10.0.0.2"})));
  put(object(pod("a/db", {{"app", "db"}}, {"10.0.0.3"})));
  put(object(ingress("a/web", kWeb, {})));
  put(object(ingress("a/all", everything(), {})));
  wire("a/web1"), wire("a/web2"), wire("a/db");
  compile();
  EXPECT_NE(book_.rule_set_of({"a", "web1"}), 0u);
  EXPECT_EQ(book_.rule_set_of({"a", "web1"}), book_.rule_set_of({"a", "web2"}));
  EXPECT_NE(book_.rule_set_of({"a", "web1"}), book_.rule_set_of({"a", "db"}));
}

TEST_F(RuleBookTest, SubjectsWhoseNamedPortsDifferDoNotShare) {
  put(object(pod("a/web1", {}, {"10.0.0.1"}, {{"http", 80, kube::Protocol::TCP}})));
  put(object(pod("a/web2", {}, {"10.0.0.2"}, {{"http", 8080, kube::Protocol::TCP}})));
  put(object(ingress("a/p", everything(), {{{}, {named("http")}}})));
  wire("a/web1"), wire("a/web2");
  compile();
  EXPECT_NE(book_.rule_set_of({"a", "web1"}), book_.rule_set_of({"a", "web2"}));
}

TEST_F(RuleBookTest, SelectorsOfPoliciesThatSelectNoPodHereCostNothing) {
  put(object(pod("a/web", {{"app", "web"}}, {"10.0.0.1"})));
  put(object(pod("b/db", {{"app", "db"}}, {"10.0.0.2"})));
  put(object(ingress("b/p", everything(), {{{namespaces(everything()), block("10.0.0.0/8")}, {}}})));
  wire("a/web");
  compile();
  EXPECT_EQ(book_.identities().selector_numbers().size(), 0u);
  EXPECT_TRUE(book_.identities().prefixes().empty());
  EXPECT_TRUE(book_.identities().addresses().empty());
}

TEST_F(RuleBookTest, AChangeThatDoesNotMatterTouchesNothing) {
  put(object(pod("a/web", {{"app", "web"}}, {"10.0.0.1"})));
  put(object(pod("a/x", {{"app", "x"}}, {"10.0.0.2"})));
  put(object(ingress("a/p", kWeb, {{{pods(kWeb)}, {tcp(80)}}})));
  wire("a/web");
  compile();
  put(object(pod("a/x", {{"app", "x"}, {"version", "2"}}, {"10.0.0.2"})));
  put(object(ns("a", {{"owner", "someone"}})));
  const auto touched = compile();
  EXPECT_TRUE(touched.addresses.empty());
  EXPECT_TRUE(touched.rule_sets.empty());
  EXPECT_TRUE(touched.subjects.empty());
}

TEST_F(RuleBookTest, TheEpochFollowsTheContent) {
  put(object(pod("a/web", {{"app", "web"}}, {"10.0.0.1"})));
  put(object(ingress("a/p", kWeb, {{{}, {tcp(80)}}})));
  wire("a/web");
  compile();
  const uint64_t before = set_of("a/web").row.epoch;
  EXPECT_NE(before, 0u);
  put(object(ingress("a/p", kWeb, {{{}, {tcp(81)}}})));
  compile();
  EXPECT_NE(set_of("a/web").row.epoch, before);
  put(object(ingress("a/p", kWeb, {{{}, {tcp(80)}}})));
  compile();
  EXPECT_EQ(set_of("a/web").row.epoch, before);
}

TEST_F(RuleBookTest, NamesSayWhichRuleAllowsAndWhoIsolates) {
  put(object(pod("a/web", {{"app", "web"}}, {"10.0.0.1"})));
  put(object(ingress("a/deny-all", everything(), {})));
  put(object(ingress("a/web", kWeb, {{{block("192.0.2.0/24")}, {}}, {{}, {tcp(80)}}})));
  wire("a/web");
  compile();
  const auto names = book_.names();
  const uint32_t set = book_.rule_set_of({"a", "web"});
  const auto answer = answer_of(tables_of(book_), set, {{"a", "web"}, INGRESS, ip("198.51.100.1"), 6, 80});
  EXPECT_EQ(names.rules.at(answer.rule), "NetworkPolicy a/web ingress[1]");
  EXPECT_EQ(why_denied(names, set, INGRESS),
            "isolated by NetworkPolicy a/deny-all and NetworkPolicy a/web, no rule allows it");
  EXPECT_EQ(why_denied(names, set, EGRESS), "");
  EXPECT_EQ(why_denied(names, 0, INGRESS), "");
}

TEST_F(RuleBookTest, ARuleSetBeyondItsBoundSaysSoAndDeniesTheRest) {
  put(object(pod("a/web", {{"app", "web"}}, {"10.0.0.1"})));
  kube::PolicyRule wide;
  for (uint32_t n = 0; n < 300; ++n)
    wide.peers.push_back(block(Cidr(Ip::v4(10, 0, 0, 0).plus(n * 256), 120).str()));
  for (uint32_t n = 0; n < 300; ++n) wide.ports.push_back(tcp(static_cast<uint16_t>(1000 + 2 * n)));
  put(object(ingress("a/wide", kWeb, {wide})));
  wire("a/web");
  compile();
  EXPECT_EQ(set_of("a/web").rows.size(), kMostRowsOfASet);
  ASSERT_EQ(book_.complaints().size(), 1u);
  EXPECT_EQ(book_.complaints()[0].first, "NetworkPolicy a/wide");
}

TEST_F(RuleBookTest, WhenEveryRuleSetIsTakenThePodIsIsolated) {
  // Every subject has a policy of its own, so a set of its own.
  for (uint32_t n = 0; n < kRuleSets; ++n) {
    const auto id = std::to_string(n), of = "ns" + std::to_string(n / 64);
    put(object(pod(of + "/pod" + id, {{"n", id}}, {Ip::v4(10, 0, 0, 1).plus(n).str()})));
    put(object(ingress(of + "/p" + id, with({{"n", id}}), {{{}, {}}})));
    wire(of + "/pod" + id);
  }
  compile();
  size_t isolated = 0;
  for (const auto& [key, ips] : subjects_) isolated += book_.rule_set_of(key) == kDenyAll;
  EXPECT_EQ(isolated, 2u);
  EXPECT_EQ(book_.complaints().size(), 2u);
  ASSERT_NE(book_.rule_set_at(kDenyAll), nullptr);
  EXPECT_EQ(book_.rule_set_at(kDenyAll)->row.flags, RULE_SET_ISOLATES_INGRESS | RULE_SET_ISOLATES_EGRESS);
  EXPECT_TRUE(book_.rule_set_at(kDenyAll)->rows.empty());
}

}  // namespace
}  // namespace thalweg::policy
