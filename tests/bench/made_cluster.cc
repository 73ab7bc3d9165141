#include "tests/bench/made_cluster.h"

#include <fmt/format.h>

namespace thalweg::bench {

namespace {

// What the slice controller leaves in every object: of no use to us, but it has to be read past.
constexpr const char* kManagedFields =
    R"([{"manager":"kube-controller-manager","operation":"Update","apiVersion":"discovery.k8s.io/v1",)"
    R"("time":"2026-11-01T09:30:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:addressType":{},"f:endpoints":{},)"
    R"("f:metadata":{"f:annotations":{".":{},"f:endpoints.kubernetes.io/last-change-trigger-time":{}},)"
    R"("f:generateName":{},"f:labels":{".":{},"f:app":{},"f:endpointslice.kubernetes.io/managed-by":{},)"
    R"("f:kubernetes.io/service-name":{}},"f:ownerReferences":{".":{},"k:{\"uid\":\"x\"}":{}}},"f:ports":{}}}])";

std::string uid(uint64_t of) {
  return fmt::format("{:08x}-7c1e-4b6a-9d3f-{:012x}", of * 2654435761u % 0xffffffff, of);
}

std::string name_of(const MadeService& service) { return fmt::format("backend-{}", service.number); }
std::string namespace_of(const MadeService& service) { return fmt::format("team-{}", service.number % 100); }

std::string endpoint_json(const MadeService& service, size_t index) {
  const MadeEndpoint& one = service.endpoints[index];
  const uint64_t pod = uint64_t{service.number} * 1000 + index;
  return fmt::format(
      R"({{"addresses":["{}"],"conditions":{{"ready":{},"serving":{},"terminating":false}},)"
      R"("nodeName":"worker-{:04}","targetRef":{{"kind":"Pod","namespace":"{}","name":"{}-6d4cf56db6-{:05x}",)"
      R"("uid":"{}"}},"zone":"zone-{}"}})",
      one.ip, one.ready, one.ready, pod * 7919 % 2500, namespace_of(service), name_of(service),
      pod * 40503 % 0xfffff, uid(pod), pod % 3);
}

}  // namespace

Ip cluster_ip(uint32_t number) { return Ip::v4(10, 96, 0, 0).plus(number + 1); }

MadeService make_service(uint32_t number, uint32_t endpoints) {
  MadeService out{.number = number, .endpoints = {}};
  for (uint32_t index = 0; index < endpoints; ++index)
    out.endpoints.push_back({Ip::v4(100, 64, 0, 0).plus(uint64_t{number} * endpoints + index + 1)});
  return out;
}

std::string service_json(const MadeService& service, uint64_t version) {
  const std::string name = name_of(service);
  return fmt::format(
      R"({{"metadata":{{"name":"{0}","namespace":"{1}","uid":"{2}","resourceVersion":"{3}",)"
      R"("creationTimestamp":"2026-11-01T09:30:00Z","labels":{{"app":"{0}"}}}},)"
      R"("spec":{{"ports":[{{"name":"http","protocol":"TCP","port":{6},"targetPort":{4}}}],)"
      R"("selector":{{"app":"{0}"}},"clusterIP":"{5}","clusterIPs":["{5}"],"type":"ClusterIP",)"
      R"("sessionAffinity":"None","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack",)"
      R"("internalTrafficPolicy":"Cluster"}},"status":{{"loadBalancer":{{}}}}}})",
      name, namespace_of(service), uid(service.number), version, service.target_port,
      cluster_ip(service.number), service.port());
}

std::string slice_json(const MadeService& service, uint64_t version) {
  const std::string name = name_of(service);
  std::string out = fmt::format(
      R"({{"metadata":{{"name":"{0}-x7k2p","generateName":"{0}-","namespace":"{1}","uid":"{2}",)"
      R"("resourceVersion":"{3}","generation":3,"creationTimestamp":"2026-11-01T09:30:00Z",)"
      R"("labels":{{"app":"{0}","endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io",)"
      R"("kubernetes.io/service-name":"{0}"}},)"
      R"("annotations":{{"endpoints.kubernetes.io/last-change-trigger-time":"2026-11-01T09:30:00Z"}},)"
      R"("ownerReferences":[{{"apiVersion":"v1","kind":"Service","name":"{0}","uid":"{2}","controller":true,)"
      R"("blockOwnerDeletion":true}}],"managedFields":{4}}},"addressType":"IPv4",)"
      R"("ports":[{{"name":"http","protocol":"TCP","port":{5}}}],"endpoints":[)",
      name, namespace_of(service), uid(service.number), version, kManagedFields, service.target_port);
  for (size_t index = 0; index < service.endpoints.size(); ++index)
    out += (index ? "," : "") + endpoint_json(service, index);
  return out + "]}";
}

std::string node_json(const std::string& address, const std::string& pod_cidr) {
  return fmt::format(
      R"({{"metadata":{{"name":"{}","resourceVersion":"1"}},"spec":{{"podCIDR":"{}","podCIDRs":["{}"]}},)"
      R"("status":{{"addresses":[{{"type":"InternalIP","address":"{}"}}]}}}})",
      kNodeName, pod_cidr, pod_cidr, address);
}

std::string namespace_json(const std::string& name) {
  return fmt::format(R"({{"metadata":{{"name":"{}","resourceVersion":"1"}}}})", name);
}

std::string pod_json(const std::string& name) {
  return fmt::format(
      R"({{"metadata":{{"name":"{}","namespace":"bench","resourceVersion":"1"}},)"
      R"("spec":{{"nodeName":"{}","containers":[{{"name":"main","image":"bench"}}]}},"status":{{"phase":"Running"}}}})",
      name, kNodeName);
}

}  // namespace thalweg::bench
