#include "tests/policy/random_cluster.h"

#include <algorithm>

namespace thalweg::test {

namespace {

const std::vector<std::string> kNamespaces = {"a", "b", "c"};
const std::vector<std::string> kKeys = {"app", "tier"};
const std::vector<std::string> kValues = {"x", "y", "z"};
const std::vector<std::string> kBlocks = {
    "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.0.0/29",  "10.0.0.8/29",  "10.0.0.4/32", "0.0.0.0/0",
    "::/0",       "fd00::/16",   "fd00::/125",  "192.0.2.0/24", "192.0.2.4/30", "10.0.0.2/31", "10.1.0.0/16"};
const std::vector<uint16_t> kPorts = {79, 80, 81, 443, 8080, 8081, 65535};

Labels random_labels(Dice& dice) {
  Labels out;
  for (const auto& key : kKeys)
    if (!dice.one_in(3)) out[key] = dice.of(kValues);
  return out;
}

kube::LabelSelector random_selector(Dice& dice) {
  using Operator = kube::LabelSelector::Operator;
  kube::LabelSelector out;
  for (const auto& key : kKeys) {
    if (dice.one_in(2)) continue;
    const auto op = dice.of(
        std::vector{Operator::In, Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist});
    std::vector<std::string> values;
    if (op == Operator::In || op == Operator::NotIn)
      for (const auto& value : kValues)
        if (dice.one_in(2)) values.push_back(value);
    out.requirements.push_back({key, op, values});
  }
  return out;
}

kube::PolicyPeer random_peer(Dice& dice) {
  switch (dice.below(4)) {
    case 0: return pods(random_selector(dice));
    case 1: return namespaces(random_selector(dice));
    case 2: return pods_of(random_selector(dice), random_selector(dice));
    default: break;
  }
  auto out = block(dice.of(kBlocks));
  for (const auto& hole : kBlocks)
    if (dice.one_in(4) && out.ip_block->cidr.is_v4() == cidr(hole).is_v4() &&
        out.ip_block->cidr != cidr(hole) && out.ip_block->cidr.contains(cidr(hole)))
      out.ip_block->except.push_back(cidr(hole));
  std::ranges::sort(out.ip_block->except);
  return out;
}

kube::PolicyPort random_policy_port(Dice& dice) {
  const auto protocol = dice.one_in(4) ? kube::Protocol::UDP : kube::Protocol::TCP;
  if (dice.one_in(4)) return named(dice.of(std::vector<std::string>{"http", "web"}), protocol);
  if (dice.one_in(5)) return all_of(protocol);
  const uint16_t first = dice.of(kPorts), last = dice.of(kPorts);
  return {protocol, kube::PortRef{first, ""}, last > first && dice.one_in(2) ? last : uint16_t{0}};
}

kube::PolicyRule random_rule(Dice& dice) {
  kube::PolicyRule out;
  for (uint32_t n = dice.below(3); n > 0; --n) out.peers.push_back(random_peer(dice));
  for (uint32_t n = dice.below(3); n > 0; --n) out.ports.push_back(random_policy_port(dice));
  return out;
}

kube::NetworkPolicy random_policy(Dice& dice) {
  auto out = policy(dice.of(kNamespaces) + "/p" + std::to_string(dice.below(4)), random_selector(dice));
  if (dice.one_in(3)) out.pod_selector = {};
  out.isolates_ingress = !dice.one_in(4);
  out.isolates_egress = dice.one_in(2);
  for (uint32_t n = dice.below(3); n > 0; --n) out.ingress.push_back(random_rule(dice));
  for (uint32_t n = dice.below(3); n > 0; --n) out.egress.push_back(random_rule(dice));
  return out;
}

// The n-th pod always has the n-th address: whose an address is must not be a question here.
kube::Pod random_pod(Dice& dice) {
  const uint32_t n = dice.below(15);
  auto out = pod(kNamespaces[n % 3] + "/pod" + std::to_string(n), random_labels(dice), {});
  out.ips = {Ip::v4(10, 0, 0, 1).plus(n)};
  if (n % 2) out.ips.push_back(ip("fd00::1").plus(n));
  if (dice.one_in(2)) out.ports.push_back({"http", dice.of(kPorts), kube::Protocol::TCP});
  if (dice.one_in(3))
    out.ports.push_back({"web", dice.of(kPorts), dice.one_in(2) ? kube::Protocol::UDP : kube::Protocol::TCP});
  out.finished = dice.one_in(12);
  out.host_network = dice.one_in(15);
  return out;
}

kube::Object random_object(Dice& dice) {
  switch (dice.below(8)) {
    case 0: return object(ns(dice.of(kNamespaces), random_labels(dice)));
    case 1:
    case 2:
    case 3: return object(random_policy(dice));
    default: return object(random_pod(dice));
  }
}

}  // namespace

std::vector<kube::ObjectRef> random_changes(kube::Cluster& cluster, Dice& dice, uint32_t n) {
  std::vector<kube::ObjectRef> out;
  for (; n > 0; --n) {
    const auto made = random_object(dice);
    const auto ref = kube::ref_of(made);
    if (dice.one_in(4))
      kube::erase(cluster, ref);
    else
      kube::put(cluster, made);
    out.push_back(ref);
  }
  return out;
}

std::vector<kube::ObjectKey> random_subjects(const kube::Cluster& cluster, policy::Subjects& subjects,
                                             Dice& dice) {
  std::vector<kube::ObjectKey> out;
  for (const auto& [key, pod] : cluster.pods) {
    const auto held = subjects.find(key);
    if (held == subjects.end() ? !dice.one_in(4) : !dice.one_in(10)) continue;
    if (held == subjects.end())
      subjects.emplace(key, pod->ips);
    else
      subjects.erase(held);
    out.push_back(key);
  }
  return out;
}

Ip random_address(Dice& dice) {
  switch (dice.below(5)) {
    case 0: return Ip::v4(192, 0, 2, 1).plus(dice.below(10));
    case 1: return ip("fd00::").plus(dice.below(20));
    case 2: return Ip::v4(10, static_cast<uint8_t>(dice.below(3)), static_cast<uint8_t>(dice.below(2)), 200);
    default: return Ip::v4(10, 0, 0, 0).plus(dice.below(20));
  }
}

uint16_t random_port(Dice& dice) {
  return dice.one_in(4) ? static_cast<uint16_t>(1 + dice.below(65535)) : dice.of(kPorts);
}

}  // namespace thalweg::test
