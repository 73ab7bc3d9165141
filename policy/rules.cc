#include "policy/rules.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>
#include <string_view>

namespace thalweg::policy {

namespace {

// A port that cannot be (0, or an end before its beginning; the API refuses both) allows nothing.
std::optional<PortSpec> digest_port(const kube::PolicyPort& port) {
  PortSpec out;
  out.protocol = port.protocol.value_or(kube::Protocol::TCP);
  if (!port.port) return out;
  out.name = port.port->name;
  if (!out.name.empty()) return out;
  out.first = port.port->number;
  out.last = port.end_port ? port.end_port : out.first;
  if (out.first == 0 || out.last < out.first) return std::nullopt;
  return out;
}

RuleSpec digest_rule(const kube::PolicyRule& rule, direction way, const kube::ObjectKey& policy, size_t n) {
  RuleSpec out;
  out.way = way;
  out.name = fmt::format("NetworkPolicy {} {}[{}]", policy.str(), way == INGRESS ? "ingress" : "egress", n);
  out.any_peer = rule.peers.empty();
  for (const auto& peer : rule.peers)
    if (auto selector = Selector::from_peer(peer, policy.ns)) out.peers.push_back(std::move(*selector));
  out.any_port = rule.ports.empty();
  for (const auto& port : rule.ports)
    if (auto spec = digest_port(port)) out.ports.push_back(std::move(*spec));
  return out;
}

rule_key key_of(const RuleSpec& rule, uint32_t rule_set, uint32_t identity) {
  rule_key key{};
  key.prefixlen = RULE_BITS_ANY_PROTOCOL;
  key.rule_set = rule_set;
  key.identity = identity;
  key.direction = rule.way;
  return key;
}

rule_key with_protocol(rule_key key, kube::Protocol protocol) {
  key.prefixlen = RULE_BITS_ANY_PORT;
  key.protocol = ip_protocol(protocol);
  return key;
}

rule_key with_port(rule_key key, const PortPrefix& port) {
  key.prefixlen = RULE_BITS_ANY_PORT + port.length;
  key.port = htons(port.port);
  return key;
}

// Collects the rows of one rule, and stops at the bound.
class Expander {
 public:
  Expander(const RuleSpec& rule, const Expansion& with, size_t most, RuleRows& rows)
      : rule_(rule), with_(with), most_(most), rows_(rows), peers_(peer_identities()) {}

  bool run() {
    for (const uint32_t peer : peers_) {
      if (rule_.any_port && !add(key_of(rule_, with_.rule_set, peer))) return false;
      for (const auto& port : rule_.ports)
        if (!add_port(peer, port)) return false;
    }
    if (rule_.way == INGRESS) return true;
    return std::ranges::all_of(rule_.ports, [&](const PortSpec& port) { return add_peers_own(port); });
  }

 private:
  std::set<uint32_t> peer_identities() const {
    if (rule_.any_peer) return {IDENTITY_ANY};
    std::set<uint32_t> out;
    for (const SelectorId peer : with_.peers)
      for (const auto& one : with_.classes_of(peer)) out.insert(one.identity);
    return out;
  }

  bool add(const rule_key& key) {
    if (rows_.size() >= most_ && !rows_.contains(key)) return false;
    rows_.emplace(key, rule{with_.rule_id, RULE_ALLOW});
    return true;
  }

  bool add_port(uint32_t peer, const PortSpec& port) {
    const rule_key key = with_protocol(key_of(rule_, with_.rule_set, peer), port.protocol);
    if (!port.name.empty()) return rule_.way == EGRESS || add_subjects_own(key, port);
    if (port.first == 0) return add(key);
    return std::ranges::all_of(port_prefixes(port.first, port.last),
                               [&](const PortPrefix& block) { return add(with_port(key, block)); });
  }

  // Ingress: the subject is the destination, its own container ports say what the name means.
  bool add_subjects_own(const rule_key& key, const PortSpec& port) {
    const auto numbers = with_.subject_ports.find({port.name, port.protocol});
    if (numbers == with_.subject_ports.end()) return true;
    return std::ranges::all_of(numbers->second, [&](uint16_t number) {
      return add(with_port(key, {number, 16}));
    });
  }

  // Egress: the peers are the destinations. Having the port is a mark of their class, its value the number.
  bool add_peers_own(const PortSpec& port) {
    if (port.name.empty()) return true;
    const SelectorId has_port = with_.peer_ports.at({port.name, port.protocol});
    for (const auto& one : with_.classes_of(has_port)) {
      if (!rule_.any_peer && !peers_.contains(one.identity)) continue;
      const rule_key key = with_protocol(key_of(rule_, with_.rule_set, one.identity), port.protocol);
      for (const auto& mark : *one.marks)
        if (mark.selector == has_port && !add(with_port(key, {mark.value, 16}))) return false;
    }
    return true;
  }

  const RuleSpec& rule_;
  const Expansion& with_;
  size_t most_;
  RuleRows& rows_;
  std::set<uint32_t> peers_;
};

}  // namespace

PolicySpec digest(const kube::NetworkPolicy& policy) {
  PolicySpec out;
  if (policy.isolates_ingress) {
    out.flags |= RULE_SET_ISOLATES_INGRESS;
    for (size_t n = 0; n < policy.ingress.size(); ++n)
      out.rules.push_back(digest_rule(policy.ingress[n], INGRESS, policy.meta.key, n));
  }
  if (policy.isolates_egress) {
    out.flags |= RULE_SET_ISOLATES_EGRESS;
    for (size_t n = 0; n < policy.egress.size(); ++n)
      out.rules.push_back(digest_rule(policy.egress[n], EGRESS, policy.meta.key, n));
  }
  return out;
}

std::vector<PortName> subject_port_names(const PolicySpec& spec) {
  std::set<PortName> out;
  for (const auto& rule : spec.rules)
    for (const auto& port : rule.ports)
      if (rule.way == INGRESS && !port.name.empty()) out.insert({port.name, port.protocol});
  return {out.begin(), out.end()};
}

std::vector<PortPrefix> port_prefixes(uint16_t first, uint16_t last) {
  std::vector<PortPrefix> out;
  uint32_t at = first;
  while (at <= last) {
    uint32_t size = at == 0 ? 65536u : at & -at;  // the largest block that begins here
    while (at + size - 1 > last) size /= 2;
    out.push_back({static_cast<uint16_t>(at), 16u - static_cast<uint32_t>(std::countr_zero(size))});
    at += size;
  }
  return out;
}

bool RuleKeyLess::operator()(const rule_key& a, const rule_key& b) const {
  return std::memcmp(&a, &b, sizeof a) < 0;
}

bool expand(const RuleSpec& rule, const Expansion& with, size_t most, RuleRows& rows) {
  return Expander(rule, with, most, rows).run();
}

uint64_t epoch_of(uint32_t flags, const RuleRows& rows) {
  std::string content(reinterpret_cast<const char*>(&flags), sizeof flags);
  content.reserve(content.size() + rows.size() * (sizeof(rule_key) + sizeof(rule)));
  for (const auto& [key, value] : rows) {
    content.append(reinterpret_cast<const char*>(&key), sizeof key);
    content.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  const uint64_t hash = XXH3_64bits(content.data(), content.size());
  return hash ? hash : 1;
}

uint8_t ip_protocol(kube::Protocol protocol) {
  switch (protocol) {
    case kube::Protocol::TCP: return IPPROTO_TCP;
    case kube::Protocol::UDP: return IPPROTO_UDP;
    case kube::Protocol::SCTP: return IPPROTO_SCTP;
  }
  return 0;
}

std::string why_denied(const Names& names, uint32_t rule_set, direction way) {
  const auto found = names.rule_sets.find(rule_set);
  if (found == names.rule_sets.end()) return {};
  const auto& policies = way == INGRESS ? found->second.ingress : found->second.egress;
  std::string list;
  for (const auto& policy : policies) list += (list.empty() ? "" : " and ") + policy;
  return list.empty() ? list : fmt::format("isolated by {}, no rule allows it", list);
}

}  // namespace thalweg::policy
