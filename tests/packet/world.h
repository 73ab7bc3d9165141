// The little world the packet cases live in: this node, another, their pods, two services, the rest of the
// Internet. Documentation addresses only (RFC 5737, RFC 3849).
#pragma once

#include <string>
#include <vector>

#include "tests/packet/engine.h"
#include "tests/packet/frame.h"

namespace thalweg::packet {

struct PutRow {
  table_id table;
  Bytes key, value;
};
using Rows = std::vector<PutRow>;

// Interfaces and MACs of this world.
inline constexpr uint32_t kSenderIfindex = 1;  // where every packet of a case comes in
inline constexpr uint32_t kOtherIfindex = 7, kUplinkIfindex = 20, kHostIfindex = 21;
inline const std::string kPodMac("\x02\0\0\0\0\x01", 6), kVethMac("\x02\0\0\0\0\x0b", 6),
    kHostMac("\x02\0\0\0\0\x0c", 6);
inline constexpr uint16_t kMasqueradePort = 61000;  // the only one: what is chosen is known

// This node 192.0.2.1 holds the pods 198.51.100.0/26 and 2001:db8:1::/64; the other, 192.0.2.2, holds
// 198.51.100.64/26 and 2001:db8:2::/64 and is reached by tunnel. 203.0.113.128/25 are service addresses.
// Everything else is the world.
Rows node();

addr abi_address(const std::string& text);
PutRow route(const std::string& cidr, route_kind kind, const std::string& peer = "", uint16_t flags = 0,
             uint16_t mtu = 0);
// A pod of this node on the interface given.
PutRow endpoint(const std::string& address, uint32_t ifindex = kSenderIfindex, uint32_t rule_set = 0);
PutRow identity(const std::string& address, uint32_t identity);
PutRow ip_block(const std::string& cidr, uint32_t identity);
PutRow rule_set(uint32_t id, uint32_t flags, uint64_t epoch = 1);
// port 0: every port of the protocol; protocol 0: everything.
PutRow allow(uint32_t rule_set, direction direction, uint32_t identity, uint8_t protocol = 0,
             uint16_t port = 0, uint32_t id = 9);
// A service with one backend, so that what is chosen is known; none with an empty backend.
Rows service(const std::string& address, uint16_t port, uint8_t protocol, const std::string& backend,
             uint16_t backend_port, uint32_t flags = SERVICE_CLUSTER_IP);
// A service said in full. Its backends are addresses; their port is 8080.
struct FullService {
  std::string address;
  uint16_t port = 80;
  uint8_t protocol = kTcp;
  std::vector<std::string> inside = {}, outside = {};  // slots by audience; outside: only if they differ
  uint32_t flags = SERVICE_CLUSTER_IP;
  uint32_t affinity_s = 0;
  std::vector<std::string> source_ranges = {};
  std::vector<uint16_t> maglev = {};  // position → slot
  Rows rows() const;
};
// That its address is a service's, whatever the port.
PutRow any_port(const FullService& of);
// That a backend serves, and that it does no more.
PutRow member(const FullService& of, const std::string& backend, audience whose = INSIDE);
PutRow no_member(const FullService& of, const std::string& backend, audience whose = INSIDE);
// The row of a backend's address in the table moved.
PutRow moved(const std::string& backend, uint32_t number);

PutRow generation(uint64_t number);
// With this secret all TCP flows between two addresses have the same home in the table of flows, and the same
// tag there.
PutRow secret_of_likeness();
// As if no service's flow had ever been handed to this node's own stack.
PutRow host_never_served();
PutRow passes_by(uint32_t noted);

Rows operator+(Rows rows, const PutRow& row);
Rows operator+(Rows rows, const Rows& more);

}  // namespace thalweg::packet
