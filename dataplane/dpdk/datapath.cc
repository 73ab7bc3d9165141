#include "dataplane/dpdk/datapath.h"

#include <cerrno>
#include <cstring>

#include "dataplane/intent/intent.h"

namespace thalweg::dataplane::dpdk {
namespace {

constexpr size_t kChangesAtOnce = 64;  // between two bursts: some ten microseconds

Result<> apply_one(native& engine, const Change& change) {
  if (change.table >= TABLES) return fail("table {}: no such table", static_cast<int>(change.table));
  const auto& table = info(change.table);
  const bool put = change.op == Change::Op::Put;
  if (change.key.size() != table.key_size || (put && change.value.size() != table.value_size))
    return fail("table {}: a row of {} + {} bytes", table.name, change.key.size(), change.value.size());
  const int error = put ? native_put(&engine, change.table, change.key.data(), change.value.data())
                        : native_delete(&engine, change.table, change.key.data());
  if (error == 0 || (!put && error == -ENOENT)) return {};
  return fail_errno(-error, "table {}: {} a row", table.name, put ? "put" : "delete");
}

// The row that says an address is a service's: from now on it is answered for here.
void announce_if_new(Worker& worker, const Change& change) {
  if (change.table != TABLE_services || change.op != Change::Op::Put) return;
  const auto key = from_bytes<service_key>(change.key);
  if (key.port != 0 || key.protocol != 0 || native_get(&worker.engine(), TABLE_services, &key)) return;
  worker.announce(to_ip(key.address));
}

struct Apply : Task {
  explicit Apply(std::span<const Change> all) : changes(all) {}
  bool step(Worker& worker) override {
    const size_t end = std::min(changes.size(), done_until + kChangesAtOnce);
    for (; done_until < end; ++done_until) {
      announce_if_new(worker, changes[done_until]);
      result = apply_one(worker.engine(), changes[done_until]);
      if (!result) return true;
    }
    return done_until == changes.size();
  }
  std::span<const Change> changes;
  size_t done_until = 0;
  Result<> result;
};

struct Dump : Task {
  explicit Dump(table_id which) : table(which) {}
  bool step(Worker& worker) override {
    native_each(&worker.engine(), table, take, this);
    return true;
  }
  static void take(void* self, const void* key, const void* value) {
    auto& dump = *static_cast<Dump*>(self);
    dump.rows.push_back({Bytes(static_cast<const char*>(key), native_key_size(dump.table)),
                         Bytes(static_cast<const char*>(value), native_value_size(dump.table))});
  }
  table_id table;
  std::vector<Row> rows;
};

struct Count : Task {
  bool step(Worker& worker) override {
    for (uint32_t row = 0; row < DROP_REASONS; ++row)
      if (const auto* value = native_get(&worker.engine(), TABLE_counters, &row))
        std::memcpy(&counters[row], value, sizeof(counter));
    stats = worker.stats();
    return true;
  }
  Counters counters{};
  WorkerStats stats;
};

constexpr const char* kNotRunning = "the worker is not running";

}  // namespace

Result<> DpdkDatapath::apply(std::span<const Change> changes) {
  if (changes.empty()) return {};
  Apply task(changes);
  if (!worker_.perform(task)) return fail("{}", kNotRunning);
  return std::move(task.result);
}

Result<std::vector<Row>> DpdkDatapath::dump(table_id table) const {
  if (table >= TABLES) return fail("table {}: no such table", static_cast<int>(table));
  Dump task(table);
  if (!worker_.perform(task)) return fail("{}", kNotRunning);
  return std::move(task.rows);
}

Result<Counters> DpdkDatapath::counters() const {
  Count task;
  if (!worker_.perform(task)) return fail("{}", kNotRunning);
  return task.counters;
}

Result<WorkerStats> DpdkDatapath::stats() const {
  Count task;
  if (!worker_.perform(task)) return fail("{}", kNotRunning);
  return task.stats;
}

}  // namespace thalweg::dataplane::dpdk
