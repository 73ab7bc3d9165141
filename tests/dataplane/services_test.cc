// A Service with its slices, and the rows a node should hold for it.
#include "dataplane/intent/services.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>

#include "tests/dataplane/tables.h"
#include "tests/policy/builders.h"

namespace thalweg::dataplane {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class ServicesTest : public testing::Test {
 protected:
  ServicesTest() {
    config_.node_name = "n1";
    config_.v4 = ip("192.0.2.1");
    config_.v6 = ip("2001:db8::1");
  }
  Intent compile() { return compile_from_scratch(config_, cluster_, {}); }
  std::vector<Complaint> complaints() {
    Compiler compiler(config_);
    compiler.update(cluster_, kube::refs(cluster_));
    compiler.compile();
    return compiler.complaints();
  }
  template <class... T>
  void put(T... objects) {
    (kube::put(cluster_, object(std::move(objects))), ...);
  }

  Config config_;
  kube::Cluster cluster_;
};

TEST_F(ServicesTest, AClusterIpIsBalancedOverItsReadyEndpoints) {
  put(service("default/web", {"10.96.0.1"}, {{"http", 80}}),
      slice("default/web-1", "web", {{"http", 8080}},
            {endpoint_at("10.1.0.3"), endpoint_at("10.1.0.2"), not_ready("10.1.0.4")}));
  const auto intent = compile();
  EXPECT_THAT(backends_of(intent, "10.96.0.1", 80), ElementsAre("10.1.0.2:8080", "10.1.0.3:8080"));
  EXPECT_TRUE(has_service(intent, "10.96.0.1", 0, 0))
      << "other ports of the address must have a row to fall on";
  EXPECT_EQ(intent.services.size(), 2u);
}

TEST_F(ServicesTest, WithoutEndpointsTheServiceRowSaysSo) {
  put(service("default/web", {"10.96.0.1"}, {{"http", 80}}));
  const auto intent = compile();
  EXPECT_TRUE(has_service(intent, "10.96.0.1", 80, IPPROTO_TCP));
  EXPECT_THAT(backends_of(intent, "10.96.0.1", 80), IsEmpty());
}

TEST_F(ServicesTest, WithoutReadyEndpointsThoseThatStillServeAreUsed) {
  put(service("default/web", {"10.96.0.1"}, {{"http", 80}}),
      slice("default/web-1", "web", {{"http", 8080}},
            {terminating("10.1.0.2", true), terminating("10.1.0.3", false), not_ready("10.1.0.4")}));
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.2:8080"));
  put(slice("default/web-2", "web", {{"http", 8080}}, {endpoint_at("10.1.0.9")}));
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.9:8080"));
}

TEST_F(ServicesTest, ANamedTargetPortMayDifferFromSliceToSlice) {
  put(service("default/web", {"10.96.0.1"}, {{"http", 80}}),
      slice("default/web-1", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}),
      slice("default/web-2", "web", {{"http", 9090}}, {endpoint_at("10.1.0.3")}));
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.2:8080", "10.1.0.3:9090"));
}

TEST_F(ServicesTest, PortsAreMatchedByNameAndProtocol) {
  put(service("default/dns", {"10.96.0.10"}, {{"dns", 53, kube::Protocol::UDP}, {"dns-tcp", 53}}),
      slice("default/dns-1", "dns", {{"dns", 1053, kube::Protocol::UDP}, {"dns-tcp", 2053}},
            {endpoint_at("10.1.0.2")}));
  const auto intent = compile();
  EXPECT_THAT(backends_of(intent, "10.96.0.10", 53, IPPROTO_UDP), ElementsAre("10.1.0.2:1053"));
  EXPECT_THAT(backends_of(intent, "10.96.0.10", 53, IPPROTO_TCP), ElementsAre("10.1.0.2:2053"));
}

TEST_F(ServicesTest, EachFamilyHasItsOwnEndpoints) {
  auto six = slice("default/web-6", "web", {{"http", 8080}}, {endpoint_at("2001:db8:1::2")});
  six.v4 = false;
  put(service("default/web", {"10.96.0.1", "2001:db8:96::1"}, {{"http", 80}}),
      slice("default/web-4", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}), six);
  const auto intent = compile();
  EXPECT_THAT(backends_of(intent, "10.96.0.1", 80), ElementsAre("10.1.0.2:8080"));
  EXPECT_THAT(backends_of(intent, "2001:db8:96::1", 80), ElementsAre("[2001:db8:1::2]:8080"));
}

TEST_F(ServicesTest, HeadlessAndExternalNameHaveNoRows) {
  auto headless = service("default/db", {}, {{"db", 5432}});
  headless.headless = true;
  auto external = service("default/out", {}, {{"x", 80}});
  external.type = kube::Service::Type::ExternalName;
  external.external_name = "example.com";
  put(headless, external, slice("default/db-1", "db", {{"db", 5432}}, {endpoint_at("10.1.0.2")}));
  EXPECT_TRUE(compile().services.empty());
}

TEST_F(ServicesTest, ANodePortIsServedOnThisNodesAddressesOnly) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.type = kube::Service::Type::NodePort;
  web.ports[0].node_port = 30080;
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}),
      node("n2", {"10.2.0.0/24"}, {"192.0.2.2"}));
  const auto intent = compile();
  EXPECT_THAT(backends_of(intent, "192.0.2.1", 30080), ElementsAre("10.1.0.2:8080"));
  EXPECT_TRUE(has_service(intent, "2001:db8::1", 30080, IPPROTO_TCP));
  EXPECT_FALSE(has_service(intent, "192.0.2.2", 30080, IPPROTO_TCP));
  EXPECT_FALSE(has_service(intent, "192.0.2.1", 0, 0)) << "the node's other ports are the node's";
}

TEST_F(ServicesTest, ANodesNewAddressServesNodePortsToo) {
  config_.v4 = config_.v6 = Ip();
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.type = kube::Service::Type::NodePort;
  web.ports[0].node_port = 30080;
  put(web);
  Compiler compiler(config_);
  compiler.update(cluster_, kube::refs(cluster_));
  compiler.compile();
  EXPECT_FALSE(has_service(compiler.intent(), "192.0.2.7", 30080, IPPROTO_TCP));
  put(node("n1", {}, {"192.0.2.7"}));
  compiler.update(cluster_, std::vector<kube::ObjectRef>{{kube::Kind::Node, {"", "n1"}}});
  compiler.compile();
  EXPECT_TRUE(has_service(compiler.intent(), "192.0.2.7", 30080, IPPROTO_TCP));
}

TEST_F(ServicesTest, LocalTrafficPoliciesKeepToThisNode) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.type = kube::Service::Type::NodePort;
  web.ports[0].node_port = 30080;
  web.external_local = true;
  const auto slices = slice("default/web-1", "web", {{"http", 8080}},
                            {endpoint_at("10.1.0.2", "n1"), endpoint_at("10.2.0.2", "n2")});
  put(web, slices);
  EXPECT_THAT(backends_of(compile(), "192.0.2.1", 30080), ElementsAre("10.1.0.2:8080"));
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.2:8080", "10.2.0.2:8080"));
  web.internal_local = true;
  put(web);
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.2:8080"));
}

TEST_F(ServicesTest, LoadBalancerAddressesAreServedUnlessTheyAreForSomeOnly) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.type = kube::Service::Type::LoadBalancer;
  web.load_balancer_ips = {ip("203.0.113.5")};
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}));
  EXPECT_THAT(backends_of(compile(), "203.0.113.5", 80), ElementsAre("10.1.0.2:8080"));
  web.load_balancer_source_ranges = {cidr("198.51.100.0/24")};
  put(web);
  EXPECT_FALSE(has_service(compile(), "203.0.113.5", 80, IPPROTO_TCP));
  EXPECT_THAT(complaints(), ElementsAre(testing::Field(&Complaint::object, "Service default/web")));
}

TEST_F(ServicesTest, ExternalIpsAreServedOnlyWhereAllowed) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.external_ips = {ip("203.0.113.5")};
  put(web);
  EXPECT_FALSE(has_service(compile(), "203.0.113.5", 80, IPPROTO_TCP));
  EXPECT_EQ(complaints().size(), 1u);
  config_.external_ip_cidrs = {cidr("203.0.113.0/24")};
  EXPECT_TRUE(has_service(compile(), "203.0.113.5", 80, IPPROTO_TCP));
  EXPECT_TRUE(complaints().empty());
}

TEST_F(ServicesTest, OfTwoServicesWithOneAddressAndPortTheSmallerNameWinsWhole) {
  auto a = service("a/web", {"10.96.0.1"}, {{"http", 80}});
  auto b = service("b/web", {"10.96.0.1"}, {{"http", 80}, {"other", 81}});
  put(b, slice("b/web-1", "web", {{"http", 8080}, {"other", 8081}},
               {endpoint_at("10.1.0.2"), endpoint_at("10.1.0.3"), endpoint_at("10.1.0.4")}));
  EXPECT_EQ(backends_of(compile(), "10.96.0.1", 80).size(), 3u);
  put(a, slice("a/web-1", "web", {{"http", 9090}}, {endpoint_at("10.1.0.9")}));
  const auto both = compile();
  EXPECT_THAT(backends_of(both, "10.96.0.1", 80), ElementsAre("10.1.0.9:9090"));
  EXPECT_EQ(both.backends.size(), 4u) << "no backend of the loser's port 80 may stay";
  EXPECT_EQ(backends_of(both, "10.96.0.1", 81).size(), 3u) << "what only one claims, it has";
  EXPECT_THAT(
      complaints(),
      ElementsAre(Complaint{"Service b/web", "ClusterIP 10.96.0.1 port 80/TCP is already Service a/web's"}));
}

TEST_F(ServicesTest, AClusterIpBeatsAnExternalIpWhateverTheNames) {
  config_.external_ip_cidrs = {cidr("10.96.0.0/16")};
  auto thief = service("a/thief", {"10.96.0.7"}, {{"http", 80}});
  thief.external_ips = {ip("10.96.0.1")};
  put(thief, service("b/web", {"10.96.0.1"}, {{"http", 80}}),
      slice("a/thief-1", "thief", {{"http", 1}}, {endpoint_at("10.1.0.66")}),
      slice("b/web-1", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}));
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.2:8080"));
}

TEST_F(ServicesTest, AnEndpointInTwoSlicesCountsOnce) {
  put(service("default/web", {"10.96.0.1"}, {{"http", 80}}),
      slice("default/web-1", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}),
      slice("default/web-2", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}));
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.2:8080"));
}

TEST_F(ServicesTest, AffinityIsInTheRow) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.affinity_timeout_s = 300;
  put(web);
  EXPECT_EQ(service_at(compile(), "10.96.0.1", 80, IPPROTO_TCP).affinity_s, 300u);
}

TEST_F(ServicesTest, TheEdgeServesOnlyOutsideAddressesOverEveryEndpoint) {
  config_.edge = true;
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.type = kube::Service::Type::LoadBalancer;
  web.ports[0].node_port = 30080;
  web.external_local = true;
  web.load_balancer_ips = {ip("203.0.113.5")};
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2", "n2")}));
  const auto intent = compile();
  EXPECT_THAT(backends_of(intent, "203.0.113.5", 80), ElementsAre("10.1.0.2:8080"));
  EXPECT_EQ(intent.services.size(), 2u);
}

TEST_F(ServicesTest, ASliceThatMovesToAnotherServiceLeavesTheFirst) {
  put(service("default/a", {"10.96.0.1"}, {{"http", 80}}),
      service("default/b", {"10.96.0.2"}, {{"http", 80}}),
      slice("default/s", "a", {{"http", 8080}}, {endpoint_at("10.1.0.2")}));
  Compiler compiler(config_);
  compiler.update(cluster_, kube::refs(cluster_));
  compiler.compile();
  put(slice("default/s", "b", {{"http", 8080}}, {endpoint_at("10.1.0.2")}));
  compiler.update(cluster_, std::vector<kube::ObjectRef>{{kube::Kind::EndpointSlice, {"default", "s"}}});
  compiler.compile();
  EXPECT_THAT(backends_of(compiler.intent(), "10.96.0.1", 80), IsEmpty());
  EXPECT_THAT(backends_of(compiler.intent(), "10.96.0.2", 80), ElementsAre("10.1.0.2:8080"));
}

}  // namespace
}  // namespace thalweg::dataplane
