// Which records the cluster's objects become, as zone-file text.
#include "dns/zone.h"

#include <gtest/gtest.h>

#include "dns_fixture.h"

namespace thalweg::dns {
namespace {

using test::small_cluster;
using test::small_config;

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  for (size_t from = 0, to; (to = text.find('\n', from)) != std::string::npos; from = to + 1)
    out.push_back(text.substr(from, to - from));
  std::sort(out.begin(), out.end());
  return out;
}

constexpr const char* kExpected = R"(
10.0.96.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local.
_dns._udp.web.default.svc.cluster.local. 5 IN SRV 0 100 53 web.default.svc.cluster.local.
_http._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 80 web.default.svc.cluster.local.
_sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 100 5432 10-1-0-6.db.default.svc.cluster.local.
_sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 100 5432 db-0.db.default.svc.cluster.local.
10-1-0-6.db.default.svc.cluster.local. 5 IN A 10.1.0.6
5.0.1.10.in-addr.arpa. 5 IN PTR db-0.db.default.svc.cluster.local.
6.0.1.10.in-addr.arpa. 5 IN PTR 10-1-0-6.db.default.svc.cluster.local.
10.0.96.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local.
5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 5 IN PTR db-0.db.default.svc.cluster.local.
0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 5 IN PTR web.default.svc.cluster.local.
alias.default.svc.cluster.local. 5 IN CNAME www.example.com.
inner.default.svc.cluster.local. 5 IN CNAME web.default.svc.cluster.local.
loop.default.svc.cluster.local. 5 IN CNAME loop.default.svc.cluster.local.
cluster.local. 5 IN NS ns.dns.cluster.local.
cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5
db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.5
db-0.db.default.svc.cluster.local. 5 IN AAAA 2001:db8:1::5
db.default.svc.cluster.local. 5 IN A 10.1.0.5
db.default.svc.cluster.local. 5 IN A 10.1.0.6
db.default.svc.cluster.local. 5 IN AAAA 2001:db8:1::5
dns-version.cluster.local. 5 IN TXT "1.1.0"
ns.dns.cluster.local. 5 IN A 10.96.0.2
web.default.svc.cluster.local. 5 IN A 10.96.0.10
web.default.svc.cluster.local. 5 IN AAAA 2001:db8:96::10
)";

TEST(Zone, HoldsWhatTheSpecificationSays) {
  const auto zone = build_zone(small_cluster(), small_config());
  auto expected = lines(kExpected + 1);
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  EXPECT_EQ(lines(zone_text(*zone)), expected);
  EXPECT_EQ(zone->skipped(), 1u);  // the ExternalName "a..b"
}

TEST(Zone, PublishesNotReadyEndpointsWhenAskedTo) {
  auto cluster = small_cluster();
  auto db = *cluster.services.at({"default", "db"});
  db.publish_not_ready = true;
  cluster.services[{"default", "db"}] = std::make_shared<kube::Service>(db);
  const auto text = zone_text(*build_zone(cluster, small_config()));
  EXPECT_NE(text.find("db-2.db.default.svc.cluster.local. 5 IN A 10.1.0.7\n"), std::string::npos);
  EXPECT_NE(text.find("\ndb.default.svc.cluster.local. 5 IN A 10.1.0.7\n"), std::string::npos);
}

TEST(Zone, VerifiedPodNamesAreThoseOfLivingPods) {
  const auto text = zone_text(*build_zone(small_cluster(), small_config(PodNames::Verified)));
  EXPECT_NE(text.find("10-1-0-9.default.pod.cluster.local. 5 IN A 10.1.0.9\n"), std::string::npos);
  EXPECT_NE(text.find("2001-db8-1--9.default.pod.cluster.local. 5 IN AAAA 2001:db8:1::9\n"),
            std::string::npos);
  EXPECT_EQ(text.find("10-1-0-99"), std::string::npos);
}

TEST(Zone, HostileObjectsAreLeftOutAndTheRestStays) {
  auto cluster = small_cluster();
  kube::Service bad;
  for (const std::string& name :
       {std::string(64, 'a'), std::string("a b"), std::string("x\0y", 3), std::string()}) {
    bad.meta.key = {"default", name};
    bad.cluster_ips = {*Ip::parse("10.96.0.66")};
    cluster.services[bad.meta.key] = std::make_shared<kube::Service>(bad);
  }
  const auto zone = build_zone(cluster, small_config());
  EXPECT_EQ(zone->skipped(), 5u);
  EXPECT_EQ(zone_text(*zone).find("10.96.0.66"), std::string::npos);
  EXPECT_NE(zone_text(*zone).find("10.96.0.10"), std::string::npos);
}

TEST(Zone, IsAFunctionOfTheState) {
  EXPECT_EQ(zone_text(*build_zone(small_cluster(), small_config())),
            zone_text(*build_zone(small_cluster(), small_config())));
}

TEST(Zone, ReverseAndDashedNames) {
  EXPECT_EQ(reverse_name(*Ip::parse("192.0.2.1")).str(), "1.2.0.192.in-addr.arpa.");
  EXPECT_EQ(dashed(*Ip::parse("10.1.2.3")), "10-1-2-3");
  EXPECT_EQ(dashed(*Ip::parse("::1")), "0--1");
  EXPECT_EQ(dashed(*Ip::parse("2001:db8::")), "2001-db8--0");
  for (const char* text : {"10.1.2.3", "::1", "2001:db8::", "2001:db8::1"})
    EXPECT_EQ(from_dashed(dashed(*Ip::parse(text))), *Ip::parse(text));
  EXPECT_EQ(from_dashed("10-1-2"), std::nullopt);
  EXPECT_EQ(from_dashed("web"), std::nullopt);
}

}  // namespace
}  // namespace thalweg::dns
