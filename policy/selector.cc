#include "policy/selector.h"

#include <algorithm>
#include <array>

namespace thalweg::policy {

namespace {

using Requirement = kube::LabelSelector::Requirement;
using Operator = kube::LabelSelector::Operator;

const Cidr& mapped_v4() {
  static const Cidr mapped(Ip::v4(0, 0, 0, 0), 96);
  return mapped;
}

// Text of others' making on one line, and without the marks this file writes itself.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '/' || c == '-';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02x}", static_cast<uint8_t>(c));
  }
  return out;
}

std::string text_of(const Requirement& one) {
  if (one.op == Operator::Exists) return escaped(one.key);
  if (one.op == Operator::DoesNotExist) return "!" + escaped(one.key);
  std::string values;
  for (const auto& value : one.values) values += (values.empty() ? "" : "|") + escaped(value);
  return fmt::format("{}{}({})", escaped(one.key), one.op == Operator::In ? "=" : "!=", values);
}

std::string text_of(const kube::LabelSelector& selector) {
  std::string out;
  for (const auto& one : selector.requirements) out += (out.empty() ? "" : ",") + text_of(one);
  return "{" + out + "}";
}

std::string text_of(const kube::PolicyPeer::IpBlock& block) {
  std::string out = "block " + block.cidr.str();
  for (const auto& hole : block.except) out += " except " + hole.str();
  return out;
}

std::string_view name_of(kube::Protocol protocol) {
  static constexpr std::array<std::string_view, 3> kNames = {"TCP", "UDP", "SCTP"};
  return kNames[static_cast<size_t>(protocol)];
}

// "::/0" means IPv6: v4-mapped addresses are IPv4's, and lie in it only because both families are one code
// here.
kube::PolicyPeer::IpBlock canonical(kube::PolicyPeer::IpBlock block) {
  std::erase_if(block.except, [&](const Cidr& hole) { return !block.cidr.contains(hole); });
  if (!block.cidr.is_v4() && block.cidr.contains(mapped_v4())) block.except.push_back(mapped_v4());
  std::ranges::sort(block.except);
  block.except.erase(std::ranges::unique(block.except).begin(), block.except.end());
  return block;
}

std::string anchor(char kind, std::string_view a, std::string_view b = {}, std::string_view c = {}) {
  std::string out(1, kind);
  for (const auto part : {a, b, c}) (out += part) += '\0';
  return out;
}

// The label pair a selector requires: of several the one with the fewest values.
const Requirement* required_pair(const kube::LabelSelector& selector) {
  const Requirement* best = nullptr;
  for (const auto& one : selector.requirements)
    if (one.op == Operator::In && (!best || one.values.size() < best->values.size())) best = &one;
  return best;
}

// A pod the selector matches has exactly one of these.
std::vector<std::string> anchors_of(const Selector& selector) {
  std::vector<std::string> out;
  if (selector.kind == Selector::Kind::NamedPort) return {anchor('c', selector.port_name)};
  if (selector.kind == Selector::Kind::Block) return out;
  if (const auto* pair = required_pair(selector.pods)) {
    for (const auto& value : pair->values) out.push_back(anchor('p', selector.ns, pair->key, value));
  } else if (!selector.namespaces) {
    out.push_back(anchor('n', selector.ns));
  } else if (const auto* label = required_pair(*selector.namespaces)) {
    for (const auto& value : label->values) out.push_back(anchor('l', label->key, value));
  } else {
    out.push_back(anchor('*', {}));
  }
  return out;
}

void mark(SelectorId id, const Selector& selector, const PodFacts& pod, Class& marks) {
  if (selector.kind != Selector::Kind::NamedPort) {
    if (matches(selector, pod)) marks.push_back({id, 0});
    return;
  }
  for (const auto& port : *pod.ports)
    if (port.name == selector.port_name && port.protocol == selector.protocol)
      marks.push_back({id, port.port});
}

}  // namespace

std::optional<Selector> Selector::from_peer(const kube::PolicyPeer& peer, const std::string& policy_ns) {
  Selector out;
  if (peer.ip_block) {
    out.kind = Kind::Block;
    out.block = canonical(*peer.ip_block);
    return out;
  }
  if (!peer.namespace_selector && !peer.pod_selector) return std::nullopt;
  if (peer.namespace_selector)
    out.namespaces = *peer.namespace_selector;
  else
    out.ns = policy_ns;
  if (peer.pod_selector) out.pods = *peer.pod_selector;
  return out;
}

Selector Selector::named_port(const std::string& name, kube::Protocol protocol) {
  Selector out;
  out.kind = Kind::NamedPort;
  out.port_name = name;
  out.protocol = protocol;
  return out;
}

std::string Selector::text() const {
  switch (kind) {
    case Kind::Block: return text_of(block);
    case Kind::NamedPort: return fmt::format("port {}/{}", escaped(port_name), name_of(protocol));
    case Kind::Pods: break;
  }
  const auto where = namespaces ? "namespaces " + text_of(*namespaces) : "namespace " + escaped(ns);
  return fmt::format("pods {} of {}", text_of(pods), where);
}

bool matches(const Selector& selector, const PodFacts& pod) {
  switch (selector.kind) {
    case Selector::Kind::Block: return false;
    case Selector::Kind::NamedPort:
      return std::ranges::any_of(*pod.ports, [&](const kube::ContainerPort& port) {
        return port.name == selector.port_name && port.protocol == selector.protocol;
      });
    case Selector::Kind::Pods: break;
  }
  const bool in_namespace =
      selector.namespaces ? selector.namespaces->matches(*pod.namespace_labels) : selector.ns == pod.key.ns;
  return in_namespace && selector.pods.matches(*pod.labels);
}

void SelectorIndex::add(SelectorId id, const Selector& selector) {
  selectors_.emplace(id, selector);
  for (auto& key : anchors_of(selector)) anchors_[std::move(key)].push_back(id);
}

void SelectorIndex::remove(SelectorId id) {
  const auto held = selectors_.find(id);
  if (held == selectors_.end()) return;
  for (const auto& key : anchors_of(held->second)) {
    const auto list = anchors_.find(key);
    std::erase(list->second, id);
    if (list->second.empty()) anchors_.erase(list);
  }
  selectors_.erase(held);
}

Class SelectorIndex::marks(const PodFacts& pod) const {
  Class marks;
  collect(anchor('*', {}), pod, marks);
  collect(anchor('n', pod.key.ns), pod, marks);
  for (const auto& [key, value] : *pod.labels) {
    collect(anchor('p', pod.key.ns, key, value), pod, marks);
    collect(anchor('p', {}, key, value), pod, marks);
  }
  for (const auto& [key, value] : *pod.namespace_labels) collect(anchor('l', key, value), pod, marks);
  for (const auto& port : *pod.ports) collect(anchor('c', port.name), pod, marks);
  std::ranges::sort(marks);
  marks.erase(std::ranges::unique(marks).begin(), marks.end());
  return marks;
}

void SelectorIndex::collect(const std::string& key, const PodFacts& pod, Class& marks) const {
  const auto list = anchors_.find(key);
  if (list == anchors_.end()) return;
  for (const SelectorId id : list->second) mark(id, selectors_.at(id), pod, marks);
}

}  // namespace thalweg::policy
