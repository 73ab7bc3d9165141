// The last good objects on disk, so that the agent boots while their source is away. One JSON object a line,
// as the API writes them; read and written by the agent.
#pragma once

#include <string>

#include "base/result.h"
#include "kube/cluster.h"

namespace thalweg::dataplane {

// Written atomically. Never holds Secrets.
Result<> save_objects(const std::string& path, const kube::Cluster& cluster);

struct SavedObjects {
  kube::Cluster cluster;
  size_t refused = 0;  // lines that no longer decode, e.g. after a downgrade
};
// ENOENT in code when there are none.
Result<SavedObjects> load_objects(const std::string& path);

}  // namespace thalweg::dataplane
