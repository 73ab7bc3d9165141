// What link.cc and link_routes.cc share. Nobody else includes this.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <initializer_list>

#include "base/ip.h"
#include "base/result.h"

namespace thalweg::nl {

// Deleting what is not there is what was wanted.
inline Result<> unless_absent(Result<>&& result, std::initializer_list<int> absent) {
  if (!result && std::find(absent.begin(), absent.end(), result.error().code) != absent.end()) return {};
  return std::move(result);
}

inline uint8_t family_of(const Ip& ip) { return ip.is_v4() ? AF_INET : AF_INET6; }

}  // namespace thalweg::nl
