// The plugins of the multi-call binary: one value each, one file each.
#pragma once

#include "cni-plugins/cni.h"

namespace thalweg::cni {

Plugin cluster_plugin();   // thalweg-cni: the node agent does the work
Plugin loopback_plugin();  // loopback: brings up lo

}  // namespace thalweg::cni
