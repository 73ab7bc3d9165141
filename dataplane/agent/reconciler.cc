#include "dataplane/agent/reconciler.h"

#include <algorithm>
#include <set>

namespace thalweg::dataplane {

namespace {

using Op = Change::Op;

// What must not be done once something else has failed, so that a table that is full or broken leaves no row
// that names a missing one, and no pod less guarded than it was.
class Failures {
 public:
  explicit Failures(const Intent& applied) : applied_(applied) {}

  bool blocks(const Change& change) const {
    switch (change.table) {
      case TABLE_services:  // its backends are not all there
        return change.op == Op::Put && services_.contains(change.key);
      case TABLE_backends:  // the service row still counts them
      case TABLE_members:
      case TABLE_maglev: return change.op == Op::Delete && services_.contains(service_of(change));
      case TABLE_endpoints:
        return change.op == Op::Put && rule_sets_.contains(from_bytes<endpoint>(change.value).rule_set);
      case TABLE_rule_sets:  // an endpoint still refers to it: a row of zeros would isolate nothing
        return change.op == Op::Delete && referred_.contains(from_bytes<__u32>(change.key));
      case TABLE_rules: return change.op == Op::Delete && referred_.contains(rule_set_of(change));
      default: return false;
    }
  }

  void add(const Change& change) {
    switch (change.table) {
      case TABLE_services: services_.insert(change.key); break;
      case TABLE_backends:
      case TABLE_members:
      case TABLE_maglev: services_.insert(service_of(change)); break;
      case TABLE_rules: rules_.insert(rule_set_of(change)); break;
      case TABLE_rule_sets: rule_sets_.insert(from_bytes<__u32>(change.key)); break;
      case TABLE_endpoints:
        if (const auto row = find(applied_, TABLE_endpoints, change.key))
          referred_.insert(from_bytes<endpoint>(*row).rule_set);
        break;
      default: break;
    }
  }

  // A rule set whose rules are not all as they should be stays in transition: decided afresh, never cached.
  bool incomplete(const Change& change) const {
    return change.table == TABLE_rule_sets && rules_.contains(from_bytes<__u32>(change.key));
  }

 private:
  // The keys of what belongs to a service begin with it.
  static Bytes service_of(const Change& change) { return change.key.substr(0, sizeof(service_key)); }
  static uint32_t rule_set_of(const Change& change) { return from_bytes<rule_key>(change.key).rule_set; }

  const Intent& applied_;
  std::set<Bytes> services_;
  std::set<uint32_t> rules_, rule_sets_, referred_;
};

Change in_transition(Change change) {
  auto row = from_bytes<rule_set>(change.value);
  row.epoch = 0;
  change.value = to_bytes(row);
  return change;
}

}  // namespace

Result<> Reconciler::adopt() {
  applied_ = TRY(dump_all(datapath_));
  owed_.clear();
  TRY(moved_.adopt(datapath_));
  return read_generation();
}

Result<> Reconciler::read_generation() {
  const auto rows = TRY(datapath_.dump(TABLE_generation));
  for (const auto& row : rows) generation_ = std::max<uint64_t>(generation_, from_bytes<__u64>(row.value));
  return {};
}

Result<> Reconciler::update(const Intent& desired, const Touched& touched) {
  if (owed_.empty()) return make(diff(applied_, desired, touched));
  Touched all = std::exchange(owed_, {});
  all.insert(all.end(), touched.begin(), touched.end());
  return make(diff(applied_, desired, std::move(all)));
}

Result<> Reconciler::update_all(const Intent& desired) {
  owed_.clear();
  return make(diff(applied_, desired));
}

Result<uint64_t> Reconciler::verify(const Intent& desired) {
  const uint64_t drifted = TRY(is_as(applied_, datapath_))
  ? 0 : TRY(take_in_drift());
  TRY(update_all(desired));
  return drifted;
}

Result<uint64_t> Reconciler::take_in_drift() {
  Intent actual = TRY(dump_all(datapath_));
  const Touched drifted = differing(actual, applied_);
  for (const auto& [table, key] : drifted) {
    ++stats_.drift_repaired[table];
    // What was decided while it was amiss may be wrong, whichever way it was.
    bump_owed_ |= table <= TABLE_endpoints;
  }
  applied_ = std::move(actual);
  return drifted.size();
}

Result<> Reconciler::make(const std::vector<Change>& changes) {
  bump_owed_ |= invalidates_flows(applied_, changes);
  auto applied = apply(changes);
  const bool moves = moved_.owed();
  auto moved = moved_.raise(datapath_);
  if (moves && moved) ++stats_.moves;
  auto bumped = bump();
  for (auto* one : {&applied, &moved})
    if (!*one) return std::move(*one);
  return bumped;
}

Result<> Reconciler::apply(const std::vector<Change>& changes) {
  if (changes.empty()) return {};
  if (!datapath_.apply(changes)) return apply_singly(changes);
  for (const auto& change : changes) note(change);
  return {};
}

// From the first again, since how far the batch came is unknown: every change may be made twice.
Result<> Reconciler::apply_singly(const std::vector<Change>& changes) {
  Failures failures(applied_);
  Error first;
  size_t failed = 0;
  for (const auto& change : changes) {
    const bool incomplete = change.op == Op::Put && failures.incomplete(change);
    const Change now = incomplete ? in_transition(change) : change;
    Result<> done = failures.blocks(now) ? Result<>(fail("held back")) : datapath_.apply({&now, 1});
    if (done) note(now);
    if (done && !incomplete) continue;
    owed_.emplace_back(change.table, change.key);
    if (done) continue;
    failures.add(now);
    if (failed++ == 0) first = done.error();  // nothing is held back before something failed
  }
  if (failed == 0) return {};
  stats_.apply_errors += failed;
  return std::unexpected(
      Error{fmt::format("{} of {} changes failed, the first: {}", failed, changes.size(), first.message),
            first.code});
}

Result<> Reconciler::bump() {
  if (!bump_owed_) return {};
  const Change change{TABLE_generation, Op::Put, to_bytes(__u32{0}), to_bytes(__u64{generation_ + 1})};
  TRY(context(datapath_.apply({&change, 1}), "raise the generation"));
  ++generation_;
  ++stats_.generations;
  bump_owed_ = false;
  return {};
}

Result<> Reconciler::doubt_flows() {
  TRY(read_generation());
  bump_owed_ = true;
  return bump();
}

void Reconciler::note(const Change& change) {
  ++stats_.changes_applied;
  moved_.note(applied_, change);
  if (change.op == Op::Put)
    put(applied_, change.table, change.key, change.value);
  else
    erase(applied_, change.table, change.key);
}

}  // namespace thalweg::dataplane
