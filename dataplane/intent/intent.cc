#include "dataplane/intent/intent.h"

#include <arpa/inet.h>

#include <algorithm>

namespace thalweg::dataplane {

namespace {

// f(rows) for the table with this id.
template <class I, class F>
void on_table(I& intent, table_id table, F&& f) {
  for_each_table(intent, [&](table_id id, auto& rows) {
    if (id == table) f(rows);
  });
}

template <class R>
using KeyOf = typename std::remove_cvref_t<R>::key_type;
template <class R>
using ValueOf = typename std::remove_cvref_t<R>::mapped_type;

template <class K, class V>
bool same_in(const Rows<K, V>& a, const Rows<K, V>& b, const K& key) {
  const auto ours = a.find(key);
  const auto theirs = b.find(key);
  if (ours == a.end() || theirs == b.end()) return ours == a.end() && theirs == b.end();
  return RowEqual()(ours->second, theirs->second);
}

}  // namespace

std::optional<Bytes> find(const Intent& intent, table_id table, std::string_view key) {
  std::optional<Bytes> out;
  on_table(intent, table, [&](const auto& rows) {
    const auto row = rows.find(from_bytes<KeyOf<decltype(rows)>>(key));
    if (row != rows.end()) out = to_bytes(row->second);
  });
  return out;
}

void put(Intent& intent, table_id table, std::string_view key, std::string_view value) {
  on_table(intent, table, [&](auto& rows) {
    rows[from_bytes<KeyOf<decltype(rows)>>(key)] = from_bytes<ValueOf<decltype(rows)>>(value);
  });
}

void erase(Intent& intent, table_id table, std::string_view key) {
  on_table(intent, table, [&](auto& rows) { rows.erase(from_bytes<KeyOf<decltype(rows)>>(key)); });
}

bool contains(const Intent& intent, table_id table, std::string_view key) {
  bool out = false;
  on_table(intent, table,
           [&](const auto& rows) { out = rows.contains(from_bytes<KeyOf<decltype(rows)>>(key)); });
  return out;
}

bool holds(const Intent& intent, table_id table, std::string_view key, std::string_view value) {
  bool out = false;
  on_table(intent, table, [&](const auto& rows) {
    const auto row = rows.find(from_bytes<KeyOf<decltype(rows)>>(key));
    out = row != rows.end() && RowEqual()(row->second, from_bytes<ValueOf<decltype(rows)>>(value));
  });
  return out;
}

bool same_row(const Intent& a, const Intent& b, table_id table, std::string_view key) {
  bool same = true;
  for_each_table(a, b, [&](table_id id, const auto& ours, const auto& theirs) {
    if (id == table) same = same_in(ours, theirs, from_bytes<KeyOf<decltype(ours)>>(key));
  });
  return same;
}

size_t row_count(const Intent& intent) {
  size_t out = 0;
  for_each_table(intent, [&](table_id, const auto& rows) { out += rows.size(); });
  return out;
}

bool operator==(const Intent& a, const Intent& b) {
  bool same = true;
  for_each_table(a, b, [&](table_id, const auto& ours, const auto& theirs) {
    same = same && ours.size() == theirs.size() &&
           std::ranges::all_of(ours, [&](const auto& row) { return same_in(ours, theirs, row.first); });
  });
  return same;
}

Result<> each_row(const Datapath& datapath, table_id id, const Datapath::OnRow& on_row) {
  const TableInfo& table = info(id);
  size_t misfits = 0;
  TRY(context(datapath.each_row(id,
                                [&](std::string_view key, std::string_view value) {
                                  if (key.size() == table.key_size && value.size() == table.value_size)
                                    on_row(key, value);
                                  else
                                    ++misfits;
                                }),
              "dump {}", table.name));
  if (misfits)
    return fail("dump {}: {} rows not of {} + {} bytes", table.name, misfits, table.key_size,
                table.value_size);
  return {};
}

Result<Intent> dump_all(const Datapath& datapath) {
  Intent out;
  for (const auto& table : kTables) {
    if (table.writer != TableInfo::Writer::AGENT) continue;
    const auto id = static_cast<table_id>(&table - kTables);
    TRY(each_row(datapath, id,
                 [&](std::string_view key, std::string_view value) { put(out, id, key, value); }));
  }
  return out;
}

Result<bool> is_as(const Intent& intent, const Datapath& datapath) {
  size_t same = 0, strange = 0;
  for (const auto& table : kTables) {
    if (table.writer != TableInfo::Writer::AGENT) continue;
    const auto id = static_cast<table_id>(&table - kTables);
    TRY(each_row(datapath, id, [&](std::string_view key, std::string_view value) {
      ++(holds(intent, id, key, value) ? same : strange);
    }));
  }
  return strange == 0 && same == row_count(intent);
}

addr to_addr(const Ip& ip) {
  addr out{};
  std::memcpy(out.bytes, ip.bytes().data(), sizeof out.bytes);
  return out;
}

Ip to_ip(const addr& address) { return Ip::from_v6_bytes(address.bytes); }

prefix to_prefix(const Cidr& cidr) {
  prefix out{};
  out.prefixlen = cidr.length();
  std::memcpy(out.bytes, cidr.ip().bytes().data(), sizeof out.bytes);
  return out;
}

}  // namespace thalweg::dataplane
