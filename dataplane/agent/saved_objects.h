// The last good objects on disk, so that the agent boots while their source is away. One JSON object a line,
// as the API writes them; read and written by the agent.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "kube/cluster.h"

namespace thalweg::dataplane {

// Writes atomically, on a thread of its own: a large cluster takes seconds, and endpoints change meanwhile.
// Never holds Secrets.
class ObjectSaver {
 public:
  explicit ObjectSaver(std::string path);
  ~ObjectSaver();  // waits for what is being written
  // The objects as they are now. While earlier ones are being written, only the last call's are kept.
  void save(const kube::Cluster& cluster);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct SavedObjects {
  kube::Cluster cluster;
  size_t refused = 0;  // lines that no longer decode, e.g. after a downgrade
};
// ENOENT in code when there are none.
Result<SavedObjects> load_objects(const std::string& path);

}  // namespace thalweg::dataplane
