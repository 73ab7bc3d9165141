// Decoding: defaults, strictness, and encode as its inverse for every kind.
#include "base/asio.h"
//
#include "kube/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kube/yaml.h"

namespace json = boost::json;

namespace thalweg::kube {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

json::value yaml(const std::string& text) {
  auto documents = parse_yaml(text);
  EXPECT_TRUE(documents && documents->size() == 1) << text;
  return documents && !documents->empty() ? documents->front().value : json::value();
}

template <class T>
T decoded(Kind kind, const std::string& text) {
  const auto object = decode(kind, yaml(text));
  EXPECT_TRUE(object) << object.error().str();
  return object ? *std::get<std::shared_ptr<const T>>(*object) : T();
}

std::string refused(Kind kind, const std::string& text) {
  const auto object = decode(kind, yaml(text));
  return object ? "accepted" : object.error().str();
}

TEST(Decode, ServiceDefaults) {
  const auto service = decoded<Service>(
      Kind::Service, "metadata: {name: web}\nspec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}");
  EXPECT_EQ(service.meta.key, (ObjectKey{"default", "web"}));
  EXPECT_EQ(service.type, Service::Type::ClusterIP);
  EXPECT_THAT(service.cluster_ips, ElementsAre(Ip::v4(10, 0, 0, 1)));
  EXPECT_THAT(service.ports, ElementsAre(ServicePort{"", Protocol::TCP, 80, {80, ""}, 0}));
  EXPECT_FALSE(service.internal_local || service.external_local || service.headless);
  EXPECT_EQ(decoded<Service>(Kind::Service, "metadata: {name: a}\nspec: {sessionAffinity: ClientIP}")
                .affinity_timeout_s,
            10800U);
  EXPECT_TRUE(decoded<Service>(Kind::Service, "metadata: {name: a}\nspec: {clusterIP: None}").headless);
}

TEST(Decode, LoadBalancerAddressesOfModeVip) {
  const auto service = decoded<Service>(Kind::Service,
                                        "metadata: {name: a}\nstatus: {loadBalancer: {ingress: [{ip: "
                                        "192.0.2.1}, {ip: 192.0.2.2, ipMode: Proxy}, "
                                        "{ip: 192.0.2.3, ipMode: VIP}, {hostname: x}]}}");
  EXPECT_THAT(service.load_balancer_ips, ElementsAre(Ip::v4(192, 0, 2, 1), Ip::v4(192, 0, 2, 3)));
}

TEST(Decode, AWrongSourceRangeIsKeptAsTextAndTheServiceGoesOn) {
  const auto service =
      decoded<Service>(Kind::Service,
                       "metadata: {name: a}\nspec: {type: LoadBalancer, loadBalancerSourceRanges: "
                       "[' 192.0.2.7/24 ', '192.0.2.0/33', '2001:db8::/32', example.com]}");
  EXPECT_THAT(service.load_balancer_source_ranges,
              ElementsAre(*Cidr::parse("192.0.2.0/24"), *Cidr::parse("2001:db8::/32")));
  EXPECT_THAT(service.wrong_source_ranges, ElementsAre("192.0.2.0/33", "example.com"));
}

TEST(Decode, PolicyTypesDefault) {
  const auto types = [](const std::string& spec) {
    const auto policy = decoded<NetworkPolicy>(Kind::NetworkPolicy, "metadata: {name: a}\nspec: " + spec);
    return std::pair(policy.isolates_ingress, policy.isolates_egress);
  };
  EXPECT_EQ(types("{podSelector: {}}"), std::pair(true, false));
  EXPECT_EQ(types("{egress: [{}]}"), std::pair(true, true));
  EXPECT_EQ(types("{egress: []}"), std::pair(true, false));
  EXPECT_EQ(types("{policyTypes: [Egress]}"), std::pair(false, true));
}

TEST(Decode, SelectorsAreSortedRequirements) {
  const auto policy = decoded<NetworkPolicy>(
      Kind::NetworkPolicy,
      "metadata: {name: a}\nspec: {podSelector: {matchLabels: {b: x, a: y}, matchExpressions: "
      "[{key: c, operator: NotIn, values: [q, p]}]}}");
  using Op = LabelSelector::Operator;
  EXPECT_THAT(policy.pod_selector.requirements,
              ElementsAre(LabelSelector::Requirement{"a", Op::In, {"y"}},
                          LabelSelector::Requirement{"b", Op::In, {"x"}},
                          LabelSelector::Requirement{"c", Op::NotIn, {"p", "q"}}));
}

TEST(Decode, EndpointConditionsDefault) {
  const auto slice = decoded<EndpointSlice>(
      Kind::EndpointSlice,
      "metadata: {name: a, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nports: [{}]\n"
      "endpoints: [{addresses: [10.0.0.1]}]");
  EXPECT_EQ(slice.service, "web");
  EXPECT_THAT(slice.ports, ElementsAre(EndpointPort{"", Protocol::TCP, 0}));
  const auto& endpoint = slice.endpoints.at(0);
  EXPECT_TRUE(endpoint.ready && endpoint.serving && !endpoint.terminating);
}

TEST(Decode, PodStates) {
  const auto pod = [](const std::string& status) {
    return decoded<Pod>(Kind::Pod, "metadata: {name: a}\nstatus: " + status);
  };
  EXPECT_TRUE(pod("{}").ready) << "a manifest says nothing of conditions";
  EXPECT_FALSE(pod("{conditions: []}").ready);
  EXPECT_TRUE(pod("{conditions: [{type: Ready, status: \"True\"}]}").ready);
  EXPECT_TRUE(pod("{phase: Failed}").finished);
  EXPECT_THAT(pod("{podIP: 10.0.0.1}").ips, ElementsAre(Ip::v4(10, 0, 0, 1)));
}

TEST(Decode, ANamespaceHasItsNameAsLabel) {
  const auto ns = decoded<Namespace>(Kind::Namespace, "metadata: {name: shop}");
  EXPECT_EQ(ns.meta.labels.at("kubernetes.io/metadata.name"), "shop");
}

TEST(Decode, AnnotationsNobodyReadsAreLeftOut) {
  const auto node =
      decoded<Node>(Kind::Node, "metadata: {name: n, annotations: {big: x, thalweg.dev/mode: y}}");
  EXPECT_THAT(node.meta.annotations,
              ElementsAre(std::pair<const std::string, std::string>("thalweg.dev/mode", "y")));
}

TEST(Decode, OtherSecretsAreNotHeld) {
  const auto secret =
      decoded<Secret>(Kind::Secret, "metadata: {name: s}\ntype: Opaque\ndata: {password: aGk=}");
  EXPECT_THAT(secret.tls_crt + secret.tls_key, IsEmpty());
}

TEST(Decode, NullIsAbsent) {
  const auto service = decoded<Service>(
      Kind::Service,
      "metadata: {name: a, labels: null, creationTimestamp: null}\nspec: {ports: null, type: ~}");
  EXPECT_THAT(service.ports, IsEmpty());
}

TEST(Decode, ErrorsNameObjectAndField) {
  const std::string web = "metadata: {name: web}\n";
  const struct {
    Kind kind;
    std::string text;
    const char* error;
  } cases[] = {
      {Kind::Service, web + "spec: {ports: [{port: \"80\"}]}",
       "Service default/web: spec.ports[0].port: expected an integer, got a string"},
      {Kind::Service, web + "spec: {ports: [{port: 70000}]}",
       "Service default/web: spec.ports[0].port: expected an integer from 1 to 65535, got 70000"},
      {Kind::Service, web + "spec: {ports: [{}]}", "Service default/web: spec.ports[0].port: is required"},
      {Kind::Service, web + "spec: {ports: [{port: 1}, {port: 2}]}",
       "Service default/web: spec.ports[1].name: is required where there is more than one port"},
      {Kind::Service, web + "spec: {clusterIPs: [10.0.0.300]}",
       "Service default/web: spec.clusterIPs[0]: expected an IP address, got \"10.0.0.300\""},
      {Kind::Service, web + "spec: {type: Magic}",
       "Service default/web: spec.type: expected one of ClusterIP, NodePort, LoadBalancer, ExternalName, got "
       "\"Magic\""},
      {Kind::Service, web + "spec: []", "Service default/web: spec: expected an object, got a list"},
      {Kind::Pod, "metadata: {name: p, namespace: n, labels: {app.kubernetes.io/name: 1}}",
       "Pod n/p: metadata.labels[\"app.kubernetes.io/name\"]: expected a string, got an integer"},
      {Kind::Node, "metadata: {name: n, creationTimestamp: \"2026-02-29T00:00:00Z\"}",
       "Node n: metadata.creationTimestamp: expected a time like 2026-11-23T09:30:00Z, got "
       "\"2026-02-29T00:00:00Z\""},
      {Kind::Node, "metadata: {}", "Node (no name): metadata.name: is required"},
      {Kind::Node, "spec: {}", "Node (no name): metadata: is required"},
      {Kind::Node, "metadata: {name: \"A b\"}",
       "Node A b: metadata.name: expected a name of lower-case letters, digits, '-' and '.', got \"A b\""},
      {Kind::Node, "metadata: {name: n}\nspec: {podCIDRs: [10.0.0.0/99]}",
       "Node n: spec.podCIDRs[0]: expected an address range (CIDR), got \"10.0.0.0/99\""},
      {Kind::NetworkPolicy, web + "spec: {ingress: [{from: [{}]}]}",
       "NetworkPolicy default/web: spec.ingress[0].from[0]: names no peer: podSelector, namespaceSelector or "
       "ipBlock"},
      {Kind::NetworkPolicy,
       web + "spec: {egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/9]}}]}]}",
       "NetworkPolicy default/web: spec.egress[0].to[0].ipBlock.except[0]: expected a range within "
       "10.0.0.0/8, got "
       "\"11.0.0.0/9\""},
      {Kind::NetworkPolicy, web + "spec: {egress: [{ports: [{port: 90, endPort: 80}]}]}",
       "NetworkPolicy default/web: spec.egress[0].ports[0].endPort: is smaller than port"},
      {Kind::NetworkPolicy, web + "spec: {podSelector: {matchExpressions: [{key: a, operator: In}]}}",
       "NetworkPolicy default/web: spec.podSelector.matchExpressions[0].values: is required with In and "
       "NotIn"},
      {Kind::Ingress, web + "spec: {rules: [{http: {paths: [{path: /}]}}]}",
       "Ingress default/web: spec.rules[0].http.paths[0].pathType: is required: Exact, Prefix or "
       "ImplementationSpecific"},
      {Kind::Ingress, web + "spec: {rules: [{host: \"*.*.x\"}]}",
       "Ingress default/web: spec.rules[0].host: expected a lower-case DNS name, or *.NAME, got \"*.*.x\""},
      {Kind::EndpointSlice, web + "endpoints: []", "EndpointSlice default/web: addressType: is required"},
      {Kind::EndpointSlice, web + "addressType: IPv4\nendpoints: [{addresses: [\"::1\"]}]",
       "EndpointSlice default/web: endpoints[0].addresses[0]: expected an IPv4 address, got \"::1\""},
      {Kind::Secret, web + "type: kubernetes.io/tls\ndata: {tls.crt: \"!secret!\", tls.key: \"\"}",
       "Secret default/web: data[\"tls.crt\"]: expected base64"},
  };
  for (const auto& one : cases) EXPECT_EQ(refused(one.kind, one.text), one.error);
}

TEST(Decode, ADocumentThatIsNoObject) {
  EXPECT_EQ(refused(Kind::Pod, "[1]"), "Pod (no name): expected an object, got a list");
}

TEST(FindKind, ByGroupAndVersion) {
  EXPECT_EQ(find_kind("v1", "Pod").value(), Kind::Pod);
  EXPECT_EQ(find_kind("apps/v1", "Deployment").value(), std::nullopt);
  EXPECT_EQ(find_kind("serving.knative.dev/v1", "Service").value(), std::nullopt);
  EXPECT_FALSE(find_kind("extensions/v1beta1", "Ingress"));
  EXPECT_FALSE(find_kind("networking.k8s.io/v1beta1", "Ingress"));
}

// One object a kind with every field set, and one with none.
struct Sample {
  Kind kind;
  const char* text;
};
const Sample kSamples[] = {
    {Kind::Node,
     "metadata: {name: n1, uid: u, resourceVersion: \"5\", labels: {a: b}, annotations: {thalweg.dev/x: y}}\n"
     "spec: {podCIDRs: [10.1.0.0/24, \"2001:db8:1::/64\"]}\nstatus: {addresses: [{type: InternalIP, address: "
     "192.0.2.1}, "
     "{type: Hostname, address: n1}]}"},
    {Kind::Node, "metadata: {name: n1}"},
    {Kind::Namespace,
     "metadata: {name: shop, labels: {team: a}, creationTimestamp: \"2024-02-29T23:59:58Z\", "
     "deletionTimestamp: \"2026-01-01T00:00:00Z\"}"},
    {Kind::Pod,
     "metadata: {name: p, namespace: shop}\nspec: {nodeName: n1, hostname: h, subdomain: s, hostNetwork: "
     "true, "
     "containers: [{ports: [{name: a, containerPort: 1, protocol: UDP}]}, {ports: [{name: b, containerPort: "
     "2}, "
     "{containerPort: 3}]}]}\nstatus: {phase: Succeeded, podIPs: [{ip: 10.0.0.1}, {ip: \"::1\"}], "
     "conditions: []}"},
    {Kind::Pod, "metadata: {name: p}"},
    {Kind::Service,
     "metadata: {name: s}\nspec: {type: LoadBalancer, clusterIPs: [10.0.0.1, \"2001:db8::1\"], externalIPs: "
     "[192.0.2.9], "
     "loadBalancerSourceRanges: [198.51.100.0/24], ports: [{name: a, port: 1, targetPort: web, nodePort: "
     "30001}, {name: "
     "b, port: 2, protocol: SCTP, targetPort: 3}], selector: {app: web}, publishNotReadyAddresses: true, "
     "internalTrafficPolicy: Local, externalTrafficPolicy: Local, sessionAffinity: ClientIP, "
     "sessionAffinityConfig: "
     "{clientIP: {timeoutSeconds: 60}}, healthCheckNodePort: 30002}\nstatus: {loadBalancer: {ingress: [{ip: "
     "203.0.113.1}]}}"},
    {Kind::Service, "metadata: {name: s}\nspec: {clusterIP: None, selector: {a: b}}"},
    {Kind::Service, "metadata: {name: s}\nspec: {type: ExternalName, externalName: x.example}"},
    {Kind::EndpointSlice,
     "metadata: {name: e, labels: {kubernetes.io/service-name: web}}\naddressType: IPv6\nports: [{name: a, "
     "port: 1, "
     "protocol: UDP}, {}]\nendpoints: [{addresses: [\"2001:db8::1\"], conditions: {ready: false, serving: "
     "false, "
     "terminating: true}, hostname: h, nodeName: n, targetRef: {kind: Pod, name: p}, hints: {forZones: "
     "[{name: z}], "
     "forNodes: [{name: n}]}}]"},
    {Kind::NetworkPolicy,
     "metadata: {name: np}\nspec: {podSelector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: "
     "Exists}]}, "
     "policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: "
     "{x: y}}}, "
     "{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80, endPort: 90}, {protocol: "
     "UDP}, {port: "
     "web}]}, {}], egress: [{to: [{podSelector: {}}]}]}"},
    {Kind::NetworkPolicy, "metadata: {name: np}\nspec: {podSelector: {}, policyTypes: [Egress]}"},
    {Kind::Ingress,
     "metadata: {name: i, annotations: {kubernetes.io/ingress.class: old}}\nspec: {defaultBackend: {service: "
     "{name: d, "
     "port: {number: 1}}}, tls: [{hosts: [a.example], secretName: s}, {}], rules: [{host: \"*.a.example\", "
     "http: {paths: "
     "[{path: /x, pathType: Exact, backend: {service: {name: b, port: {name: web}}}}, {pathType: "
     "ImplementationSpecific, backend: {resource: {kind: k, name: n}}}]}}, {}]}"},
    {Kind::Ingress, "metadata: {name: i}\nspec: {ingressClassName: thalweg}"},
    {Kind::Secret,
     "metadata: {name: s}\ntype: kubernetes.io/tls\nstringData: {tls.crt: certificate, tls.key: k}"},
    {Kind::Secret, "metadata: {name: s}\ntype: Opaque"},
};

TEST(Encode, IsTheInverseOfDecodeForEveryKind) {
  std::set<Kind> seen;
  for (const auto& sample : kSamples) {
    const auto object = decode(sample.kind, yaml(sample.text));
    ASSERT_TRUE(object) << object.error().str();
    const json::value text = encode(*object);
    const auto again = decode(sample.kind, text);
    ASSERT_TRUE(again) << again.error().str();
    const bool same = std::visit(
        [&]<class T>(const std::shared_ptr<const T>& one) {
          return *one == *std::get<std::shared_ptr<const T>>(*again);
        },
        *object);
    EXPECT_TRUE(same) << json::serialize(text);
    EXPECT_EQ(find_kind(std::string_view(text.at("apiVersion").as_string()),
                        std::string_view(text.at("kind").as_string()))
                  .value(),
              sample.kind);
    seen.insert(sample.kind);
  }
  EXPECT_EQ(seen.size(), std::size(kKinds)) << "a kind has no sample";
}

}  // namespace
}  // namespace thalweg::kube
