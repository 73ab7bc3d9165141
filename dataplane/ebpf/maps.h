// The tables of bpf/maps.def as pinned BPF maps: the kernel's Datapath. Opened by thalwegd (and by
// program.h, which gives them to the programs); generic over every table, so a new line in maps.def needs
// nothing here.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "dataplane/datapath.h"
#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

// keys and values: rows end to end.
using OnRows = std::function<void(const std::string& keys, const std::string& values, size_t rows)>;

// Any map, of this build's layout or another's.
struct MapSizes {
  size_t key_size = 0, value_size = 0, entries = 0;
};
Result<MapSizes> sizes_of_map(int map);
// Walks it chunk by chunk, a bounded piece of work each: call until it returns false, then the walk is
// complete. cursor starts empty. Rows added or removed meanwhile may be missed or seen twice. Maps
// without batches (no kernel since 5.13) are given whole.
Result<bool> walk_map(int map, const MapSizes& sizes, std::string& cursor, size_t rows,
                      const OnRows& on_rows);
// The kernel's number of a map; 0: it cannot be asked.
uint32_t id_of_map(int map);

class EbpfDatapath : public Datapath {
 public:
  // Opens the tables pinned under folder (on a bpffs). One that is absent is `shared`'s, if it has it, or
  // made. One pinned with another layout than maps.def's is replaced by an empty one and named in rebuilt().
  using Shared = std::map<table_id, Fd>;
  static Result<EbpfDatapath> open(const std::string& folder, const Shared& shared = {});

  Result<> apply(std::span<const Change> changes) override;
  Result<std::vector<Row>> dump(table_id table) const override;
  Result<> each_row(table_id table, const OnRow& on_row) const override;
  Result<Counters> counters() const override;

  int fd(table_id table) const { return fds_[table].get(); }
  const std::vector<std::string>& rebuilt() const { return rebuilt_; }

  Result<bool> walk(table_id table, std::string& cursor, size_t rows, const OnRows& on_rows) const;
  // Absent rows are no error. keys: whole keys, end to end.
  Result<> remove(table_id table, const std::string& keys) const;

 private:
  Result<> put_run(table_id table, std::span<const Change> run);
  std::array<Fd, TABLES> fds_;
  std::vector<std::string> rebuilt_;
};

}  // namespace thalweg::dataplane
