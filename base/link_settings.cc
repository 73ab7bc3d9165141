#include "base/link_settings.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

namespace thalweg::nl {

namespace {

Result<> set_flag(Socket& socket, uint32_t index, uint32_t flag, const char* name, bool on) {
  Message message(RTM_NEWLINK);
  auto& header = message.header<ifinfomsg>();
  header.ifi_index = static_cast<int>(index);
  header.ifi_change = flag;
  header.ifi_flags = on ? flag : 0;
  return context(socket.transact(message), "set link {} {} {}", index, name, on ? "on" : "off");
}

}  // namespace

Result<LinkSettings> link_settings(Socket& socket, uint32_t index) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  LinkSettings out;
  TRY(context(socket.ask(message,
                         [&](const nlmsghdr& reply) {
                           const auto& header = *static_cast<const ifinfomsg*>(NLMSG_DATA(&reply));
                           const Attributes attrs(reply, sizeof header);
                           out.promiscuous = attrs.u32(IFLA_PROMISCUITY).value_or(0) != 0;
                           out.all_multicast = (header.ifi_flags & IFF_ALLMULTI) != 0;
                           out.queue_length = attrs.u32(IFLA_TXQLEN).value_or(0);
                         }),
              "link {}", index));
  return out;
}

Result<> set_promiscuous(Socket& socket, uint32_t index, bool on) {
  return set_flag(socket, index, IFF_PROMISC, "promiscuous", on);
}

Result<> set_all_multicast(Socket& socket, uint32_t index, bool on) {
  return set_flag(socket, index, IFF_ALLMULTI, "allmulticast", on);
}

Result<> set_queue_length(Socket& socket, uint32_t index, uint32_t packets) {
  Message message(RTM_NEWLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  message.put_u32(IFLA_TXQLEN, packets);
  return context(socket.transact(message), "set link {} txqueuelen {}", index, packets);
}

}  // namespace thalweg::nl
