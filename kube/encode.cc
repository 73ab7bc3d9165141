// Trimmed objects back into the API's JSON, for the relay.
#include "kube/decode_kinds.h"

namespace json = boost::json;

namespace thalweg::kube {

namespace {

// put(out, "key", value): leaves out what is empty, as the API does.
void put(json::object& out, const char* key, const std::string& text) {
  if (!text.empty()) out[key] = text;
}
void put(json::object& out, const char* key, json::array list) {
  if (!list.empty()) out[key] = std::move(list);
}
void put(json::object& out, const char* key, json::object object) {
  if (!object.empty()) out[key] = std::move(object);
}
void put_number(json::object& out, const char* key, int64_t number) {
  if (number) out[key] = number;
}
void put_flag(json::object& out, const char* key, bool flag) {
  if (flag) out[key] = true;
}

template <class List, class F>
json::array each(const List& list, F&& encode_one) {
  json::array out;
  for (const auto& one : list) out.push_back(encode_one(one));
  return out;
}

template <class T>
json::array texts(const std::vector<T>& list) {
  return each(list, [](const T& one) { return json::value(json::string(one.str())); });
}
json::array strings(const std::vector<std::string>& list) { return json::array(list.begin(), list.end()); }

const char* protocol(Protocol protocol) {
  constexpr const char* kNames[] = {"TCP", "UDP", "SCTP"};
  return kNames[static_cast<size_t>(protocol)];
}

json::value port_ref(const PortRef& port) {
  return port.name.empty() ? json::value(port.number) : json::value(json::string(port.name));
}

json::object selector(const LabelSelector& selector) {
  constexpr const char* kNames[] = {"In", "NotIn", "Exists", "DoesNotExist"};
  json::object out;
  put(out, "matchExpressions", each(selector.requirements, [&](const auto& one) {
        json::object requirement{{"key", one.key}, {"operator", kNames[static_cast<size_t>(one.op)]}};
        put(requirement, "values", strings(one.values));
        return requirement;
      }));
  return out;
}

json::object ports(const ServicePort& port) {
  json::object out{
      {"protocol", protocol(port.protocol)}, {"port", port.port}, {"targetPort", port_ref(port.target_port)}};
  put(out, "name", port.name);
  put_number(out, "nodePort", port.node_port);
  return out;
}

json::object endpoint(const Endpoint& one) {
  const auto hints = [](const std::vector<std::string>& names) {
    return each(names, [](const std::string& name) { return json::object{{"name", name}}; });
  };
  json::object out{
      {"addresses", texts(one.addresses)},
      {"conditions",
       json::object{{"ready", one.ready}, {"serving", one.serving}, {"terminating", one.terminating}}}};
  put(out, "hostname", one.hostname);
  put(out, "nodeName", one.node_name);
  json::object all_hints;
  put(all_hints, "forZones", hints(one.zone_hints));
  put(all_hints, "forNodes", hints(one.node_hints));
  put(out, "hints", std::move(all_hints));
  return out;
}

json::object peer(const PolicyPeer& one) {
  json::object out;
  if (one.ip_block) {
    json::object block{{"cidr", one.ip_block->cidr.str()}};
    put(block, "except", texts(one.ip_block->except));
    out["ipBlock"] = std::move(block);
  }
  if (one.namespace_selector) out["namespaceSelector"] = selector(*one.namespace_selector);
  if (one.pod_selector) out["podSelector"] = selector(*one.pod_selector);
  return out;
}

json::object policy_port(const PolicyPort& one) {
  json::object out{{"protocol", protocol(one.protocol.value_or(Protocol::TCP))}};
  if (one.port) out["port"] = port_ref(*one.port);
  put_number(out, "endPort", one.end_port);
  return out;
}

json::array rules(const std::vector<PolicyRule>& list, const char* peers) {
  return each(list, [&](const PolicyRule& rule) {
    json::object out;
    put(out, peers, each(rule.peers, peer));
    put(out, "ports", each(rule.ports, policy_port));
    return out;
  });
}

json::object backend(const IngressBackend& one) {
  if (one.service.empty()) return {{"resource", json::object{{"kind", "unknown"}, {"name", "unknown"}}}};
  const char* key = one.port.name.empty() ? "number" : "name";
  return {
      {"service", json::object{{"name", one.service}, {"port", json::object{{key, port_ref(one.port)}}}}}};
}

json::object path(const IngressPath& one) {
  constexpr const char* kTypes[] = {"Exact", "Prefix", "ImplementationSpecific"};
  json::object out{{"pathType", kTypes[static_cast<size_t>(one.type)]}, {"backend", backend(one.backend)}};
  put(out, "path", one.path);
  return out;
}

}  // namespace

json::object encode_labels(const Labels& labels) {
  json::object out;
  for (const auto& [key, value] : labels) out[key] = value;
  return out;
}

void encode_kind(const Node& node, json::object& root) {
  json::object spec;
  if (!node.pod_cidrs.empty()) spec["podCIDR"] = node.pod_cidrs.front().str();
  put(spec, "podCIDRs", texts(node.pod_cidrs));
  root["spec"] = std::move(spec);
  root["status"] = json::object{{"addresses", each(node.addresses, [](const Ip& ip) {
                                   return json::object{{"type", "InternalIP"}, {"address", ip.str()}};
                                 })}};
}

void encode_kind(const Namespace&, json::object&) {}

void encode_kind(const Pod& pod, json::object& root) {
  json::object spec;
  put(spec, "nodeName", pod.node_name);
  put(spec, "hostname", pod.hostname);
  put(spec, "subdomain", pod.subdomain);
  put_flag(spec, "hostNetwork", pod.host_network);
  auto ports = each(pod.ports, [](const ContainerPort& one) {
    return json::object{
        {"name", one.name}, {"containerPort", one.port}, {"protocol", protocol(one.protocol)}};
  });
  json::object container{{"name", "main"}};
  put(container, "ports", std::move(ports));
  spec["containers"] = json::array{std::move(container)};
  root["spec"] = std::move(spec);
  json::object status{
      {"phase", pod.finished ? "Succeeded" : "Running"},
      {"conditions", json::array{json::object{{"type", "Ready"}, {"status", pod.ready ? "True" : "False"}}}}};
  if (!pod.ips.empty()) status["podIP"] = pod.ips.front().str();
  put(status, "podIPs", each(pod.ips, [](const Ip& ip) { return json::object{{"ip", ip.str()}}; }));
  root["status"] = std::move(status);
}

void encode_kind(const Service& service, json::object& root) {
  constexpr const char* kTypes[] = {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"};
  json::object spec{{"type", kTypes[static_cast<size_t>(service.type)]}};
  if (service.headless) spec["clusterIP"] = "None";
  put(spec, "clusterIPs", service.headless ? json::array{"None"} : texts(service.cluster_ips));
  if (!service.headless && !service.cluster_ips.empty())
    spec["clusterIP"] = service.cluster_ips.front().str();
  put(spec, "externalIPs", texts(service.external_ips));
  put(spec, "externalName", service.external_name);
  auto ranges = texts(service.load_balancer_source_ranges);
  for (const auto& wrong : service.wrong_source_ranges) ranges.emplace_back(json::string(wrong));
  put(spec, "loadBalancerSourceRanges", std::move(ranges));
  put(spec, "ports", each(service.ports, ports));
  put(spec, "selector", encode_labels(service.selector));
  put_flag(spec, "publishNotReadyAddresses", service.publish_not_ready);
  spec["internalTrafficPolicy"] = service.internal_local ? "Local" : "Cluster";
  spec["externalTrafficPolicy"] = service.external_local ? "Local" : "Cluster";
  put_number(spec, "healthCheckNodePort", service.health_check_node_port);
  spec["sessionAffinity"] = service.affinity_timeout_s ? "ClientIP" : "None";
  if (service.affinity_timeout_s)
    spec["sessionAffinityConfig"] =
        json::object{{"clientIP", json::object{{"timeoutSeconds", service.affinity_timeout_s}}}};
  root["spec"] = std::move(spec);
  auto ingress = each(service.load_balancer_ips, [](const Ip& ip) { return json::object{{"ip", ip.str()}}; });
  if (!ingress.empty())
    root["status"] = json::object{{"loadBalancer", json::object{{"ingress", std::move(ingress)}}}};
}

void encode_kind(const EndpointSlice& slice, json::object& root) {
  root["addressType"] = slice.v4 ? "IPv4" : "IPv6";
  root["ports"] = each(slice.ports, [](const EndpointPort& one) {
    json::object out{{"name", one.name}, {"protocol", protocol(one.protocol)}};
    put_number(out, "port", one.port);
    return out;
  });
  root["endpoints"] = each(slice.endpoints, endpoint);
}

void encode_kind(const NetworkPolicy& policy, json::object& root) {
  json::object spec{{"podSelector", selector(policy.pod_selector)}};
  put(spec, "ingress", rules(policy.ingress, "from"));
  put(spec, "egress", rules(policy.egress, "to"));
  json::array types;
  if (policy.isolates_ingress) types.emplace_back("Ingress");
  if (policy.isolates_egress) types.emplace_back("Egress");
  spec["policyTypes"] = std::move(types);
  root["spec"] = std::move(spec);
}

void encode_kind(const Ingress& ingress, json::object& root) {
  json::object spec;
  put(spec, "ingressClassName", ingress.class_name);
  if (ingress.default_backend) spec["defaultBackend"] = backend(*ingress.default_backend);
  put(spec, "rules", each(ingress.rules, [](const IngressRule& one) {
        json::object rule;
        put(rule, "host", one.host);
        if (!one.paths.empty()) rule["http"] = json::object{{"paths", each(one.paths, path)}};
        return rule;
      }));
  put(spec, "tls", each(ingress.tls, [](const IngressTls& one) {
        json::object tls;
        put(tls, "hosts", strings(one.hosts));
        put(tls, "secretName", one.secret);
        return tls;
      }));
  root["spec"] = std::move(spec);
}

void encode_kind(const Secret& secret, json::object& root) {
  root["type"] = secret.tls_crt.empty() && secret.tls_key.empty() ? "Opaque" : "kubernetes.io/tls";
  if (root["type"] == "Opaque") return;
  root["data"] =
      json::object{{"tls.crt", encode_base64(secret.tls_crt)}, {"tls.key", encode_base64(secret.tls_key)}};
}

}  // namespace thalweg::kube
