#include "dataplane/cli/tables.h"

#include <boost/json.hpp>

namespace thalweg::cli {
namespace {

namespace json = boost::json;
using dataplane::Bytes;
using dataplane::kTables;

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

Result<Bytes> from_hex(const json::value& value, size_t size) {
  if (!value.is_string() || value.as_string().size() != size * 2)
    return fail("expected {} bytes: is thalweg as new as the agent?", size);
  const json::string& text = value.as_string();
  Bytes bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return fail("expected hex");
    bytes += static_cast<char>(high << 4 | low);
  }
  return bytes;
}

const json::object* child(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found != nullptr ? found->if_object() : nullptr;
}

Result<> read_rows(const json::object& tables, table_id id, const auto& on_row) {
  const json::value* rows = tables.if_contains(kTables[id].name);
  if (rows == nullptr || !rows->is_array()) return fail("absent");
  for (const json::value& row : rows->as_array()) {
    if (!row.is_array() || row.as_array().size() != 2) return fail("expected rows of two");
    const Bytes key = TRY(from_hex(row.as_array()[0], kTables[id].key_size));
    on_row(key, TRY(from_hex(row.as_array()[1], kTables[id].value_size)));
  }
  return {};
}

std::map<uint32_t, std::string> numbered(const json::object& names, std::string_view key) {
  std::map<uint32_t, std::string> found;
  if (const json::object* object = child(names, key))
    for (const auto& [number, text] : *object)
      if (text.is_string())
        found[std::strtoul(std::string(number).c_str(), nullptr, 10)] = text.as_string().c_str();
  return found;
}

std::vector<std::string> strings(const json::object& object, std::string_view key) {
  std::vector<std::string> found;
  if (const json::value* list = object.if_contains(key); list != nullptr && list->is_array())
    for (const json::value& one : list->as_array())
      if (one.is_string()) found.emplace_back(one.as_string());
  return found;
}

policy::Names read_names(const json::object& names) {
  policy::Names read{.rules = numbered(names, "rules"), .identities = numbered(names, "identities")};
  if (const json::object* sets = child(names, "ruleSets"))
    for (const auto& [number, set] : *sets)
      if (set.is_object())
        read.rule_sets[std::strtoul(std::string(number).c_str(), nullptr, 10)] = {
            strings(set.as_object(), "ingress"), strings(set.as_object(), "egress")};
  return read;
}

}  // namespace

Result<Tables> read_tables(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* tables = error || !value.is_object() ? nullptr : child(value.as_object(), "tables");
  if (tables == nullptr) return fail("the agent's answer holds no tables");
  Tables read;
  if (const json::value* node = value.as_object().if_contains("node"); node != nullptr && node->is_string())
    read.node_name = node->as_string().c_str();
  for (size_t i = 0; i < TABLES; ++i) {
    const auto id = static_cast<table_id>(i);
    if (kTables[i].writer != dataplane::TableInfo::Writer::AGENT) continue;
    const auto put = [&](const Bytes& key, const Bytes& row) { dataplane::put(read.rows, id, key, row); };
    TRY(context(read_rows(*tables, id, put), "table {}", kTables[i].name));
  }
  TRY(context(read_rows(*tables, TABLE_generation,
                        [&](const Bytes&, const Bytes& row) {
                          read.generation = dataplane::from_bytes<uint64_t>(row);
                        }),
              "table generation"));
  if (const json::object* names = child(value.as_object(), "names")) read.names = read_names(*names);
  return read;
}

Result<Engine> load_engine(const Tables& tables) {
  Engine engine(native_new());
  if (!engine) return fail("out of memory");
  int failed = 0;
  dataplane::for_each_table(tables.rows, [&](table_id id, const auto& rows) {
    for (const auto& [key, value] : rows)
      if (const int error = native_put(engine.get(), id, &key, &value)) failed = error;
  });
  const uint32_t zero = 0;
  native_put(engine.get(), TABLE_generation, &zero, &tables.generation);
  if (failed != 0) return fail_errno(-failed, "load the tables");
  return engine;
}

const route* route_of(const Tables& tables, const Ip& ip) {
  const route* best = nullptr;
  uint32_t longest = 0;
  for (const auto& [key, value] : tables.rows.routes) {
    std::array<uint8_t, 16> bytes;
    std::copy(std::begin(key.bytes), std::end(key.bytes), bytes.begin());
    if (key.prefixlen > 128 || !Cidr(Ip(bytes), key.prefixlen).contains(ip)) continue;
    if (best == nullptr || key.prefixlen > longest) {
      best = &value;
      longest = key.prefixlen;
    }
  }
  return best;
}

}  // namespace thalweg::cli
