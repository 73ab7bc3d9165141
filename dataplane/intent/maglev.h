// Maglev consistent hashing (Eisenbud et al., NSDI 2016, §3.4; docs/decisions/0005): which backend each
// position of a service's lookup table belongs to. Pure, and a function of the set of backends alone, so it
// is the same on every node.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/intent/endpoints.h"

namespace thalweg::dataplane {

// Positions for each backend, at least: so many keep the imbalance within 1 %.
inline constexpr uint32_t kMaglevShare = 100;

// The smallest prime of a fixed few that gives each backend its share, and more of it the more backends there
// are; or the largest of them.
uint32_t maglev_size(size_t backends, uint32_t share = kMaglevShare);

// Position → index into backends, which must be sorted and not empty. size: a prime.
std::vector<uint16_t> maglev_table(std::span<const Target> backends, uint32_t size);

}  // namespace thalweg::dataplane
