#include "dataplane/fake/fake.h"

#include <algorithm>

#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

namespace {

bool all_zero(const Bytes& value) {
  return std::ranges::all_of(value, [](char byte) { return byte == 0; });
}

}  // namespace

Result<> FakeDatapath::apply(std::span<const Change> changes) {
  for (const auto& change : changes) {
    if (fail_after_ && *fail_after_ == 0) return fail("{}: told to fail", info(change.table).name);
    if (fail_after_) --*fail_after_;
    TRY(apply_one(change));
    ++writes_;
  }
  return {};
}

Result<> FakeDatapath::apply_one(const Change& change) {
  const TableInfo& about = info(change.table);
  auto& rows = tables_[change.table];
  if (change.key.size() != about.key_size)
    return fail("{}: a key of {} bytes", about.name, change.key.size());
  if (change.op == Change::Op::Delete) {
    rows.erase(change.key);
    return {};
  }
  if (change.value.size() != about.value_size)
    return fail("{}: a value of {} bytes", about.name, change.value.size());
  const bool array = about.is_array() || about.kind == TableInfo::Kind::PERCPU_ARRAY;
  if (array && from_bytes<uint32_t>(change.key) >= about.entries)
    return fail("{}: no row {}", about.name, from_bytes<uint32_t>(change.key));
  const size_t most = limits_[change.table] ? limits_[change.table] : about.entries;
  if (!rows.contains(change.key) && rows.size() >= most) return fail("{}: full at {} rows", about.name, most);
  if (array && all_zero(change.value))
    rows.erase(change.key);
  else
    rows[change.key] = change.value;
  return {};
}

Result<std::vector<Row>> FakeDatapath::dump(table_id table) const {
  std::vector<Row> out;
  for (const auto& [key, value] : tables_[table]) out.push_back({key, value});
  return out;
}

void FakeDatapath::corrupt(table_id table, const Bytes& key, std::optional<Bytes> value) {
  if (value)
    tables_[table][key] = *value;
  else
    tables_[table].erase(key);
}

}  // namespace thalweg::dataplane
