#include "tests/policy/oracle.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace thalweg::test {

namespace {

const kube::Pod* owner_of(const kube::Cluster& cluster, const Ip& ip) {
  for (const auto& [key, pod] : cluster.pods)
    if (!pod->host_network && !pod->finished && std::ranges::find(pod->ips, ip) != pod->ips.end())
      return pod.get();
  return nullptr;
}

kube::Labels labels_of_namespace(const kube::Cluster& cluster, const std::string& name) {
  kube::Labels out;
  if (const auto found = cluster.namespaces.find({"", name}); found != cluster.namespaces.end())
    out = found->second->meta.labels;
  out["kubernetes.io/metadata.name"] = name;
  return out;
}

bool peer_matches(const kube::Cluster& cluster, const kube::PolicyPeer& peer, const std::string& policy_ns,
                  const Ip& ip) {
  if (peer.ip_block) {
    if (peer.ip_block->cidr.is_v4() != ip.is_v4() || !peer.ip_block->cidr.contains(ip)) return false;
    return std::ranges::none_of(peer.ip_block->except, [&](const Cidr& hole) { return hole.contains(ip); });
  }
  if (!peer.pod_selector && !peer.namespace_selector) return false;
  const auto* pod = owner_of(cluster, ip);
  if (!pod) return false;
  if (peer.namespace_selector
          ? !peer.namespace_selector->matches(labels_of_namespace(cluster, pod->meta.key.ns))
          : pod->meta.key.ns != policy_ns)
    return false;
  return !peer.pod_selector || peer.pod_selector->matches(pod->meta.labels);
}

bool port_matches(const kube::PolicyPort& port, const Packet& packet, const kube::Pod* destination) {
  if (policy::ip_protocol(port.protocol.value_or(kube::Protocol::TCP)) != packet.protocol) return false;
  if (!port.port) return true;
  if (port.port->name.empty())
    return packet.port >= port.port->number && packet.port <= std::max(port.port->number, port.end_port);
  if (!destination) return false;
  return std::ranges::any_of(destination->ports, [&](const kube::ContainerPort& one) {
    return one.name == port.port->name && policy::ip_protocol(one.protocol) == packet.protocol &&
           one.port == packet.port;
  });
}

bool rule_matches(const kube::Cluster& cluster, const kube::PolicyRule& rule, const kube::Pod& subject,
                  const Packet& packet) {
  const bool from = rule.peers.empty() || std::ranges::any_of(rule.peers, [&](const kube::PolicyPeer& peer) {
                      return peer_matches(cluster, peer, subject.meta.key.ns, packet.peer);
                    });
  const auto* destination = packet.way == INGRESS ? &subject : owner_of(cluster, packet.peer);
  const bool to = rule.ports.empty() || std::ranges::any_of(rule.ports, [&](const kube::PolicyPort& port) {
                    return port_matches(port, packet, destination);
                  });
  return from && to;
}

}  // namespace

bool allowed_by_policies(const kube::Cluster& cluster, const Packet& packet) {
  const auto& subject = *cluster.pods.at(packet.subject);
  if (subject.host_network || subject.finished) return true;
  bool isolated = false;
  for (const auto& [key, policy] : cluster.network_policies) {
    if (key.ns != subject.meta.key.ns || !policy->pod_selector.matches(subject.meta.labels)) continue;
    if (!(packet.way == INGRESS ? policy->isolates_ingress : policy->isolates_egress)) continue;
    isolated = true;
    for (const auto& rule : packet.way == INGRESS ? policy->ingress : policy->egress)
      if (rule_matches(cluster, rule, subject, packet)) return true;
  }
  return !isolated;
}

Tables tables_of(const policy::RuleBook& book) {
  Tables out;
  for (const auto& [ip, number] : book.identities().addresses()) out.identities[ip] = number;
  out.prefixes = book.identities().prefixes();
  for (uint32_t number = 1; number < policy::kRuleSets; ++number) {
    const auto* set = book.rule_set_at(number);
    if (!set) continue;
    out.rule_sets[number] = set->row;
    for (const auto& [key, value] : set->rows) out.rules.emplace_back(key, value);
  }
  return out;
}

uint32_t identity_of(const Tables& tables, const Ip& ip) {
  if (const auto exact = tables.identities.find(ip); exact != tables.identities.end()) return exact->second;
  int best = -1;
  uint32_t out = IDENTITY_NONE;
  for (const auto& [cidr, number] : tables.prefixes)
    if (cidr.contains(ip) && cidr.length() > best) best = cidr.length(), out = number;
  return out;
}

namespace {

bool covers(const rule_key& row, const rule_key& packet) {
  const auto* a = reinterpret_cast<const uint8_t*>(&row) + 4;
  const auto* b = reinterpret_cast<const uint8_t*>(&packet) + 4;
  for (uint32_t bit = 0; bit < row.prefixlen; ++bit)
    if ((a[bit / 8] ^ b[bit / 8]) & (0x80 >> (bit % 8))) return false;
  return true;
}

const std::pair<rule_key, rule>* longest(const Tables& tables, const rule_key& packet) {
  const std::pair<rule_key, rule>* best = nullptr;
  for (const auto& row : tables.rules)
    if (covers(row.first, packet) && (!best || row.first.prefixlen > best->first.prefixlen)) best = &row;
  return best;
}

}  // namespace

Answer answer_of(const Tables& tables, uint32_t rule_set, const Packet& packet) {
  const auto set = tables.rule_sets.find(rule_set);
  const uint32_t flag = packet.way == INGRESS ? RULE_SET_ISOLATES_INGRESS : RULE_SET_ISOLATES_EGRESS;
  if (rule_set == 0 || set == tables.rule_sets.end() || !(set->second.flags & flag)) return {true, 0};
  rule_key key{};
  key.rule_set = rule_set;
  key.direction = packet.way;
  key.protocol = packet.protocol;
  key.port = htons(packet.port);
  for (const uint32_t identity : {identity_of(tables, packet.peer), IDENTITY_ANY}) {
    key.identity = identity;
    if (const auto* row = longest(tables, key)) return {row->second.verdict == RULE_ALLOW, row->second.id};
  }
  return {};
}

}  // namespace thalweg::test
