// What thalwegd is told by its flags, validated; passed by constructor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.h"
#include "dataplane/intent/compile.h"

namespace thalweg::dataplane {

enum class XdpMode { Auto, Native, Off };

struct AgentOptions {
  std::string node_name;
  // One of the three, or none: the in-cluster service account.
  std::string manifests;
  std::string kubeconfig;
  std::string api;

  std::string run_dir = "/run/thalweg";        // sockets
  std::string state_dir = "/var/lib/thalweg";  // addresses, attachments, last good objects: survives a reboot
  std::string bpf_dir = "/sys/fs/bpf/thalweg";
  std::string cgroup;  // a cgroup2 folder: the processes under it get the socket hooks; empty: none do
  std::string uplink;  // empty: the interface with the node's InternalIP
  std::vector<Cidr> service_cidrs;
  std::vector<Cidr> external_ip_cidrs;
  std::vector<Cidr> node_port_cidrs;  // empty: the node's first address of each family
  uint16_t tunnel_port = 4789;
  uint16_t mtu = 0;  // largest inner packet, bytes; 0: the uplink's less the tunnel's headers
  bool masquerade = true;
  Overlay overlay = Overlay::Vxlan;
  bool dsr = false;
  XdpMode xdp = XdpMode::Auto;

  uint64_t pod_wait_ms = 10'000;   // how long CNI ADD waits for the Pod object and its rows
  uint64_t verify_ms = 60'000;     // between two comparisons of the real tables with the Intent
  uint64_t sweep_ms = 1'000;       // between two steps over the flow table
  uint64_t save_quiet_ms = 2'000;  // objects are saved when nothing has changed for so long,
  uint64_t save_max_ms = 30'000;   // but at the latest after so long
};

}  // namespace thalweg::dataplane
