// Links of further kinds, over rtnetlink(7), beside base/link.h: their requests, and what is told of them.
// Used by the CNI plugins that are called as the kinds are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/link.h"

namespace thalweg::nl {

// What a new link of any kind may have.
struct NewLink {
  std::string name;
  uint32_t on = 0;               // ifindex of the link it stands upon, where the socket is; 0: none
  uint32_t mtu = 0;              // 0: the kernel's default
  std::optional<Mac> mac = {};   // none: the kernel's choice
  const Netns* netns = nullptr;  // where it is to be; null: where the socket is
};
// Of one of the requests below. EEXIST in code also when the socket's own namespace has a link of that name.
Result<> create_link(Socket& socket, const NewLink& link, Message request);

enum class MacvlanMode : uint32_t { Private = 1, Vepa = 2, Bridge = 4, Passthru = 8 };
// `queue`: how many broadcast packets may wait; none: the kernel's default.
Message macvlan_request(const NewLink& link, MacvlanMode mode, std::optional<uint32_t> queue = {});
Result<MacvlanMode> macvlan_mode(Socket& socket, uint32_t index);

Message dummy_request(const NewLink& link);

Message vlan_request(const NewLink& link, uint16_t id);  // 802.1Q, 0–4094
Result<uint16_t> vlan_id(Socket& socket, uint32_t index);

enum class IpvlanMode : uint16_t { L2 = 0, L3 = 1, L3s = 2 };
Message ipvlan_request(const NewLink& link, IpvlanMode mode);
Result<IpvlanMode> ipvlan_mode(Socket& socket, uint32_t index);

}  // namespace thalweg::nl
