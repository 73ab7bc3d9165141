// Names of sysctls as configurations write them, and the host's list of those that may be set. Used by
// tuning.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thalweg::cni {

// "net.ipv4.conf.IFNAME.arp_filter" or with slashes, as a path below /proc/sys. Only those below net/ are the
// container's own: others, and what leads out of there, are refused.
Result<std::string> sysctl_path(std::string_view name, const std::string& ifname);

// Each line a pattern (regex(7), extended), one of which must be found in the name. No such file: all may be
// set.
Result<> check_allowed(const std::string& file, const std::vector<std::string>& names);

}  // namespace thalweg::cni
