// Kubernetes objects in one line each, for tests: pod("default/web", {{"app", "web"}}, "10.1.0.2").
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kube/cluster.h"

namespace thalweg::test {

using kube::Labels;

inline kube::ObjectKey key_of(const std::string& name) {
  const size_t slash = name.find('/');
  return slash == name.npos ? kube::ObjectKey{"", name}
                            : kube::ObjectKey{name.substr(0, slash), name.substr(slash + 1)};
}

inline Ip ip(const std::string& text) { return *Ip::parse(text); }
inline Cidr cidr(const std::string& text) { return *Cidr::parse(text); }

inline kube::Pod pod(const std::string& name, Labels labels, std::vector<std::string> ips,
                     std::vector<kube::ContainerPort> ports = {}) {
  kube::Pod out;
  out.meta.key = key_of(name);
  out.meta.labels = std::move(labels);
  for (const auto& one : ips) out.ips.push_back(ip(one));
  out.ports = std::move(ports);
  return out;
}

inline kube::Namespace ns(const std::string& name, Labels labels = {}) {
  kube::Namespace out;
  out.meta.key = {"", name};
  out.meta.labels = std::move(labels);
  return out;
}

inline kube::Node node(const std::string& name, std::vector<std::string> pod_cidrs,
                       std::vector<std::string> addresses) {
  kube::Node out;
  out.meta.key = {"", name};
  for (const auto& one : pod_cidrs) out.pod_cidrs.push_back(cidr(one));
  for (const auto& one : addresses) out.addresses.push_back(ip(one));
  return out;
}

// matchLabels
inline kube::LabelSelector with(const Labels& labels) {
  kube::LabelSelector out;
  for (const auto& [key, value] : labels)
    out.requirements.push_back({key, kube::LabelSelector::Operator::In, {value}});
  return out;
}
inline kube::LabelSelector everything() { return {}; }

inline kube::PolicyPeer pods(kube::LabelSelector selector) {
  kube::PolicyPeer out;
  out.pod_selector = std::move(selector);
  return out;
}
inline kube::PolicyPeer namespaces(kube::LabelSelector selector) {
  kube::PolicyPeer out;
  out.namespace_selector = std::move(selector);
  return out;
}
inline kube::PolicyPeer pods_of(kube::LabelSelector of, kube::LabelSelector selector) {
  kube::PolicyPeer out = namespaces(std::move(of));
  out.pod_selector = std::move(selector);
  return out;
}
inline kube::PolicyPeer block(const std::string& text, std::vector<std::string> except = {}) {
  kube::PolicyPeer out;
  out.ip_block.emplace();
  out.ip_block->cidr = cidr(text);
  for (const auto& one : except) out.ip_block->except.push_back(cidr(one));
  return out;
}

inline kube::PolicyPort tcp(uint16_t port, uint16_t end = 0) {
  return {kube::Protocol::TCP, kube::PortRef{port, ""}, end};
}
inline kube::PolicyPort udp(uint16_t port, uint16_t end = 0) {
  return {kube::Protocol::UDP, kube::PortRef{port, ""}, end};
}
inline kube::PolicyPort named(const std::string& name, kube::Protocol protocol = kube::Protocol::TCP) {
  return {protocol, kube::PortRef{0, name}, 0};
}
inline kube::PolicyPort all_of(kube::Protocol protocol) { return {protocol, std::nullopt, 0}; }

inline kube::NetworkPolicy policy(const std::string& name, kube::LabelSelector subjects) {
  kube::NetworkPolicy out;
  out.meta.key = key_of(name);
  out.pod_selector = std::move(subjects);
  return out;
}
inline kube::NetworkPolicy ingress(const std::string& name, kube::LabelSelector subjects,
                                   std::vector<kube::PolicyRule> rules) {
  auto out = policy(name, std::move(subjects));
  out.isolates_ingress = true;
  out.ingress = std::move(rules);
  return out;
}
inline kube::NetworkPolicy egress(const std::string& name, kube::LabelSelector subjects,
                                  std::vector<kube::PolicyRule> rules) {
  auto out = policy(name, std::move(subjects));
  out.isolates_egress = true;
  out.egress = std::move(rules);
  return out;
}

template <class T>
kube::Object object(T value) {
  return std::make_shared<const T>(std::move(value));
}
template <class... T>
kube::Cluster cluster(T... objects) {
  kube::Cluster out;
  (kube::put(out, object(std::move(objects))), ...);
  return out;
}

// A seeded source of choices; the seed of a failing test is in its message.
class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  bool one_in(uint32_t n) { return below(n) == 0; }
  template <class V>
  const auto& of(const V& values) {
    return values[below(static_cast<uint32_t>(values.size()))];
  }

 private:
  std::mt19937 random_;
};

}  // namespace thalweg::test
