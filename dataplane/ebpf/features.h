// What this kernel offers of what the engine needs, found once at the start of thalwegd: what is necessary
// and absent is one clear error, what is only useful and absent is one line, and nothing fails later for it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace thalweg::dataplane {

struct Features {
  bool btf = false;      // /sys/kernel/btf/vmlinux: programs fit themselves to this kernel (CO-RE)
  bool tcx = false;      // links at tc (Linux 6.6): replaced without a gap, kept when the agent goes
  bool bpffs = false;    // bpf_dir lies on one
  bool cgroup2 = false;  // --cgroup DIR is one: connect() picks the backend
  bool batch = false;    // tables are written in batches
  std::vector<std::string> missing;  // each what it is and what that costs
};

// An error when one of the necessary is absent: the right to use bpf(2), tcx, a bpffs.
Result<Features> find_features(const std::string& bpf_dir, const std::string& cgroup_dir);

}  // namespace thalweg::dataplane
