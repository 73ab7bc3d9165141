#include "dns/zone_keeper.h"

#include <algorithm>
#include <chrono>

namespace thalweg::dns {

ZoneKeeper::ZoneKeeper(kube::Source& source, ZoneConfig config, Snapshot<Zone>& zone, OnBuilt on_built)
    : source_(source), config_(std::move(config)), zone_(zone), on_built_(std::move(on_built)) {
  zone_.publish(Zone::unsynced(config_));
}

void ZoneKeeper::start() {
  source_.start([this](const kube::Cluster& cluster, std::span<const kube::ObjectRef> changed) {
    if (!synced_ || matters(changed)) rebuild(cluster);
  });
}

void ZoneKeeper::stop() { source_.stop(); }

bool ZoneKeeper::matters(std::span<const kube::ObjectRef> changed) const {
  return std::any_of(changed.begin(), changed.end(), [this](const kube::ObjectRef& ref) {
    return ref.kind == kube::Kind::Service || ref.kind == kube::Kind::EndpointSlice ||
           ref.kind == kube::Kind::Namespace ||
           (ref.kind == kube::Kind::Pod && config_.pods != PodNames::Disabled);
  });
}

void ZoneKeeper::rebuild(const kube::Cluster& cluster) {
  const auto begin = std::chrono::steady_clock::now();
  ++config_.serial;
  const auto zone = build_zone(cluster, config_);
  zone_.publish(zone);
  synced_ = true;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  on_built_({zone->names(), zone->bytes(), zone->skipped(), took.count()});
}

}  // namespace thalweg::dns
