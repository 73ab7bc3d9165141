#include "base/link_move.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

namespace thalweg::nl {

Message move_request(const Move& move, const Netns& to) {
  Message message(RTM_SETLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(move.link);
  message.put_u32(IFLA_NET_NS_FD, static_cast<uint32_t>(to.fd()));
  message.put_str(IFLA_IFNAME, move.name);
  message.put(IFLA_IFALIAS, move.alias.data(), move.alias.size());  // no NUL: it would be part of it
  return message;
}

Result<> move_link(Socket& socket, const Move& move, const Netns& to) {
  if (!is_link_name(move.name)) return fail_errno(EINVAL, "link name \"{}\"", move.name);
  Message message = move_request(move, to);
  return context(socket.transact(message), "move link {} to another namespace as {}", move.link, move.name);
}

Result<std::string> link_alias(Socket& socket, uint32_t index) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  std::string alias;
  const auto read = [&](const nlmsghdr& reply) {
    alias = Attributes(reply, sizeof(ifinfomsg)).str(IFLA_IFALIAS);
  };
  TRY(context(socket.ask(message, read), "link {}", index));
  return alias;
}

}  // namespace thalweg::nl
