// diff: two Intents → the ordered Changes that lead from one to the other, such that no packet between two
// changes meets a half-programmed rule or service. Pure; the reconciler calls it.
#pragma once

#include <span>
#include <vector>

#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

// Puts in the order of maps.def, then deletes in reverse. Prefixes are put longest first and deleted shortest
// first, so every address goes from its old class straight to its new one. A rule set whose rules change has
// epoch 0 meanwhile.
std::vector<Change> diff(const Intent& actual, const Intent& desired);
// The same for the rows named only.
std::vector<Change> diff(const Intent& actual, const Intent& desired, Touched touched);

// Every key by which the two differ, each once.
Touched differing(const Intent& actual, const Intent& desired);

// Whether cached flows may rest on what these changes altered: addresses' identities, routes, endpoints
// (DESIGN §1.4).
bool invalidates_flows(const Intent& actual, std::span<const Change> changes);

}  // namespace thalweg::dataplane
