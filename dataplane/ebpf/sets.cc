#include "dataplane/ebpf/sets.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "dataplane/ebpf/flow_table.h"
#include "dataplane/ebpf/own_types.h"

namespace thalweg::dataplane {
namespace {

namespace fs = std::filesystem;

constexpr size_t kChunk = 4096;

std::vector<std::string> folders_in(const std::string& folder) {
  std::error_code ignored;
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

Result<> remove_folder(const std::string& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (error) return fail_errno(error.value(), "remove {}", folder);
  return {};
}

Fd table_in(const std::string& set_folder, table_id table) {
  return Fd(bpf_obj_get(fmt::format("{}/tables/{}", set_folder, info(table).name).c_str()));
}

// By number: what says whose rows are whose goes with the rows.
bool is_array(table_id table) { return info(table).kind == TableInfo::Kind::ARRAY; }
bool goes_with_rows(table_id table) { return info(table).kind == TableInfo::Kind::SETS; }

bool is_paths_memory(table_id table) {
  const TableInfo::Kind kind = info(table).kind;
  return info(table).writer == TableInfo::Writer::PATH && kind != TableInfo::Kind::PERCPU_ARRAY;
}

// What an ARRAY holds is written anew; what sockets hold can be kept (compare()), but not moved.
bool has_rows_to_move(table_id table) {
  return !is_array(table) && !goes_with_rows(table) && info(table).kind != TableInfo::Kind::SOCKET;
}

std::vector<table_id> paths_memory() {
  std::vector<table_id> tables;
  for (size_t id = 0; id < TABLES; ++id)
    if (is_paths_memory(static_cast<table_id>(id))) tables.push_back(static_cast<table_id>(id));
  return tables;
}

struct Types {
  TypeRef key, value;
};

// Rows of flows hold their keys.
Result<OldTable> old_flows(Fd fd, Fd sets, TypeRef before, TypeRef now) {
  OldTable old{.table = TABLE_flows, .fd = std::move(fd), .sets = std::move(sets)};
  old.sizes = TRY(sizes_of_map(old.fd.get()));
  const Member key_before = TRY(member_of(before, "key"))
  , key_now = TRY(member_of(now, "key"));
  old.old_key = TRY(context(moves(key_now.type, key_before.type), "its key"));
  old.new_key = TRY(context(moves(key_before.type, key_now.type), "its key"));
  old.new_value = TRY(context(moves(before, now), "its row"));
  return old;
}

Result<OldTable> old_table(table_id table, Fd fd, Fd sets, const Types& before, const Types& now) {
  if (info(table).kind == TableInfo::Kind::ROWS)
    return old_flows(std::move(fd), std::move(sets), before.value, now.value);
  OldTable old{.table = table, .fd = std::move(fd)};
  old.sizes = TRY(sizes_of_map(old.fd.get()));
  old.old_key = TRY(context(moves(now.key, before.key), "its key"));
  old.new_key = TRY(context(moves(before.key, now.key), "its key"));
  old.new_value = TRY(context(moves(before.value, now.value), "its value"));
  return old;
}

// The set whose programs decide today; empty: there is none. One with a shut gate never does.
std::string in_force(const std::vector<std::string>& sets, const std::string& rather) {
  std::string best;
  uint32_t best_gate = 0;
  for (const std::string& set : sets) {
    const auto gate = gate_of(set);
    if (gate == 0u) continue;
    const uint32_t value = gate.value_or(0);
    if (!best.empty() && (value < best_gate || (value == best_gate && set != rather))) continue;
    best = set;
    best_gate = value;
  }
  return best;
}

// One by one: a batch would not spare rows that are there already, and those are newer.
Result<uint64_t> take_over_hash(const OldTable& old, int to) {
  const MapSizes sizes = TRY(sizes_of_map(to));
  const bool in_place = is_array(old.table);
  uint64_t taken = 0;
  const auto take = [&](const std::string& keys, const std::string& values, size_t rows) {
    for (size_t row = 0; row < rows; ++row) {
      const char* key = keys.data() + row * old.sizes.key_size;
      const std::string now = moved(old.new_key, key, sizes.key_size);
      const std::string value =
          moved(old.new_value, values.data() + row * old.sizes.value_size, sizes.value_size);
      taken += bpf_map_update_elem(to, now.data(), value.data(), in_place ? BPF_ANY : BPF_NOEXIST) == 0;
      if (!in_place) (void)bpf_map_delete_elem(old.fd.get(), key);
    }
  };
  std::string cursor;
  while (TRY(context(walk_map(old.fd.get(), old.sizes, cursor, std::min(kChunk, old.sizes.entries), take),
                     "table {}", info(old.table).name)))
    continue;
  return taken;
}

// The secret is shared by all sets.
Result<uint64_t> take_over_flows(const OldTable& old, int secret, int sets, int rows) {
  FlowTable before = TRY(FlowTable::open(secret, old.sets.get(), old.fd.get()));
  FlowTable now = TRY(FlowTable::open(secret, sets, rows));
  uint64_t taken = 0;
  before.each(0, before.sets(), [&](uint32_t number, const std::string& row) {
    const uint32_t written =
        now.put(moved(old.new_value, row.data(), now.row_bytes()), FlowTable::is_opening(number));
    taken += written != 0;
    if (!before.forget(number) && written != 0) now.forget(written);  // a packet was faster
  });
  return taken;
}

// Between two sets of which neither need be this build's.
Result<> take_over_all(const std::string& from, const std::string& to) {
  for (const table_id table : paths_memory()) {
    if (!has_rows_to_move(table)) continue;
    Fd before = table_in(from, table);
    const Fd now = table_in(to, table);
    if (!before || !now || id_of_map(before.get()) == id_of_map(now.get())) continue;
    const auto before_types = types_of_map(before.get()), now_types = types_of_map(now.get());
    if (!before_types || !now_types) continue;
    const auto old = old_table(table, std::move(before), table_in(from, TABLE_flow_sets),
                               {before_types->key_ref(), before_types->value_ref()},
                               {now_types->key_ref(), now_types->value_ref()});
    if (!old) continue;
    if (table == TABLE_flows)
      TRY(take_over_flows(*old, table_in(to, TABLE_flow_secret).get(), table_in(to, TABLE_flow_sets).get(),
                          now.get()));
    else
      TRY(take_over_hash(*old, now.get()));
  }
  return {};
}

}  // namespace

std::string gate_path(const std::string& set_folder) { return set_folder + "/gate"; }
std::string sides_path(const std::string& set_folder) { return set_folder + "/sides"; }

std::optional<uint32_t> gate_of(const std::string& set_folder) {
  const Fd gate(bpf_obj_get(gate_path(set_folder).c_str()));
  uint32_t zero = 0, value = 0;
  if (!gate || bpf_map_lookup_elem(gate.get(), &zero, &value) != 0) return {};
  return value;
}

Result<uint64_t> take_over_rows(const OldTable& old, const EbpfDatapath& to) {
  if (old.table == TABLE_flows)
    return take_over_flows(old, to.fd(TABLE_flow_secret), to.fd(TABLE_flow_sets), to.fd(TABLE_flows));
  return take_over_hash(old, to.fd(old.table));
}

// ---- opening

Result<TableSets> TableSets::open(const std::string& bpf_dir) {
  TableSets sets;
  sets.bpf_dir_ = bpf_dir;
  sets.own_ = fmt::format("{}/sets/{}", bpf_dir, layout_name());
  TRY(make_dirs(sets.own_ + "/tables", 0700));
  TRY(sets.finish_last_exchange());
  TRY(sets.open_own());
  TRY(sets.find_old_tables());
  return sets;
}

// A set that has changed sides takes what is left of the others, which go then. One that never did, and is
// not this build's, is only in the way once the hooks are this build's: drop_others().
Result<> TableSets::finish_last_exchange() {
  const std::vector<std::string> sets = folders_in(bpf_dir_ + "/sets");
  const std::string live = in_force(sets, own_);
  if (live.empty()) return remove_file(gate_path(own_));  // nothing to take over from: no gate to pass
  if (gate_of(live).has_value())
    for (const std::string& set : sets) {
      if (set == live || gate_of(set) == 0u) continue;
      TRY(take_over_all(set, live));
      TRY(remove_folder(set));
    }
  if (live != own_) before_ = live;
  if (live == own_ && !gate_of(own_))  // this build's set, or what is left of it, shares with the others
    for (const std::string& set : sets)
      if (set != own_ && !gate_of(set)) before_ = set;
  return make_dirs(own_ + "/tables", 0700);
}

Result<> TableSets::open_own() {
  EbpfDatapath::Shared shared;
  if (!before_.empty() && gate_of(own_).value_or(0) == 0)  // also one that was left half made
    for (const table_id table : paths_memory()) {
      const bool own_stands = static_cast<bool>(table_in(own_, table));
      TRY(compare(table, own_stands, shared));
    }
  if (wants_gate() && !gate_of(own_)) {  // first of all, so that a set half made says what it is
    LIBBPF_OPTS(bpf_map_create_opts, options);
    const Fd gate(bpf_map_create(BPF_MAP_TYPE_ARRAY, "gate", 4, 4, 1, &options));
    if (!gate) return fail_errno(errno, "create the gate");
    if (bpf_obj_pin(gate.get(), gate_path(own_).c_str()) != 0) return fail_errno(errno, "pin the gate");
  }
  old_.clear();
  tables_ = TRY(EbpfDatapath::open(own_ + "/tables", shared));
  return {};
}

// Whether the pinned table is as this build would make it.
Result<bool> is_own_layout(table_id table, int before) {
  const OwnTypes* own = TRY(own_types());
  const auto types = types_of_map(before);
  const MapSizes sizes = TRY(sizes_of_map(before));
  return types && is_same_type(types->key_ref(), own->key(table)) &&
         is_same_type(types->value_ref(), own->value(table)) && sizes.entries == info(table).entries;
}

bool is_or_will_be(const Fd& own, const Fd& before) {
  return !own || id_of_map(own.get()) == id_of_map(before.get());
}

// A table that does not stand yet: the other set's if nothing about it has changed.
Result<> TableSets::compare(table_id table, bool own_stands, EbpfDatapath::Shared& shared) {
  Fd before = table_in(before_, table);
  if (own_stands || !before) return {};
  bool same = TRY(is_own_layout(table, before.get()));
  for (const auto& [one, other] : {std::pair{TABLE_flow_sets, TABLE_flows}, {TABLE_flows, TABLE_flow_sets}})
    if (const Fd companion = table_in(before_, other); table == one)
      same = same && companion && is_or_will_be(table_in(own_, other), companion) &&
             TRY(is_own_layout(other, companion.get()));
  if (same)
    shared.emplace(table, std::move(before));
  else if (!goes_with_rows(table))
    old_.push_back(
        {.table = table, .fd = {}, .sets = {}, .sizes = {}, .old_key = {}, .new_key = {}, .new_value = {}});
  return {};
}

Result<> TableSets::find_old_tables() {
  if (before_.empty()) return {};
  const OwnTypes* own = TRY(own_types());
  for (const table_id table : paths_memory()) {
    Fd before = table_in(before_, table);
    if (goes_with_rows(table) || !before || id_of_map(before.get()) == id_of_map(tables_->fd(table)))
      continue;
    const auto types = types_of_map(before.get());
    if (info(table).kind == TableInfo::Kind::SOCKET) {
      lost_.push_back(fmt::format("{}: its rows are with the sockets", info(table).name));
      continue;
    }
    auto old = types ? old_table(table, std::move(before), table_in(before_, TABLE_flow_sets),
                                 {types->key_ref(), types->value_ref()}, {own->key(table), own->value(table)})
                     : Result<OldTable>(std::unexpected(types.error()));
    if (old)
      old_.push_back(std::move(*old));
    else
      lost_.push_back(fmt::format("{}: {}", info(table).name, old.error().message));
  }
  return {};
}

bool TableSets::wants_gate() const {
  return std::any_of(old_.begin(), old_.end(),
                     [](const OldTable& old) { return has_rows_to_move(old.table); });
}

Result<> TableSets::drop_others() {
  for (const std::string& set : folders_in(bpf_dir_ + "/sets"))
    if (set != own_) TRY(remove_folder(set));
  TRY(remove_file(gate_path(own_)));
  TRY(remove_file(sides_path(own_)));
  old_.clear();
  before_.clear();
  return {};
}

}  // namespace thalweg::dataplane
