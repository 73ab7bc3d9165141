// Whether the uplink gets the XDP program, by --xdp: it sends on what only passes through this node before
// the kernel has made an skb of it (bpf/xdp.bpf.c). Without it tc does the same. Used by agent.cc.
#pragma once

#include <cstdint>
#include <string>

#include "base/link.h"
#include "base/result.h"
#include "dataplane/agent/options.h"
#include "dataplane/ebpf/program.h"

namespace thalweg::dataplane {

Result<XdpMode> parse_xdp(const std::string& text);

// Why XdpMode::Auto leaves the uplink alone; empty: it does not.
Result<std::string> why_not_xdp(nl::Socket& socket, const std::string& uplink, uint32_t ifindex);

class XdpUplink {
 public:
  explicit XdpUplink(XdpMode mode) : mode_(mode) {}
  // Hooks or unhooks the program. Idempotent. With Auto no error.
  Result<> keep(Programs& programs, nl::Socket& socket, const std::string& uplink, uint32_t ifindex);
  // "native", or "off" and why.
  const std::string& state() const { return state_; }

 private:
  Result<std::string> choose(Programs& programs, nl::Socket& socket, const std::string& uplink,
                             uint32_t ifindex);

  XdpMode mode_;
  std::string state_ = "off";
};

}  // namespace thalweg::dataplane
