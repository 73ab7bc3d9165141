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

// ---- traffic policies

kube::Service on_every_way(kube::Service out) {
  out.type = kube::Service::Type::LoadBalancer;
  out.ports[0].node_port = 30080;
  out.load_balancer_ips = {ip("203.0.113.5")};
  out.external_ips = {ip("203.0.113.77")};
  return out;
}

struct PolicyCase {
  const char* name;
  bool internal_local, external_local;
  std::vector<kube::Endpoint> endpoints;
  std::vector<std::string> cluster_ip;       // to whom the ClusterIP leads
  std::vector<std::string> inside, outside;  // to whom the NodePort, balancer and external addresses lead
  uint32_t cluster_ip_flags, other_flags;    // beside what kind of address it is
};

const kube::Endpoint kHere = endpoint_at("10.1.0.2", "n1"), kThere = endpoint_at("10.2.0.2", "n2");
kube::Endpoint draining(kube::Endpoint out) {
  out.ready = false, out.terminating = true;
  return out;
}
const std::string kHereText = "10.1.0.2:8080", kThereText = "10.2.0.2:8080";

const PolicyCase kPolicyCases[] = {
    {"Cluster",
     false,
     false,
     {kHere, kThere},
     {kHereText, kThereText},
     {kHereText, kThereText},
     {kHereText, kThereText},
     0,
     0},
    {"internal Local",
     true,
     false,
     {kHere, kThere},
     {kHereText},
     {kHereText, kThereText},
     {kHereText, kThereText},
     SERVICE_INSIDE_LOCAL,
     0},
    {"external Local",
     false,
     true,
     {kHere, kThere},
     {kHereText, kThereText},
     {kHereText, kThereText},
     {kHereText},
     0,
     SERVICE_OUTSIDE_LOCAL | SERVICE_APART},
    {"both Local",
     true,
     true,
     {kHere, kThere},
     {kHereText},
     {kHereText, kThereText},
     {kHereText},
     SERVICE_INSIDE_LOCAL,
     SERVICE_OUTSIDE_LOCAL | SERVICE_APART},
    {"both Local, all here",
     true,
     true,
     {kHere},
     {kHereText},
     {kHereText},
     {kHereText},
     SERVICE_INSIDE_LOCAL,
     SERVICE_OUTSIDE_LOCAL},
    {"both Local, none here",
     true,
     true,
     {kThere},
     {},
     {kThereText},
     {},
     SERVICE_INSIDE_LOCAL,
     SERVICE_OUTSIDE_LOCAL | SERVICE_APART},
    {"both Local, none anywhere: rejected, not dropped", true, true, {}, {}, {}, {}, 0, 0},
    {"Local drains here while others are ready",
     true,
     true,
     {draining(kHere), kThere},
     {kHereText},
     {kThereText},
     {kHereText},
     SERVICE_INSIDE_LOCAL,
     SERVICE_OUTSIDE_LOCAL | SERVICE_APART},
    {"all draining",
     true,
     true,
     {draining(kHere), draining(kThere)},
     {kHereText},
     {kHereText, kThereText},
     {kHereText},
     SERVICE_INSIDE_LOCAL,
     SERVICE_OUTSIDE_LOCAL | SERVICE_APART},
    {"none ready, none draining here",
     true,
     true,
     {draining(kThere)},
     {},
     {kThereText},
     {},
     SERVICE_INSIDE_LOCAL,
     SERVICE_OUTSIDE_LOCAL | SERVICE_APART},
};

TEST_F(ServicesTest, EachPolicyRulesItsOwnWaysIn) {
  config_.external_ip_cidrs = {cidr("203.0.113.0/24")};
  constexpr uint32_t kKinds =
      SERVICE_CLUSTER_IP | SERVICE_NODE_PORT | SERVICE_LOAD_BALANCER | SERVICE_EXTERNAL_IP;
  for (const auto& one : kPolicyCases) {
    SCOPED_TRACE(one.name);
    auto web = on_every_way(service("default/web", {"10.96.0.1"}, {{"http", 80}}));
    web.internal_local = one.internal_local, web.external_local = one.external_local;
    put(web, slice("default/web-1", "web", {{"http", 8080}}, one.endpoints));
    const auto intent = compile();
    EXPECT_EQ(backends_of(intent, "10.96.0.1", 80), one.cluster_ip);
    EXPECT_EQ(service_at(intent, "10.96.0.1", 80, IPPROTO_TCP).flags & ~kKinds, one.cluster_ip_flags);
    for (const auto& [address, port] :
         {std::pair("192.0.2.1", 30080), {"203.0.113.5", 80}, {"203.0.113.77", 80}}) {
      SCOPED_TRACE(address);
      EXPECT_EQ(backends_of(intent, address, port), one.inside);
      EXPECT_EQ(outside_of(intent, address, port), one.outside);
      EXPECT_EQ(service_at(intent, address, port, IPPROTO_TCP).flags & ~kKinds, one.other_flags);
    }
  }
}

TEST_F(ServicesTest, SlotsOfTheOutsideStandApartOnlyWhereTheyDiffer) {
  auto web = on_every_way(service("default/web", {}, {{"http", 80}}));
  web.external_local = true;
  web.load_balancer_ips.clear(), web.external_ips.clear();
  config_.v6 = Ip();
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {kHere}));
  EXPECT_EQ(compile().backends.size(), 1u);
  put(slice("default/web-1", "web", {{"http", 8080}}, {kHere, kThere}));
  EXPECT_EQ(compile().backends.size(), 3u);
}

TEST_F(ServicesTest, ZoneHintsAreFollowedByTheNodesLabel) {
  auto here = endpoint_at("10.1.0.2", "n2"), there = endpoint_at("10.1.0.3", "n3");
  here.zone_hints = {"a"}, there.zone_hints = {"b"};
  auto self = node("n1", {}, {"192.0.2.1"});
  put(service("default/web", {"10.96.0.1"}, {{"http", 80}}),
      slice("default/web-1", "web", {{"http", 8080}}, {here, there}), self);
  EXPECT_EQ(backends_of(compile(), "10.96.0.1", 80).size(), 2u);
  self.meta.labels["topology.kubernetes.io/zone"] = "b";
  put(self);
  EXPECT_THAT(backends_of(compile(), "10.96.0.1", 80), ElementsAre("10.1.0.3:8080"));
}

// ---- addresses of balancers

TEST_F(ServicesTest, LoadBalancerAddressesAreServedByLoadBalancersOnly) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.type = kube::Service::Type::LoadBalancer;
  web.load_balancer_ips = {ip("203.0.113.5")};
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {endpoint_at("10.1.0.2")}));
  EXPECT_THAT(backends_of(compile(), "203.0.113.5", 80), ElementsAre("10.1.0.2:8080"));
  EXPECT_FALSE(has_service(compile(), "203.0.113.5", 0, 0)) << "its other ports may be the balancer's own";
  web.type = kube::Service::Type::NodePort;  // the status has not followed yet
  put(web);
  EXPECT_FALSE(has_service(compile(), "203.0.113.5", 80, IPPROTO_TCP));
}

TEST_F(ServicesTest, SourceRangesRestrictBalancerAddressesOnEveryPortAndNothingElse) {
  config_.external_ip_cidrs = {cidr("203.0.113.0/24")};
  auto web = on_every_way(service("default/web", {"10.96.0.1"}, {{"http", 80}, {"more", 81}}));
  web.load_balancer_ips.push_back(ip("2001:db8::5"));
  web.load_balancer_source_ranges = {cidr("198.51.100.0/24"), cidr("0.0.0.0/0"), cidr("2001:db8:1::/48")};
  put(web);
  const auto intent = compile();
  for (const uint16_t port : {80, 81}) {
    EXPECT_THAT(source_ranges_of(intent, "203.0.113.5", port), ElementsAre("0.0.0.0/0", "198.51.100.0/24"));
    EXPECT_THAT(source_ranges_of(intent, "2001:db8::5", port), ElementsAre("2001:db8:1::/48"));
    EXPECT_TRUE(service_at(intent, "203.0.113.5", port, IPPROTO_TCP).flags & SERVICE_SOURCE_RANGES);
    EXPECT_TRUE(service_at(intent, "2001:db8::5", port, IPPROTO_TCP).flags & SERVICE_SOURCE_RANGES);
  }
  EXPECT_EQ(intent.source_ranges.size(), 6u);
  for (const auto& [address, port] : {std::pair("192.0.2.1", 30080), {"10.96.0.1", 80}, {"203.0.113.77", 80}})
    EXPECT_FALSE(service_at(intent, address, port, IPPROTO_TCP).flags & SERVICE_SOURCE_RANGES) << address;
}

TEST_F(ServicesTest, AFamilyNoRangeSpeaksOfIsClosed) {
  auto web = on_every_way(service("default/web", {}, {{"http", 80}}));
  web.external_ips.clear();
  web.load_balancer_source_ranges = {cidr("2001:db8::/32")};
  put(web);
  EXPECT_TRUE(service_at(compile(), "203.0.113.5", 80, IPPROTO_TCP).flags & SERVICE_SOURCE_RANGES);
  EXPECT_THAT(source_ranges_of(compile(), "203.0.113.5", 80), IsEmpty());
}

TEST_F(ServicesTest, AWrongRangeLetsNoOneInAndIsNamed) {
  auto web = on_every_way(service("default/web", {}, {{"http", 80}}));
  web.external_ips.clear();
  web.wrong_source_ranges = {"198.51.100.0/240"};
  put(web);
  EXPECT_TRUE(service_at(compile(), "203.0.113.5", 80, IPPROTO_TCP).flags & SERVICE_SOURCE_RANGES);
  EXPECT_TRUE(compile().source_ranges.empty());
  EXPECT_THAT(complaints(),
              ElementsAre(testing::Field(&Complaint::text, testing::HasSubstr("198.51.100.0/240"))));
}

// ---- clients that come back, flows that last

TEST_F(ServicesTest, MembersAreKeptForUdpAndForAffinity) {
  put(service("default/web", {"10.96.0.1"}, {{"http", 80}, {"dns", 53, kube::Protocol::UDP}}),
      slice("default/web-1", "web", {{"http", 8080}, {"dns", 1053, kube::Protocol::UDP}}, {kHere, kThere}));
  EXPECT_THAT(members_of(compile(), "10.96.0.1", 80, IPPROTO_TCP), IsEmpty());
  EXPECT_THAT(members_of(compile(), "10.96.0.1", 53, IPPROTO_UDP),
              ElementsAre("10.1.0.2:1053", "10.2.0.2:1053"));
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.affinity_timeout_s = 300;
  put(web);
  EXPECT_THAT(members_of(compile(), "10.96.0.1", 80, IPPROTO_TCP), ElementsAre(kHereText, kThereText));
  EXPECT_THAT(members_of(compile(), "10.96.0.1", 80, IPPROTO_TCP, OUTSIDE), IsEmpty());
}

TEST_F(ServicesTest, MembersStandApartWhereSlotsDo) {
  auto web = on_every_way(service("default/web", {}, {{"http", 80}}));
  web.affinity_timeout_s = 300;
  web.external_local = true;
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {kHere, kThere}));
  EXPECT_THAT(members_of(compile(), "192.0.2.1", 30080, IPPROTO_TCP), ElementsAre(kHereText, kThereText));
  EXPECT_THAT(members_of(compile(), "192.0.2.1", 30080, IPPROTO_TCP, OUTSIDE), ElementsAre(kHereText));
}

TEST_F(ServicesTest, AffinityIsInTheRowAndBounded) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  for (const auto& [given, kept] :
       {std::pair(0u, 0u), {1u, 1u}, {10800u, 10800u}, {86400u, 86400u}, {4'000'000'000u, 86400u}}) {
    web.affinity_timeout_s = given;
    put(web);
    EXPECT_EQ(service_at(compile(), "10.96.0.1", 80, IPPROTO_TCP).affinity_s, kept);
  }
}

// ---- Maglev

TEST_F(ServicesTest, OutsideClientsAreSpreadByMaglev) {
  put(on_every_way(service("default/web", {"10.96.0.1"}, {{"http", 80}})),
      slice("default/web-1", "web", {{"http", 8080}}, {kHere, kThere, endpoint_at("10.2.0.3", "n2")}));
  const auto intent = compile();
  EXPECT_TRUE(maglev_of(intent, "10.96.0.1", 80).empty()) << "no one outside asks there";
  for (const auto& [address, port] : {std::pair("192.0.2.1", 30080), {"203.0.113.5", 80}}) {
    EXPECT_EQ(service_at(intent, address, port, IPPROTO_TCP).maglev, 509u);
    const auto shares = maglev_of(intent, address, port);
    ASSERT_EQ(shares.size(), 3u);
    for (const auto& [slot, share] : shares) EXPECT_NEAR(share, 509.0 / 3, 2) << slot;
  }
}

TEST_F(ServicesTest, MaglevIsOfTheOutsidesOwnEndpoints) {
  auto web = on_every_way(service("default/web", {}, {{"http", 80}}));
  web.external_local = true;
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {kHere, endpoint_at("10.1.0.3", "n1"), kThere}));
  EXPECT_EQ(maglev_of(compile(), "203.0.113.5", 80).size(), 2u);
  put(slice("default/web-1", "web", {{"http", 8080}}, {kHere, kThere}));
  EXPECT_EQ(service_at(compile(), "203.0.113.5", 80, IPPROTO_TCP).maglev, 0u) << "one needs no table";
}

TEST_F(ServicesTest, DirectReturnIsForAddressesThatMeanTheSameEverywhere) {
  config_.dsr = true;
  config_.external_ip_cidrs = {cidr("198.51.100.0/24")};
  auto web = on_every_way(service("default/web", {"10.96.0.1"}, {{"http", 80}}));
  web.external_ips = {ip("198.51.100.7")};
  put(web, slice("default/web-1", "web", {{"http", 8080}}, {kHere, kThere}));
  const auto is_dsr = [&](const char* address, uint16_t port) {
    return (service_at(compile(), address, port, IPPROTO_TCP).flags & SERVICE_DSR) != 0;
  };
  EXPECT_TRUE(is_dsr("203.0.113.5", 80));
  EXPECT_TRUE(is_dsr("198.51.100.7", 80));
  EXPECT_FALSE(is_dsr("192.0.2.1", 30080)) << "a NodePort is each node's own";
  EXPECT_FALSE(is_dsr("10.96.0.1", 80));
  web.external_local = true;
  put(web);
  EXPECT_FALSE(is_dsr("203.0.113.5", 80)) << "Local answers by itself already";
  web.external_local = false;
  config_.dsr = false;
  put(web);
  EXPECT_FALSE(is_dsr("203.0.113.5", 80));
}

TEST_F(ServicesTest, DirectReturnReadsNoHintsForTheOutside) {
  config_.dsr = true;
  auto here = kHere, there = kThere;
  here.node_hints = {"n1"}, there.node_hints = {"n2"};
  put(on_every_way(service("default/web", {"10.96.0.1"}, {{"http", 80}})),
      slice("default/web-1", "web", {{"http", 8080}}, {here, there}));
  const auto balancer = service_at(compile(), "203.0.113.5", 80, IPPROTO_TCP);
  EXPECT_EQ(balancer.backends[INSIDE], 1u);
  EXPECT_EQ(balancer.backends[OUTSIDE], 2u) << "the other node must come to the same choice";
  EXPECT_EQ(service_at(compile(), "192.0.2.1", 30080, IPPROTO_TCP).backends[OUTSIDE], 1u);
}

TEST_F(ServicesTest, EveryNodeHasTheSameTable) {
  put(on_every_way(service("default/web", {}, {{"http", 80}})),
      slice("default/web-1", "web", {{"http", 8080}}, {kHere, kThere}),
      slice("default/web-2", "web", {{"http", 8080}},
            {endpoint_at("10.3.0.2", "n3"), endpoint_at("10.0.0.9", "n3")}));
  const auto here = compile();
  config_.node_name = "n2", config_.v4 = ip("192.0.2.2");
  kube::erase(cluster_, {kube::Kind::EndpointSlice, {"default", "web-2"}});
  put(slice("default/web-0", "web", {{"http", 8080}},
            {endpoint_at("10.0.0.9", "n3"), endpoint_at("10.3.0.2", "n3")}));
  const auto there = compile();
  maglev_key key{};
  key.service = service_key_of("203.0.113.5", 80, IPPROTO_TCP);
  ASSERT_EQ(service_at(here, "203.0.113.5", 80, IPPROTO_TCP).maglev, 509u);
  for (; key.row < 8; ++key.row)
    EXPECT_TRUE(RowEqual()(here.maglev.at(key), there.maglev.at(key))) << key.row;
}

// ---- whose Services these are

TEST_F(ServicesTest, WhatIsAnotherProxysOrHeadlessByItsLabelHasNoRows) {
  for (const char* label : {"service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"}) {
    auto web = on_every_way(service("default/web", {"10.96.0.1"}, {{"http", 80}}));
    put(web);
    EXPECT_FALSE(compile().services.empty());
    web.meta.labels[label] = "";
    put(web);
    EXPECT_TRUE(compile().services.empty()) << label;
  }
}

TEST_F(ServicesTest, NodePortsAreServedOnTheNodesFirstAddressesUnlessOthersAreGiven) {
  config_.v4 = config_.v6 = Ip();
  auto web = service("default/web", {}, {{"http", 80}});
  web.type = kube::Service::Type::NodePort;
  web.ports[0].node_port = 30080;
  put(web, node("n1", {}, {"192.0.2.1", "192.0.2.9", "2001:db8::1", "2001:db8::9"}));
  const auto served = [&](const char* address) {
    return has_service(compile(), address, 30080, IPPROTO_TCP);
  };
  EXPECT_TRUE(served("192.0.2.1"));
  EXPECT_TRUE(served("2001:db8::1"));
  EXPECT_FALSE(served("192.0.2.9"));
  EXPECT_FALSE(served("2001:db8::9"));
  config_.node_port_addresses = {ip("192.0.2.9")};
  EXPECT_FALSE(served("192.0.2.1"));
  EXPECT_TRUE(served("192.0.2.9"));
  config_.node_port_addresses = std::vector<Ip>();
  EXPECT_TRUE(compile().services.empty());
}

TEST_F(ServicesTest, ExternalIpsAreServedOnlyWhereAllowed) {
  auto web = service("default/web", {"10.96.0.1"}, {{"http", 80}});
  web.external_ips = {ip("203.0.113.5")};
  put(web);
  EXPECT_FALSE(has_service(compile(), "203.0.113.5", 80, IPPROTO_TCP));
  EXPECT_EQ(complaints().size(), 1u);
  config_.external_ip_cidrs = {cidr("::/0")};
  EXPECT_FALSE(has_service(compile(), "203.0.113.5", 80, IPPROTO_TCP)) << "of the other family";
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
  EXPECT_EQ(service_at(intent, "203.0.113.5", 80, IPPROTO_TCP).flags, SERVICE_LOAD_BALANCER);
  EXPECT_TRUE(has_service(intent, "203.0.113.5", 0, 0)) << "to an edge, an address is the services' alone";
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
