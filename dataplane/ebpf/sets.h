// The sets of tables pinned on this node: bpf_dir/sets/<layout>/{tables,programs,gate,sides}. A build finds
// its own set, or makes it beside the one in force and takes over from that what cannot be had again: the
// path's own memory. Whatever a killed agent left half done, of this build or another, open() finishes or
// undoes. Used by Forwarding.
//
//   in force: the set with the highest gate; without gates, any (they share the path's memory)
//   gate 0:   its tables are being filled, the hooks are (or become) its gate, all packets go to the set
//   before gate > 0: the hooks have changed sides; rows the set before still holds are on their way
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "dataplane/ebpf/layout.h"
#include "dataplane/ebpf/maps.h"

namespace thalweg::dataplane {

// A table of the set before, of another layout, whose rows are to be taken over.
struct OldTable {
  table_id table{};
  Fd fd;
  Fd sets;  // of ROWS: what says which rows are whose
  MapSizes sizes;
  std::vector<Move> old_key;  // old keys from new ones
  std::vector<Move> new_key;  // the other way
  std::vector<Move> new_value;
};

// Takes over every row the new table does not have yet, and removes it from the old one; how many.
Result<uint64_t> take_over_rows(const OldTable& old, const EbpfDatapath& to);

class TableSets {
 public:
  static Result<TableSets> open(const std::string& bpf_dir);

  const std::string& own_folder() const { return own_; }
  // The set in force that this build has to take over from; empty: none.
  const std::string& before_folder() const { return before_; }
  // Of the set before, less those that this one shares. Hash tables among them want the gate.
  const std::vector<OldTable>& old_tables() const { return old_; }
  bool wants_gate() const;
  // What could not be taken over, and why, for the log.
  const std::vector<std::string>& lost() const { return lost_; }

  EbpfDatapath take_tables() { return std::move(*tables_); }

  // Once every hook runs this build's programs: this set alone remains.
  Result<> drop_others();

 private:
  Result<> finish_last_exchange();
  Result<> open_own();
  Result<> compare(table_id table, bool own_stands, EbpfDatapath::Shared& shared);
  Result<> find_old_tables();

  std::string bpf_dir_, own_, before_;
  std::optional<EbpfDatapath> tables_;
  std::vector<OldTable> old_;
  std::vector<std::string> lost_;
};

// ---- the gate of a set (bpf/gate.bpf.c)
std::string gate_path(const std::string& set_folder);
std::string sides_path(const std::string& set_folder);
// 0: shut, all packets go to the set before. Empty: no gate.
std::optional<uint32_t> gate_of(const std::string& set_folder);

}  // namespace thalweg::dataplane
