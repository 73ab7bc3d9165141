// EndpointSlices from Services and Pods, as the endpoint-slice controller makes them. For manifests, where no
// controller runs.
#pragma once

#include <memory>
#include <vector>

#include "kube/cluster.h"

namespace thalweg::kube {

// The slices of every Service that has a selector, is no ExternalName and has no slice of its own in cluster.
// A pure function of the cluster; 100 endpoints a slice, one set a family and a set of resolved ports.
// https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
std::vector<std::shared_ptr<const EndpointSlice>> derive_endpoint_slices(const Cluster& cluster);

}  // namespace thalweg::kube
