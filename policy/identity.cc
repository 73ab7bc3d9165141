#include "policy/identity.h"

#include <algorithm>

namespace thalweg::policy {

namespace {

// Parents stand before children: by address, shorter first.
struct Edges {
  std::vector<SelectorId> begins;  // blocks whose cidr this is
  std::vector<SelectorId> ends;    // blocks that except this
};

Class inherit(const Class& parent, const Edges& here) {
  Class out = parent;
  for (const SelectorId id : here.begins) out.push_back({id, 0});
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  for (const SelectorId id : here.ends) std::erase(out, Mark{id, 0});
  return out;
}

}  // namespace

std::map<Cidr, Class> partition(const std::map<SelectorId, kube::PolicyPeer::IpBlock>& blocks) {
  std::map<Cidr, Edges> edges;
  for (const auto& [id, block] : blocks) {
    edges[block.cidr].begins.push_back(id);
    for (const auto& hole : block.except) edges[hole].ends.push_back(id);
  }
  std::map<Cidr, Class> out;
  std::vector<std::pair<Cidr, const Class*>> parents;  // the chain that holds the prefix at hand
  static const Class nothing;
  for (const auto& [cidr, here] : edges) {
    while (!parents.empty() && !parents.back().first.contains(cidr)) parents.pop_back();
    const Class& above = parents.empty() ? nothing : *parents.back().second;
    const auto row = out.emplace(cidr, inherit(above, here)).first;
    parents.emplace_back(cidr, &row->second);
  }
  return out;
}

Identities::Identities() : selector_numbers_(1, 0xfffffffe), class_numbers_(1, IDENTITY_ANY - 1) {}

SelectorId Identities::use(const Selector& selector) {
  const auto text = selector.text();
  const bool fresh = selector_numbers_.find(text) == 0;
  const SelectorId id = selector_numbers_.retain(text);
  if (!fresh) return id;
  released_.erase(id);
  if (selector.kind == Selector::Kind::Block) {
    blocks_.emplace(id, selector.block);
    blocks_changed_ = true;
  } else {
    index_.add(id, selector);
  }
  return id;
}

void Identities::release(const Selector& selector) {
  const auto text = selector.text();
  const SelectorId id = selector_numbers_.find(text);
  if (id == 0 || !selector_numbers_.release(id)) return;
  if (selector.kind == Selector::Kind::Block) {
    blocks_.erase(id);
    blocks_changed_ = true;
  } else {
    index_.remove(id);
    released_.insert(id);
  }
}

void Identities::place(const PodFacts& pod, std::vector<Ip> ips, Claim claim) {
  remove(pod.key);
  for (const auto& ip : ips) {
    claims_[ip].insert({claim, pod.key});
    dirty_.insert(ip);
  }
  pods_[pod.key] = {index_.marks(pod), std::move(ips), claim};
}

void Identities::remove(const kube::ObjectKey& key) {
  const auto pod = pods_.find(key);
  if (pod == pods_.end()) return;
  for (const auto& ip : pod->second.ips) {
    dirty_.insert(ip);
    const auto claims = claims_.find(ip);
    if (claims == claims_.end()) continue;
    claims->second.erase({pod->second.claim, key});
    if (claims->second.empty()) claims_.erase(claims);
  }
  pods_.erase(pod);
}

std::vector<kube::ObjectKey> Identities::bearers_of_released() const {
  std::vector<kube::ObjectKey> out;
  if (released_.empty()) return out;
  for (const auto& [key, pod] : pods_)
    if (std::ranges::any_of(pod.marks, [&](const Mark& one) { return released_.contains(one.selector); }))
      out.push_back(key);
  return out;
}

// Numbers are retained before any is released, so a class that moves from one address to another keeps its
// own.
void Identities::settle() {
  std::vector<uint32_t> released;
  if (blocks_changed_) {
    for (const auto& [cidr, number] : prefixes_) {
      released.push_back(number);
      touched_prefixes_.push_back(cidr);
    }
    rebuild_prefixes();
    touch_all_pods();
  }
  for (const auto& ip : dirty_) settle_address(ip, released);
  dirty_.clear();
  released_.clear();
  for (const uint32_t number : released) release_number(number);
}

void Identities::rebuild_prefixes() {
  blocks_changed_ = false;
  prefixes_.clear();
  block_marks_.clear();
  for (auto& [cidr, marks] : partition(blocks_)) {
    prefixes_[cidr] = retain(marks);
    touched_prefixes_.push_back(cidr);
    block_marks_[cidr.length()].emplace(cidr.ip(), marks);
  }
}

void Identities::touch_all_pods() {
  for (const auto& [ip, number] : addresses_) dirty_.insert(ip);
}

void Identities::settle_address(const Ip& ip, std::vector<uint32_t>& released) {
  const Class marks = class_of(ip);
  const auto row = addresses_.find(ip);
  const uint32_t before = row == addresses_.end() ? 0 : row->second;
  const uint32_t now = marks.empty() ? 0 : retain(marks);
  if (before) released.push_back(before);
  if (before == now) return;
  touched_addresses_.push_back(ip);
  if (now)
    addresses_[ip] = now;
  else
    addresses_.erase(row);
}

// Empty when no pod selector tells the address from the prefix it lies in: the prefix's row then says all.
Class Identities::class_of(const Ip& ip) const {
  const auto claims = claims_.find(ip);
  if (claims == claims_.end()) return {};
  Class out = pods_.at(claims->second.begin()->second).marks;
  if (out.empty()) return out;
  if (const Class* around = block_marks(ip)) {
    out.insert(out.end(), around->begin(), around->end());
    std::ranges::sort(out);
  }
  return out;
}

const Class* Identities::block_marks(const Ip& ip) const {
  for (const auto& [length, table] : block_marks_) {
    const auto row = table.find(Cidr(ip, length).ip());
    if (row != table.end()) return &row->second;
  }
  return nullptr;
}

uint32_t Identities::retain(const Class& marks) {
  if (marks.empty()) return IDENTITY_NONE;
  const bool born = class_numbers_.find(marks) == 0;
  const uint32_t number = class_numbers_.retain(marks);
  if (!born) return number;
  for (const auto& one : marks) {
    by_selector_[one.selector].insert(number);
    touched_selectors_.insert(one.selector);
  }
  return number;
}

void Identities::release_number(uint32_t number) {
  if (number == IDENTITY_NONE) return;
  const Class marks = *class_numbers_.content(number);
  if (!class_numbers_.release(number)) return;
  for (const auto& one : marks) {
    by_selector_[one.selector].erase(number);
    if (by_selector_[one.selector].empty()) by_selector_.erase(one.selector);
    touched_selectors_.insert(one.selector);
  }
}

std::vector<ClassRef> Identities::classes_of(SelectorId selector) const {
  std::vector<ClassRef> out;
  const auto found = by_selector_.find(selector);
  if (found == by_selector_.end()) return out;
  for (const uint32_t number : found->second) out.push_back({number, class_numbers_.content(number)});
  return out;
}

void Identities::forget_touched() {
  touched_addresses_.clear();
  touched_prefixes_.clear();
  touched_selectors_.clear();
}

}  // namespace thalweg::policy
