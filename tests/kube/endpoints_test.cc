// EndpointSlices derived from Services and Pods, against what the endpoint-slice controller would make.
#include "base/asio.h"
//
#include "kube/endpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kube/manifests.h"

namespace thalweg::kube {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* kService = R"(
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [10.96.0.10, "2001:db8::10"]
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: metrics, port: 9000}
---
)";

std::string pod(const std::string& name, const std::string& more_spec, const std::string& status,
                const std::string& meta = "") {
  return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: shop, labels: {app: web}" +
         meta + "}\nspec:\n  nodeName: n1\n  containers:\n  - ports: [{name: http, containerPort: 8080}]\n" +
         more_spec + "status:\n" + status + "---\n";
}

Cluster cluster(const std::string& yaml) {
  auto cluster = cluster_from_yaml(yaml);
  EXPECT_TRUE(cluster) << cluster.error().message;
  return cluster ? *cluster : Cluster();
}

// The one slice of a family.
const EndpointSlice& slice(const Cluster& cluster, bool v4) {
  static const EndpointSlice kNone;
  for (const auto& [key, slice] : cluster.endpoint_slices) {
    if (slice->v4 == v4) return *slice;
  }
  ADD_FAILURE() << "no slice of that family";
  return kNone;
}

TEST(Endpoints, OneSliceAFamilyWithResolvedPorts) {
  const auto all = cluster(kService + pod("p1", "", "  podIPs: [{ip: 10.0.0.1}, {ip: \"2001:db8::1\"}]\n"));
  ASSERT_THAT(all.endpoint_slices, SizeIs(2));
  const auto& v4 = slice(all, true);
  EXPECT_EQ(v4.service, "web");
  EXPECT_THAT(v4.ports, ElementsAre(EndpointPort{"http", Protocol::TCP, 8080},
                                    EndpointPort{"metrics", Protocol::TCP, 9000}));
  const Endpoint expected{.addresses = {Ip::v4(10, 0, 0, 1)}, .node_name = "n1"};
  EXPECT_THAT(v4.endpoints, ElementsAre(expected));
  EXPECT_EQ(slice(all, false).endpoints.front().addresses.front().str(), "2001:db8::1");
}

TEST(Endpoints, ConditionsFollowThePod) {
  struct Case {
    const char* status;
    const char* meta;
    bool publish, ready, serving, terminating;
  };
  const std::string unready = "  conditions: [{type: Ready, status: \"False\"}]\n";
  const char* gone = ", deletionTimestamp: \"2026-01-01T00:00:00Z\"";
  const Case cases[] = {
      {"", "", false, true, true, false},
      {unready.c_str(), "", false, false, false, false},
      {unready.c_str(), "", true, true, false, false},
      {"", gone, false, false, true, true},
      {"", gone, true, true, true, true},
  };
  for (const auto& one : cases) {
    std::string service = kService;
    if (one.publish) service.insert(service.find("  selector"), "  publishNotReadyAddresses: true\n");
    const auto all =
        cluster(service + pod("p", "", std::string("  podIPs: [{ip: 10.0.0.1}]\n") + one.status, one.meta));
    const auto& endpoint = slice(all, true).endpoints.at(0);
    EXPECT_EQ(endpoint.ready, one.ready);
    EXPECT_EQ(endpoint.serving, one.serving);
    EXPECT_EQ(endpoint.terminating, one.terminating);
  }
}

TEST(Endpoints, HostnameOnlyInTheServicesSubdomain) {
  const auto named = [](const char* subdomain) {
    const auto all =
        cluster(kService + pod("p", std::string("  hostname: h\n  subdomain: ") + subdomain + "\n",
                               "  podIPs: [{ip: 10.0.0.1}]\n"));
    return slice(all, true).endpoints.at(0).hostname;
  };
  EXPECT_EQ(named("web"), "h");
  EXPECT_EQ(named("other"), "");
}

TEST(Endpoints, LeavesOutWhatHasNoAddressOrIsFinished) {
  const auto all = cluster(kService + pod("p1", "", "  phase: Failed\n  podIPs: [{ip: 10.0.0.1}]\n") +
                           pod("p2", "", "  phase: Pending\n"));
  EXPECT_THAT(all.endpoint_slices, IsEmpty());
}

TEST(Endpoints, PodsWithAnotherNamedPortStandInAnotherSlice) {
  std::string other = pod("p2", "", "  podIPs: [{ip: 10.0.0.2}]\n");
  other.replace(other.find("8080"), 4, "8081");
  const auto all = cluster(kService + pod("p1", "", "  podIPs: [{ip: 10.0.0.1}]\n") + other);
  EXPECT_THAT(all.endpoint_slices, SizeIs(2));
}

TEST(Endpoints, AHundredASlice) {
  std::string yaml = kService;
  for (int i = 1; i <= 150; ++i)
    yaml += pod(fmt::format("p{}", i), "", fmt::format("  podIPs: [{{ip: 10.0.0.{}}}]\n", i));
  const auto all = cluster(yaml);
  ASSERT_THAT(all.endpoint_slices, SizeIs(2));
  EXPECT_THAT(all.endpoint_slices.begin()->second->endpoints, SizeIs(100));
}

TEST(Endpoints, NotForExternalNamesOrSelectorlessOrWhatHasItsOwn) {
  const std::string one = pod("p1", "", "  podIPs: [{ip: 10.0.0.1}]\n");
  EXPECT_THAT(cluster("apiVersion: v1\nkind: Service\nmetadata: {name: e, namespace: shop}\nspec: {type: "
                      "ExternalName, externalName: x.example, selector: {app: web}}\n---\n" +
                      one)
                  .endpoint_slices,
              IsEmpty());
  EXPECT_THAT(cluster("apiVersion: v1\nkind: Service\nmetadata: {name: e, namespace: shop}\n---\n" + one)
                  .endpoint_slices,
              IsEmpty());
  const auto own =
      cluster(kService + one +
              "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: mine, namespace: "
              "shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints: []\n");
  EXPECT_THAT(own.endpoint_slices, SizeIs(1));
}

TEST(Endpoints, AHeadlessServiceHasBothFamilies) {
  const auto all = cluster(
      "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {clusterIP: None, "
      "selector: "
      "{app: web}}\n---\n" +
      pod("p1", "  hostNetwork: true\n", "  podIPs: [{ip: 192.0.2.1}, {ip: \"2001:db8::1\"}]\n"));
  EXPECT_THAT(all.endpoint_slices, SizeIs(2));
  EXPECT_THAT(slice(all, true).ports, IsEmpty());
}

}  // namespace
}  // namespace thalweg::kube
