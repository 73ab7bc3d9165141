// Datapath: what makes an Intent true. ebpf/ (the kernel), dpdk/ (a machine given to it) and fake/ (memory)
// implement it; the reconciler calls it and knows nothing else of them.
#pragma once

#include <array>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bpf/abi.h"

namespace thalweg::dataplane {

using Bytes = std::string;  // a key or a value as the tables hold it (bpf/abi.h)

struct Row {
  Bytes key;
  Bytes value;
};

struct Change {
  enum class Op : uint8_t { Put, Delete };
  table_id table;
  Op op;
  Bytes key;
  Bytes value;  // empty for Delete
};

using Counters = std::array<counter, COUNTER_ROWS>;  // summed over CPUs

class Datapath {
 public:
  virtual ~Datapath() = default;
  // Applies the changes in the order given; stops at the first that fails and names its table and row.
  // Put is an upsert; deleting an absent row is no error, deleting a row of an ARRAY
  // zeroes it.
  virtual Result<> apply(std::span<const Change> changes) = 0;
  // Every row of one table, in no order. ARRAY tables: only rows that are not all zero.
  virtual Result<std::vector<Row>> dump(table_id table) const = 0;
  // The same row by row, so that a large table is not held twice. The engine may read it in parts.
  using OnRow = std::function<void(std::string_view key, std::string_view value)>;
  virtual Result<> each_row(table_id table, const OnRow& on_row) const {
    for (const Row& row : TRY(dump(table))) on_row(row.key, row.value);
    return {};
  }
  virtual Result<Counters> counters() const = 0;
};

}  // namespace thalweg::dataplane
