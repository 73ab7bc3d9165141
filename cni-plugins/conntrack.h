// The kernel's connection tracking (ctnetlink). Used by portmap.
#pragma once

#include <cstdint>
#include <set>

#include "base/result.h"

namespace thalweg::cni {

// UDP has no end that is seen: who asked one of these ports before it led to the container is led elsewhere
// (or nowhere) for as long as he goes on asking. Forgets all such flows of the family.
Result<> forget_udp_to(const std::set<uint16_t>& ports, bool v4);

}  // namespace thalweg::cni
