// Intent: exactly what this node's tables should hold, one typed table for every AGENT row of bpf/maps.def.
// compile.h makes it, diff.h compares it, dataplane/agent/reconciler.h makes it true.
#pragma once

#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "bpf/abi.h"
#include "dataplane/datapath.h"
#include "dataplane/intent/rows.h"

namespace thalweg::dataplane {

// A key or value as the tables hold it. The structs of abi.h have no implicit padding.
template <class T>
Bytes to_bytes(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  return Bytes(reinterpret_cast<const char*>(&value), sizeof value);
}

// The other way; the sizes must agree.
template <class T>
T from_bytes(std::string_view bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), std::min(sizeof value, bytes.size()));
  return value;
}

// A macro for every AGENT table: declare AGENT_ROWS(name, key, value, entries), include this list.
#define THALWEG_TABLE_AGENT(name, kind, key, value, entries) AGENT_ROWS(name, kind, key, value, entries)
#define THALWEG_TABLE_PATH(name, kind, key, value, entries)

struct Intent {
#define AGENT_ROWS(name, kind, key, value, entries)    Rows<key, value> name;
#define TABLE(name, kind, key, value, entries, writer) THALWEG_TABLE_##writer(name, kind, key, value, entries)
#include "bpf/maps.def"
#undef TABLE
#undef AGENT_ROWS
};

// Calls f(table_id, rows) for every AGENT table, in the order of maps.def.
template <class I, class F>
requires std::is_same_v<std::remove_const_t<I>, Intent>
void for_each_table(I& intent, F&& f) {
#define AGENT_ROWS(name, kind, key, value, entries)    f(TABLE_##name, intent.name);
#define TABLE(name, kind, key, value, entries, writer) THALWEG_TABLE_##writer(name, kind, key, value, entries)
#include "bpf/maps.def"
#undef TABLE
#undef AGENT_ROWS
}

// f(table_id, rows of a, rows of b), likewise.
template <class F>
void for_each_table(const Intent& a, const Intent& b, F&& f) {
#define AGENT_ROWS(name, kind, key, value, entries)    f(TABLE_##name, a.name, b.name);
#define TABLE(name, kind, key, value, entries, writer) THALWEG_TABLE_##writer(name, kind, key, value, entries)
#include "bpf/maps.def"
#undef TABLE
#undef AGENT_ROWS
}

// What maps.def says of a table.
struct TableInfo {
  enum class Kind : uint8_t { ARRAY, SETS, ROWS, HASH, LPM, LRU, PERCPU_ARRAY, SOCKET };
  enum class Writer : uint8_t { AGENT, PATH };
  std::string_view name;
  Kind kind;
  size_t key_size;
  size_t value_size;
  size_t entries;
  Writer writer;
  // Keyed by number; all its rows are always there.
  constexpr bool is_array() const { return kind == Kind::ARRAY || kind == Kind::SETS || kind == Kind::ROWS; }
};
inline constexpr TableInfo kTables[] = {
#define TABLE(name, kind, key, value, entries, writer) \
  {#name, TableInfo::Kind::kind, sizeof(key), sizeof(value), entries, TableInfo::Writer::writer},
#include "bpf/maps.def"
#undef TABLE
};
inline const TableInfo& info(table_id table) { return kTables[table]; }

// One row by bytes, for those who hold only a table_id.
std::optional<Bytes> find(const Intent& intent, table_id table, std::string_view key);
void put(Intent& intent, table_id table, std::string_view key, std::string_view value);
void erase(Intent& intent, table_id table, std::string_view key);
bool contains(const Intent& intent, table_id table, std::string_view key);
bool holds(const Intent& intent, table_id table, std::string_view key, std::string_view value);
// Whether both have the row with the same value, or neither has it.
bool same_row(const Intent& a, const Intent& b, table_id table, std::string_view key);
size_t row_count(const Intent& intent);
bool operator==(const Intent& a, const Intent& b);
// Every AGENT table of a datapath, as an Intent; an error names the table and what is wrong with it.
Result<Intent> dump_all(const Datapath& datapath);
// Whether dump_all() would give this Intent; nothing is copied.
Result<bool> is_as(const Intent& intent, const Datapath& datapath);

// The abi's forms of addresses and ports.
addr to_addr(const Ip& ip);
Ip to_ip(const addr& address);
prefix to_prefix(const Cidr& cidr);

// Rows named by table and key, without their values: what a compilation touched.
using RowKey = std::pair<table_id, Bytes>;
using Touched = std::vector<RowKey>;

}  // namespace thalweg::dataplane
