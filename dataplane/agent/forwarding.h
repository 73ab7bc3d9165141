// Forwarding: the tables and programs of this node, and what is to be in them: Compiler → Reconciler →
// EbpfDatapath, with the numbering kept on disk. The agent feeds it and asks it to settle; on its one thread.
#pragma once

#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "dataplane/agent/reconciler.h"
#include "dataplane/ebpf/maps.h"
#include "dataplane/ebpf/program.h"
#include "dataplane/intent/compile.h"

namespace thalweg::dataplane {

class Forwarding {
 public:
  // Opens the pinned tables, begins to load the programs (attaching nothing) and takes over numbering and
  // rows as they are. A numbering that cannot be read is set aside with a warning: numbers are then chosen
  // around those in the tables.
  static Result<std::unique_ptr<Forwarding>> open(const std::string& bpf_dir,
                                                  const std::string& numbering_path, const Config& config);

  Compiler& compiler() { return compiler_; }
  const Compiler& compiler() const { return compiler_; }
  const Reconciler& reconciler() const { return reconciler_; }
  const EbpfDatapath& datapath() const { return datapath_; }
  // The verifier takes a second or two: it works on a thread of its own while objects come in. This waits for
  // it; an error says why there are no programs.
  Result<Programs*> programs();
  // Nothing while they are being loaded.
  std::vector<Hook> attached() const;

  // Compiles what is dirty, saves the numbering if it changed, and applies. After a failure call it again.
  Result<> settle();
  // Every row is as compiled, and has been applied once as a whole.
  bool settled() const { return whole_ && pending_.empty() && reconciler_.settled(); }
  // Whether the endpoint's rows are in the tables as they should be: from then on its policy holds.
  bool holds(const LocalPod& pod) const;
  // Hooks every program by `attach_all`; when the tables of another build's layout are in force, so that no
  // flow is lost between its programs and these (docs/survival.md). Then this build's pins alone remain.
  Result<> attach(const std::function<Result<>()>& attach_all);
  // Rows that had drifted, now repaired.
  Result<uint64_t> verify();

 private:
  Forwarding(TableSets sets, EbpfDatapath datapath, std::string numbering_path, const Config& config);
  Result<> adopt();
  Result<> take_over(const std::function<Result<>()>& attach_all);
  Result<> save_numbering();

  TableSets sets_;
  EbpfDatapath datapath_;
  std::future<Result<Programs>> loading_;  // waits in its destructor, before the tables go
  std::optional<Result<Programs>> programs_;
  Reconciler reconciler_;
  Compiler compiler_;
  std::string numbering_path_;
  uint64_t saved_version_ = 0;
  bool numbering_saved_ = false;
  bool whole_ = false;  // update_all() has succeeded
  Touched pending_;     // compiled, not yet given to the reconciler
};

}  // namespace thalweg::dataplane
