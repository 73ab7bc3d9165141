#include "base/tap.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>

namespace thalweg::nl {

namespace {

// Who opens it later says anew whether there is a header before each packet; the queues must be as they are
// here.
Result<> open_and_keep(const Tap& tap) {
  const Fd fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "open /dev/net/tun");
  ifreq request{};
  tap.name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<int16_t>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL |
                                           (tap.multi_queue ? IFF_MULTI_QUEUE : 0));
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return fail_errno(errno, "create tap {}", tap.name);
  if (tap.owner && ::ioctl(fd.get(), TUNSETOWNER, static_cast<unsigned long>(*tap.owner)) != 0)
    return fail_errno(errno, "tap {}: owner {}", tap.name, *tap.owner);
  if (tap.group && ::ioctl(fd.get(), TUNSETGROUP, static_cast<unsigned long>(*tap.group)) != 0)
    return fail_errno(errno, "tap {}: group {}", tap.name, *tap.group);
  if (::ioctl(fd.get(), TUNSETPERSIST, 1ul) != 0) return fail_errno(errno, "keep tap {}", tap.name);
  return {};
}

}  // namespace

Result<> create_tap(const Netns& netns, const Tap& tap) {
  if (!is_link_name(tap.name)) return fail_errno(EINVAL, "link name \"{}\"", tap.name);
  return netns.run([&] { return open_and_keep(tap); });
}

Result<Tap> tap_of(Socket& socket, uint32_t index) {
  Message message(RTM_GETLINK);
  message.header<ifinfomsg>().ifi_index = static_cast<int>(index);
  Tap tap;
  const auto read = [&](const nlmsghdr& reply) {
    const Attributes link(reply, sizeof(ifinfomsg));
    const Attributes data(Attributes(link.get(IFLA_LINKINFO)).get(IFLA_INFO_DATA));
    tap = {.name = std::string(link.str(IFLA_IFNAME)),
           .multi_queue = data.bytes(IFLA_TUN_MULTI_QUEUE) == std::string_view("\1", 1),
           .owner = data.u32(IFLA_TUN_OWNER),
           .group = data.u32(IFLA_TUN_GROUP)};
  };
  TRY(context(socket.ask(message, read), "tap {}", index));
  return tap;
}

}  // namespace thalweg::nl
