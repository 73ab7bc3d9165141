// The multi-call binary: the name it is called by (a hard link in the CNI bin directory) picks the plugin.
#include <cstdio>
#include <string_view>

#include "cni-plugins/plugins.h"

int main(int, char** argv) {
  using namespace thalweg::cni;
  std::string_view name = argv[0] ? argv[0] : "";
  name.remove_prefix(name.rfind('/') + 1);
  if (name == "loopback") return run_process(loopback_plugin());
  if (name == "thalweg-cni") return run_process(cluster_plugin());
  std::printf("{\"cniVersion\":\"1.1.0\",\"code\":%d,\"msg\":\"there is no plugin of this name here\"}\n",
              kPluginFailure);
  return 1;
}
