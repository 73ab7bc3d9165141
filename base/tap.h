// TAP devices that stay without a program at their other end (tun(4)). Used by the CNI plugin tap.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/link.h"

namespace thalweg::nl {

struct Tap {
  std::string name;
  bool multi_queue = false;  // more than one program may be at its end
  std::optional<uint32_t> owner =
      {};  // the user who may open it besides root; none: anybody with CAP_NET_ADMIN
  std::optional<uint32_t> group = {};
};
// In that namespace. EBUSY or EINVAL in code where the name is taken.
Result<> create_tap(const Netns& netns, const Tap& tap);
// As the kernel tells it.
Result<Tap> tap_of(Socket& socket, uint32_t index);

}  // namespace thalweg::nl
