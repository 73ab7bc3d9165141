// CNI_ARGS: "KEY=value;KEY=value", as runtimes give it. Used by the plugins that take any.
#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

#include "cni-plugins/cni.h"

namespace thalweg::cni {

// The arguments of these names. Others are an error, unless IgnoreUnknown is true (conventions of the CNI
// project, CONVENTIONS.md).
Outcome<std::map<std::string, std::string>> read_arguments(std::string_view args,
                                                           std::initializer_list<std::string_view> known);

}  // namespace thalweg::cni
