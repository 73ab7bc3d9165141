// Selectors: what NetworkPolicy peers are made of, interned, and found for a pod by the labels they require.
// policy/identity calls it: a selector in use is one bit of an address's class.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kube/object.h"

namespace thalweg::policy {

// One peer selector in canonical form: equal peers of different policies are one Selector.
struct Selector {
  enum class Kind : uint8_t { Pods, Block, NamedPort };
  Kind kind = Kind::Pods;
  // Pods: of one namespace, or (namespaces set) of every namespace whose labels match.
  std::string ns;
  std::optional<kube::LabelSelector> namespaces;
  kube::LabelSelector pods;
  // Block: addresses of cidr that are in none of except (sorted).
  kube::PolicyPeer::IpBlock block;
  // NamedPort: pods that have a container port of this name and protocol. The number is the Mark's value.
  std::string port_name;
  kube::Protocol protocol = kube::Protocol::TCP;

  auto operator<=>(const Selector&) const = default;
  // One line, unique to the selector; the saved numbering holds it.
  std::string text() const;

  // Nothing for a peer that names nothing (the API refuses it): it matches no one.
  static std::optional<Selector> from_peer(const kube::PolicyPeer& peer, const std::string& policy_ns);
  static Selector named_port(const std::string& name, kube::Protocol protocol);
};

using SelectorId = uint32_t;

// What an address has of a selector: the selector's id, and for a NamedPort the port's number.
struct Mark {
  SelectorId selector = 0;
  uint16_t value = 0;  // host order
  auto operator<=>(const Mark&) const = default;
};
using Class = std::vector<Mark>;  // sorted, no doubles; empty: IDENTITY_NONE

// A pod as selectors see it.
struct PodFacts {
  kube::ObjectKey key;
  const kube::Labels* labels = nullptr;
  const kube::Labels* namespace_labels = nullptr;
  const std::vector<kube::ContainerPort>* ports = nullptr;
};

// Pods and NamedPort selectors, indexed by something each requires (a label pair, else a namespace), so that
// matching a pod looks only at selectors that may match it.
class SelectorIndex {
 public:
  void add(SelectorId id, const Selector& selector);
  void remove(SelectorId id);
  // The marks of a pod, sorted. Block selectors are not its business (policy/identity has the prefixes).
  Class marks(const PodFacts& pod) const;

 private:
  void collect(const std::string& anchor, const PodFacts& pod, Class& marks) const;

  std::unordered_map<SelectorId, Selector> selectors_;
  std::unordered_map<std::string, std::vector<SelectorId>> anchors_;
};

bool matches(const Selector& selector, const PodFacts& pod);

}  // namespace thalweg::policy
