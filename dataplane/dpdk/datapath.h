// DpdkDatapath: the Datapath over a running Worker's tables. The reconciler calls it from the control thread;
// every call is a Task on the worker's ring and waits for its end.
#pragma once

#include "dataplane/datapath.h"
#include "dataplane/dpdk/worker.h"

namespace thalweg::dataplane::dpdk {

class DpdkDatapath final : public Datapath {
 public:
  explicit DpdkDatapath(Worker& worker) : worker_(worker) {}
  // New service addresses are announced to the segment.
  Result<> apply(std::span<const Change> changes) override;
  Result<std::vector<Row>> dump(table_id table) const override;
  Result<Counters> counters() const override;
  Result<WorkerStats> stats() const;

 private:
  Worker& worker_;
};

}  // namespace thalweg::dataplane::dpdk
