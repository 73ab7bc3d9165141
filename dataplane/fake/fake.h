// FakeDatapath: tables in memory with the semantics of the real ones. Tests of everything above a Datapath
// use it.
#pragma once

#include <array>
#include <map>
#include <optional>

#include "dataplane/datapath.h"

namespace thalweg::dataplane {

class FakeDatapath : public Datapath {
 public:
  Result<> apply(std::span<const Change> changes) override;
  Result<std::vector<Row>> dump(table_id table) const override;
  Result<Counters> counters() const override { return Counters{}; }

  // What a test may see and break.
  const std::map<Bytes, Bytes>& table(table_id table) const { return tables_[table]; }
  void corrupt(table_id table, const Bytes& key,
               std::optional<Bytes> value);                                  // as someone else's write would
  void limit(table_id table, size_t entries) { limits_[table] = entries; }   // 0: what maps.def says
  void fail_after(std::optional<size_t> changes) { fail_after_ = changes; }  // the n-th change from now fails
  uint64_t writes() const { return writes_; }

 private:
  Result<> apply_one(const Change& change);

  std::array<std::map<Bytes, Bytes>, TABLES> tables_;
  std::array<size_t, TABLES> limits_{};
  std::optional<size_t> fail_after_;
  uint64_t writes_ = 0;
};

}  // namespace thalweg::dataplane
