// loopback: lo of the container, up. Every runtime calls it first.
#include "base/link.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace {

Outcome<nl::Socket> socket_in(const Request& request) {
  auto netns = Netns::open(request.netns);
  if (!netns)
    return refuse(netns.error().code == ENOENT ? kUnknownContainer : kInvalidEnvironment,
                  "CNI_NETNS: " + netns.error().message);
  return TRY(nl::Socket::open_in(*netns));
}

CniResult loopback_result(const Request& request) {
  CniResult result;
  result.interfaces = {{.name = "lo", .mac = "00:00:00:00:00:00", .sandbox = request.netns}};
  result.ips = {{.ip = Ip::v4(127, 0, 0, 1), .length = 8, .interface = 0},
                {.ip = Ip().plus(1), .length = 128, .interface = 0}};
  return result;
}

// Behind another plugin the result so far goes on unchanged.
Outcome<CniResult> add(const Request& request) {
  auto socket = TRY(socket_in(request));
  TRY(nl::set_up(socket, 1));
  return request.previous ? *request.previous : loopback_result(request);
}

// A namespace that is gone took its lo along. The caller's own lo is never taken down.
Outcome<> del(const Request& request) {
  const auto netns = Netns::open(request.netns), own = Netns::current();
  if (!netns || !own || netns->inode() == own->inode()) return {};
  auto socket = TRY(nl::Socket::open_in(*netns));
  TRY(nl::set_up(socket, 1, false));
  return {};
}

Outcome<> check(const Request& request) {
  auto socket = TRY(socket_in(request));
  if (!TRY(nl::link_by_index(socket, 1)).up) return refuse(kPluginFailure, "lo is down");
  return {};
}

Outcome<> nothing(const Request&) { return {}; }

}  // namespace

Plugin loopback_plugin() { return {"loopback", add, del, check, nothing, nothing}; }

}  // namespace thalweg::cni
