// RouteTable: host and path to a backend. Built whole by build.cc, immutable afterwards, read by every
// request.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ip.h"
#include "ingress/filters.h"

namespace thalweg::ingress {

struct Endpoint {
  Ip ip;
  uint16_t port = 0;
  std::string str() const;  // "192.0.2.1:80", "[2001:db8::1]:80"
  auto operator<=>(const Endpoint&) const = default;
};

// One Service port and who answers for it.
struct Backend {
  std::string name;  // "namespace/service:port"
  bool exists = true;
  std::vector<Endpoint> endpoints;  // sorted
};

struct Route {
  enum class Match : uint8_t { Exact, Prefix };
  std::string name;  // "namespace/ingress", for people
  Match match = Match::Prefix;
  std::string path = "/";
  uint32_t backend = 0;  // index into RouteTable::backends()
  std::vector<Filter> filters;
};

// Which route a request takes (Ingress v1): the most specific host that has a matching path: the exact host,
// then
// "*.parent" (one label), then rules without a host. Within a host an Exact path comes before every Prefix,
// and the longest Prefix wins. A host nobody matched, or a path none of its rules match, takes the default
// backend: of an Ingress that names the host, else the cluster's.
class RouteTable {
 public:
  // Null: nothing matches. The host in lower case, without port; the path without query, starting with '/'.
  const Route* find(std::string_view host, std::string_view path) const;
  const std::vector<Backend>& backends() const { return backends_; }
  size_t size() const { return size_; }

  // For building. Each returns the route already there instead of replacing it, else null.
  uint32_t add_backend(Backend backend);
  const Route* add(std::string_view host, Route route);  // host "": any
  const Route* add_default(std::string_view host, Route route);

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  template <class T>
  using Map = std::unordered_map<std::string, T, Hash, std::equal_to<>>;
  struct Host {
    Map<Route> exact;
    Map<Route> prefixes;  // keyed without the last '/'; "" is the root
    size_t longest_prefix = 0;
    std::optional<Route> fallback;
    const Route* find(std::string_view path) const;
  };

  const Host* host(std::string_view name) const;
  const Host* wildcard(std::string_view name) const;

  Map<Host> hosts_;  // "a.example", "*.example", "" for any
  std::vector<Backend> backends_;
  size_t size_ = 0;
};

}  // namespace thalweg::ingress
