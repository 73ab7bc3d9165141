// Bridges and their ports, over rtnetlink(7), beside base/link.h. Used by the CNI plugin `bridge`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/link.h"

namespace thalweg::nl {

struct Bridge {
  std::string name;
  uint32_t mtu = 0;  // 0: the kernel's default
  bool vlan_filtering = false;
};
Result<> create_bridge(Socket& socket, const Bridge& bridge);

// A link becomes a port of the bridge, and is up.
struct BridgePort {
  uint32_t link = 0, bridge = 0;  // ifindex
  bool hairpin = false;           // what it sends may go back out by it
  bool isolated = false;          // passes nothing to another isolated port
};
Result<> join_bridge(Socket& socket, const BridgePort& port);
struct PortState {
  bool hairpin = false, isolated = false;
};
Result<PortState> port_state(Socket& socket, uint32_t link);

// VLANs of a port (IEEE 802.1Q), where the bridge filters by them.
struct PortVlan {
  uint16_t id = 0;                        // 1–4094
  bool native = false, untagged = false;  // of what comes in without a tag; goes out without one
};
Result<> add_vlan(Socket& socket, uint32_t link, const PortVlan& vlan);
Result<> delete_vlan(Socket& socket, uint32_t link, uint16_t id);
Result<std::vector<uint16_t>> vlans(Socket& socket, uint32_t link);

}  // namespace thalweg::nl
