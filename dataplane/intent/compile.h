// Compiler: Cluster + this node's links and configuration → Intent, by fragments (one per Service with its
// slices, Node, local pod, policy subject). Only what changed is recompiled; the result is as if compiled
// from scratch. The agent and the edge each own one, on one thread.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/intent/endpoints.h"
#include "dataplane/intent/intent.h"
#include "kube/cluster.h"
#include "policy/rules.h"

namespace thalweg::dataplane {

using Mac = std::array<uint8_t, 6>;

// How packets reach pods of another node. Direct: the node is a neighbour on the uplink's segment, and the
// underlay passes pods' addresses.
enum class Overlay : uint8_t {
  Vxlan,   // always the tunnel
  Auto,    // direct where the node is on the segment
  Direct,  // direct or not at all
};

// The underlay's way to another node.
struct PeerPath {
  uint16_t mtu = 0;        // of what it carries, where that is less than the uplink's; otherwise 0
  bool neighbour = false;  // on the uplink itself, behind no router
  bool operator==(const PeerPath&) const = default;
};

// What the node is told by its flags and finds in its kernel.
struct Config {
  std::string node_name;
  bool edge = false;        // thalweg-edge: LoadBalancer and external addresses only, any endpoint will do
  Ip v4, v6;                // this node's addresses; none: the first of its Node object
  bool underlay_v4 = true;  // it has an IPv4 address: tunnels are IPv4 to whom has one, too
  bool underlay_v6 = true;
  uint32_t uplink_ifindex = 0;
  uint32_t host_ifindex = 0;
  Mac host_mac{};
  uint64_t netns_cookie = 0;  // of the host's network namespace; 0: no socket hooks
  uint16_t tunnel_port = 4789;
  uint16_t mtu = 1450;  // largest inner packet, bytes
  uint16_t uplink_mtu = 1500;
  std::map<Ip, PeerPath> peer_paths;  // by the peers' addresses
  uint32_t vni = 1;
  Overlay overlay = Overlay::Vxlan;
  std::vector<Cidr> segment;  // prefixes whose addresses are neighbours on the uplink
  bool masquerade = true;
  bool dsr = false;  // balancers' clients are answered by the backend's node; the same on every node
  // Above what Linux gives its own sockets (net.ipv4.ip_local_port_range ends at 60999): the same 5-tuple
  // cannot be both.
  uint16_t masquerade_first = 61000, masquerade_last = 65535;
  std::vector<Cidr> service_cidrs;      // become ROUTE_SERVICE_CIDR rows
  std::vector<Cidr> external_ip_cidrs;  // the only spec.externalIPs served (CVE-2020-8554: empty serves none)
  // Of this node, where NodePorts are served; not given: its first address of each family.
  std::optional<std::vector<Ip>> node_port_addresses = {};
  bool operator==(const Config&) const = default;
};

// A pod wired on this node: what CNI ADD knows of it. The endpoint's rows exist only while the link does.
struct LocalPod {
  kube::ObjectKey key;
  std::vector<Ip> ips;
  uint32_t ifindex = 0;  // host side of its veth
  Mac mac{};             // of the pod's interface
  Mac host_mac{};        // of the host side
  bool operator==(const LocalPod&) const = default;
};

// One clear line about an object that could not be compiled (fully); it stands until the object changes.
struct Complaint {
  std::string object;  // "Service default/web"
  std::string text;
  bool operator==(const Complaint&) const = default;
};

class Compiler {
 public:
  explicit Compiler(Config config);
  ~Compiler();
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  // ---- what is desired; nothing is compiled before compile()
  void configure(Config config);
  // Takes over the objects named, or forgets them where the cluster has none.
  void update(const kube::Cluster& cluster, std::span<const kube::ObjectRef> changed);
  // For CNI ADD: a Pod the source has not told of yet. Holds until update() names it or its link goes.
  void put_pod(std::shared_ptr<const kube::Pod> pod);
  bool knows_pod(const kube::ObjectKey& key) const;
  // A link without a Pod object gets no rows: nothing flows before its policy is known.
  void put_link(LocalPod link);
  void remove_link(const kube::ObjectKey& key);

  // Recompiles what is dirty; returns the rows that may differ from those of the last compile().
  Touched compile();
  const Intent& intent() const;
  std::vector<Complaint> complaints() const;
  // What the numbers in the rows stand for, for `thalweg why`.
  const policy::Names& names() const;
  // Whom balancers in front of the nodes ask about, by Service.
  const std::map<kube::ObjectKey, HealthCheck>& health_checks() const;
  // Of this node, where NodePorts are served and balancers ask.
  std::vector<Ip> node_port_addresses() const;

  // ---- numbering: identities, rule sets and rule ids keep their numbers across a restart.
  // Save numbering() durably *before* the rows of a compile() are applied; restore() it before the first one.
  std::string numbering() const;
  uint64_t numbering_version() const;  // changes when numbering() does
  Result<> restore(std::string_view numbering);
  // Numbers found in adopted tables but not in the restored numbering are not given out by the first
  // compile().
  void avoid(const Intent& actual);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The same as one function of the state; the tests hold Compiler to it.
Intent compile_from_scratch(const Config& config, const kube::Cluster& cluster,
                            std::span<const LocalPod> links, std::string_view numbering = {});

}  // namespace thalweg::dataplane
