// NetworkPolicy and Ingress (networking.k8s.io/v1) from the API's JSON.
#include <algorithm>

#include "kube/decode_kinds.h"

namespace thalweg::kube {

namespace {

LabelSelector::Requirement decode_requirement(const Field& field) {
  using Operator = LabelSelector::Operator;
  LabelSelector::Requirement requirement;
  requirement.key = field["key"].required_string();
  const Field op = field["operator"];
  if (!op.present()) op.fail("is required");
  requirement.op = op.choose<Operator>({{"In", Operator::In},
                                        {"NotIn", Operator::NotIn},
                                        {"Exists", Operator::Exists},
                                        {"DoesNotExist", Operator::DoesNotExist}},
                                       Operator::In);
  requirement.values = field["values"].strings();
  const bool wants = requirement.op == Operator::In || requirement.op == Operator::NotIn;
  if (wants && requirement.values.empty()) field["values"].fail("is required with In and NotIn");
  if (!wants && !requirement.values.empty())
    field["values"].fail("must be empty with Exists and DoesNotExist");
  std::ranges::sort(requirement.values);
  return requirement;
}

LabelSelector decode_selector(const Field& field) {
  LabelSelector selector;
  field["matchLabels"].members([&](std::string_view key, const Field& value) {
    selector.requirements.push_back({std::string(key), LabelSelector::Operator::In, {value.string()}});
  });
  field["matchExpressions"].each(
      [&](const Field& one) { selector.requirements.push_back(decode_requirement(one)); });
  std::ranges::sort(selector.requirements);
  return selector;
}

std::optional<LabelSelector> decode_optional_selector(const Field& field) {
  if (!field.present()) return std::nullopt;
  return decode_selector(field);
}

PolicyPeer::IpBlock decode_ip_block(const Field& field) {
  PolicyPeer::IpBlock block;
  const Field range = field["cidr"];
  if (!range.present()) range.fail("is required");
  block.cidr = range.cidr().value_or(Cidr());
  field["except"].each([&](const Field& one) {
    const auto except = one.cidr();
    if (!except) return;
    const bool inside = block.cidr.contains(*except) && except->length() > block.cidr.length();
    if (!inside) one.fail_value("a range within " + block.cidr.str());
    block.except.push_back(*except);
  });
  return block;
}

PolicyPeer decode_peer(const Field& field) {
  PolicyPeer peer;
  const Field block = field["ipBlock"];
  peer.namespace_selector = decode_optional_selector(field["namespaceSelector"]);
  peer.pod_selector = decode_optional_selector(field["podSelector"]);
  const bool selects = peer.namespace_selector || peer.pod_selector;
  if (block.present() && selects) block.fail("cannot stand beside a selector in one peer");
  if (!block.present() && !selects) field.fail("names no peer: podSelector, namespaceSelector or ipBlock");
  if (block.present()) peer.ip_block = decode_ip_block(block);
  return peer;
}

PolicyPort decode_policy_port(const Field& field) {
  PolicyPort port;
  port.protocol = decode_protocol(field["protocol"]);
  if (const Field one = field["port"]; one.present()) port.port = decode_port_ref(one);
  port.end_port = field["endPort"].port();
  if (!port.end_port) return port;
  if (!port.port || !port.port->number) field["endPort"].fail("needs a numeric port beside it");
  if (port.port && port.end_port < port.port->number) field["endPort"].fail("is smaller than port");
  return port;
}

std::vector<PolicyRule> decode_rules(const Field& list, std::string_view peers) {
  std::vector<PolicyRule> rules;
  list.each([&](const Field& one) {
    PolicyRule rule;
    one[peers].each([&](const Field& peer) { rule.peers.push_back(decode_peer(peer)); });
    one["ports"].each([&](const Field& port) { rule.ports.push_back(decode_policy_port(port)); });
    rules.push_back(std::move(rule));
  });
  return rules;
}

// Without policyTypes every policy isolates ingress, and egress when it has egress rules.
void decode_policy_types(const Field& list, NetworkPolicy& policy) {
  enum class Type { Ingress, Egress };
  list.each([&](const Field& one) {
    const auto type = one.choose<Type>({{"Ingress", Type::Ingress}, {"Egress", Type::Egress}}, Type::Ingress);
    (type == Type::Ingress ? policy.isolates_ingress : policy.isolates_egress) = true;
  });
  if (policy.isolates_ingress || policy.isolates_egress) return;
  policy.isolates_ingress = true;
  policy.isolates_egress = !policy.egress.empty();
}

IngressBackend decode_backend(const Field& field) {
  IngressBackend backend;
  if (!field.present()) field.fail("is required");
  if (field["resource"].present()) return backend;  // no such resource here: answered as unavailable
  const Field service = field["service"];
  backend.service = service["name"].required_string();
  backend.port = {service["port"]["number"].port(), service["port"]["name"].string()};
  if (backend.port == PortRef()) service["port"].fail("needs a name or a number");
  if (backend.port.number && !backend.port.name.empty()) service["port"].fail("has both a name and a number");
  return backend;
}

IngressPath decode_path(const Field& field) {
  using Type = IngressPath::Type;
  IngressPath path;
  const Field type = field["pathType"];
  if (!type.present()) type.fail("is required: Exact, Prefix or ImplementationSpecific");
  path.type = type.choose<Type>({{"Exact", Type::Exact},
                                 {"Prefix", Type::Prefix},
                                 {"ImplementationSpecific", Type::ImplementationSpecific}},
                                Type::Prefix);
  path.path = field["path"].string();
  const bool absolute = path.path.starts_with("/");
  if (!absolute && (path.type != Type::ImplementationSpecific || !path.path.empty()))
    field["path"].present() ? field["path"].fail_value("an absolute path")
                            : field["path"].fail("is required");
  path.backend = decode_backend(field["backend"]);
  return path;
}

// RFC 1123, or one "*." in front of it; an address is no host (the API refuses it).
bool is_host(std::string_view host) {
  if (host.starts_with("*.")) host.remove_prefix(2);
  if (host.empty() || host.size() > 253 || Ip::parse(host)) return false;
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  return std::ranges::all_of(host, plain) && host.front() != '.' && host.back() != '.' &&
         host.find("..") == std::string_view::npos;
}

std::string decode_host(const Field& field) {
  const std::string host = field.string();
  if (!host.empty() && !is_host(host)) field.fail_value("a lower-case DNS name, or *.NAME");
  return host;
}

IngressRule decode_ingress_rule(const Field& field) {
  IngressRule rule;
  rule.host = decode_host(field["host"]);
  field["http"]["paths"].each([&](const Field& one) { rule.paths.push_back(decode_path(one)); });
  return rule;
}

IngressTls decode_tls(const Field& field) {
  IngressTls tls;
  field["hosts"].each([&](const Field& one) { tls.hosts.push_back(decode_host(one)); });
  tls.secret = field["secretName"].string();
  return tls;
}

}  // namespace

void decode_kind(const Field& root, NetworkPolicy& policy) {
  const Field spec = root["spec"];
  policy.pod_selector = decode_selector(spec["podSelector"]);
  policy.ingress = decode_rules(spec["ingress"], "from");
  policy.egress = decode_rules(spec["egress"], "to");
  decode_policy_types(spec["policyTypes"], policy);
}

void decode_kind(const Field& root, Ingress& ingress) {
  const Field spec = root["spec"];
  const auto& annotations = ingress.meta.annotations;
  const auto old_class = annotations.find("kubernetes.io/ingress.class");
  ingress.class_name =
      spec["ingressClassName"].string(old_class == annotations.end() ? "" : old_class->second);
  if (const Field backend = spec["defaultBackend"]; backend.present())
    ingress.default_backend = decode_backend(backend);
  spec["rules"].each([&](const Field& one) { ingress.rules.push_back(decode_ingress_rule(one)); });
  spec["tls"].each([&](const Field& one) { ingress.tls.push_back(decode_tls(one)); });
}

}  // namespace thalweg::kube
