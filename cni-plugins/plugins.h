// The plugins of the multi-call binary (plugins.def): one value each, one file each.
#pragma once

#include "cni-plugins/cni.h"

namespace thalweg::cni {

#define PLUGIN(symbol, name, what) Plugin symbol##_plugin();
#include "cni-plugins/plugins.def"
#undef PLUGIN

// Null: there is none of this name.
const Plugin* find_plugin(std::string_view name);

}  // namespace thalweg::cni
