// Reconciler: keeps a Datapath's tables equal to an Intent. Knows nothing of Kubernetes or of the engine.
// The agent's loop calls update() after each compilation, again after a failure, and verify() from time to
// time.
#pragma once

#include <array>

#include "dataplane/agent/moved.h"
#include "dataplane/intent/diff.h"
#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

struct ReconcilerStats {
  uint64_t changes_applied = 0;
  uint64_t apply_errors = 0;
  uint64_t generations = 0;                       // times the flows' generation was raised
  uint64_t moves = 0;                             // times UDP backends were told of that serve no more
  std::array<uint64_t, TABLES> drift_repaired{};  // rows, by table
};

class Reconciler {
 public:
  explicit Reconciler(Datapath& datapath) : datapath_(datapath) {}

  // Takes what the tables hold now as the start, so that a restart with valid pins writes nothing. Call once,
  // first.
  Result<> adopt();
  // Makes the touched rows (and those still owed from a failure) as desired. The rest of the tables stays as
  // it is. On failure everything that could be applied is; call again after a while with nothing touched.
  Result<> update(const Intent& desired, const Touched& touched);
  // Makes every row as desired; after adopt(), for the first Intent.
  Result<> update_all(const Intent& desired);
  // Reads the real tables, counts rows that are not as last applied, and makes every row as desired.
  // The value is the number of rows that had drifted.
  Result<uint64_t> verify(const Intent& desired);

  // Every cached flow is decided once more.
  Result<> doubt_flows();

  // false: update() has to be called again
  bool settled() const { return owed_.empty() && !bump_owed_ && !moved_.owed(); }
  const Intent& applied() const { return applied_; }
  const ReconcilerStats& stats() const { return stats_; }

 private:
  Result<> make(const std::vector<Change>& changes);
  Result<> apply(const std::vector<Change>& changes);
  Result<> apply_singly(const std::vector<Change>& changes);
  Result<uint64_t> take_in_drift();
  Result<> read_generation();
  Result<> bump();
  void note(const Change& change);

  Datapath& datapath_;
  Intent applied_;          // what the tables hold, as far as is known
  Touched owed_;            // rows a failure left behind
  bool bump_owed_ = false;  // cached flows rest on rows that have changed since
  uint64_t generation_ = 0;
  MovedRows moved_;
  ReconcilerStats stats_;
};

}  // namespace thalweg::dataplane
