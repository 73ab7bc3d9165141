// MovedRows: tells the path's UDP flows that a backend of theirs may serve no more (bpf/abi.h, MOVED_ROWS). A
// UDP peer is never told by its own protocol. The reconciler notes every change it has applied, then raises
// the rows.
#pragma once

#include <map>
#include <set>

#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

class MovedRows {
 public:
  // Goes on from what the table holds.
  Result<> adopt(const Datapath& datapath);
  // A change has been applied to tables that held `before` otherwise.
  void note(const Intent& before, const Change& change);
  // Raises the rows noted; what fails is still owed. After the changes: a flow must find them when it asks.
  Result<> raise(Datapath& datapath);
  bool owed() const { return !owed_.empty(); }

 private:
  std::map<uint32_t, uint32_t> values_;  // none: 0
  std::set<uint32_t> owed_;
};

}  // namespace thalweg::dataplane
