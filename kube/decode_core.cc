// Node, Namespace, Pod, Service, EndpointSlice and Secret from the API's JSON.
#include <openssl/evp.h>

#include <algorithm>
#include <set>

#include "kube/decode_kinds.h"

namespace thalweg::kube {

namespace {

std::vector<Ip> decode_ips(const Field& list) {
  std::vector<Ip> ips;
  list.each([&](const Field& one) {
    if (const auto ip = one.ip()) ips.push_back(*ip);
  });
  return ips;
}

std::vector<Cidr> decode_cidrs(const Field& list) {
  std::vector<Cidr> cidrs;
  list.each([&](const Field& one) {
    if (const auto cidr = one.cidr()) cidrs.push_back(*cidr);
  });
  return cidrs;
}

// Condition Ready; a pod of a manifest says nothing of conditions and counts as ready.
bool decode_ready(const Field& conditions) {
  if (!conditions.present()) return true;
  bool ready = false;
  conditions.each([&](const Field& one) {
    if (one["type"].string() == "Ready") ready = one["status"].string() == "True";
  });
  return ready;
}

void decode_ports(const Field& containers, Pod& pod) {
  containers.each([&](const Field& container) {
    container["ports"].each([&](const Field& port) {
      const Field name = port["name"];
      if (!name.present()) return;
      pod.ports.push_back({name.string(),
                           static_cast<uint16_t>(port["containerPort"].required_integer(1, 65535)),
                           decode_protocol(port["protocol"])});
    });
  });
}

ServicePort decode_service_port(const Field& field) {
  ServicePort port;
  port.name = field["name"].string();
  port.protocol = decode_protocol(field["protocol"]);
  port.port = static_cast<uint16_t>(field["port"].required_integer(1, 65535));
  port.target_port = decode_port_ref(field["targetPort"]);
  if (port.target_port == PortRef()) port.target_port.number = port.port;
  port.node_port = static_cast<uint16_t>(field["nodePort"].integer(0, 65535, 0));
  return port;
}

void decode_service_ports(const Field& list, Service& service) {
  std::set<std::string> names;
  list.each([&](const Field& one) {
    auto port = decode_service_port(one);
    const bool fresh = names.insert(port.name).second;
    if (!fresh && port.name.empty()) one["name"].fail("is required where there is more than one port");
    if (!fresh) one["name"].fail("is the name of another port of this Service");
    service.ports.push_back(std::move(port));
  });
}

void decode_cluster_ips(const Field& spec, Service& service) {
  const auto add = [&](const Field& one) {
    if (one.is_string() && one.string() == "None") {
      service.headless = true;
    } else if (one.present() && !one.string().empty()) {
      if (const auto ip = one.ip()) service.cluster_ips.push_back(*ip);
    }
  };
  const Field list = spec["clusterIPs"];
  list.present() ? list.each(add) : add(spec["clusterIP"]);
}

void decode_traffic(const Field& spec, Service& service) {
  const auto local = [](const Field& field) {
    return field.choose<bool>({{"Cluster", false}, {"Local", true}}, false);
  };
  service.internal_local = local(spec["internalTrafficPolicy"]);
  service.external_local = local(spec["externalTrafficPolicy"]);
  service.health_check_node_port = static_cast<uint16_t>(spec["healthCheckNodePort"].integer(0, 65535, 0));
  const bool by_client = spec["sessionAffinity"].choose<bool>({{"None", false}, {"ClientIP", true}}, false);
  const Field timeout = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
  if (by_client) service.affinity_timeout_s = static_cast<uint32_t>(timeout.integer(1, 86400, 10800));
}

// A wrong one must not keep the Service as it was, when the list may have become narrower. The API server
// lets white space stand around a range.
void decode_source_ranges(const Field& list, Service& service) {
  list.each([&](const Field& one) {
    std::string text = one.string();
    const size_t first = text.find_first_not_of(" \t"), last = text.find_last_not_of(" \t");
    if (first != std::string::npos) text = text.substr(first, last - first + 1);
    if (const auto cidr = Cidr::parse_lenient(text))
      service.load_balancer_source_ranges.push_back(*cidr);
    else
      service.wrong_source_ranges.push_back(std::move(text));
  });
}

void decode_load_balancer(const Field& root, Service& service) {
  decode_source_ranges(root["spec"]["loadBalancerSourceRanges"], service);
  root["status"]["loadBalancer"]["ingress"].each([&](const Field& one) {
    const Field ip = one["ip"];
    if (!one["ipMode"].choose<bool>({{"VIP", true}, {"Proxy", false}}, true) || ip.string().empty()) return;
    if (const auto address = ip.ip()) service.load_balancer_ips.push_back(*address);
  });
}

std::vector<std::string> decode_hints(const Field& list) {
  std::vector<std::string> names;
  list.each([&](const Field& one) { names.push_back(one["name"].required_string()); });
  return names;
}

Endpoint decode_endpoint(const Field& field, const EndpointSlice& slice) {
  Endpoint endpoint;
  field["addresses"].each([&](const Field& one) {
    const auto ip = one.ip();
    if (ip && ip->is_v4() != slice.v4) one.fail_value(slice.v4 ? "an IPv4 address" : "an IPv6 address");
    if (ip) endpoint.addresses.push_back(*ip);
  });
  if (endpoint.addresses.empty()) field["addresses"].fail("is required and must not be empty");
  const Field conditions = field["conditions"];
  endpoint.ready = conditions["ready"].boolean(true);
  endpoint.serving = conditions["serving"].boolean(true);
  endpoint.terminating = conditions["terminating"].boolean(false);
  endpoint.hostname = field["hostname"].string();
  endpoint.node_name = field["nodeName"].string();
  endpoint.zone_hints = decode_hints(field["hints"]["forZones"]);
  endpoint.node_hints = decode_hints(field["hints"]["forNodes"]);
  return endpoint;
}

}  // namespace

Protocol decode_protocol(const Field& field) {
  return field.choose<Protocol>({{"TCP", Protocol::TCP}, {"UDP", Protocol::UDP}, {"SCTP", Protocol::SCTP}},
                                Protocol::TCP);
}

PortRef decode_port_ref(const Field& field) {
  PortRef port;
  if (!field.present()) return port;
  if (field.is_string()) {
    port.name = field.string();
    if (port.name.empty() || port.name.size() > 63) field.fail_value("a port's name or number");
  } else {
    port.number = field.port();
  }
  return port;
}

void decode_kind(const Field& root, Node& node) {
  const Field spec = root["spec"];
  node.pod_cidrs = decode_cidrs(spec["podCIDRs"]);
  if (const Field one = spec["podCIDR"]; node.pod_cidrs.empty() && !one.string().empty()) {
    if (const auto cidr = one.cidr()) node.pod_cidrs.push_back(*cidr);
  }
  root["status"]["addresses"].each([&](const Field& one) {
    if (one["type"].string() != "InternalIP") return;
    const Field address = one["address"];
    if (!address.present()) address.fail("is required");
    if (const auto ip = address.ip()) node.addresses.push_back(*ip);
  });
}

void decode_kind(const Field&, Namespace& ns) {
  ns.meta.labels.emplace("kubernetes.io/metadata.name", ns.meta.key.name);  // the API server sets it
}

void decode_kind(const Field& root, Pod& pod) {
  const Field spec = root["spec"];
  const Field status = root["status"];
  pod.node_name = spec["nodeName"].string();
  pod.hostname = spec["hostname"].string();
  pod.subdomain = spec["subdomain"].string();
  pod.host_network = spec["hostNetwork"].boolean(false);
  pod.ready = decode_ready(status["conditions"]);
  const std::string phase = status["phase"].string();
  pod.finished = phase == "Succeeded" || phase == "Failed";
  status["podIPs"].each([&](const Field& one) {
    const Field address = one["ip"];
    if (!address.present()) address.fail("is required");
    if (const auto ip = address.ip()) pod.ips.push_back(*ip);
  });
  if (const Field one = status["podIP"]; pod.ips.empty() && !one.string().empty()) {
    if (const auto ip = one.ip()) pod.ips.push_back(*ip);
  }
  decode_ports(spec["containers"], pod);
  decode_ports(spec["initContainers"], pod);
}

void decode_kind(const Field& root, Service& service) {
  using Type = Service::Type;
  const Field spec = root["spec"];
  service.type = spec["type"].choose<Type>({{"ClusterIP", Type::ClusterIP},
                                            {"NodePort", Type::NodePort},
                                            {"LoadBalancer", Type::LoadBalancer},
                                            {"ExternalName", Type::ExternalName}},
                                           Type::ClusterIP);
  decode_cluster_ips(spec, service);
  service.external_ips = decode_ips(spec["externalIPs"]);
  service.external_name = spec["externalName"].string();
  if (service.type == Type::ExternalName) spec["externalName"].required_string();
  decode_service_ports(spec["ports"], service);
  service.selector = spec["selector"].labels();
  service.publish_not_ready = spec["publishNotReadyAddresses"].boolean(false);
  decode_traffic(spec, service);
  decode_load_balancer(root, service);
}

void decode_kind(const Field& root, EndpointSlice& slice) {
  enum Family { v4, v6, fqdn };
  const auto label = slice.meta.labels.find("kubernetes.io/service-name");
  if (label != slice.meta.labels.end()) slice.service = label->second;
  const Field type = root["addressType"];
  if (!type.present()) type.fail("is required");
  const auto family = type.choose<Family>({{"IPv4", v4}, {"IPv6", v6}, {"FQDN", fqdn}}, v4);
  slice.v4 = family != v6;
  root["ports"].each([&](const Field& one) {
    slice.ports.push_back({one["name"].string(), decode_protocol(one["protocol"]), one["port"].port()});
  });
  if (family == fqdn) return;                         // names, not addresses: nothing here can use them
  slice.endpoints.reserve(root["endpoints"].size());  // there may be a quarter of a million
  root["endpoints"].each([&](const Field& one) { slice.endpoints.push_back(decode_endpoint(one, slice)); });
}

void decode_kind(const Field& root, Secret& secret) {
  if (root["type"].string() != "kubernetes.io/tls") return;  // not ours to hold
  const auto pem = [&](std::string_view key) {
    const Field plain = root["stringData"][key];
    if (plain.present()) return plain.string();
    const Field field = root["data"][key];
    auto bytes = decode_base64(field.required_string());
    if (!bytes) field.fail("expected base64");
    return bytes.value_or(std::string());
  };
  secret.tls_crt = pem("tls.crt");
  secret.tls_key = pem("tls.key");
}

Result<std::string> decode_base64(std::string_view text) {
  std::string compact(text);
  std::erase_if(compact, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  std::string bytes(compact.size() / 4 * 3, '\0');
  if (compact.size() % 4 || compact.size() > (64 << 20)) return fail("not base64");
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                     reinterpret_cast<const unsigned char*>(compact.data()),
                                     static_cast<int>(compact.size()));
  if (length < 0) return fail("not base64");
  const size_t padding = compact.ends_with("==") ? 2 : compact.ends_with("=") ? 1 : 0;
  bytes.resize(static_cast<size_t>(length) - padding);
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(length));
  return text;
}

}  // namespace thalweg::kube
