// dummy: a link of the container's that leads nowhere, to hold addresses.
#include "base/link_kinds.h"
#include "cni-plugins/plugins.h"
#include "cni-plugins/pod_link.h"

namespace thalweg::cni {

namespace {

Outcome<PodLink> read(const Request& request) {
  Fields fields(request.config);
  PodLink link = read_pod_link(fields, "dummy", true);
  TRY(fields.done());
  link.make = [&request](Places& at) -> Outcome<> {
    const nl::NewLink made{.name = request.ifname};
    TRY(nl::create_link(at.pod, made, nl::dummy_request(made)));
    return {};
  };
  return link;
}

}  // namespace

Plugin dummy_plugin() { return pod_link_plugin("dummy", read); }

}  // namespace thalweg::cni
