#include "policy/selector.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "tests/policy/builders.h"

namespace thalweg::policy {
namespace {

using namespace test;
using Operator = kube::LabelSelector::Operator;

TEST(SelectorTest, APodSelectorAloneMeansThePolicysNamespace) {
  const auto selector = Selector::from_peer(pods(with({{"app", "web"}})), "shop");
  ASSERT_TRUE(selector);
  EXPECT_EQ(selector->ns, "shop");
  EXPECT_FALSE(selector->namespaces);
}

TEST(SelectorTest, EqualPeersOfTwoNamespacesAreOneWhenTheyNameNamespaces) {
  EXPECT_EQ(Selector::from_peer(namespaces(everything()), "a"),
            Selector::from_peer(namespaces(everything()), "b"));
  EXPECT_NE(Selector::from_peer(pods(everything()), "a"), Selector::from_peer(pods(everything()), "b"));
}

TEST(SelectorTest, APeerThatNamesNothingIsNoSelector) {
  EXPECT_FALSE(Selector::from_peer(kube::PolicyPeer{}, "a"));
}

TEST(SelectorTest, BlocksAreCanonical) {
  const auto one =
      Selector::from_peer(block("10.0.0.0/8", {"10.2.0.0/16", "10.1.0.0/16", "10.2.0.0/16"}), "a");
  const auto same = Selector::from_peer(block("10.0.0.0/8", {"10.1.0.0/16", "10.2.0.0/16"}), "b");
  EXPECT_EQ(one, same);
  EXPECT_EQ(one->text(), same->text());
}

TEST(SelectorTest, AllOfIPv6LeavesTheMappedIPv4AddressesOut) {
  const auto all = Selector::from_peer(block("::/0"), "a");
  ASSERT_EQ(all->block.except.size(), 1u);
  EXPECT_TRUE(all->block.except[0].contains(ip("192.0.2.1")));
  EXPECT_FALSE(all->block.except[0].contains(ip("2001:db8::1")));
}

TEST(SelectorTest, TextTellsSelectorsApartAndStaysOnOneLine) {
  const std::vector<kube::PolicyPeer> peers = {
      pods(everything()),
      namespaces(everything()),
      pods(with({{"a", "b"}})),
      pods(with({{"a", "b|c"}})),
      pods({{{"a", Operator::In, {"b", "c"}}}}),
      pods({{{"a", Operator::NotIn, {"b", "c"}}}}),
      pods({{{"a", Operator::Exists, {}}}}),
      pods({{{"a", Operator::DoesNotExist, {}}}}),
      pods({{{"!a", Operator::Exists, {}}}}),
      pods(with({{"a", "b\nidentity 1 1=0"}})),
      pods_of(with({{"a", "b"}}), everything()),
      block("10.0.0.0/8"),
      block("10.0.0.0/8", {"10.1.0.0/16"}),
  };
  std::set<std::string> texts;
  for (const auto& peer : peers) {
    const auto text = Selector::from_peer(peer, "ns")->text();
    EXPECT_EQ(text.find('\n'), text.npos) << text;
    EXPECT_TRUE(texts.insert(text).second) << text;
  }
  EXPECT_TRUE(texts.insert(Selector::named_port("a", kube::Protocol::TCP).text()).second);
  EXPECT_TRUE(texts.insert(Selector::named_port("a", kube::Protocol::UDP).text()).second);
}

TEST(SelectorTest, TheIndexFindsWhatAWalkOverAllSelectorsFinds) {
  const Labels namespace_labels = {{"team", "x"}};
  const std::vector<kube::ContainerPort> ports = {{"http", 8080, kube::Protocol::TCP}};
  std::vector<Selector> selectors;
  for (const auto& peer :
       {pods(everything()), pods(with({{"app", "web"}})), pods(with({{"app", "web"}, {"tier", "x"}})),
        pods({{{"app", Operator::In, {"db", "web"}}}}), pods({{{"app", Operator::In, {}}}}),
        pods({{{"app", Operator::NotIn, {"db"}}}}), pods({{{"none", Operator::DoesNotExist, {}}}}),
        namespaces(everything()), namespaces(with({{"team", "x"}})), namespaces(with({{"team", "y"}})),
        pods_of(with({{"team", "x"}}), with({{"app", "web"}})), block("0.0.0.0/0")})
    for (const auto* where : {"default", "other"}) selectors.push_back(*Selector::from_peer(peer, where));
  selectors.push_back(Selector::named_port("http", kube::Protocol::TCP));
  selectors.push_back(Selector::named_port("http", kube::Protocol::UDP));

  SelectorIndex index;
  for (SelectorId id = 1; id <= selectors.size(); ++id) index.add(id, selectors[id - 1]);
  for (const auto& labels : {Labels{}, Labels{{"app", "web"}}, Labels{{"app", "db"}, {"tier", "x"}},
                             Labels{{"app", "web"}, {"tier", "x"}}}) {
    const PodFacts pod{{"default", "p"}, &labels, &namespace_labels, &ports};
    Class expected;
    for (SelectorId id = 1; id <= selectors.size(); ++id)
      if (matches(selectors[id - 1], pod))
        expected.push_back(
            {id, selectors[id - 1].kind == Selector::Kind::NamedPort ? uint16_t{8080} : uint16_t{0}});
    EXPECT_EQ(index.marks(pod), expected);
  }
  for (SelectorId id = 1; id <= selectors.size(); ++id) index.remove(id);
  const Labels labels = {{"app", "web"}};
  EXPECT_TRUE(index.marks({{"default", "p"}, &labels, &namespace_labels, &ports}).empty());
}

}  // namespace
}  // namespace thalweg::policy
