#include "dataplane/intent/compile.h"

#include <algorithm>
#include <map>
#include <set>

#include "dataplane/intent/fragment.h"
#include "dataplane/intent/nodes.h"
#include "dataplane/intent/services.h"
#include "policy/rule_book.h"

namespace thalweg::dataplane {

static_assert(policy::kRuleSets == kTables[TABLE_rule_sets].entries);

using kube::Kind;
using kube::ObjectKey;
using kube::ObjectRef;

struct Compiler::Impl {
  explicit Impl(Config given) : config(std::move(given)) {}

  Config config;
  bool config_dirty = true;
  kube::Cluster objects;
  std::map<ObjectKey, LocalPod> links;
  policy::Subjects subjects;  // the links' addresses, as policy wants them
  std::set<ObjectKey> given;  // pods put_pod() brought, the source has not named them yet
  std::map<ObjectKey, std::set<ObjectKey>> slices;  // by service

  std::set<ObjectRef> dirty_policy;
  std::set<ObjectKey> dirty_links, dirty_services, dirty_nodes;

  Intent intent;
  Sum sum{intent};
  std::map<ObjectKey, HealthCheck> health_checks;  // by service
  policy::RuleBook rule_book;
  std::map<uint32_t, std::vector<Bytes>> rules_of;  // keys of the rules rows in the intent, by rule set
  policy::Names names;
  bool names_stale = true;

  void take(const kube::Cluster& cluster, const ObjectRef& ref);
  void index_slice(const ObjectKey& key, const kube::EndpointSlice* slice, bool add);
  void touch(const ObjectRef& ref);
  void touch_all();

  const kube::Node* own_node() const;
  void compile_node(const ObjectKey& key, Touched& touched);
  void compile_service(const ObjectKey& key, const ServiceSurroundings& around, Touched& touched);
  void compile_link(const ObjectKey& key, Touched& touched);
  void compile_policy(Touched& touched);
  void show_rule_set(uint32_t number, Touched& touched);

  template <class K, class V>
  void show(table_id table, Rows<K, V>& rows, const K& key, const V* value, Touched& touched) {
    if (value)
      rows[key] = *value;
    else
      rows.erase(key);
    touched.emplace_back(table, to_bytes(key));
  }
};

Compiler::Compiler(Config config) : impl_(std::make_unique<Impl>(std::move(config))) {}
Compiler::~Compiler() = default;

// ---- what is desired

void Compiler::configure(Config config) {
  if (config == impl_->config) return;
  if (config.node_name != impl_->config.node_name) impl_->touch({Kind::Node, {"", impl_->config.node_name}});
  impl_->config = std::move(config);
  impl_->config_dirty = true;
}

void Compiler::update(const kube::Cluster& cluster, std::span<const ObjectRef> changed) {
  for (const auto& ref : changed) impl_->take(cluster, ref);
}

void Compiler::put_pod(std::shared_ptr<const kube::Pod> pod) {
  const ObjectKey key = pod->meta.key;
  impl_->given.insert(key);
  if (kube::put(impl_->objects, std::move(pod))) impl_->touch({Kind::Pod, key});
}

bool Compiler::knows_pod(const ObjectKey& key) const { return impl_->objects.pods.contains(key); }

void Compiler::put_link(LocalPod link) {
  const ObjectKey key = link.key;
  impl_->subjects[key] = link.ips;
  impl_->links[key] = std::move(link);
  impl_->dirty_links.insert(key);
}

void Compiler::remove_link(const ObjectKey& key) {
  if (impl_->links.erase(key) == 0) return;
  impl_->subjects.erase(key);
  impl_->dirty_links.insert(key);
  if (impl_->given.erase(key) == 0) return;
  impl_->objects.pods.erase(key);
  impl_->touch({Kind::Pod, key});
}

void Compiler::Impl::take(const kube::Cluster& cluster, const ObjectRef& ref) {
  if (ref.kind == Kind::Ingress || ref.kind == Kind::Secret) return;
  if (ref.kind == Kind::Pod) given.erase(ref.key);
  if (ref.kind == Kind::EndpointSlice)
    if (const auto old = objects.endpoint_slices.find(ref.key); old != objects.endpoint_slices.end())
      index_slice(ref.key, old->second.get(), false);
  const auto object = kube::find(cluster, ref);
  const bool differs = object ? kube::put(objects, *object) : kube::erase(objects, ref);
  if (ref.kind == Kind::EndpointSlice)
    if (const auto now = objects.endpoint_slices.find(ref.key); now != objects.endpoint_slices.end())
      index_slice(ref.key, now->second.get(), true);
  if (differs) touch(ref);
}

// The service a slice belongs to is dirty, before the change and after it.
void Compiler::Impl::index_slice(const ObjectKey& key, const kube::EndpointSlice* slice, bool add) {
  const ObjectKey service{key.ns, slice->service};
  auto& held = slices[service];
  if (add)
    held.insert(key);
  else
    held.erase(key);
  if (held.empty()) slices.erase(service);
  dirty_services.insert(service);
}

void Compiler::Impl::touch(const ObjectRef& ref) {
  switch (ref.kind) {
    case Kind::Node: dirty_nodes.insert(ref.key); break;
    case Kind::Service: dirty_services.insert(ref.key); break;
    case Kind::Pod:
      dirty_policy.insert(ref);
      if (links.contains(ref.key)) dirty_links.insert(ref.key);
      break;
    case Kind::Namespace:
    case Kind::NetworkPolicy: dirty_policy.insert(ref); break;
    default: break;
  }
}

// The configuration is in every fragment.
void Compiler::Impl::touch_all() {
  for (const auto& [key, node] : objects.nodes) dirty_nodes.insert(key);
  dirty_nodes.insert({"", config.node_name});
  for (const auto& [key, service] : objects.services) dirty_services.insert(key);
  for (const auto& [key, link] : links) dirty_links.insert(key);
}

// ---- compiling

Touched Compiler::compile() {
  Impl& my = *impl_;
  Touched touched;
  if (my.config_dirty || my.dirty_nodes.contains({"", my.config.node_name})) my.touch_all();
  my.compile_policy(touched);
  for (const auto& key : my.dirty_nodes) my.compile_node(key, touched);
  const ServiceSurroundings around = surroundings(my.config, my.own_node());
  for (const auto& key : my.dirty_services) my.compile_service(key, around, touched);
  for (const auto& key : my.dirty_links) my.compile_link(key, touched);
  my.config_dirty = false;
  my.dirty_nodes.clear(), my.dirty_services.clear(), my.dirty_links.clear();
  return touched;
}

const kube::Node* Compiler::Impl::own_node() const {
  const auto found = objects.nodes.find({"", config.node_name});
  return found == objects.nodes.end() ? nullptr : found->second.get();
}

// This node has a fragment even before its object is known: the configuration says enough to begin.
void Compiler::Impl::compile_node(const ObjectKey& key, Touched& touched) {
  const auto found = objects.nodes.find(key);
  Fragment out;
  if (key.name == config.node_name)
    out = node_fragment(config, own_node());
  else if (found != objects.nodes.end())
    out = peer_fragment(config, *found->second);
  sum.set({Kind::Node, key}, std::move(out), touched);
}

void Compiler::Impl::compile_service(const ObjectKey& key, const ServiceSurroundings& around,
                                     Touched& touched) {
  Fragment out;
  health_checks.erase(key);
  if (const auto found = objects.services.find(key); found != objects.services.end()) {
    std::vector<const kube::EndpointSlice*> of_service;
    if (const auto keys = slices.find(key); keys != slices.end())
      for (const auto& slice : keys->second) of_service.push_back(objects.endpoint_slices.at(slice).get());
    out = service_fragment(*found->second, of_service, around);
    if (const auto asked = health_check(*found->second, of_service, around.place))
      health_checks.emplace(key, *asked);
  }
  sum.set({Kind::Service, key}, std::move(out), touched);
}

void Compiler::Impl::compile_link(const ObjectKey& key, Touched& touched) {
  Fragment out;
  const auto link = links.find(key);
  const auto pod = objects.pods.find(key);
  if (link != links.end() && pod != objects.pods.end() && !pod->second->finished)
    out = endpoint_fragment(link->second, rule_book.rule_set_of(key));
  sum.set({Kind::Pod, key}, std::move(out), touched);
}

void Compiler::Impl::compile_policy(Touched& touched) {
  const std::vector<ObjectRef> changed(dirty_policy.begin(), dirty_policy.end());
  const std::vector<ObjectKey> changed_links(dirty_links.begin(), dirty_links.end());
  dirty_policy.clear();
  names_stale = true;
  const auto out = rule_book.compile(objects, changed, subjects, changed_links);
  dirty_links.insert(out.subjects.begin(), out.subjects.end());

  const auto& exact = rule_book.identities().addresses();
  for (const auto& ip : out.addresses) {
    const auto row = exact.find(ip);
    show(TABLE_identities, intent.identities, to_addr(ip), row == exact.end() ? nullptr : &row->second,
         touched);
  }
  const auto& prefixes = rule_book.identities().prefixes();
  for (const auto& cidr : out.prefixes) {
    const auto row = prefixes.find(cidr);
    show(TABLE_prefixes, intent.prefixes, to_prefix(cidr), row == prefixes.end() ? nullptr : &row->second,
         touched);
  }
  for (const uint32_t number : out.rule_sets) show_rule_set(number, touched);
}

void Compiler::Impl::show_rule_set(uint32_t number, Touched& touched) {
  const auto* set = rule_book.rule_set_at(number);
  for (const auto& key : std::exchange(rules_of[number], {}))
    show(TABLE_rules, intent.rules, from_bytes<rule_key>(key), static_cast<const rule*>(nullptr), touched);
  show(TABLE_rule_sets, intent.rule_sets, __u32{number}, set ? &set->row : nullptr, touched);
  if (!set) {
    rules_of.erase(number);
    return;
  }
  for (const auto& [key, value] : set->rows) {
    show(TABLE_rules, intent.rules, key, &value, touched);
    rules_of[number].push_back(to_bytes(key));
  }
}

// ---- what others read

const Intent& Compiler::intent() const { return impl_->intent; }

std::vector<Complaint> Compiler::complaints() const {
  std::vector<Complaint> out;
  for (auto& [object, text] : impl_->sum.complaints()) out.push_back({object, text});
  for (auto& [object, text] : impl_->rule_book.complaints()) out.push_back({object, text});
  std::ranges::sort(out, {}, [](const Complaint& one) { return std::tie(one.object, one.text); });
  return out;
}

const policy::Names& Compiler::names() const {
  if (std::exchange(impl_->names_stale, false)) impl_->names = impl_->rule_book.names();
  return impl_->names;
}

const std::map<ObjectKey, HealthCheck>& Compiler::health_checks() const { return impl_->health_checks; }
std::vector<Ip> Compiler::node_port_addresses() const {
  return surroundings(impl_->config, impl_->own_node()).node_port_addresses;
}

// ---- numbering

std::string Compiler::numbering() const { return impl_->rule_book.numbering(); }
uint64_t Compiler::numbering_version() const { return impl_->rule_book.numbering_version(); }
Result<> Compiler::restore(std::string_view numbering) { return impl_->rule_book.restore(numbering); }

void Compiler::avoid(const Intent& actual) {
  auto& book = impl_->rule_book;
  for (const auto& [key, identity] : actual.identities) book.avoid_identity(identity);
  for (const auto& [key, identity] : actual.prefixes) book.avoid_identity(identity);
  for (const auto& [key, value] : actual.rules) book.avoid_identity(key.identity), book.avoid_rule(value.id);
  for (const auto& [number, row] : actual.rule_sets) book.avoid_rule_set(number);
}

Intent compile_from_scratch(const Config& config, const kube::Cluster& cluster,
                            std::span<const LocalPod> links, std::string_view numbering) {
  Compiler compiler(config);
  if (!numbering.empty()) (void)compiler.restore(numbering);
  const auto all = kube::refs(cluster);
  compiler.update(cluster, all);
  for (const auto& link : links) compiler.put_link(link);
  compiler.compile();
  return compiler.intent();
}

}  // namespace thalweg::dataplane
