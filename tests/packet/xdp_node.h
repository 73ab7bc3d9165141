// A node for the XDP program: a network namespace whose uplink up0 has it, with the world's router and the
// nodes 192.0.2.2 to .4 as known neighbours. Used by kernel_engine.cc and packet_bench.
#pragma once

#include <string>

#include "base/fd.h"
#include "base/netns.h"
#include "tests/packet/case.h"

namespace thalweg::packet {

// The uplink's MAC is the one a Frame is sent to by default; neighbours have the other and a last byte.
inline const std::string kUplinkMac("\x02\0\0\0\0\x02", 6), kPeerMac("\x02\0\0\0\1", 5);
inline constexpr char kRouter = 1;

class XdpNode {
 public:
  // Hooks the program: a veth has receive queues of XDP only with one.
  static Result<XdpNode> make(const std::string& name, int program);
  XdpNode(XdpNode&&) = default;
  XdpNode& operator=(XdpNode&&) = delete;
  ~XdpNode();

  Netns& netns() { return netns_; }
  // Changes its routes and neighbours, as ip(8) says it.
  Result<> command(const std::string& ip_command);

 private:
  XdpNode(std::string name, Netns netns) : name_(std::move(name)), netns_(std::move(netns)) {}
  Result<> connect(int program);

  std::string name_;  // empty: moved from
  Netns netns_;
  Fd link_;
};

// A frame that has come by the uplink, through the XDP program: what is left of it in `out`, the XDP_*
// returned.
struct RanXdp {
  uint32_t verdict = 0;
  uint32_t ns = 0;
};
Result<RanXdp> run_xdp(int program, const Bytes& packet, Bytes* out = nullptr);

}  // namespace thalweg::packet
