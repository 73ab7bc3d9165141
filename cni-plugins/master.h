// A link that stands upon another one, the master: macvlan, ipvlan and vlan make theirs by this.
#pragma once

#include <functional>
#include <string>

#include "base/link_kinds.h"
#include "cni-plugins/pod_link.h"

namespace thalweg::cni {

struct Master {
  std::string name;           // "": the one of the default route
  bool in_container = false;  // that is where it is
  uint32_t mtu = 0;           // of the link upon it, at most its own; 0: the kernel's choice
};
Master read_master(Fields& fields);  // master, linkInContainer, mtu

// Made in the container, under CNI_IFNAME.
Outcome<> make_upon(Places& at, const Request& request, const Master& wanted, nl::NewLink link,
                    const std::function<nl::Message(const nl::NewLink&)>& say);
// The master, where one is named, is there and is the link's.
Outcome<> check_upon(Places& at, const Master& wanted, const nl::Link& link);

}  // namespace thalweg::cni
