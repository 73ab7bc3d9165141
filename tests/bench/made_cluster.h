// A made cluster of many Services for benches: its objects as the JSON an API server sends, byte for byte
// what real ones carry and we leave out included. Used by cluster_server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.h"
#include "kube/object.h"

namespace thalweg::bench {

inline constexpr const char* kNodeName = "n1";

// One endpoint of a service, as far as it may change.
struct MadeEndpoint {
  Ip ip;
  bool ready = true;
};

// Service number n has a ClusterIP, the port 80/TCP (81 if n is odd) and one EndpointSlice.
struct MadeService {
  uint32_t number = 0;
  uint16_t port() const { return 80 + number % 2; }
  uint16_t target_port = 8080;
  std::vector<MadeEndpoint> endpoints;
};

// The ClusterIPs of up to 2^20 services stand in 10.96.0.0/12, the endpoints in 100.64.0.0/10.
Ip cluster_ip(uint32_t number);
MadeService make_service(uint32_t number, uint32_t endpoints);

std::string service_json(const MadeService& service, uint64_t version);
std::string slice_json(const MadeService& service, uint64_t version);
// The node the agent under test runs on, a namespace, and a pod of that node called bench/NAME.
std::string node_json(const std::string& address, const std::string& pod_cidr);
std::string namespace_json(const std::string& name);
std::string pod_json(const std::string& name);

}  // namespace thalweg::bench
