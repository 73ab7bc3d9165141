#include "cni-plugins/plugins.h"

#include <algorithm>

namespace thalweg::cni {

const Plugin* find_plugin(std::string_view name) {
  static const Plugin all[] = {
#define PLUGIN(symbol, name, what) symbol##_plugin(),
#include "cni-plugins/plugins.def"
#undef PLUGIN
  };
  const Plugin* found =
      std::find_if(std::begin(all), std::end(all), [&](const Plugin& one) { return one.name == name; });
  return found == std::end(all) ? nullptr : found;
}

}  // namespace thalweg::cni
