// RuleBook: the policies that select pods of this node → rule sets, their rows, and the identities these
// need. dataplane/intent/compile owns one and turns what it touched into rows. Only policies that select a
// pod here count: the selectors of the others are not in use, so they cost no class and no row.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kube/cluster.h"
#include "policy/identity.h"
#include "policy/rules.h"

namespace thalweg::policy {

// Rows 1 … of rule_sets are given out; the last is what subjects get when all are taken: isolated, nothing
// allowed.
inline constexpr uint32_t kRuleSets = 4096;
inline constexpr uint32_t kDenyAll = kRuleSets - 1;
inline constexpr size_t kMostRowsOfASet = 65536;

// Pods wired on this node, with the addresses their links have.
using Subjects = std::map<kube::ObjectKey, std::vector<Ip>>;

// What a compile() may have changed.
struct RuleBookTouched {
  std::vector<Ip> addresses;
  std::vector<Cidr> prefixes;
  std::vector<uint32_t> rule_sets;
  std::vector<kube::ObjectKey> subjects;  // whose rule set is another one now
};

class RuleBook {
 public:
  struct RuleSet {
    rule_set row{};
    RuleRows rows;
  };

  RuleBook();
  ~RuleBook();

  // changed names Pods, Namespaces and NetworkPolicies of the cluster, other kinds are passed over;
  // changed_subjects those of subjects.
  RuleBookTouched compile(const kube::Cluster& cluster, std::span<const kube::ObjectRef> changed,
                          const Subjects& subjects, std::span<const kube::ObjectKey> changed_subjects);

  // 0: no policy selects the pod.
  uint32_t rule_set_of(const kube::ObjectKey& subject) const;
  // Nothing when the number is not in use.
  const RuleSet* rule_set_at(uint32_t number) const;
  const Identities& identities() const;

  Names names() const;
  // Objects that could not be compiled in full, "NetworkPolicy default/web", and why.
  std::vector<std::pair<std::string, std::string>> complaints() const;

  // ---- numbering, see dataplane/intent/compile.h
  std::string numbering() const;
  uint64_t numbering_version() const;
  Result<> restore(std::string_view numbering);
  void avoid_identity(uint32_t number);
  void avoid_rule_set(uint32_t number);
  void avoid_rule(uint32_t number);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::policy
