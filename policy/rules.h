// Rules: one NetworkPolicy → what it isolates and allows; a rule with the classes its selectors name → rows.
// policy/rule_book calls it. https://kubernetes.io/docs/concepts/services-networking/network-policies/
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bpf/abi.h"
#include "policy/selector.h"

namespace thalweg::policy {

using PortName = std::pair<std::string, kube::Protocol>;

// One entry of a rule's ports.
struct PortSpec {
  kube::Protocol protocol = kube::Protocol::TCP;
  uint16_t first = 0, last = 0;  // host order, both included; 0–0: every port of the protocol
  std::string name;              // set: a named port, the numbers come from the destination pods
};

// One ingress or egress rule.
struct RuleSpec {
  direction way = INGRESS;
  std::string name;  // "NetworkPolicy default/web ingress[0]"
  bool any_peer = false;
  std::vector<Selector> peers;
  bool any_port = false;  // of any protocol
  std::vector<PortSpec> ports;
};

// One NetworkPolicy, digested.
struct PolicySpec {
  uint32_t flags = 0;  // RULE_SET_ISOLATES_*
  std::vector<RuleSpec> rules;
};
PolicySpec digest(const kube::NetworkPolicy& policy);
// The named ports whose numbers the subject itself decides: those of the ingress rules.
std::vector<PortName> subject_port_names(const PolicySpec& spec);

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

// What a rule is expanded with.
struct Expansion {
  uint32_t rule_set = 0;
  uint32_t rule_id = 0;
  std::vector<SelectorId> peers;                            // of RuleSpec::peers, the same order
  std::map<PortName, SelectorId> peer_ports;                // egress: the selectors of named ports
  std::map<PortName, std::vector<uint16_t>> subject_ports;  // ingress: the subject's own numbers
  std::function<std::vector<ClassRef>(SelectorId)> classes_of;
};

struct RuleKeyLess {
  bool operator()(const rule_key& a, const rule_key& b) const;
};
// The rows of a rule set. Every row allows, so whichever of those that cover a packet is the longest, the
// answer is that of the union of the rules.
using RuleRows = std::map<rule_key, rule, RuleKeyLess>;

// Adds the rule's rows; a key that stands already stays as it is. False when the set would hold more than
// `most`.
bool expand(const RuleSpec& rule, const Expansion& with, size_t most, RuleRows& rows);

// A 64-bit hash of what a rule set holds, never 0.
uint64_t epoch_of(uint32_t flags, const RuleRows& rows);

uint8_t ip_protocol(kube::Protocol protocol);  // IPPROTO_*

// What `thalweg why` says of numbers found in the tables.
struct RuleSetNames {
  std::vector<std::string> ingress;  // policies that isolate it: "NetworkPolicy default/deny-all"
  std::vector<std::string> egress;
};
struct Names {
  std::map<uint32_t, std::string> rules;       // by rule.id: "NetworkPolicy default/web ingress[0]"
  std::map<uint32_t, RuleSetNames> rule_sets;  // by endpoint.rule_set
  std::map<uint32_t, std::string> identities;  // what the class matches, in words
};

// "isolated by NetworkPolicy default/deny-all, no rule allows it"; empty when nothing isolates the set that
// way.
std::string why_denied(const Names& names, uint32_t rule_set, direction way);

}  // namespace thalweg::policy
