// Services: a Service with its EndpointSlices → rows of services, backends, members, maglev and
// source_ranges. Pure; compile calls it.
#pragma once

#include <span>
#include <vector>

#include "dataplane/intent/compile.h"
#include "dataplane/intent/endpoints.h"
#include "dataplane/intent/fragment.h"

namespace thalweg::dataplane {

// What a service's fragment depends on besides its own objects.
struct ServiceSurroundings {
  const Config& config;
  std::vector<Ip> node_port_addresses;  // of this node: where NodePorts are served
  Place place;
};
ServiceSurroundings surroundings(const Config& config, const kube::Node* own);

Fragment service_fragment(const kube::Service& service, std::span<const kube::EndpointSlice* const> slices,
                          const ServiceSurroundings& around);

}  // namespace thalweg::dataplane
