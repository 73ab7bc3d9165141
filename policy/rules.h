// Rules: one NetworkPolicy → what it isolates and allows, and many of them → the rows of one rule set.
// policy/rule_book calls it. https://kubernetes.io/docs/concepts/services-networking/network-policies/
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "bpf/abi.h"
#include "policy/selector.h"

namespace thalweg::policy {

// One entry of a rule's ports, resolved as far as the policy alone allows.
struct PortSpec {
  bool any_protocol = false;
  kube::Protocol protocol = kube::Protocol::TCP;
  uint16_t first = 0, last = 0;  // host order, both included; 0–0: every port of the protocol
  std::string name;              // set: a named port, numbers come from the destination pods
};

// One ingress or egress rule.
struct RuleSpec {
  direction way = INGRESS;
  std::string name;  // "NetworkPolicy default/web ingress[0]"
  bool any_peer = false;
  std::vector<Selector> peers;
  std::vector<PortSpec> ports;
};

// One NetworkPolicy, digested.
struct PolicySpec {
  uint32_t flags = 0;  // RULE_SET_ISOLATES_*
  std::vector<RuleSpec> rules;
};
PolicySpec digest(const kube::NetworkPolicy& policy);

// A port range as the fewest prefixes of the 16 bits.
struct PortPrefix {
  uint16_t port = 0;     // host order, first of the block
  uint32_t length = 16;  // bits
  auto operator<=>(const PortPrefix&) const = default;
};
std::vector<PortPrefix> port_prefixes(uint16_t first, uint16_t last);

// A class that some address bears.
struct ClassRef {
  uint32_t identity = 0;
  const Class* marks = nullptr;
};

struct RuleRow {
  rule_key key{};
  rule value{};
};

// What `thalweg why` says of numbers found in the tables. A snapshot; rules of rows deleted lately may still
// be named.
struct RuleSetNames {
  std::vector<std::string> ingress;  // policies that isolate it: "NetworkPolicy default/deny-all"
  std::vector<std::string> egress;
};
struct Names {
  std::map<uint32_t, std::string> rules;       // by rule.id: "NetworkPolicy default/web ingress[0]"
  std::map<uint32_t, RuleSetNames> rule_sets;  // by endpoint.rule_set
  std::map<uint32_t, std::string> identities;  // what the class matches, in words
};

// "isolated by NetworkPolicy default/deny-all, no rule allows TCP 80 from …": the part before the comma.
std::string isolated_by(const Names& names, uint32_t rule_set, direction way);

}  // namespace thalweg::policy
