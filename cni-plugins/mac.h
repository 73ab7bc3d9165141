// The MAC address that is asked for the container's interface. Used by the plugins that make one with a
// choice.
#pragma once

#include <optional>

#include "base/link.h"
#include "cni-plugins/fields.h"

namespace thalweg::cni {

// The runtime's word (runtimeConfig.mac) goes before the configuration's (args.cni.mac), that before
// CNI_ARGS, and that before `own`, the plugin's own field. None: the kernel's choice.
Outcome<std::optional<nl::Mac>> read_mac(const Request& request, Fields& fields, std::string own = "");

}  // namespace thalweg::cni
