#include "base/bridge.h"

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

namespace thalweg::nl {

namespace {

// A request of bridge_vlan_changelink: RTM_SETLINK of family AF_BRIDGE.
Result<> change_vlan(Socket& socket, uint16_t type, uint32_t link, const PortVlan& vlan) {
  Message message(type);
  auto& header = message.header<ifinfomsg>();
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = static_cast<int>(link);
  bridge_vlan_info info{.flags = 0, .vid = vlan.id};
  if (vlan.native) info.flags |= BRIDGE_VLAN_INFO_PVID;
  if (vlan.untagged) info.flags |= BRIDGE_VLAN_INFO_UNTAGGED;
  {
    const auto spec = message.nest(IFLA_AF_SPEC);
    message.put_u16(IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_MASTER);
    message.put(IFLA_BRIDGE_VLAN_INFO, &info, sizeof info);
  }
  return context(socket.transact(message), "VLAN {} of link {}", vlan.id, link);
}

std::optional<std::vector<uint16_t>> decode_vlans(const nlmsghdr& message, uint32_t link) {
  if (message.nlmsg_type != RTM_NEWLINK) return std::nullopt;
  const auto& header = *static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
  if (static_cast<uint32_t>(header.ifi_index) != link) return std::nullopt;
  const nlattr* spec = Attributes(message, sizeof header).get(IFLA_AF_SPEC);
  if (!spec) return std::nullopt;
  std::vector<uint16_t> out;
  for_each(spec, [&](uint16_t type, std::string_view bytes) {
    bridge_vlan_info info;
    if (type != IFLA_BRIDGE_VLAN_INFO || bytes.size() < sizeof info) return;
    std::memcpy(&info, bytes.data(), sizeof info);
    out.push_back(info.vid);
  });
  return out;
}

}  // namespace

Result<> create_bridge(Socket& socket, const Bridge& bridge) {
  if (!is_link_name(bridge.name)) return fail_errno(EINVAL, "link name \"{}\"", bridge.name);
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.header<ifinfomsg>();
  message.put_str(IFLA_IFNAME, bridge.name);
  if (bridge.mtu) message.put_u32(IFLA_MTU, bridge.mtu);
  {
    const auto info = message.nest(IFLA_LINKINFO);
    message.put_str(IFLA_INFO_KIND, "bridge");
    if (bridge.vlan_filtering) {
      const auto data = message.nest(IFLA_INFO_DATA);
      message.put_u8(IFLA_BR_VLAN_FILTERING, 1);
    }
  }
  return context(socket.transact(message), "create bridge {}", bridge.name);
}

Result<> join_bridge(Socket& socket, const BridgePort& port) {
  Message message(RTM_NEWLINK);
  auto& header = message.header<ifinfomsg>();
  header.ifi_index = static_cast<int>(port.link);
  header.ifi_change = IFF_UP;
  header.ifi_flags = IFF_UP;
  message.put_u32(IFLA_MASTER, port.bridge);
  TRY(context(socket.transact(message), "make link {} a port of bridge {}", port.link, port.bridge));
  if (!port.hairpin && !port.isolated) return {};
  Message settings(RTM_SETLINK);
  auto& of = settings.header<ifinfomsg>();
  of.ifi_family = AF_BRIDGE;
  of.ifi_index = static_cast<int>(port.link);
  {
    const auto protocol = settings.nest(IFLA_PROTINFO | NLA_F_NESTED);
    settings.put_u8(IFLA_BRPORT_MODE, port.hairpin);
    settings.put_u8(IFLA_BRPORT_ISOLATED, port.isolated);
  }
  return context(socket.transact(settings), "set the bridge port {}", port.link);
}

Result<PortState> port_state(Socket& socket, uint32_t link) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(link);
  PortState out;
  TRY(context(socket.ask(message,
                         [&](const nlmsghdr& reply) {
                           const Attributes info(Attributes(reply, sizeof(ifinfomsg)).get(IFLA_LINKINFO));
                           const Attributes port(info.get(IFLA_INFO_SLAVE_DATA));
                           out.hairpin = port.bytes(IFLA_BRPORT_MODE) == std::string_view("\1", 1);
                           out.isolated = port.bytes(IFLA_BRPORT_ISOLATED) == std::string_view("\1", 1);
                         }),
              "bridge port {}", link));
  return out;
}

Result<> add_vlan(Socket& socket, uint32_t link, const PortVlan& vlan) {
  return change_vlan(socket, RTM_SETLINK, link, vlan);
}

Result<> delete_vlan(Socket& socket, uint32_t link, uint16_t id) {
  return change_vlan(socket, RTM_DELLINK, link, {.id = id});
}

Result<std::vector<uint16_t>> vlans(Socket& socket, uint32_t link) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>().ifi_family = AF_BRIDGE;
  message.put_u32(IFLA_EXT_MASK, RTEXT_FILTER_BRVLAN);
  const auto rows =
      TRY(context(socket.dump<std::vector<uint16_t>>(
                      message, [&](const nlmsghdr& reply) { return decode_vlans(reply, link); }),
                  "VLANs of link {}", link));
  return rows.empty() ? std::vector<uint16_t>() : rows.front();
}

}  // namespace thalweg::nl
