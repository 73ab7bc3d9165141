#include "policy/identity.h"

#include <gmock/gmock.h>

#include "tests/policy/builders.h"

namespace thalweg::policy {
namespace {

using namespace test;

// Identities with pods placed by name and labels, in namespace default.
class IdentityTest : public testing::Test {
 protected:
  void place(const std::string& name, const Labels& labels, std::vector<std::string> addresses,
             Claim claim = Claim::Pod) {
    std::vector<Ip> ips;
    for (const auto& one : addresses) ips.push_back(ip(one));
    const std::vector<kube::ContainerPort> none;
    const Labels of_namespace;
    identities_.place({{"default", name}, &labels, &of_namespace, &none}, ips, claim);
  }
  void use(const kube::PolicyPeer& peer) { identities_.use(*Selector::from_peer(peer, "default")); }
  void release(const kube::PolicyPeer& peer) { identities_.release(*Selector::from_peer(peer, "default")); }
  void settle() {
    identities_.settle();
    identities_.forget_touched();
  }
  uint32_t exact(const std::string& address) const {
    const auto row = identities_.addresses().find(ip(address));
    return row == identities_.addresses().end() ? 0 : row->second;
  }

  Identities identities_;
};

TEST_F(IdentityTest, PodsThatMatchTheSameSelectorsShareAnIdentity) {
  use(pods(with({{"app", "web"}})));
  use(pods(with({{"tier", "x"}})));
  place("a", {{"app", "web"}, {"version", "1"}}, {"10.0.0.1"});
  place("b", {{"app", "web"}, {"version", "2"}}, {"10.0.0.2", "fd00::2"});
  place("c", {{"app", "web"}, {"tier", "x"}}, {"10.0.0.3"});
  settle();
  EXPECT_NE(exact("10.0.0.1"), 0u);
  EXPECT_EQ(exact("10.0.0.1"), exact("10.0.0.2"));
  EXPECT_EQ(exact("10.0.0.1"), exact("fd00::2"));
  EXPECT_NE(exact("10.0.0.1"), exact("10.0.0.3"));
  EXPECT_EQ(identities_.class_numbers().size(), 2u);
}

TEST_F(IdentityTest, APodNoSelectorNamesHasNoRow) {
  use(pods(with({{"app", "web"}})));
  place("a", {{"app", "db"}}, {"10.0.0.1"});
  settle();
  EXPECT_TRUE(identities_.addresses().empty());
}

TEST_F(IdentityTest, AnExactAddressBearsTheBlocksAroundItToo) {
  use(pods(with({{"app", "web"}})));
  use(block("10.0.0.0/8", {"10.1.0.0/16"}));
  place("in", {{"app", "web"}}, {"10.0.0.1"});
  place("hole", {{"app", "web"}}, {"10.1.0.1"});
  settle();
  EXPECT_NE(exact("10.0.0.1"), exact("10.1.0.1"));
  EXPECT_EQ(identities_.class_numbers().content(exact("10.0.0.1"))->size(), 2u);
  EXPECT_EQ(identities_.class_numbers().content(exact("10.1.0.1"))->size(), 1u);
}

TEST_F(IdentityTest, WhenABlockGoesThePodsInItMove) {
  use(pods(with({{"app", "web"}})));
  use(block("10.0.0.0/8"));
  place("in", {{"app", "web"}}, {"10.0.0.1"});
  place("out", {{"app", "web"}}, {"192.0.2.1"});
  settle();
  const uint32_t outside = exact("192.0.2.1");
  EXPECT_NE(exact("10.0.0.1"), outside);
  release(block("10.0.0.0/8"));
  settle();
  EXPECT_EQ(exact("10.0.0.1"), outside);
  EXPECT_TRUE(identities_.prefixes().empty());
}

TEST_F(IdentityTest, AClassThatMovesToAnotherAddressKeepsItsNumber) {
  use(pods(with({{"app", "web"}})));
  use(pods(with({{"app", "db"}})));
  place("a", {{"app", "web"}}, {"10.0.0.1"});
  settle();
  const uint32_t web = exact("10.0.0.1");
  place("a", {{"app", "db"}}, {"10.0.0.1"});
  place("b", {{"app", "web"}}, {"10.0.0.2"});
  settle();
  EXPECT_EQ(exact("10.0.0.2"), web);
  EXPECT_NE(exact("10.0.0.1"), web);
}

TEST_F(IdentityTest, ANumberIsNotGivenToAnotherClassAtOnce) {
  use(pods(with({{"app", "web"}})));
  use(pods(with({{"app", "db"}})));
  place("a", {{"app", "web"}}, {"10.0.0.1"});
  settle();
  const uint32_t web = exact("10.0.0.1");
  place("a", {{"app", "db"}}, {"10.0.0.1"});
  settle();
  EXPECT_NE(exact("10.0.0.1"), web);
}

TEST_F(IdentityTest, AnAddressTwoPodsClaimIsTheLinksThenTheLivings) {
  use(pods(with({{"app", "a"}})));
  use(pods(with({{"app", "b"}})));
  place("old", {{"app", "a"}}, {"10.0.0.1"}, Claim::Terminating);
  place("other", {{"app", "a"}}, {"10.0.0.2"});
  settle();
  const uint32_t a = exact("10.0.0.2");
  EXPECT_EQ(exact("10.0.0.1"), a);
  place("young", {{"app", "b"}}, {"10.0.0.1"});
  settle();
  EXPECT_NE(exact("10.0.0.1"), a);
  place("wired", {{"app", "a"}}, {"10.0.0.1"}, Claim::Link);
  settle();
  EXPECT_EQ(exact("10.0.0.1"), a);
  identities_.remove({"default", "wired"});
  identities_.remove({"default", "young"});
  settle();
  EXPECT_EQ(exact("10.0.0.1"), a);
}

TEST(PartitionTest, EveryAddressIsInTheBlocksItsLongestPrefixSays) {
  const std::vector<kube::PolicyPeer> peers = {block("10.0.0.0/8", {"10.1.0.0/16", "10.2.0.0/16"}),
                                               block("10.1.0.0/16", {"10.1.2.0/24"}),
                                               block("10.1.2.128/25"),
                                               block("0.0.0.0/0", {"10.0.0.0/8"}),
                                               block("::/0"),
                                               block("fd00::/8", {"fd00::/16"})};
  std::map<SelectorId, kube::PolicyPeer::IpBlock> blocks;
  for (SelectorId id = 1; id <= peers.size(); ++id)
    blocks[id] = Selector::from_peer(peers[id - 1], "a")->block;
  const auto rows = partition(blocks);
  for (const auto* address : {"10.0.0.1", "10.1.0.1", "10.1.2.1", "10.1.2.129", "10.2.3.4", "192.0.2.1",
                              "fd00::1", "fd01::1", "2001:db8::1"}) {
    Class expected, got;
    for (const auto& [id, block] : blocks)
      if (block.cidr.contains(ip(address)) &&
          std::ranges::none_of(block.except, [&](const Cidr& hole) { return hole.contains(ip(address)); }))
        expected.push_back({id, 0});
    int longest = -1;
    for (const auto& [cidr, marks] : rows)
      if (cidr.contains(ip(address)) && cidr.length() > longest) longest = cidr.length(), got = marks;
    EXPECT_EQ(got, expected) << address;
  }
}

}  // namespace
}  // namespace thalweg::policy
