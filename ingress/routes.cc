#include "ingress/routes.h"

namespace thalweg::ingress {

namespace {

// Prefixes match element by element, so a last '/' says nothing: "/foo/" is the prefix "/foo".
std::string_view prefix_key(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

// The longest prefix of `path` that ends where an element ends and has at most `most` bytes.
size_t element_end(std::string_view path, size_t most) {
  if (path.size() <= most) return path.size();
  const auto slash = path.rfind('/', most);
  return slash == path.npos ? 0 : slash;
}

}  // namespace

std::string Endpoint::str() const {
  return ip.is_v4() ? fmt::format("{}:{}", ip, port) : fmt::format("[{}]:{}", ip, port);
}

const Route* RouteTable::Host::find(std::string_view path) const {
  if (const auto found = exact.find(path); found != exact.end()) return &found->second;
  if (prefixes.empty()) return nullptr;
  for (size_t end = element_end(path, longest_prefix);; end = element_end(path, end - 1)) {
    if (const auto found = prefixes.find(path.substr(0, end)); found != prefixes.end()) return &found->second;
    if (end == 0) return nullptr;
  }
}

const RouteTable::Host* RouteTable::host(std::string_view name) const {
  const auto found = hosts_.find(name);
  return found == hosts_.end() ? nullptr : &found->second;
}

const RouteTable::Host* RouteTable::wildcard(std::string_view name) const {
  const auto dot = name.find('.');
  if (dot == name.npos || dot == 0) return nullptr;
  std::string key = "*";
  return host(key.append(name.substr(dot)));
}

const Route* RouteTable::find(std::string_view name, std::string_view path) const {
  const Host* candidates[] = {name.empty() ? nullptr : host(name), wildcard(name), host("")};
  for (const Host* one : candidates)
    if (one != nullptr)
      if (const Route* route = one->find(path)) return route;
  for (const Host* one : candidates)
    if (one != nullptr && one->fallback) return &*one->fallback;
  return nullptr;
}

uint32_t RouteTable::add_backend(Backend backend) {
  backends_.push_back(std::move(backend));
  return static_cast<uint32_t>(backends_.size() - 1);
}

const Route* RouteTable::add(std::string_view name, Route route) {
  Host& host = hosts_[std::string(name)];
  const bool exact = route.match == Route::Match::Exact;
  const std::string key(exact ? route.path : prefix_key(route.path));
  const auto [entry, added] = (exact ? host.exact : host.prefixes).try_emplace(key, std::move(route));
  if (!added) return &entry->second;
  if (!exact) host.longest_prefix = std::max(host.longest_prefix, key.size());
  ++size_;
  return nullptr;
}

const Route* RouteTable::add_default(std::string_view name, Route route) {
  Host& host = hosts_[std::string(name)];
  if (host.fallback) return &*host.fallback;
  host.fallback = std::move(route);
  ++size_;
  return nullptr;
}

}  // namespace thalweg::ingress
