// The oracle: NetworkPolicies evaluated directly, as the specification reads, and rows looked up one by one.
// Linear and obviously right; the compiled rows are held to it.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "bpf/abi.h"
#include "kube/cluster.h"
#include "policy/rule_book.h"

namespace thalweg::test {

struct Packet {
  kube::ObjectKey subject;
  direction way = INGRESS;
  Ip peer;
  uint8_t protocol = 0;  // IPPROTO_*
  uint16_t port = 0;     // destination, host order; 0 where the protocol has none
};

// What the policies of the cluster say of the packet.
bool allowed_by_policies(const kube::Cluster& cluster, const Packet& packet);

// What compiled rows say of it: exact address, longest prefix, longest rule for the identity, then for every
// peer.
struct Tables {
  std::map<Ip, uint32_t> identities;
  std::map<Cidr, uint32_t> prefixes;
  std::map<uint32_t, rule_set> rule_sets;
  std::vector<std::pair<rule_key, rule>> rules;
};
Tables tables_of(const policy::RuleBook& book);
uint32_t identity_of(const Tables& tables, const Ip& ip);
struct Answer {
  bool allowed = false;
  uint32_t rule = 0;
};
Answer answer_of(const Tables& tables, uint32_t rule_set, const Packet& packet);

}  // namespace thalweg::test
