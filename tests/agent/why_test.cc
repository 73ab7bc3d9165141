// `thalweg why` over small tables, without an agent.
#include "dataplane/cli/why.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace thalweg::cli {
namespace {

using dataplane::to_addr;
using dataplane::to_prefix;

const Ip kSelf = Ip::v4(192, 0, 2, 11), kPeer = Ip::v4(192, 0, 2, 12);
const Ip kPod = Ip::v4(10, 244, 1, 5), kServer = Ip::v4(10, 244, 1, 6), kRemote = Ip::v4(10, 244, 2, 7);

// This node with two pods, one of them isolated; another node with a podCIDR.
Tables small_tables() {
  Tables tables;
  tables.node_name = "n1";
  tables.generation = 1;
  node self{.v4 = to_addr(kSelf),
            .uplink_ifindex = 2,
            .host_ifindex = 3,
            .tunnel_port = htons(4789),
            .mtu = 1450,
            .masquerade_first = 50000,
            .masquerade_last = 59999,
            .vni = 1,
            .flags = NODE_MASQUERADE};
  tables.rows.node[0] = self;
  tables.rows.routes[to_prefix(*Cidr::parse("10.244.1.0/24"))] = {.kind = ROUTE_POD_CIDR};
  tables.rows.routes[to_prefix(*Cidr::parse("10.244.2.0/24"))] = {.peer = to_addr(kPeer),
                                                                  .kind = ROUTE_TUNNEL};
  tables.rows.routes[to_prefix(Cidr::host(kSelf))] = {.kind = ROUTE_HOST};
  tables.rows.endpoints[to_addr(kPod)] = {.ifindex = 10};
  tables.rows.endpoints[to_addr(kServer)] = {.ifindex = 11, .rule_set = 1};
  tables.rows.rule_sets[1] = {.epoch = 99, .flags = RULE_SET_ISOLATES_INGRESS};
  tables.names.rule_sets[1].ingress = {"NetworkPolicy demo/deny"};
  return tables;
}

Answer ask(const Tables& tables, const Ip& source, const Ip& destination) {
  auto answer =
      why(tables,
          {.source = source, .destination = destination, .protocol = IPPROTO_TCP, .destination_port = 8080});
  EXPECT_TRUE(answer) << answer.error().message;
  return answer ? *answer : Answer();
}

TEST(Why, ADenialNamesThePolicy) {
  const Answer answer = ask(small_tables(), kPod, kServer);
  EXPECT_FALSE(answer.allowed);
  EXPECT_EQ(answer.reason, "POLICY_INGRESS");
  EXPECT_NE(answer.policy.find("demo/deny"), std::string::npos) << answer.policy;
}

TEST(Why, ARuleThatAllowsIsNamed) {
  Tables tables = small_tables();
  tables.rows.rules[{.prefixlen = RULE_BITS_ONE_PORT,
                     .rule_set = 1,
                     .identity = IDENTITY_ANY,
                     .direction = INGRESS,
                     .protocol = IPPROTO_TCP,
                     .port = htons(8080)}] = {.id = 5, .verdict = RULE_ALLOW};
  tables.names.rules[5] = "NetworkPolicy demo/web ingress[0]";
  const Answer answer = ask(tables, kPod, kServer);
  EXPECT_TRUE(answer.allowed) << answer.text;
  EXPECT_EQ(answer.policy, "NetworkPolicy demo/web ingress[0]");
}

TEST(Why, FromAnotherNodeItComesByTunnel) {
  const Answer denied = ask(small_tables(), kRemote, kServer);
  EXPECT_EQ(denied.reason, "POLICY_INGRESS") << denied.origin << denied.text;
  EXPECT_TRUE(ask(small_tables(), kRemote, kPod).allowed);
}

TEST(Why, ToAnotherNodeItSaysWhoDecidesThere) {
  const Answer answer = ask(small_tables(), kPod, kRemote);
  EXPECT_TRUE(answer.allowed) << answer.text;
  EXPECT_NE(answer.note.find("192.0.2.12"), std::string::npos) << answer.note;
}

TEST(Why, AnAddressNobodyHasIsSaidSo) {
  EXPECT_EQ(ask(small_tables(), kPod, Ip::v4(10, 244, 1, 99)).reason, "NO_SUCH_POD");
}

TEST(Why, AMixOfFamiliesIsRefused) {
  EXPECT_FALSE(
      why(small_tables(), {.source = kPod, .destination = *Ip::parse("fd00::1"), .protocol = IPPROTO_TCP}));
}

TEST(Why, PortsAreReadStrictly) {
  EXPECT_EQ(parse_port("8080/tcp")->second, 8080);
  EXPECT_EQ(parse_port("53/UDP")->first, IPPROTO_UDP);
  EXPECT_EQ(parse_port("icmp")->first, IPPROTO_ICMP);
  for (const char* bad : {"", "/tcp", "0/tcp", "70000/tcp", "80x/tcp", "80/quic"})
    EXPECT_FALSE(parse_port(bad)) << bad;
}

}  // namespace
}  // namespace thalweg::cli
