#include "dataplane/intent/diff.h"

#include <algorithm>
#include <map>
#include <set>

namespace thalweg::dataplane {

namespace {

using Op = Change::Op;

// A row that has to become another one.
struct Delta {
  Bytes key;
  bool put;  // else deleted
};
using Deltas = std::array<std::vector<Delta>, TABLES>;

// touched: each row once.
Deltas deltas_of(const Intent& actual, const Intent& desired, Touched touched) {
  Deltas out;
  for (auto& [table, key] : touched) {
    if (same_row(actual, desired, table, key)) continue;
    const bool put = contains(desired, table, key);
    out[table].push_back({std::move(key), put});
  }
  return out;
}

Touched each_once(Touched touched) {
  std::ranges::sort(touched);
  touched.erase(std::ranges::unique(touched).begin(), touched.end());
  return touched;
}

bool is_lpm_of_addresses(table_id table) { return table == TABLE_routes || table == TABLE_prefixes; }

uint32_t length_of(const Delta& delta) { return from_bytes<prefix>(delta.key).prefixlen; }

// What happens to a rule set whose rules change: in transition (epoch 0) before the first of them, final
// after the last.
struct Transition {
  std::optional<rule_set> now;
  std::optional<rule_set> then;
  bool rules_change = false;
  bool rules_go = false;
};

class Planner {
 public:
  Planner(const Intent& actual, const Intent& desired, Touched touched)
      : actual_(actual), desired_(desired), deltas_(deltas_of(actual, desired, std::move(touched))) {
    for (const auto& delta : deltas_[TABLE_rule_sets]) transition(from_bytes<__u32>(delta.key));
    for (const auto& delta : deltas_[TABLE_rules]) {
      Transition& set = transition(from_bytes<rule_key>(delta.key).rule_set);
      set.rules_change = true;
      if (!delta.put) set.rules_go = true;
    }
  }

  std::vector<Change> plan() {
    begin_transitions();
    for (int table = 0; table < TABLES; ++table) puts(static_cast<table_id>(table));
    for (int table = TABLES - 1; table >= 0; --table) deletes(static_cast<table_id>(table));
    end_transitions();
    return std::move(out_);
  }

 private:
  Transition& transition(uint32_t number) {
    const auto [it, fresh] = transitions_.try_emplace(number);
    if (!fresh) return it->second;
    if (const auto row = actual_.rule_sets.find(number); row != actual_.rule_sets.end())
      it->second.now = row->second;
    if (const auto row = desired_.rule_sets.find(number); row != desired_.rule_sets.end())
      it->second.then = row->second;
    return it->second;
  }

  void put_rule_set(uint32_t number, rule_set row) {
    out_.push_back({TABLE_rule_sets, Op::Put, to_bytes(number), to_bytes(row)});
  }
  static rule_set in_transition(rule_set row) {
    row.epoch = 0;
    return row;
  }

  void begin_transitions() {
    for (const auto& [number, set] : transitions_)
      if (set.rules_change && set.now && set.now->epoch) put_rule_set(number, in_transition(*set.now));
  }

  // Whether the set can be final only after the endpoints have moved: rules have yet to go, or isolation is
  // to end while a pod that stays isolated by another set may still refer to this one.
  static bool is_late(const Transition& set) {
    return set.rules_go || (set.now && (set.now->flags & ~set.then->flags));
  }

  // Isolation comes into force here, before an endpoint refers to the set: every rule that allows is in place
  // by now.
  void put_rule_sets() {
    for (const auto& [number, set] : transitions_) {
      if (!set.then) continue;
      rule_set row = *set.then;
      if (is_late(set)) row = in_transition(row);
      if (set.now) row.flags |= set.now->flags;
      put_rule_set(number, row);
    }
  }

  void end_transitions() {
    for (const auto& [number, set] : transitions_)
      if (set.then && is_late(set)) put_rule_set(number, *set.then);
  }

  void puts(table_id table) {
    if (table == TABLE_rule_sets) return put_rule_sets();
    auto& deltas = deltas_[table];
    if (is_lpm_of_addresses(table)) std::ranges::stable_sort(deltas, std::greater<>(), length_of);
    for (const auto& delta : deltas)
      if (delta.put) out_.push_back({table, Op::Put, delta.key, *find(desired_, table, delta.key)});
  }

  void deletes(table_id table) {
    auto& deltas = deltas_[table];
    if (is_lpm_of_addresses(table)) std::ranges::reverse(deltas);
    for (const auto& delta : deltas)
      if (!delta.put) out_.push_back({table, Op::Delete, delta.key, {}});
  }

  const Intent& actual_;
  const Intent& desired_;
  Deltas deltas_;
  std::map<uint32_t, Transition> transitions_;
  std::vector<Change> out_;
};

}  // namespace

std::vector<Change> diff(const Intent& actual, const Intent& desired) {
  return Planner(actual, desired, differing(actual, desired)).plan();
}

std::vector<Change> diff(const Intent& actual, const Intent& desired, Touched touched) {
  return Planner(actual, desired, each_once(std::move(touched))).plan();
}

Touched differing(const Intent& actual, const Intent& desired) {
  Touched out;
  for_each_table(actual, desired, [&](table_id table, const auto& now, const auto& then) {
    for (const auto& [key, value] : then) {
      const auto row = now.find(key);
      if (row == now.end() || !RowEqual()(row->second, value)) out.emplace_back(table, to_bytes(key));
    }
    for (const auto& [key, value] : now)
      if (!then.contains(key)) out.emplace_back(table, to_bytes(key));
  });
  return out;
}

// A new exact address or endpoint was in the class of its surroundings, and being told apart can only add to
// what a class is allowed: flows cached before stay right. Everything else may have been decided differently.
bool invalidates_flows(const Intent& actual, std::span<const Change> changes) {
  return std::ranges::any_of(changes, [&](const Change& change) {
    switch (change.table) {
      case TABLE_node:
      case TABLE_routes:
      case TABLE_prefixes: return true;
      case TABLE_identities:
      case TABLE_endpoints: return contains(actual, change.table, change.key);
      default: return false;
    }
  });
}

}  // namespace thalweg::dataplane
