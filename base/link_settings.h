// What else may be set of a link, over rtnetlink(7), beside base/link.h. Used by the CNI plugins `bridge` and
// `tuning`.
#pragma once

#include <cstdint>

#include "base/link.h"

namespace thalweg::nl {

struct LinkSettings {
  bool promiscuous = false, all_multicast = false;
  uint32_t queue_length = 0;  // packets
};
Result<LinkSettings> link_settings(Socket& socket, uint32_t index);
Result<> set_promiscuous(Socket& socket, uint32_t index, bool on);
Result<> set_all_multicast(Socket& socket, uint32_t index, bool on);
Result<> set_queue_length(Socket& socket, uint32_t index, uint32_t packets);

}  // namespace thalweg::nl
