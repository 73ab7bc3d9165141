// Routes, this node's row, and the endpoints of the pods wired here.
#include "dataplane/intent/nodes.h"

#include <gmock/gmock.h>

#include "tests/dataplane/tables.h"
#include "tests/policy/builders.h"

namespace thalweg::dataplane {
namespace {

using namespace test;

Config here() {
  Config out;
  out.node_name = "n1";
  out.uplink_ifindex = 2;
  out.host_ifindex = 7;
  out.host_mac = {2, 0, 0, 0, 0, 1};
  out.service_cidrs = {cidr("10.96.0.0/16")};
  return out;
}

const LocalPod kLink{
    {"default", "web"}, {ip("10.1.0.2"), ip("2001:db8:1::2")}, 12, {2, 0, 0, 0, 1, 2}, {2, 0, 0, 0, 1, 1}};

route route_to(const Intent& intent, const std::string& prefix) {
  return intent.routes.at(to_prefix(cidr(prefix)));
}

TEST(NodesTest, OwnAndOtherNodesBecomeRoutes) {
  const auto intent = compile_from_scratch(
      here(),
      cluster(node("n1", {"10.1.0.0/24", "2001:db8:1::/64"}, {"192.0.2.1"}),
              node("n2", {"10.2.0.0/24", "2001:db8:2::/64"}, {"2001:db8::2", "192.0.2.2"}),
              node("edge", {}, {"192.0.2.9"})),
      {});
  EXPECT_EQ(route_to(intent, "10.1.0.0/24").kind, ROUTE_POD_CIDR);
  EXPECT_EQ(route_to(intent, "2001:db8:1::/64").kind, ROUTE_POD_CIDR);
  EXPECT_EQ(route_to(intent, "192.0.2.1/32").kind, ROUTE_HOST);
  EXPECT_EQ(route_to(intent, "10.96.0.0/16").kind, ROUTE_SERVICE_CIDR);
  for (const auto* there : {"10.2.0.0/24", "2001:db8:2::/64", "192.0.2.2/32", "2001:db8::2/128"}) {
    EXPECT_EQ(route_to(intent, there).kind, ROUTE_TUNNEL) << there;
    EXPECT_EQ(to_ip(route_to(intent, there).peer), ip("192.0.2.2")) << there;
  }
  EXPECT_EQ(route_to(intent, "10.2.0.0/24").flags, 0u);
  EXPECT_EQ(route_to(intent, "192.0.2.2/32").flags, ROUTE_NODE_ADDRESS);
  EXPECT_EQ(to_ip(route_to(intent, "192.0.2.9/32").peer), ip("192.0.2.9"))
      << "a node without podCIDRs is a peer too";
}

TEST(NodesTest, APeersRouteSaysWhenItCarriesLess) {
  Config config = here();
  config.peer_paths = {{ip("192.0.2.2"), {.mtu = 1400}}, {ip("192.0.2.3"), {.mtu = 1490}}};
  const auto nodes = cluster(node("n1", {}, {"192.0.2.1"}), node("n2", {"10.2.0.0/24"}, {"192.0.2.2"}),
                             node("n3", {"10.3.0.0/24"}, {"192.0.2.3"}));
  const auto by_tunnel = compile_from_scratch(config, nodes, {});
  EXPECT_EQ(route_to(by_tunnel, "10.2.0.0/24").mtu, 1350u);
  EXPECT_EQ(route_to(by_tunnel, "192.0.2.2/32").mtu, 1350u);
  EXPECT_EQ(route_to(by_tunnel, "10.3.0.0/24").mtu, 1440u);
  config.overlay = Overlay::Auto;
  config.segment = {cidr("192.0.2.0/24")};
  const auto direct = compile_from_scratch(config, nodes, {});
  EXPECT_EQ(route_to(direct, "10.2.0.0/24").mtu, 1400u);
  EXPECT_EQ(route_to(direct, "10.3.0.0/24").mtu, 0u) << "more than a pod sends";
}

TEST(NodesTest, ATunnelsRouteSaysWhetherARouterStandsBetween) {
  Config config = here();
  config.peer_paths = {{ip("192.0.2.2"), {.neighbour = true}}, {ip("192.0.2.3"), {.mtu = 1400}}};
  const auto nodes = cluster(node("n1", {}, {"192.0.2.1"}), node("n2", {"10.2.0.0/24"}, {"192.0.2.2"}),
                             node("n3", {"10.3.0.0/24"}, {"192.0.2.3"}));
  const auto intent = compile_from_scratch(config, nodes, {});
  EXPECT_EQ(route_to(intent, "10.2.0.0/24").flags, ROUTE_NEIGHBOUR);
  EXPECT_EQ(route_to(intent, "192.0.2.2/32").flags, ROUTE_NODE_ADDRESS | ROUTE_NEIGHBOUR);
  EXPECT_EQ(route_to(intent, "10.2.0.0/24").mtu, 0u) << "as the uplink";
  EXPECT_EQ(route_to(intent, "10.3.0.0/24").flags, 0u);
}

TEST(NodesTest, TheNodeRowHoldsWhatTheNodeIs) {
  const auto intent =
      compile_from_scratch(here(), cluster(node("n1", {}, {"192.0.2.1", "2001:db8::1", "192.0.2.7"})), {});
  const auto row = intent.node.at(0);
  EXPECT_EQ(to_ip(row.v4), ip("192.0.2.1"));
  EXPECT_EQ(to_ip(row.v6), ip("2001:db8::1"));
  EXPECT_EQ(row.uplink_ifindex, 2u);
  EXPECT_EQ(row.host_ifindex, 7u);
  EXPECT_EQ(ntohs(row.tunnel_port), 4789);
  EXPECT_EQ(row.flags, NODE_MASQUERADE);
  EXPECT_EQ(row.host_mac[5], 1);
}

TEST(NodesTest, TheTunnelIsOfAFamilyBothNodesHave) {
  const auto nodes = cluster(node("both", {"10.2.0.0/24"}, {"2001:db8::2", "192.0.2.2"}),
                             node("six", {"10.3.0.0/24", "2001:db8:3::/64"}, {"2001:db8::3"}));
  const auto dual = compile_from_scratch(here(), nodes, {});
  EXPECT_EQ(to_ip(route_to(dual, "10.2.0.0/24").peer), ip("192.0.2.2")) << "IPv4 where both have it";
  for (const auto* there : {"10.3.0.0/24", "2001:db8:3::/64", "2001:db8::3/128"}) {
    EXPECT_EQ(to_ip(route_to(dual, there).peer), ip("2001:db8::3")) << there;
    EXPECT_EQ(route_to(dual, there).mtu, 1430u) << "a longer header; " << there;
  }
  Config config = here();
  config.underlay_v4 = false;
  config.mtu = 1430;
  const auto six = compile_from_scratch(config, nodes, {});
  EXPECT_EQ(to_ip(route_to(six, "10.2.0.0/24").peer), ip("2001:db8::2"));
  EXPECT_EQ(route_to(six, "10.2.0.0/24").mtu, 0u) << "as every pod here";
}

TEST(NodesTest, ANodeTheTunnelCannotReachIsComplainedOf) {
  const auto objects = cluster(node("n2", {"10.2.0.0/24"}, {"2001:db8::2"}));
  Config config = here();
  config.underlay_v6 = false;
  Compiler compiler(config);
  compiler.update(objects, kube::refs(objects));
  compiler.compile();
  ASSERT_EQ(compiler.complaints().size(), 1u);
  EXPECT_EQ(compiler.complaints()[0].object, "Node n2");
  EXPECT_FALSE(compiler.intent().routes.contains(to_prefix(cidr("10.2.0.0/24"))));
}

TEST(NodesTest, ANeighbourIsReachedDirectlyInTheFamiliesOfTheSegment) {
  auto config = here();
  config.overlay = Overlay::Auto;
  config.segment = {cidr("192.0.2.0/24")};
  const auto intent = compile_from_scratch(
      config,
      cluster(node("n1", {"10.1.0.0/24"}, {"192.0.2.1"}),
              node("near", {"10.2.0.0/24", "2001:db8:2::/64"}, {"198.51.100.2", "192.0.2.2", "2001:db8::2"}),
              node("far", {"10.3.0.0/24"}, {"198.51.100.3"})),
      {});
  EXPECT_EQ(route_to(intent, "10.2.0.0/24").kind, ROUTE_DIRECT);
  EXPECT_EQ(to_ip(route_to(intent, "10.2.0.0/24").peer), ip("192.0.2.2"));
  EXPECT_EQ(route_to(intent, "2001:db8:2::/64").kind, ROUTE_TUNNEL)
      << "no IPv6 neighbour: by tunnel over IPv4";
  EXPECT_EQ(route_to(intent, "192.0.2.2/32").kind, ROUTE_DIRECT);
  EXPECT_EQ(route_to(intent, "192.0.2.2/32").flags, ROUTE_NODE_ADDRESS);
  EXPECT_EQ(route_to(intent, "198.51.100.2/32").kind, ROUTE_TUNNEL);
  EXPECT_EQ(route_to(intent, "10.3.0.0/24").kind, ROUTE_TUNNEL);

  config.overlay = Overlay::Vxlan;
  EXPECT_EQ(route_to(compile_from_scratch(config, cluster(node("near", {"10.2.0.0/24"}, {"192.0.2.2"})), {}),
                     "10.2.0.0/24")
                .kind,
            ROUTE_TUNNEL);
}

TEST(NodesTest, WithoutATunnelANodeElsewhereIsComplainedOf) {
  auto config = here();
  config.overlay = Overlay::Direct;
  config.segment = {cidr("192.0.2.0/24")};
  const auto objects = cluster(node("far", {"10.3.0.0/24"}, {"198.51.100.3"}));
  Compiler compiler(config);
  compiler.update(objects, kube::refs(objects));
  compiler.compile();
  ASSERT_EQ(compiler.complaints().size(), 1u);
  EXPECT_EQ(compiler.complaints()[0].object, "Node far");
  EXPECT_TRUE(compiler.intent().routes.find(to_prefix(cidr("10.3.0.0/24"))) ==
              compiler.intent().routes.end());
}

TEST(NodesTest, APodCidrOfTwoNodesIsThisNodesOwnThenTheSmallerNames) {
  auto objects =
      cluster(node("n3", {"10.1.0.0/24", "10.9.0.0/24"}, {"192.0.2.3"}),
              node("n2", {"10.9.0.0/24"}, {"192.0.2.2"}), node("n1", {"10.1.0.0/24"}, {"192.0.2.1"}));
  Compiler compiler(here());
  compiler.update(objects, kube::refs(objects));
  compiler.compile();
  EXPECT_EQ(route_to(compiler.intent(), "10.1.0.0/24").kind, ROUTE_POD_CIDR);
  EXPECT_EQ(to_ip(route_to(compiler.intent(), "10.9.0.0/24").peer), ip("192.0.2.2"));
  EXPECT_EQ(compiler.complaints().size(), 2u);
  const kube::ObjectRef gone{kube::Kind::Node, {"", "n2"}};
  kube::erase(objects, gone);
  compiler.update(objects, std::vector{gone});
  compiler.compile();
  EXPECT_EQ(to_ip(route_to(compiler.intent(), "10.9.0.0/24").peer), ip("192.0.2.3"));
}

TEST(EndpointsTest, ALinkWithoutItsPodAndAPodWithoutItsLinkHaveNoRows) {
  Compiler compiler(here());
  compiler.put_link(kLink);
  compiler.compile();
  EXPECT_TRUE(compiler.intent().endpoints.empty()) << "nothing flows before its policy is known";
  const auto objects = cluster(pod("default/web", {}, {}), pod("default/other", {}, {"10.1.0.3"}));
  compiler.update(objects, kube::refs(objects));
  compiler.compile();
  ASSERT_EQ(compiler.intent().endpoints.size(), 2u);
  const auto row = compiler.intent().endpoints.at(to_addr(ip("10.1.0.2")));
  EXPECT_EQ(row.ifindex, 12u);
  EXPECT_EQ(row.mac[5], 2);
  EXPECT_EQ(row.host_mac[5], 1);
  EXPECT_EQ(row.rule_set, 0u);
  compiler.remove_link(kLink.key);
  compiler.compile();
  EXPECT_TRUE(compiler.intent().endpoints.empty());
}

TEST(EndpointsTest, APodGivenByCniAddIsIsolatedFromItsFirstRow) {
  const auto objects =
      cluster(ingress("default/deny", everything(), {}), egress("default/out", everything(), {}));
  Compiler compiler(here());
  compiler.update(objects, kube::refs(objects));
  compiler.compile();
  compiler.put_pod(std::make_shared<kube::Pod>(pod("default/web", {{"app", "web"}}, {})));
  compiler.put_link(kLink);
  compiler.compile();
  const uint32_t set = compiler.intent().endpoints.at(to_addr(ip("2001:db8:1::2"))).rule_set;
  ASSERT_NE(set, 0u);
  EXPECT_EQ(compiler.intent().rule_sets.at(set).flags, RULE_SET_ISOLATES_INGRESS | RULE_SET_ISOLATES_EGRESS);
  EXPECT_EQ(policy::why_denied(compiler.names(), set, INGRESS),
            "isolated by NetworkPolicy default/deny, no rule allows it");
  compiler.remove_link(kLink.key);
  compiler.compile();
  EXPECT_FALSE(compiler.knows_pod(kLink.key)) << "nobody would ever say it is gone";
  EXPECT_TRUE(compiler.intent().rule_sets.empty());
}

TEST(EndpointsTest, APodThatFinishedHasNoRows) {
  auto done = pod("default/web", {}, {});
  done.finished = true;
  EXPECT_TRUE(compile_from_scratch(here(), cluster(done), {{kLink}}).endpoints.empty());
}

TEST(EndpointsTest, ThePodsOwnAddressesAreThoseOfItsLinkBeforeTheApiTells) {
  const auto objects = cluster(pod("default/web", {{"app", "web"}}, {}),
                               ingress("default/p", everything(), {{{pods(everything())}, {}}}));
  const auto intent = compile_from_scratch(here(), objects, {{kLink}});
  EXPECT_TRUE(intent.identities.contains(to_addr(ip("10.1.0.2"))));
  EXPECT_TRUE(intent.identities.contains(to_addr(ip("2001:db8:1::2"))));
}

}  // namespace
}  // namespace thalweg::dataplane
