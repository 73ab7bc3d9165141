#include "cni-plugins/plugins.h"

#include <algorithm>

namespace thalweg::cni {

const std::vector<Plugin>& plugins() {
  static const std::vector<Plugin> all = {cluster_plugin(), loopback_plugin(), bridge_plugin(),
                                          ptp_plugin(),     macvlan_plugin(),  host_device_plugin(),
                                          dummy_plugin(),   vlan_plugin(),     host_local_plugin(),
                                          static_plugin(),  portmap_plugin()};
  return all;
}

const Plugin* find_plugin(std::string_view name) {
  const auto it = std::find_if(plugins().begin(), plugins().end(),
                               [&](const Plugin& plugin) { return plugin.name == name; });
  return it == plugins().end() ? nullptr : &*it;
}

}  // namespace thalweg::cni
