#include "ingress/build.h"

#include <algorithm>
#include <set>

namespace thalweg::ingress {

namespace {

using kube::ObjectKey;

// Objects are hostile: what one cluster can make this table grow to, and how much it can make us log.
constexpr size_t kMaxRoutes = 200'000;
constexpr size_t kMaxWarnings = 200;

bool valid_label(std::string_view label) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
         std::ranges::all_of(label, plain);
}

std::string port_text(const kube::PortRef& port) {
  return port.name.empty() ? std::to_string(port.number) : port.name;
}

class Builder {
 public:
  Builder(const kube::Cluster& cluster, const BuildOptions& options) : cluster_(cluster), options_(options) {}

  Built build() {
    for (const auto& [key, slice] : cluster_.endpoint_slices)
      slices_[{key.ns, slice->service}].push_back(slice.get());
    for (const kube::Ingress* ingress : oldest_first()) add_ingress(ingress->meta.key.str(), *ingress);
    return std::move(built_);
  }

 private:
  std::vector<const kube::Ingress*> oldest_first() const {
    std::vector<const kube::Ingress*> served;
    for (const auto& [key, ingress] : cluster_.ingresses)
      if (serves(*ingress, options_)) served.push_back(ingress.get());
    std::ranges::stable_sort(served, {}, [](const kube::Ingress* one) { return one->meta.created_s; });
    return served;
  }

  void add_ingress(const std::string& name, const kube::Ingress& ingress) {
    for (const auto& rule : ingress.rules) add_rule(name, ingress, rule);
    if (!ingress.default_backend) return;
    Route route = default_route(name, ingress);
    if (const Route* other = built_.routes.add_default("", std::move(route)); other && other->name != name)
      warn("Ingress {}: spec.defaultBackend: {} is the default for every host already", name, other->name);
  }

  void add_rule(const std::string& name, const kube::Ingress& ingress, const kube::IngressRule& rule) {
    if (!rule.host.empty() && !valid_host(rule.host))
      return warn("Ingress {}: spec.rules.host '{}' is not a host name: rule left out", name, rule.host);
    for (const auto& path : rule.paths) add_path(name, ingress, rule.host, path);
    if (ingress.default_backend && !rule.host.empty())
      built_.routes.add_default(rule.host, default_route(name, ingress));
  }

  void add_path(const std::string& name, const kube::Ingress& ingress, const std::string& host,
                const kube::IngressPath& path) {
    if (built_.routes.size() >= kMaxRoutes)
      return warn("Ingress {}: more than {} routes: {}{} left out", name, kMaxRoutes, host, path.path);
    Route route{.name = name};
    route.match = path.type == kube::IngressPath::Type::Exact ? Route::Match::Exact : Route::Match::Prefix;
    if (!path.path.empty()) route.path = path.path;
    if (!route.path.starts_with('/'))
      return warn("Ingress {}: path '{}' of host '{}' does not start with '/': left out", name, path.path,
                  host);
    route.backend = backend(name, ingress.meta.key.ns, path.backend);
    if (const Route* other = built_.routes.add(host, route))
      warn("Ingress {}: path '{}' of host '{}' is {}'s already: left out", name, route.path, host,
           other->name);
  }

  Route default_route(const std::string& name, const kube::Ingress& ingress) {
    return {.name = name, .backend = backend(name, ingress.meta.key.ns, *ingress.default_backend)};
  }

  // One Backend for a Service port, however many paths name it.
  uint32_t backend(const std::string& ingress, const std::string& ns, const kube::IngressBackend& from) {
    const std::string name = fmt::format("{}/{}:{}", ns, from.service, port_text(from.port));
    const auto [entry, added] = backends_.try_emplace(name, 0);
    if (added) entry->second = built_.routes.add_backend(make_backend(ingress, ns, name, from));
    return entry->second;
  }

  Backend make_backend(const std::string& ingress, const std::string& ns, const std::string& name,
                       const kube::IngressBackend& from) {
    Backend backend{.name = name, .exists = false};
    const auto service = cluster_.services.find({ns, from.service});
    if (service == cluster_.services.end()) {
      warn("Ingress {}: Service {}/{} does not exist: answered 503", ingress, ns, from.service);
    } else if (service->second->type == kube::Service::Type::ExternalName) {
      warn("Ingress {}: Service {}/{} is of type ExternalName, which is not served: answered 503", ingress,
           ns, from.service);
    } else if (const auto* port = find_port(*service->second, from.port)) {
      backend.exists = true;
      backend.endpoints = endpoints(*service->second, *port);
    } else {
      warn("Ingress {}: Service {}/{} has no TCP port {}: answered 503", ingress, ns, from.service,
           port_text(from.port));
    }
    return backend;
  }

  static const kube::ServicePort* find_port(const kube::Service& service, const kube::PortRef& ref) {
    for (const auto& port : service.ports)
      if (port.protocol == kube::Protocol::TCP &&
          (ref.name.empty() ? port.port == ref.number : port.name == ref.name))
        return &port;
    return nullptr;
  }

  // A dual-stack pod stands in slices of both families; one of them is enough to reach it.
  std::vector<Endpoint> endpoints(const kube::Service& service, const kube::ServicePort& port) {
    const bool v4_first = service.cluster_ips.empty() || service.cluster_ips.front().is_v4();
    for (const bool v4 : {v4_first, !v4_first})
      for (const bool ready : {true, false})
        if (auto found = endpoints(service, port, v4, ready); !found.empty()) return found;
    return {};
  }

  // Ready ones; when there are none, those that still serve while they terminate (KEP-1669).
  std::vector<Endpoint> endpoints(const kube::Service& service, const kube::ServicePort& port, bool v4,
                                  bool ready) {
    std::set<Endpoint> found;
    for (const auto* slice : slices_[{service.meta.key.ns, service.meta.key.name}]) {
      if (slice->v4 != v4) continue;
      for (const auto& slice_port : slice->ports) {
        if (slice_port.name != port.name || slice_port.protocol != kube::Protocol::TCP ||
            slice_port.port == 0)
          continue;
        for (const auto& endpoint : slice->endpoints)
          if (!endpoint.addresses.empty() &&
              (ready ? endpoint.ready : endpoint.serving && endpoint.terminating))
            found.insert({endpoint.addresses.front(), slice_port.port});
      }
    }
    return {found.begin(), found.end()};
  }

  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    if (built_.warnings.size() < kMaxWarnings)
      built_.warnings.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  const kube::Cluster& cluster_;
  const BuildOptions& options_;
  std::map<ObjectKey, std::vector<const kube::EndpointSlice*>> slices_;  // by Service
  std::map<std::string, uint32_t> backends_;
  Built built_;
};

}  // namespace

bool serves(const kube::Ingress& ingress, const BuildOptions& options) {
  if (!ingress.class_name.empty()) return ingress.class_name == options.class_name;
  const auto& annotations = ingress.meta.annotations;
  if (const auto old = annotations.find("kubernetes.io/ingress.class"); old != annotations.end())
    return old->second == options.class_name;
  return options.classless;
}

bool valid_host(std::string_view host) {
  if (host.size() > 253) return false;
  if (host.starts_with("*.")) host.remove_prefix(2);
  for (;;) {
    const auto dot = host.find('.');
    if (!valid_label(host.substr(0, dot))) return false;
    if (dot == host.npos) return true;
    host.remove_prefix(dot + 1);
  }
}

Built build_routes(const kube::Cluster& cluster, const BuildOptions& options) {
  return Builder(cluster, options).build();
}

}  // namespace thalweg::ingress
