// What the host's routes should be.
#include <gtest/gtest.h>

#include "dataplane/agent/overlay.h"
#include "dataplane/intent/nodes.h"

namespace thalweg::dataplane {
namespace {

std::shared_ptr<const kube::Node> make_node(const std::string& name, const std::string& cidr,
                                            const std::string& ip) {
  auto node = std::make_shared<kube::Node>();
  node->meta.key = {"", name};
  node->pod_cidrs = {*Cidr::parse(cidr)};
  node->addresses = {*Ip::parse(ip)};
  return node;
}

kube::Store<kube::Node> two_nodes(const std::string& other_cidr) {
  return {{{"", "n1"}, make_node("n1", "10.244.1.0/24", "192.0.2.11")},
          {{"", "n2"}, make_node("n2", other_cidr, "192.0.2.12")}};
}

Config here(const std::string& service_cidr = "") {
  Config config{.node_name = "n1", .uplink_ifindex = 2, .host_ifindex = 7};
  if (!service_cidr.empty()) config.service_cidrs = {*Cidr::parse(service_cidr)};
  return config;
}

TEST(HostRoutes, OtherNodesAndServicesGoByTheLeg) {
  const HostRoutes routes = desired_routes(two_nodes("10.244.2.0/24"), here("10.96.0.0/16"));
  ASSERT_EQ(routes.routes.size(), 2u);
  EXPECT_EQ(routes.routes[0].to.str(), "10.96.0.0/16");
  EXPECT_EQ(routes.routes[1].to.str(), "10.244.2.0/24");
  EXPECT_EQ(routes.routes[1].gateway.str(), "169.254.1.1");
  EXPECT_EQ(routes.routes[1].source.str(), "192.0.2.11");
  EXPECT_EQ(routes.routes[1].link, 7u);
}

TEST(HostRoutes, ANeighboursPodsGoByTheNodeItself) {
  Config config = here("10.96.0.0/16");
  config.overlay = Overlay::Auto;
  config.segment = {*Cidr::parse("192.0.2.0/24")};
  const HostRoutes routes = desired_routes(two_nodes("10.244.2.0/24"), config);
  ASSERT_EQ(routes.routes.size(), 2u);
  EXPECT_EQ(routes.routes[0].link, 7u) << "services by the leg all the same";
  EXPECT_EQ(routes.routes[1].gateway.str(), "192.0.2.12");
  EXPECT_EQ(routes.routes[1].mtu, 1450u) << "what the pods there take";
  EXPECT_EQ(routes.routes[1].source.str(), "192.0.2.11");
  EXPECT_EQ(routes.routes[1].link, 2u);
}

TEST(HostRoutes, TellWhatThePathToAPeerCarries) {
  Config config = here();
  config.peer_paths = {{*Ip::parse("192.0.2.12"), {.mtu = 1400}}};
  EXPECT_EQ(desired_routes(two_nodes("10.244.2.0/24"), config).routes.at(0).mtu, 1350u) << "by tunnel";
  config.overlay = Overlay::Auto;
  config.segment = {*Cidr::parse("192.0.2.0/24")};
  EXPECT_EQ(desired_routes(two_nodes("10.244.2.0/24"), config).routes.at(0).mtu, 1400u) << "directly";
  config.peer_paths = {{*Ip::parse("192.0.2.12"), {.mtu = 1480}}};
  EXPECT_EQ(desired_routes(two_nodes("10.244.2.0/24"), config).routes.at(0).mtu, 1450u) << "as pods";
}

TEST(HostRoutes, ARangeOverANodesAddressIsRefusedByName) {
  const HostRoutes routes = desired_routes(two_nodes("0.0.0.0/0"), here());
  EXPECT_TRUE(routes.routes.empty());
  ASSERT_EQ(routes.refused.size(), 1u);
  EXPECT_NE(routes.refused[0].find("Node n2"), std::string::npos);
}

TEST(HostRoutes, NoRouteInAFamilyTheHostHasNoAddressIn) {
  EXPECT_TRUE(desired_routes(two_nodes("fd00:2::/64"), here()).routes.empty());
}

TEST(HostRoutes, TheTunnelsHeadersFit) {
  EXPECT_EQ(inner_mtu(1500), 1450);
  EXPECT_EQ(inner_mtu(1500, 0), 1500) << "no tunnel at all";
  EXPECT_EQ(inner_mtu(10), 576);
  EXPECT_EQ(inner_mtu(70'000), 65'535);
}

}  // namespace
}  // namespace thalweg::dataplane
