// ZoneKeeper: rebuilds the zone when the cluster's objects change, and publishes it to the workers. On main's
// loop, never on the thread that answers.
#pragma once

#include <functional>
#include <memory>

#include "base/asio_fwd.h"
#include "base/snapshot.h"
#include "dns/zone.h"
#include "kube/cluster.h"

namespace thalweg::dns {

struct ZoneBuilt {
  size_t names = 0;
  size_t bytes = 0;
  size_t skipped = 0;
  double seconds = 0;
};

class ZoneKeeper {
 public:
  using OnBuilt = std::function<void(const ZoneBuilt&)>;

  // Publishes the unsynced zone at once.
  ZoneKeeper(kube::Source& source, ZoneConfig config, Snapshot<Zone>& zone, OnBuilt on_built);
  void start();
  void stop();
  bool synced() const { return synced_; }

 private:
  void rebuild(const kube::Cluster& cluster);
  bool matters(std::span<const kube::ObjectRef> changed) const;

  kube::Source& source_;
  ZoneConfig config_;
  Snapshot<Zone>& zone_;
  OnBuilt on_built_;
  bool synced_ = false;
};

}  // namespace thalweg::dns
