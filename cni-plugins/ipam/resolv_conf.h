// resolv.conf(5) as the "dns" of a result. Used by host-local.
#pragma once

#include <boost/json/object.hpp>
#include <string>

#include "base/result.h"

namespace thalweg::cni {

// nameservers, domain, search and options; other lines are passed over.
Result<boost::json::object> read_resolv_conf(const std::string& path);

}  // namespace thalweg::cni
