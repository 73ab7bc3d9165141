#include "dataplane/agent/xdp_uplink.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/fd.h"
#include "base/log.h"

namespace thalweg::dataplane {
namespace {

// Empty: it does not say.
std::string driver_of(const std::string& interface) {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&info);
  if (!socket || ::ioctl(socket.get(), SIOCETHTOOL, &request) != 0) return {};
  return std::string(info.driver, ::strnlen(info.driver, sizeof info.driver));
}

}  // namespace

Result<XdpMode> parse_xdp(const std::string& text) {
  if (text == "auto") return XdpMode::Auto;
  if (text == "native") return XdpMode::Native;
  if (text == "off") return XdpMode::Off;
  return fail("--xdp {}: expected auto, native or off", text);
}

Result<std::string> why_not_xdp(nl::Socket& socket, const std::string& uplink, uint32_t ifindex) {
  const std::string driver = driver_of(uplink);
  if (driver == "veth") return "what XDP sends by a veth is lost unless its peer has a program, too";
  if (driver == "virtio_net") return "virtio_net receives no more whole segments under XDP";
  const std::vector<nl::Link> links = TRY(nl::links(socket));
  const auto vlan = std::ranges::find_if(
      links, [&](const nl::Link& link) { return link.kind == "vlan" && link.peer == ifindex; });
  if (vlan != links.end())
    return fmt::format("it carries the VLAN {}, whose tags XDP may not see", vlan->name);
  return "";
}

Result<std::string> XdpUplink::choose(Programs& programs, nl::Socket& socket, const std::string& uplink,
                                      uint32_t ifindex) {
  std::string why_not = mode_ == XdpMode::Auto ? TRY(why_not_xdp(socket, uplink, ifindex)) : "";
  if (mode_ != XdpMode::Off && why_not.empty()) {
    const auto done = programs.attach_xdp(uplink, ifindex);
    if (done) return "native";
    if (mode_ != XdpMode::Auto) return std::unexpected(done.error());
    why_not = done.error().message;
  }
  TRY(programs.detach_xdp(uplink));
  return why_not.empty() ? "off" : "off: " + why_not;
}

Result<> XdpUplink::keep(Programs& programs, nl::Socket& socket, const std::string& uplink,
                         uint32_t ifindex) {
  const std::string state = TRY(choose(programs, socket, uplink, ifindex));
  if (state != state_) log::info("XDP at the uplink", {{"uplink", uplink}, {"xdp", state}});
  state_ = state;
  return {};
}

}  // namespace thalweg::dataplane
