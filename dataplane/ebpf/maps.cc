#include "dataplane/ebpf/maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>

#include "base/file.h"
#include "dataplane/ebpf/own_types.h"

namespace thalweg::dataplane {
namespace {

constexpr size_t kBatch = 4096;
constexpr int kNotSupported = 524;  // the kernel's own ENOTSUPP, which errno.h does not know

bpf_map_type map_type(TableInfo::Kind kind) {
  switch (kind) {
    case TableInfo::Kind::SETS:
    case TableInfo::Kind::ROWS:
    case TableInfo::Kind::ARRAY: return BPF_MAP_TYPE_ARRAY;
    case TableInfo::Kind::HASH: return BPF_MAP_TYPE_HASH;
    case TableInfo::Kind::LPM: return BPF_MAP_TYPE_LPM_TRIE;
    case TableInfo::Kind::LRU: return BPF_MAP_TYPE_LRU_HASH;
    case TableInfo::Kind::PERCPU_ARRAY: return BPF_MAP_TYPE_PERCPU_ARRAY;
    case TableInfo::Kind::SOCKET: return BPF_MAP_TYPE_SK_STORAGE;
  }
  return BPF_MAP_TYPE_UNSPEC;
}

// Only the agent adds rows to a HASH, so memory is taken as rows come, as it is with sockets; an LRU needs it
// beforehand. Flows are read where they stand (flow_table.h).
uint32_t map_flags(TableInfo::Kind kind) {
  if (kind == TableInfo::Kind::SETS || kind == TableInfo::Kind::ROWS) return BPF_F_MMAPABLE;
  const bool as_rows_come =
      kind == TableInfo::Kind::HASH || kind == TableInfo::Kind::LPM || kind == TableInfo::Kind::SOCKET;
  return as_rows_come ? BPF_F_NO_PREALLOC : 0;
}

// With its types: the next build reads from them what this one's rows mean (layout.h).
Result<Fd> create(table_id id) {
  const TableInfo& table = info(id);
  const OwnTypes* types = TRY(own_types());
  LIBBPF_OPTS(bpf_map_create_opts, options, .btf_fd = static_cast<uint32_t>(types->kernel_fd()),
              .btf_key_type_id = types->key(id).id, .btf_value_type_id = types->value(id).id,
              .map_flags = map_flags(table.kind));
  const std::string name = std::string(table.name).substr(0, BPF_OBJ_NAME_LEN - 1);
  const int fd = bpf_map_create(map_type(table.kind), name.c_str(), table.key_size, table.value_size,
                                table.entries, &options);
  if (fd < 0) return fail_errno(-fd, "create table {}", table.name);
  return Fd(fd);
}

bool has_layout(int fd, const TableInfo& table) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.type == map_type(table.kind) &&
         info.key_size == table.key_size && info.value_size == table.value_size &&
         info.max_entries == table.entries && info.map_flags == map_flags(table.kind);
}

Result<Fd> pinned(int map, const std::string& path) {
  if (const int error = bpf_obj_pin(map, path.c_str())) return fail_errno(-error, "pin {}", path);
  Fd fd(bpf_obj_get(path.c_str()));
  if (!fd) return fail_errno(errno, "open {}", path);
  return fd;
}

bool unsupported(int error) { return error == -kNotSupported || error == -EOPNOTSUPP || error == -EINVAL; }

const char* key_of(const std::string& keys, size_t row, size_t size) { return keys.data() + row * size; }

// For kernels whose kind of table has no batch lookup.
Result<bool> walk_singly(int fd, const MapSizes& sizes, const OnRows& on_rows) {
  std::string key, keys, values, next(sizes.key_size, '\0'), value(sizes.value_size, '\0');
  size_t rows = 0;
  while (bpf_map_get_next_key(fd, key.empty() ? nullptr : key.data(), next.data()) == 0) {
    key = next;
    if (bpf_map_lookup_elem(fd, key.data(), value.data()) != 0) continue;
    keys += key;
    values += value;
    if (++rows > sizes.entries) return fail("more rows than it can hold");
  }
  on_rows(keys, values, rows);
  return false;
}

Result<Fd> absent(table_id id, const std::string& path, const EbpfDatapath::Shared& shared) {
  if (const auto found = shared.find(id); found != shared.end()) return pinned(found->second.get(), path);
  const Fd made = TRY(create(id));
  return pinned(made.get(), path);
}

}  // namespace

Result<EbpfDatapath> EbpfDatapath::open(const std::string& folder, const Shared& shared) {
  TRY(make_dirs(folder, 0700));
  EbpfDatapath datapath;
  for (size_t id = 0; id < TABLES; ++id) {
    const TableInfo& table = kTables[id];
    const std::string path = folder + "/" + std::string(table.name);
    Fd standing(bpf_obj_get(path.c_str()));
    if (standing && !has_layout(standing.get(), table)) {
      datapath.rebuilt_.emplace_back(table.name);
      TRY(remove_file(path));
      standing.reset();
    }
    if (!standing) standing = TRY(absent(static_cast<table_id>(id), path, shared));
    datapath.fds_[id] = std::move(standing);
  }
  return datapath;
}

// ---- writing: runs of changes of one table and one kind become batches

Result<> EbpfDatapath::apply(std::span<const Change> changes) {
  for (size_t begin = 0; begin < changes.size();) {
    const Change& first = changes[begin];
    size_t end = begin + 1;
    while (end < changes.size() && end - begin < kBatch && changes[end].table == first.table &&
           changes[end].op == first.op)
      ++end;
    TRY(put_run(first.table, changes.subspan(begin, end - begin)));
    begin = end;
  }
  return {};
}

Result<> EbpfDatapath::put_run(table_id id, std::span<const Change> run) {
  const TableInfo& table = info(id);
  const bool zeroes = table.is_array();  // a row of an array cannot go, only be zeroed
  const bool deletes = run.front().op == Change::Op::Delete;
  std::string keys, values;
  for (const Change& change : run) {
    if (change.key.size() != table.key_size || (!deletes && change.value.size() != table.value_size))
      return fail("table {}: a row of {}+{} bytes where {}+{} belong", table.name, change.key.size(),
                  change.value.size(), table.key_size, table.value_size);
    keys += change.key;
    values += deletes ? std::string(table.value_size, '\0') : change.value;
  }
  if (deletes && !zeroes) return remove(id, keys);
  uint32_t count = run.size();
  const int error = bpf_map_update_batch(fd(id), keys.data(), values.data(), &count, nullptr);
  if (error == 0) return {};
  if (!unsupported(error) || count > 0) return fail_errno(-error, "table {}: put row {}", table.name, count);
  for (size_t row = 0; row < run.size(); ++row)
    if (const int one =
            bpf_map_update_elem(fd(id), run[row].key.data(), key_of(values, row, table.value_size), 0))
      return fail_errno(-one, "table {}: put row {}", table.name, row);
  return {};
}

Result<> EbpfDatapath::remove(table_id id, const std::string& keys) const {
  const TableInfo& table = info(id);
  for (size_t row = 0; row < keys.size() / table.key_size; ++row) {
    const int error = bpf_map_delete_elem(fd(id), key_of(keys, row, table.key_size));
    if (error != 0 && error != -ENOENT) return fail_errno(-error, "table {}: delete a row", table.name);
  }
  return {};
}

// ---- reading

Result<MapSizes> sizes_of_map(int map) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(map, &info, &size) != 0) return fail_errno(errno, "ask about a table");
  return MapSizes{info.key_size, info.value_size, info.max_entries};
}

uint32_t id_of_map(int map) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  return bpf_obj_get_info_by_fd(map, &info, &size) == 0 ? info.id : 0;
}

Result<bool> walk_map(int map, const MapSizes& sizes, std::string& cursor, size_t rows,
                      const OnRows& on_rows) {
  const bool first = cursor.empty();
  std::string next(std::max<size_t>(sizes.key_size, 8), '\0');
  while (true) {
    std::string keys(rows * sizes.key_size, '\0'), values(rows * sizes.value_size, '\0');
    uint32_t count = rows;
    const int error = bpf_map_lookup_batch(map, first ? nullptr : cursor.data(), next.data(), keys.data(),
                                           values.data(), &count, nullptr);
    if (error == -ENOSPC && rows < sizes.entries) {  // one bucket of the hash holds more than fits
      rows *= 2;
      continue;
    }
    if (first && unsupported(error)) return walk_singly(map, sizes, on_rows);
    if (error != 0 && error != -ENOENT) return fail_errno(-error, "read");
    if (count > 0) on_rows(keys, values, count);
    cursor = next;
    return error == 0;
  }
}

Result<bool> EbpfDatapath::walk(table_id id, std::string& cursor, size_t rows, const OnRows& on_rows) const {
  const TableInfo& table = info(id);
  return context(walk_map(fd(id), {table.key_size, table.value_size, table.entries}, cursor, rows, on_rows),
                 "table {}", table.name);
}

Result<> EbpfDatapath::each_row(table_id id, const OnRow& on_row) const {
  const TableInfo& table = info(id);
  if (table.kind == TableInfo::Kind::PERCPU_ARRAY) return fail("table {}: read by counters()", table.name);
  if (table.kind == TableInfo::Kind::SOCKET)
    return fail("table {}: its rows are with the sockets", table.name);
  const bool is_array = table.is_array();
  const auto pass_on = [&](const std::string& keys, const std::string& values, size_t rows) {
    for (size_t row = 0; row < rows; ++row) {
      const std::string_view value(key_of(values, row, table.value_size), table.value_size);
      if (is_array && value.find_first_not_of('\0') == value.npos) continue;
      on_row({key_of(keys, row, table.key_size), table.key_size}, value);
    }
  };
  std::string cursor;
  while (TRY(walk(id, cursor, std::min(kBatch, table.entries), pass_on))) continue;
  return {};
}

Result<std::vector<Row>> EbpfDatapath::dump(table_id id) const {
  std::vector<Row> all;
  TRY(each_row(id, [&](std::string_view key, std::string_view value) {
    all.push_back({Bytes(key), Bytes(value)});
  }));
  return all;
}

static_assert(kTables[TABLE_counters].entries == COUNTER_ROWS);

Result<Counters> EbpfDatapath::counters() const {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return fail_errno(-cpus, "count the CPUs");
  Counters sums{};
  std::vector<counter> per_cpu(cpus);
  for (uint32_t reason = 0; reason < sums.size(); ++reason) {
    if (const int error = bpf_map_lookup_elem(fd(TABLE_counters), &reason, per_cpu.data()))
      return fail_errno(-error, "table counters: read row {}", reason);
    for (const counter& one : per_cpu) {
      sums[reason].packets += one.packets;
      sums[reason].bytes += one.bytes;
    }
  }
  return sums;
}

}  // namespace thalweg::dataplane
