// A link handed to another namespace and given back, with its name there, over rtnetlink(7). Used by the CNI
// plugin host-device.
#pragma once

#include <cstdint>
#include <string>

#include "base/link.h"

namespace thalweg::nl {

// IFLA_IFALIAS: a text of the link's own, which it keeps wherever it goes; "": none.
struct Move {
  uint32_t link = 0;  // ifindex
  std::string name;   // the one it gets there
  std::string alias;
};
// One request: who is killed has moved it whole or not at all. It is down then.
Message move_request(const Move& move, const Netns& to);
Result<> move_link(Socket& socket, const Move& move, const Netns& to);
Result<std::string> link_alias(Socket& socket, uint32_t index);

}  // namespace thalweg::nl
