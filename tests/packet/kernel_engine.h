// The kernel's programs as Engines: loaded into this kernel, each packet a fresh BPF_PROG_TEST_RUN. The tc
// programs alone, or the uplink's XDP program before them.
#pragma once

#include <memory>

#include "tests/packet/engine.h"

namespace thalweg::packet {

// An error says why this machine cannot: not root, no BPF, a program the verifier refuses.
Result<std::unique_ptr<Engine>> kernel_engine();

// What comes by the uplink meets the XDP program first, and tc's if it passes. It runs in a network namespace
// of its own: the uplink is up0 (kUplinkIfindex), whose MAC a Frame is sent to by default; behind it the
// world's router and the nodes 192.0.2.2 to .4 are known neighbours.
class XdpEngine : public Engine {
 public:
  // Whether the last packet was sent on by XDP. Its MACs are then looked at here, and those it came with put
  // back, since next hops are no part of what engines are compared by.
  virtual bool took() const = 0;
  // Changes the kernel's own routes and neighbours.
  virtual Result<> on_node(const std::string& ip_command) = 0;
};
Result<std::unique_ptr<XdpEngine>> xdp_engine();

}  // namespace thalweg::packet
