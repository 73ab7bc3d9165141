// The Kubernetes objects, trimmed to the fields Thalweg reads. Filled by kube/decode, read by every layer
// above.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ip.h"

namespace thalweg::kube {

using Labels = std::map<std::string, std::string>;

// "namespace/name", or "name" for cluster-scoped objects; the key of every store.
struct ObjectKey {
  std::string ns;
  std::string name;
  auto operator<=>(const ObjectKey&) const = default;
  std::string str() const { return ns.empty() ? name : ns + "/" + name; }
};

struct Meta {
  ObjectKey key;
  std::string uid;
  std::string resource_version;
  Labels labels;
  Labels annotations;        // only those whose key Thalweg reads
  bool terminating = false;  // deletionTimestamp is set
  int64_t created_s = 0;     // creationTimestamp, seconds since 1970; 0: not told
  bool operator==(const Meta&) const = default;
};

// A selector as the API writes it: all of both lists must hold; empty selects everything.
// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/
struct LabelSelector {
  enum class Operator : uint8_t { In, NotIn, Exists, DoesNotExist };
  struct Requirement {
    std::string key;
    Operator op;
    std::vector<std::string> values;  // sorted
    auto operator<=>(const Requirement&) const = default;
  };
  std::vector<Requirement> requirements;  // matchLabels are In with one value; sorted
  auto operator<=>(const LabelSelector&) const = default;
  bool matches(const Labels& labels) const;
};

enum class Protocol : uint8_t { TCP, UDP, SCTP };

struct PortRef {  // an IntOrString port: one of the two
  uint16_t number = 0;
  std::string name;
  auto operator<=>(const PortRef&) const = default;
};

struct Node {
  Meta meta;
  std::vector<Cidr> pod_cidrs;
  std::vector<Ip> addresses;  // InternalIP, in the order given
  bool operator==(const Node&) const = default;
};

struct Namespace {
  Meta meta;
  bool operator==(const Namespace&) const = default;
};

struct ContainerPort {
  std::string name;
  uint16_t port = 0;
  Protocol protocol = Protocol::TCP;
  bool operator==(const ContainerPort&) const = default;
};

struct Pod {
  Meta meta;
  std::string node_name;
  std::string hostname;
  std::string subdomain;
  bool host_network = false;
  bool ready = false;     // condition Ready is True; a manifest without status.conditions counts as ready
  bool finished = false;  // phase Succeeded or Failed: its addresses are no longer its own
  std::vector<Ip> ips;    // status.podIPs
  std::vector<ContainerPort> ports;  // named container ports, for named targetPorts and policies
  bool operator==(const Pod&) const = default;
};

struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::TCP;
  uint16_t port = 0;
  PortRef target_port;
  uint16_t node_port = 0;  // 0: none
  bool operator==(const ServicePort&) const = default;
};

struct Service {
  enum class Type : uint8_t { ClusterIP, NodePort, LoadBalancer, ExternalName };
  Meta meta;
  Type type = Type::ClusterIP;
  bool headless = false;  // clusterIP: None
  std::vector<Ip> cluster_ips;
  std::vector<Ip> external_ips;
  std::vector<Ip> load_balancer_ips;  // status.loadBalancer.ingress[].ip with ipMode VIP or none
  std::vector<Cidr> load_balancer_source_ranges;
  std::vector<std::string> wrong_source_ranges;  // what stood among them and is no CIDR
  std::string external_name;
  std::vector<ServicePort> ports;
  Labels selector;
  bool publish_not_ready = false;
  bool internal_local = false;      // internalTrafficPolicy: Local
  bool external_local = false;      // externalTrafficPolicy: Local
  uint32_t affinity_timeout_s = 0;  // sessionAffinity ClientIP; 0: none
  uint16_t health_check_node_port = 0;
  bool operator==(const Service&) const = default;
};

struct Endpoint {
  std::vector<Ip> addresses;
  bool ready = true;  // conditions: absent means true, except terminating
  bool serving = true;
  bool terminating = false;
  std::string hostname;
  std::string node_name;
  std::vector<std::string> zone_hints;
  std::vector<std::string> node_hints;
  bool operator==(const Endpoint&) const = default;
};

struct EndpointPort {
  std::string name;
  Protocol protocol = Protocol::TCP;
  uint16_t port = 0;
  bool operator==(const EndpointPort&) const = default;
};

struct EndpointSlice {
  Meta meta;
  std::string service;  // label kubernetes.io/service-name, same namespace
  bool v4 = true;       // addressType
  std::vector<EndpointPort> ports;
  std::vector<Endpoint> endpoints;
  bool operator==(const EndpointSlice&) const = default;
};

// networking.k8s.io/v1 NetworkPolicy.
struct PolicyPeer {
  // An ipBlock, or selectors: a missing namespace selector means the policy's own namespace,
  // a missing pod selector means every pod of the selected namespaces.
  struct IpBlock {
    Cidr cidr;
    std::vector<Cidr> except;
    auto operator<=>(const IpBlock&) const = default;
  };
  std::optional<IpBlock> ip_block;
  std::optional<LabelSelector> namespace_selector;
  std::optional<LabelSelector> pod_selector;
  bool operator==(const PolicyPeer&) const = default;
};

struct PolicyPort {
  std::optional<Protocol> protocol;  // the API defaults it to TCP; empty never comes from the API
  std::optional<PortRef> port;       // none: every port
  uint16_t end_port = 0;             // 0: the port alone
  bool operator==(const PolicyPort&) const = default;
};

struct PolicyRule {
  std::vector<PolicyPeer> peers;  // empty: every peer
  std::vector<PolicyPort> ports;  // empty: every port
  bool operator==(const PolicyRule&) const = default;
};

struct NetworkPolicy {
  Meta meta;
  LabelSelector pod_selector;
  bool isolates_ingress = false;  // policyTypes, with the API's defaults applied
  bool isolates_egress = false;
  std::vector<PolicyRule> ingress;
  std::vector<PolicyRule> egress;
  bool operator==(const NetworkPolicy&) const = default;
};

// networking.k8s.io/v1 Ingress.
struct IngressBackend {
  std::string service;  // same namespace
  PortRef port;
  bool operator==(const IngressBackend&) const = default;
};

struct IngressPath {
  enum class Type : uint8_t { Exact, Prefix, ImplementationSpecific };
  std::string path;
  Type type = Type::Prefix;
  IngressBackend backend;
  bool operator==(const IngressPath&) const = default;
};

struct IngressRule {
  std::string host;  // empty: any; "*.example.com": one label
  std::vector<IngressPath> paths;
  bool operator==(const IngressRule&) const = default;
};

struct IngressTls {
  std::vector<std::string> hosts;
  std::string secret;  // same namespace
  bool operator==(const IngressTls&) const = default;
};

struct Ingress {
  Meta meta;
  std::string class_name;
  std::optional<IngressBackend> default_backend;
  std::vector<IngressRule> rules;
  std::vector<IngressTls> tls;
  bool operator==(const Ingress&) const = default;
};

// Only thalweg-ingress reads Secrets, only of type kubernetes.io/tls, and never through the relay.
struct Secret {
  Meta meta;
  std::string tls_crt;  // PEM
  std::string tls_key;  // PEM; never logged, never dumped
  bool operator==(const Secret&) const = default;
};

// Every kind, once: KIND(Type, plural resource, API group/version, namespaced).
#define THALWEG_KINDS(KIND)                                            \
  KIND(Node, "nodes", "v1", false)                                     \
  KIND(Namespace, "namespaces", "v1", false)                           \
  KIND(Pod, "pods", "v1", true)                                        \
  KIND(Service, "services", "v1", true)                                \
  KIND(EndpointSlice, "endpointslices", "discovery.k8s.io/v1", true)   \
  KIND(NetworkPolicy, "networkpolicies", "networking.k8s.io/v1", true) \
  KIND(Ingress, "ingresses", "networking.k8s.io/v1", true)             \
  KIND(Secret, "secrets", "v1", true)

enum class Kind : uint8_t {
#define KIND(type, plural, version, namespaced) type,
  THALWEG_KINDS(KIND)
#undef KIND
};

struct ObjectRef {
  Kind kind;
  ObjectKey key;
  auto operator<=>(const ObjectRef&) const = default;
  std::string str() const;  // "Service default/web"
};

// Any one object; the alternatives stand in the order of Kind.
using Object = std::variant<std::shared_ptr<const Node>, std::shared_ptr<const Namespace>,
                            std::shared_ptr<const Pod>, std::shared_ptr<const Service>,
                            std::shared_ptr<const EndpointSlice>, std::shared_ptr<const NetworkPolicy>,
                            std::shared_ptr<const Ingress>, std::shared_ptr<const Secret>>;

// What the API calls a kind.
struct KindInfo {
  Kind kind;
  std::string_view name;           // "Service"
  std::string_view plural;         // "services"
  std::string_view group_version;  // "v1", "networking.k8s.io/v1"
  bool namespaced;
};
inline constexpr KindInfo kKinds[] = {
#define KIND(type, plural, version, namespaced) {Kind::type, #type, plural, version, namespaced},
    THALWEG_KINDS(KIND)
#undef KIND
};
inline const KindInfo& info(Kind kind) { return kKinds[static_cast<size_t>(kind)]; }

inline Kind kind_of(const Object& object) { return static_cast<Kind>(object.index()); }
const Meta& meta_of(const Object& object);
ObjectRef ref_of(const Object& object);

}  // namespace thalweg::kube
