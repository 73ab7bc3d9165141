#include "base/link_kinds.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

namespace thalweg::nl {

namespace {

// IFLA_LINKINFO is left to the kind.
Message request_for(const NewLink& link) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.header<ifinfomsg>();
  message.put_str(IFLA_IFNAME, link.name);
  if (link.on) message.put_u32(IFLA_LINK, link.on);
  if (link.mtu) message.put_u32(IFLA_MTU, link.mtu);
  if (link.mac) message.put(IFLA_ADDRESS, link.mac->data(), link.mac->size());
  if (link.netns) message.put_u32(IFLA_NET_NS_FD, static_cast<uint32_t>(link.netns->fd()));
  return message;
}

template <class Data>
void put_kind(Message& message, std::string_view kind, Data put_data) {
  const auto info = message.nest(IFLA_LINKINFO);
  message.put_str(IFLA_INFO_KIND, kind);
  const auto data = message.nest(IFLA_INFO_DATA);
  put_data();
}

void put_kind(Message& message, std::string_view kind) {
  const auto info = message.nest(IFLA_LINKINFO);
  message.put_str(IFLA_INFO_KIND, kind);
}

// A number of what the kind tells of a link: of two or four bytes.
Result<uint32_t> number_of(Socket& socket, uint32_t index, uint16_t attribute) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  std::optional<uint32_t> number;
  const auto read = [&](const nlmsghdr& reply) {
    const Attributes info(Attributes(reply, sizeof(ifinfomsg)).get(IFLA_LINKINFO));
    const std::string_view bytes = Attributes(info.get(IFLA_INFO_DATA)).bytes(attribute);
    uint16_t half = 0;
    uint32_t whole = 0;
    if (bytes.size() == sizeof half) std::memcpy(&half, bytes.data(), sizeof half), number = half;
    if (bytes.size() == sizeof whole) std::memcpy(&whole, bytes.data(), sizeof whole), number = whole;
  };
  TRY(context(socket.ask(message, read), "link {}", index));
  if (!number) return fail("link {}: its kind tells no attribute {}", index, attribute);
  return *number;
}

}  // namespace

Result<> create_link(Socket& socket, const NewLink& link, Message request) {
  if (!is_link_name(link.name)) return fail_errno(EINVAL, "link name \"{}\"", link.name);
  const Attributes info(Attributes(*request.raw(), sizeof(ifinfomsg)).get(IFLA_LINKINFO));
  const std::string kind(info.str(IFLA_INFO_KIND));
  return context(socket.transact(request), "create {} {}", kind, link.name);
}

Message macvlan_request(const NewLink& link, MacvlanMode mode, std::optional<uint32_t> queue) {
  Message message = request_for(link);
  put_kind(message, "macvlan", [&] {
    message.put_u32(IFLA_MACVLAN_MODE, static_cast<uint32_t>(mode));
    if (queue) message.put_u32(IFLA_MACVLAN_BC_QUEUE_LEN, *queue);
  });
  return message;
}

Result<MacvlanMode> macvlan_mode(Socket& socket, uint32_t index) {
  return static_cast<MacvlanMode>(TRY(number_of(socket, index, IFLA_MACVLAN_MODE)));
}

Message dummy_request(const NewLink& link) {
  Message message = request_for(link);
  put_kind(message, "dummy");
  return message;
}

Message vlan_request(const NewLink& link, uint16_t id) {
  Message message = request_for(link);
  put_kind(message, "vlan", [&] { message.put_u16(IFLA_VLAN_ID, id); });
  return message;
}

Message ipvlan_request(const NewLink& link, IpvlanMode mode) {
  Message message = request_for(link);
  put_kind(message, "ipvlan", [&] { message.put_u16(IFLA_IPVLAN_MODE, static_cast<uint16_t>(mode)); });
  return message;
}

Result<IpvlanMode> ipvlan_mode(Socket& socket, uint32_t index) {
  return static_cast<IpvlanMode>(TRY(number_of(socket, index, IFLA_IPVLAN_MODE)));
}

Result<uint16_t> vlan_id(Socket& socket, uint32_t index) {
  return static_cast<uint16_t>(TRY(number_of(socket, index, IFLA_VLAN_ID)));
}

}  // namespace thalweg::nl
