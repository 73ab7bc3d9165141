// On which of the node's addresses NodePorts are served: --nodeport-addresses, and what the interfaces have.
// The agent asks.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/netlink.h"

namespace thalweg::dataplane {

// "primary" (no ranges: the first address of each family), or ranges, comma between them. A range of loopback
// addresses is an error: what is sent there from outside is never taken in (RFC 1122 §3.2.1.3).
Result<std::vector<Cidr>> parse_node_port_addresses(std::string_view text);

// The addresses of all interfaces that are in one of the ranges, sorted; nothing for no ranges. Never
// loopback or link-local ones.
Result<std::optional<std::vector<Ip>>> find_node_port_addresses(nl::Socket& socket,
                                                                const std::vector<Cidr>& ranges);

}  // namespace thalweg::dataplane
