// The plugins of the multi-call binary: one value each, one file each.
#pragma once

#include "cni-plugins/cni.h"

namespace thalweg::cni {

Plugin cluster_plugin();      // thalweg-cni: the node agent does the work
Plugin loopback_plugin();     // lo, up
Plugin bridge_plugin();       // a port of a bridge of the host
Plugin ptp_plugin();          // a veth to the host alone
Plugin macvlan_plugin();      // a link upon one of the host's, with its own MAC
Plugin host_device_plugin();  // a device of the host
Plugin dummy_plugin();        // a link that leads nowhere
Plugin vlan_plugin();         // a VLAN of one of the host's links
Plugin host_local_plugin();   // addresses out of ranges, kept in files
Plugin portmap_plugin();      // ports of the host lead to the container
Plugin static_plugin();       // addresses as the configuration says

// All of them, by the names they are called by.
const std::vector<Plugin>& plugins();
// Null: there is none of this name.
const Plugin* find_plugin(std::string_view name);

}  // namespace thalweg::cni
