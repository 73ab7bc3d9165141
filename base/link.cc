// Links and addresses; routes, neighbours, FDB and rules are in link_routes.cc.
#include "base/link.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <cctype>

#include "base/link_parts.h"

namespace thalweg::nl {

std::string mac_str(const Mac& mac) { return fmt::format("{:02x}", fmt::join(mac, ":")); }

Result<Mac> parse_mac(std::string_view text) {
  Mac mac{};
  if (text.size() != 17) return fail("MAC address \"{}\"", text);
  for (size_t i = 0; i < 17; ++i)
    if (i % 3 == 2 ? text[i] != ':' : !std::isxdigit(static_cast<unsigned char>(text[i])))
      return fail("MAC address \"{}\"", text);
  for (size_t i = 0; i < 6; ++i)
    mac[i] = static_cast<uint8_t>(std::stoi(std::string(text.substr(i * 3, 2)), nullptr, 16));
  return mac;
}

Mac mac_from(std::string_view seed) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const unsigned char c : seed) hash = (hash ^ c) * 0x100000001b3;
  Mac mac{};
  for (size_t i = 0; i < 6; ++i) mac[i] = static_cast<uint8_t>(hash >> (8 * i + 8));
  mac[0] = (mac[0] & 0xfc) | 0x02;
  return mac;
}

bool is_link_name(std::string_view name) {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return c != '/' && c != ':' && c > 0x20 && c != 0x7f; });
}

namespace {

Result<> check_name(const std::string& name) {
  if (!is_link_name(name)) return fail_errno(EINVAL, "link name \"{}\"", name);
  return {};
}

std::optional<Link> decode_link(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWLINK) return std::nullopt;
  const auto& header = *static_cast<const ifinfomsg*>(NLMSG_DATA(&message));
  const Attributes attrs(message, sizeof header);
  Link link = {.index = static_cast<uint32_t>(header.ifi_index),
               .name = std::string(attrs.str(IFLA_IFNAME)),
               .kind = std::string(Attributes(attrs.get(IFLA_LINKINFO)).str(IFLA_INFO_KIND)),
               .mtu = attrs.u32(IFLA_MTU).value_or(0),
               .up = (header.ifi_flags & IFF_UP) != 0,
               .operational = attrs.bytes(IFLA_OPERSTATE) == std::string_view("\x06"),  // IF_OPER_UP
               .master = attrs.u32(IFLA_MASTER).value_or(0),
               .peer = attrs.u32(IFLA_LINK).value_or(0)};
  if (const auto mac = attrs.bytes(IFLA_ADDRESS); mac.size() == 6)
    std::copy(mac.begin(), mac.end(), link.mac.begin());
  if (const auto id = attrs.u32(IFLA_LINK_NETNSID)) link.peer_netns = static_cast<int32_t>(*id);
  return link;
}

// A change of one link, named by index.
Message change(uint32_t index) {
  Message message(RTM_NEWLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  return message;
}

Result<Link> ask_link(Socket& socket, Message& message) {
  std::optional<Link> link;
  TRY(socket.ask(message, [&](const nlmsghdr& reply) { link = decode_link(reply); }));
  if (!link) return fail_errno(ENODEV, "no answer");
  return *link;
}

Message create(const std::string& name) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.header<ifinfomsg>();
  message.put_str(IFLA_IFNAME, name);
  return message;
}

}  // namespace

Result<> create_veth(Socket& socket, const Veth& veth) {
  TRY(check_name(veth.name));
  TRY(check_name(veth.peer_name));
  Message message = create(veth.name);
  if (veth.mac) message.put(IFLA_ADDRESS, veth.mac->data(), 6);
  if (veth.mtu) message.put_u32(IFLA_MTU, veth.mtu);
  {
    const auto info = message.nest(IFLA_LINKINFO);
    message.put_str(IFLA_INFO_KIND, "veth");
    const auto data = message.nest(IFLA_INFO_DATA);
    const auto peer = message.nest(VETH_INFO_PEER, ifinfomsg{});
    message.put_str(IFLA_IFNAME, veth.peer_name);
    if (veth.peer_mac) message.put(IFLA_ADDRESS, veth.peer_mac->data(), 6);
    if (veth.mtu) message.put_u32(IFLA_MTU, veth.mtu);
    if (veth.peer_netns) message.put_u32(IFLA_NET_NS_FD, veth.peer_netns->fd());
  }
  return context(socket.transact(message), "create veth {} with peer {}", veth.name, veth.peer_name);
}

Result<> create_vxlan(Socket& socket, const Vxlan& vxlan) {
  TRY(check_name(vxlan.name));
  Message message = create(vxlan.name);
  {
    const auto info = message.nest(IFLA_LINKINFO);
    message.put_str(IFLA_INFO_KIND, "vxlan");
    const auto data = message.nest(IFLA_INFO_DATA);
    message.put_u32(IFLA_VXLAN_ID, vxlan.vni);
    if (!vxlan.local.is_none())
      message.put_ip(vxlan.local.is_v4() ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, vxlan.local);
    if (!vxlan.remote.is_none())
      message.put_ip(vxlan.remote.is_v4() ? IFLA_VXLAN_GROUP : IFLA_VXLAN_GROUP6, vxlan.remote);
    if (vxlan.underlay) message.put_u32(IFLA_VXLAN_LINK, vxlan.underlay);
    message.put_be16(IFLA_VXLAN_PORT, vxlan.port);
    message.put_u8(IFLA_VXLAN_LEARNING, vxlan.learning);
  }
  return context(socket.transact(message), "create vxlan {}", vxlan.name);
}

Result<std::vector<Link>> links(Socket& socket) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>();
  return context(socket.dump<Link>(message, decode_link), "list links");
}

Result<Link> link_by_name(Socket& socket, const std::string& name) {
  TRY(check_name(name));
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>();
  message.put_str(IFLA_IFNAME, name);
  return context(ask_link(socket, message), "link {}", name);
}

Result<Link> link_by_index(Socket& socket, uint32_t index) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  return context(ask_link(socket, message), "link {}", index);
}

Result<> set_up(Socket& socket, uint32_t index, bool up) {
  Message message(RTM_NEWLINK);
  auto& header = message.header<ifinfomsg>();
  header.ifi_index = static_cast<int>(index);
  header.ifi_change = IFF_UP;
  header.ifi_flags = up ? IFF_UP : 0;
  return context(socket.transact(message), "set link {} {}", index, up ? "up" : "down");
}

Result<> set_mtu(Socket& socket, uint32_t index, uint32_t mtu) {
  Message message = change(index);
  message.put_u32(IFLA_MTU, mtu);
  return context(socket.transact(message), "set link {} mtu {}", index, mtu);
}

Result<> set_mac(Socket& socket, uint32_t index, const Mac& mac) {
  Message message = change(index);
  message.put(IFLA_ADDRESS, mac.data(), 6);
  return context(socket.transact(message), "set link {} address {}", index, mac_str(mac));
}

Result<> set_master(Socket& socket, uint32_t index, uint32_t master) {
  Message message = change(index);
  message.put_u32(IFLA_MASTER, master);
  return context(socket.transact(message), "set link {} master {}", index, master);
}

Result<> rename(Socket& socket, uint32_t index, const std::string& name) {
  TRY(check_name(name));
  Message message = change(index);
  message.put_str(IFLA_IFNAME, name);
  return context(socket.transact(message), "rename link {} to {}", index, name);
}

Result<> move_to_netns(Socket& socket, uint32_t index, const Netns& netns) {
  Message message = change(index);
  message.put_u32(IFLA_NET_NS_FD, netns.fd());
  return context(socket.transact(message), "move link {} to another namespace", index);
}

Result<> delete_link(Socket& socket, uint32_t index) {
  Message message(RTM_DELLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  return context(unless_absent(socket.transact(message), {ENODEV}), "delete link {}", index);
}

Result<> delete_link(Socket& socket, const std::string& name) {
  TRY(check_name(name));
  Message message(RTM_DELLINK);
  message.header<ifinfomsg>();
  message.put_str(IFLA_IFNAME, name);
  return context(unless_absent(socket.transact(message), {ENODEV}), "delete link {}", name);
}

// ---- addresses

namespace {

Message address_message(uint16_t type, uint16_t flags, const Address& address) {
  Message message(type, flags);
  auto& header = message.header<ifaddrmsg>();
  header.ifa_family = family_of(address.ip);
  header.ifa_prefixlen = address.ip.is_v4() ? address.length - 96 : address.length;
  header.ifa_index = address.link;
  header.ifa_scope = address.ip.is_link_local() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  if (address.no_dad && !address.ip.is_v4()) header.ifa_flags = IFA_F_NODAD;
  message.put_ip(IFA_LOCAL, address.ip);
  message.put_ip(IFA_ADDRESS, address.ip);
  return message;
}

std::optional<Address> decode_address(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWADDR) return std::nullopt;
  const auto& header = *static_cast<const ifaddrmsg*>(NLMSG_DATA(&message));
  const Attributes attrs(message, sizeof header);
  const auto ip = attrs.has(IFA_LOCAL) ? attrs.ip(IFA_LOCAL) : attrs.ip(IFA_ADDRESS);
  if (!ip) return std::nullopt;
  const bool v4 = header.ifa_family == AF_INET;
  const uint32_t flags = attrs.u32(IFA_FLAGS).value_or(header.ifa_flags);
  return Address{.ip = *ip,
                 .length = static_cast<uint8_t>(v4 ? header.ifa_prefixlen + 96 : header.ifa_prefixlen),
                 .link = header.ifa_index,
                 .no_dad = v4 || (flags & IFA_F_NODAD)};
}

}  // namespace

Result<> set_address(Socket& socket, const Address& address) {
  Message message = address_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address);
  return context(socket.transact(message), "set address {} on link {}", address.ip, address.link);
}

Result<> delete_address(Socket& socket, const Address& address) {
  Message message = address_message(RTM_DELADDR, 0, address);
  return context(unless_absent(socket.transact(message), {EADDRNOTAVAIL, ENODEV}),
                 "delete address {} on link {}", address.ip, address.link);
}

Result<std::vector<Address>> addresses(Socket& socket, uint32_t link) {
  Message message(RTM_GETADDR);
  message.header<ifaddrmsg>().ifa_index = link;
  auto rows = socket.dump<Address>(message, decode_address);
  // With a link named, strict checking answers ENODEV for one that is gone: it has no addresses.
  if (!rows && rows.error().code == ENODEV) return std::vector<Address>();
  return context(std::move(rows), "list addresses");
}

}  // namespace thalweg::nl
