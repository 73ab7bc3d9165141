// Plugins whose interface is one link of the container: all such are made, addressed, compared and removed
// alike, and each says in a PodLink what is its own.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/link.h"
#include "base/netns.h"
#include "cni-plugins/fields.h"

namespace thalweg::cni {

// Both namespaces of a call, and a socket in each.
struct Places {
  Netns netns;  // the container's
  nl::Socket host, pod;
};

struct PodLink {
  std::string kind;                  // as the kernel calls it; "": any
  std::string ipam;                  // the plugin; "": none, and the link is up without addresses
  std::optional<CniResult> chained;  // its addresses and routes, instead of an IPAM plugin's
  boost::json::object dns;           // empty: the IPAM plugin's
  bool masquerade = false;           // what leaves its subnets goes out with the host's address (ipMasq)
  bool notify = false;               // tells its neighbours of its MAC address as it comes up

  // Makes the link, in the container under CNI_IFNAME; a failure leaves none. Empty: there is no link, only
  // addresses to give.
  std::function<Outcome<>(Places&)> make;
  // Takes it away again; absent is no error. Empty: it is deleted.
  std::function<Outcome<>(Places&)> unmake = {};
  // The link is up with what the result says: what is left to do, and to tell.
  std::function<Outcome<>(Places&, CniResult&)> finish = {};
  // CHECK, beyond kind, MAC address, addresses and routes.
  std::function<Outcome<>(Places&, const nl::Link&)> check = {};
};

// What every such configuration has: ipam and dns.
PodLink read_pod_link(Fields& fields, std::string kind, bool needs_ipam = false);

// What the link is called while it is made, where it cannot have its own name at once: DEL and the next ADD
// know it.
std::string passing_name(const Request& request);

// The verbs of such a plugin; `read` makes of a request, with its configuration, what is its own.
Plugin pod_link_plugin(std::string_view name, Outcome<PodLink> (*read)(const Request&));

}  // namespace thalweg::cni
