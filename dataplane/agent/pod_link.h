// The link between a pod and its node (docs/packet.md): a veth with /32 and /128 addresses, link-local
// gateways and permanent neighbours on both sides: no ARP, no ND, no bridge. Called by the agent's CNI server
// on a thread in the node's namespace.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/link.h"
#include "base/result.h"
#include "dataplane/agent/host_state.h"

namespace thalweg::dataplane {

struct PodLinkSpec {
  std::string netns_path;  // of the pod
  std::string ifname;      // in the pod
  std::string host_name;   // of the other end, in the calling thread's namespace
  std::vector<Ip> ips;     // of the pod; at most one of each family carries the default route's source
  uint32_t mtu = 1450;
};

struct PodLink {
  uint32_t host_ifindex = 0;
  nl::Mac pod_mac{};
  nl::Mac host_mac{};
};

extern const Ip kPodGateway4;  // 169.254.1.1
extern const Ip kPodGateway6;  // fe80::1

// "tw" + 11 hex digits of a hash of both: the same attachment always has the same name.
std::string host_link_name(std::string_view container_id, std::string_view ifname);

// Makes it true; what stands already as described is left alone, a half-made one of the same host name is
// made anew. On failure nothing remains. Errors: code ENOENT when the pod's namespace is gone.
Result<PodLink> wire(const PodLinkSpec& spec);

// The pod's end, its addresses and routes, and the host's routes go with it. Absent is no error.
Result<> unwire(const std::string& host_name);

// What the host's side of a standing link must hold.
void add_host_side(const PodLinkSpec& spec, uint32_t host_ifindex, HostState& state);

// The pod's side as described again; true: something was amiss. The link itself must stand.
Result<bool> repair_pod_side(const PodLinkSpec& spec);

// The link as it is, or what is not as described.
Result<PodLink> check(const PodLinkSpec& spec);

}  // namespace thalweg::dataplane
