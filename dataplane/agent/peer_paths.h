// The underlay's way to each peer: whether a router stands between, and how large a packet it carries, where
// that is less than the uplink does. From the kernel's routes, and from what routers on the way say about
// this node's tunnel packets (which belong to no socket, so the kernel does not learn it by itself). Used by
// the agent.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "base/asio_fwd.h"
#include "base/link.h"
#include "base/result.h"
#include "dataplane/intent/compile.h"
#include "kube/cluster.h"

namespace thalweg::dataplane {

struct TooBig {
  Ip peer;
  uint16_t mtu = 0;  // of the outer packet
  bool operator==(const TooBig&) const = default;
};

// The IPv4 packet of a raw ICMP socket, if a router says in it (RFC 1191 §3) that a tunnel packet was too
// large.
std::optional<TooBig> read_too_big(std::span<const uint8_t> packet, uint16_t tunnel_port);
// The same of ICMPv6 (RFC 4443 §3.2), whose raw sockets give the message without the IPv6 header.
std::optional<TooBig> read_too_big6(std::span<const uint8_t> message, uint16_t tunnel_port);

class PeerPaths {
 public:
  // on_change: a router has told of a peer that carries less than was known.
  PeerPaths(asio::io_context& io, uint16_t tunnel_port, std::function<void()> on_change);
  ~PeerPaths();

  // Listens to routers in this network namespace; to those that speak IPv6 where the kernel does.
  Result<> start();
  void stop();

  // What is known now of the other nodes. What a router has said holds for ten minutes.
  Result<std::map<Ip, PeerPath>> read(nl::Socket& socket, const kube::Store<kube::Node>& nodes,
                                      const std::string& own_name, const nl::Link& uplink);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace thalweg::dataplane
