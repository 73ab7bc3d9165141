#include "policy/rule_book.h"

#include <algorithm>
#include <ranges>
#include <set>
#include <unordered_set>

#include "policy/numbering.h"

namespace thalweg::policy {

namespace {

constexpr std::string_view kNamespaceNameLabel = "kubernetes.io/metadata.name";

// A policy some subject here is selected by.
struct Active {
  struct Rule {
    uint32_t id = 0;
    std::vector<SelectorId> peers;
    std::map<PortName, SelectorId> peer_ports;
  };
  PolicySpec spec;
  std::vector<Rule> rules;  // of spec.rules, the same order
};

// What subjects of one rule set have in common.
struct SetKey {
  std::vector<kube::ObjectKey> policies;  // in the order of the store
  std::map<PortName, std::vector<uint16_t>> ports;
  // Object keys and port names hold none of the separators (the API sees to that; decode.h for manifests).
  std::string text() const {
    std::string out;
    for (const auto& policy : policies) out += (out.empty() ? "" : ",") + policy.str();
    for (const auto& [name, numbers] : ports)
      out += fmt::format(";{}/{}={}", name.first, ip_protocol(name.second), fmt::join(numbers, "|"));
    return out;
  }
};

struct Set {
  SetKey key;
  size_t subjects = 0;
  bool overflows = false;
  RuleBook::RuleSet compiled;
};

// The pods of one namespace: a range of the store, which is sorted by namespace first.
template <class T, class F>
void for_namespace(const kube::Store<T>& store, const std::string& ns, F&& f) {
  for (auto it = store.lower_bound({ns, ""}); it != store.end() && it->first.ns == ns; ++it) f(*it->second);
}

bool is_subject(const kube::Pod& pod) { return !pod.host_network && !pod.finished; }

}  // namespace

struct RuleBook::Impl {
  Identities identities;
  Numbers<std::string> set_numbers{1, kDenyAll - 1};
  Numbers<std::string> rule_numbers{1, 0xffffffff};
  bool settled = false;

  std::map<uint32_t, Set> sets;                      // by number
  std::map<kube::ObjectKey, uint32_t> subject_sets;  // subjects that some policy selects
  size_t denied_subjects = 0;                        // of kDenyAll
  RuleSet deny_all;
  std::map<kube::ObjectKey, PolicySpec> digests;  // of policies looked at
  std::map<kube::ObjectKey, Active> active;
  std::map<kube::ObjectKey, std::set<uint32_t>> sets_of_policy;
  std::unordered_map<SelectorId, std::set<kube::ObjectKey>> policies_of_selector;
  std::map<std::string, kube::Labels> namespace_labels;

  // Of the compilation at hand.
  const kube::Cluster* cluster = nullptr;
  const Subjects* subjects = nullptr;
  std::set<kube::ObjectKey> dirty_pods, dirty_subjects, dirty_policies;
  std::set<uint32_t> dirty_sets;
  std::vector<Selector> fresh_selectors;
  RuleBookTouched touched;

  Impl();

  void collect(std::span<const kube::ObjectRef> changed);
  void collect_policy(const kube::ObjectKey& key);
  void collect_namespace(const std::string& name);

  const PolicySpec& digest_of(const kube::NetworkPolicy& policy);
  SetKey set_key_of(const kube::Pod& pod);
  void assign(const kube::ObjectKey& subject);
  uint32_t join_set(SetKey key);
  void leave_set(uint32_t number);

  void refresh_policies();
  Active activate(const kube::ObjectKey& key);
  void deactivate(const kube::ObjectKey& key, const Active& one);
  SelectorId use(const Selector& selector, const kube::ObjectKey& policy);

  void find_pods_of_fresh_selectors();
  void place(const kube::ObjectKey& key);
  const kube::Labels& labels_of_namespace(const std::string& name);
  PodFacts facts_of(const kube::Pod& pod);

  void collect_sets_of_touched_selectors();
  void expand_set(uint32_t number);
  Numbering all_numbers() {
    return {identities.selector_numbers(), identities.class_numbers(), set_numbers, rule_numbers};
  }
};

RuleBook::Impl::Impl() {
  deny_all.row.flags = RULE_SET_ISOLATES_INGRESS | RULE_SET_ISOLATES_EGRESS;
  deny_all.row.epoch = epoch_of(deny_all.row.flags, {});
}

RuleBook::RuleBook() : impl_(std::make_unique<Impl>()) {}
RuleBook::~RuleBook() = default;

RuleBookTouched RuleBook::compile(const kube::Cluster& cluster, std::span<const kube::ObjectRef> changed,
                                  const Subjects& subjects,
                                  std::span<const kube::ObjectKey> changed_subjects) {
  Impl& my = *impl_;
  my.cluster = &cluster;
  my.subjects = &subjects;
  my.dirty_pods.insert(changed_subjects.begin(), changed_subjects.end());
  my.dirty_subjects.insert(changed_subjects.begin(), changed_subjects.end());
  my.collect(changed);

  for (const auto& subject : my.dirty_subjects) my.assign(subject);
  my.refresh_policies();
  my.find_pods_of_fresh_selectors();
  for (const auto& pod : my.dirty_pods) my.place(pod);
  my.identities.settle();
  my.collect_sets_of_touched_selectors();
  for (const uint32_t number : my.dirty_sets) my.expand_set(number);

  my.touched.addresses = my.identities.touched_addresses();
  my.touched.prefixes = my.identities.touched_prefixes();
  my.identities.forget_touched();
  if (!my.settled) {
    my.settled = true;
    const auto numbers = my.all_numbers();
    numbers.selectors.settle(), numbers.classes.settle(), numbers.rule_sets.settle(), numbers.rules.settle();
  }
  my.dirty_pods.clear(), my.dirty_subjects.clear(), my.dirty_policies.clear(), my.dirty_sets.clear();
  return std::exchange(my.touched, {});
}

void RuleBook::Impl::collect(std::span<const kube::ObjectRef> changed) {
  for (const auto& ref : changed) {
    if (ref.kind == kube::Kind::Pod) dirty_pods.insert(ref.key);
    if (ref.kind == kube::Kind::Namespace) collect_namespace(ref.key.name);
    if (ref.kind == kube::Kind::NetworkPolicy) collect_policy(ref.key);
  }
  for (const auto& key : dirty_pods)
    if (subjects->contains(key) || subject_sets.contains(key)) dirty_subjects.insert(key);
}

void RuleBook::Impl::collect_namespace(const std::string& name) {
  namespace_labels.erase(name);
  for_namespace(cluster->pods, name, [&](const kube::Pod& pod) { dirty_pods.insert(pod.meta.key); });
}

void RuleBook::Impl::collect_policy(const kube::ObjectKey& key) {
  digests.erase(key);
  dirty_policies.insert(key);
  for (auto it = subjects->lower_bound({key.ns, ""}); it != subjects->end() && it->first.ns == key.ns; ++it)
    dirty_subjects.insert(it->first);
}

// ---- subjects → rule sets

const PolicySpec& RuleBook::Impl::digest_of(const kube::NetworkPolicy& policy) {
  const auto [it, fresh] = digests.try_emplace(policy.meta.key);
  if (fresh) it->second = digest(policy);
  return it->second;
}

SetKey RuleBook::Impl::set_key_of(const kube::Pod& pod) {
  SetKey out;
  for_namespace(cluster->network_policies, pod.meta.key.ns, [&](const kube::NetworkPolicy& policy) {
    if (!policy.pod_selector.matches(pod.meta.labels)) return;
    out.policies.push_back(policy.meta.key);
    for (const auto& name : subject_port_names(digest_of(policy))) {
      std::set<uint16_t> numbers;
      for (const auto& port : pod.ports)
        if (port.name == name.first && port.protocol == name.second) numbers.insert(port.port);
      out.ports[name].assign(numbers.begin(), numbers.end());
    }
  });
  return out;
}

void RuleBook::Impl::assign(const kube::ObjectKey& subject) {
  const auto pod = cluster->pods.find(subject);
  SetKey key;
  if (subjects->contains(subject) && pod != cluster->pods.end() && is_subject(*pod->second))
    key = set_key_of(*pod->second);
  const uint32_t now = key.policies.empty() ? 0 : join_set(std::move(key));
  const auto held = subject_sets.find(subject);
  const uint32_t before = held == subject_sets.end() ? 0 : held->second;
  if (before) leave_set(before);
  if (now)
    subject_sets[subject] = now;
  else
    subject_sets.erase(subject);
  if (now != before) touched.subjects.push_back(subject);
}

uint32_t RuleBook::Impl::join_set(SetKey key) {
  const uint32_t number = set_numbers.retain(key.text());
  if (number == 0) {
    if (denied_subjects++ == 0) touched.rule_sets.push_back(kDenyAll);
    return kDenyAll;
  }
  Set& set = sets[number];
  if (set.subjects++ > 0) return number;
  for (const auto& policy : key.policies) sets_of_policy[policy].insert(number);
  for (const auto& policy : key.policies) dirty_policies.insert(policy);
  set.key = std::move(key);
  dirty_sets.insert(number);
  return number;
}

void RuleBook::Impl::leave_set(uint32_t number) {
  if (number == kDenyAll) {
    if (--denied_subjects == 0) touched.rule_sets.push_back(kDenyAll);
    return;
  }
  Set& set = sets.at(number);
  set_numbers.release(number);
  if (--set.subjects > 0) return;
  for (const auto& policy : set.key.policies) {
    sets_of_policy[policy].erase(number);
    if (sets_of_policy[policy].empty()) sets_of_policy.erase(policy);
    dirty_policies.insert(policy);
  }
  sets.erase(number);
  dirty_sets.erase(number);
  touched.rule_sets.push_back(number);
}

// ---- policies → selectors in use

// New selectors are taken into use before old ones go, so that what stays in use keeps its number.
void RuleBook::Impl::refresh_policies() {
  std::vector<std::pair<kube::ObjectKey, Active>> old;
  for (const auto& key : dirty_policies) {
    if (const auto held = active.extract(key)) old.emplace_back(key, std::move(held.mapped()));
    const auto users = sets_of_policy.find(key);
    if (users == sets_of_policy.end()) continue;
    active.emplace(key, activate(key));
    dirty_sets.insert(users->second.begin(), users->second.end());
  }
  for (const auto& [key, one] : old) deactivate(key, one);
  for (const auto& [key, one] : old) {
    const auto now = active.find(key);
    if (now == active.end()) continue;
    for (const auto& rule : now->second.rules) {
      for (const SelectorId id : rule.peers) policies_of_selector[id].insert(key);
      for (const auto& [name, id] : rule.peer_ports) policies_of_selector[id].insert(key);
    }
  }
}

Active RuleBook::Impl::activate(const kube::ObjectKey& key) {
  Active out;
  out.spec = digest_of(*cluster->network_policies.at(key));
  for (const auto& rule : out.spec.rules) {
    Active::Rule& one = out.rules.emplace_back();
    one.id = rule_numbers.retain(rule.name);
    for (const auto& peer : rule.peers) one.peers.push_back(use(peer, key));
    if (rule.way == INGRESS) continue;
    for (const auto& port : rule.ports) {
      if (port.name.empty() || one.peer_ports.contains({port.name, port.protocol})) continue;
      one.peer_ports[{port.name, port.protocol}] = use(Selector::named_port(port.name, port.protocol), key);
    }
  }
  return out;
}

SelectorId RuleBook::Impl::use(const Selector& selector, const kube::ObjectKey& policy) {
  const bool fresh = identities.selector_numbers().find(selector.text()) == 0;
  const SelectorId id = identities.use(selector);
  if (fresh) fresh_selectors.push_back(selector);
  policies_of_selector[id].insert(policy);
  return id;
}

void RuleBook::Impl::deactivate(const kube::ObjectKey& key, const Active& one) {
  const auto drop = [&](const Selector& selector, SelectorId id) {
    identities.release(selector);
    const auto users = policies_of_selector.find(id);
    if (users == policies_of_selector.end()) return;
    users->second.erase(key);
    if (users->second.empty()) policies_of_selector.erase(users);
  };
  for (size_t n = 0; n < one.rules.size(); ++n) {
    rule_numbers.release(one.rules[n].id);
    for (size_t p = 0; p < one.rules[n].peers.size(); ++p)
      drop(one.spec.rules[n].peers[p], one.rules[n].peers[p]);
    for (const auto& [name, id] : one.rules[n].peer_ports)
      drop(Selector::named_port(name.first, name.second), id);
  }
}

// ---- pods → identities

void RuleBook::Impl::find_pods_of_fresh_selectors() {
  for (const auto& key : identities.bearers_of_released()) dirty_pods.insert(key);
  const auto fresh = std::exchange(fresh_selectors, {});
  if (std::ranges::includes(dirty_pods, cluster->pods | std::views::keys)) return;  // the first time, mostly
  for (const auto& selector : fresh) {
    if (selector.kind == Selector::Kind::Block) continue;
    const auto consider = [&](const kube::Pod& pod) {
      if (matches(selector, facts_of(pod))) dirty_pods.insert(pod.meta.key);
    };
    if (selector.kind == Selector::Kind::Pods && !selector.namespaces)
      for_namespace(cluster->pods, selector.ns, consider);
    else
      for (const auto& [key, pod] : cluster->pods) consider(*pod);
  }
}

const kube::Labels& RuleBook::Impl::labels_of_namespace(const std::string& name) {
  const auto [it, fresh] = namespace_labels.try_emplace(name);
  if (!fresh) return it->second;
  if (const auto held = cluster->namespaces.find({"", name}); held != cluster->namespaces.end())
    it->second = held->second->meta.labels;
  // The API server sets it on every namespace; a manifest may leave it out.
  it->second.insert_or_assign(std::string(kNamespaceNameLabel), name);
  return it->second;
}

PodFacts RuleBook::Impl::facts_of(const kube::Pod& pod) {
  return {pod.meta.key, &pod.meta.labels, &labels_of_namespace(pod.meta.key.ns), &pod.ports};
}

// A hostNetwork pod's addresses are its node's, and a finished pod's may be another's by now.
void RuleBook::Impl::place(const kube::ObjectKey& key) {
  const auto pod = cluster->pods.find(key);
  if (pod == cluster->pods.end() || !is_subject(*pod->second)) return identities.remove(key);
  const auto link = subjects->find(key);
  const bool linked = link != subjects->end();
  const Claim claim = linked ? Claim::Link : pod->second->meta.terminating ? Claim::Terminating : Claim::Pod;
  identities.place(facts_of(*pod->second), linked ? link->second : pod->second->ips, claim);
}

// ---- rule sets → rows

void RuleBook::Impl::collect_sets_of_touched_selectors() {
  for (const SelectorId id : identities.touched_selectors()) {
    const auto policies = policies_of_selector.find(id);
    if (policies == policies_of_selector.end()) continue;
    for (const auto& policy : policies->second)
      if (const auto users = sets_of_policy.find(policy); users != sets_of_policy.end())
        dirty_sets.insert(users->second.begin(), users->second.end());
  }
}

void RuleBook::Impl::expand_set(uint32_t number) {
  Set& set = sets.at(number);
  RuleSet out;
  Expansion with;
  with.rule_set = number;
  with.subject_ports = set.key.ports;
  with.classes_of = [this](SelectorId id) { return identities.classes_of(id); };
  set.overflows = false;
  for (const auto& policy : set.key.policies) {
    const Active& one = active.at(policy);
    out.row.flags |= one.spec.flags;
    for (size_t n = 0; n < one.rules.size(); ++n) {
      with.rule_id = one.rules[n].id;
      with.peers = one.rules[n].peers;
      with.peer_ports = one.rules[n].peer_ports;
      set.overflows |= !expand(one.spec.rules[n], with, kMostRowsOfASet, out.rows);
    }
  }
  out.row.epoch = epoch_of(out.row.flags, out.rows);
  if (out.row.epoch == set.compiled.row.epoch) return;
  set.compiled = std::move(out);
  touched.rule_sets.push_back(number);
}

// ---- what others read

uint32_t RuleBook::rule_set_of(const kube::ObjectKey& subject) const {
  const auto held = impl_->subject_sets.find(subject);
  return held == impl_->subject_sets.end() ? 0 : held->second;
}

const RuleBook::RuleSet* RuleBook::rule_set_at(uint32_t number) const {
  if (number == kDenyAll) return impl_->denied_subjects ? &impl_->deny_all : nullptr;
  const auto set = impl_->sets.find(number);
  return set == impl_->sets.end() ? nullptr : &set->second.compiled;
}

const Identities& RuleBook::identities() const { return impl_->identities; }

Names RuleBook::names() const {
  Names out;
  impl_->rule_numbers.for_each([&](const std::string& name, uint32_t id) { out.rules[id] = name; });
  for (const auto& [number, set] : impl_->sets) {
    for (const auto& policy : set.key.policies) {
      const uint32_t flags = impl_->active.at(policy).spec.flags;
      const auto name = "NetworkPolicy " + policy.str();
      if (flags & RULE_SET_ISOLATES_INGRESS) out.rule_sets[number].ingress.push_back(name);
      if (flags & RULE_SET_ISOLATES_EGRESS) out.rule_sets[number].egress.push_back(name);
    }
  }
  if (impl_->denied_subjects)
    out.rule_sets[kDenyAll] = {{"the bound on rule sets of a node"}, {"the bound on rule sets of a node"}};
  const auto& selectors = impl_->identities.selector_numbers();
  impl_->identities.class_numbers().for_each([&](const Class& marks, uint32_t number) {
    std::string& text = out.identities[number];
    for (const auto& mark : marks) {
      const auto* selector = selectors.content(mark.selector);
      text += (text.empty() ? "" : "; ") + (selector ? *selector : "?");
      if (mark.value) text += fmt::format(" = {}", mark.value);
    }
  });
  return out;
}

std::vector<std::pair<std::string, std::string>> RuleBook::complaints() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [number, set] : impl_->sets)
    if (set.overflows)
      out.emplace_back(
          "NetworkPolicy " + set.key.policies.back().str(),
          fmt::format("its rule set needs more than {} rows; what lies beyond is denied", kMostRowsOfASet));
  for (const auto& [subject, number] : impl_->subject_sets)
    if (number == kDenyAll)
      out.emplace_back("Pod " + subject.str(),
                       fmt::format("all {} rule sets are taken; the pod is isolated", kDenyAll - 1));
  return out;
}

std::string RuleBook::numbering() const { return encode(impl_->all_numbers()); }

uint64_t RuleBook::numbering_version() const {
  const auto all = impl_->all_numbers();
  return all.selectors.version() + all.classes.version() + all.rule_sets.version() + all.rules.version();
}

Result<> RuleBook::restore(std::string_view numbering) { return decode(numbering, impl_->all_numbers()); }
void RuleBook::avoid_identity(uint32_t number) { impl_->identities.class_numbers().avoid(number); }
void RuleBook::avoid_rule_set(uint32_t number) { impl_->set_numbers.avoid(number); }
void RuleBook::avoid_rule(uint32_t number) { impl_->rule_numbers.avoid(number); }

}  // namespace thalweg::policy
