#include "kube/cluster.h"

namespace thalweg::kube {

namespace {

template <class C, class F>
auto with_store(C& cluster, Kind kind, F&& use) {
  switch (kind) {
    case Kind::Node: return use(cluster.nodes);
    case Kind::Namespace: return use(cluster.namespaces);
    case Kind::Pod: return use(cluster.pods);
    case Kind::Service: return use(cluster.services);
    case Kind::EndpointSlice: return use(cluster.endpoint_slices);
    case Kind::NetworkPolicy: return use(cluster.network_policies);
    case Kind::Ingress: return use(cluster.ingresses);
    case Kind::Secret: break;
  }
  return use(cluster.secrets);
}

template <class T>
Store<T>& store_of(Cluster& cluster) {
  if constexpr (std::is_same_v<T, Node>) return cluster.nodes;
  if constexpr (std::is_same_v<T, Namespace>) return cluster.namespaces;
  if constexpr (std::is_same_v<T, Pod>) return cluster.pods;
  if constexpr (std::is_same_v<T, Service>) return cluster.services;
  if constexpr (std::is_same_v<T, EndpointSlice>) return cluster.endpoint_slices;
  if constexpr (std::is_same_v<T, NetworkPolicy>) return cluster.network_policies;
  if constexpr (std::is_same_v<T, Ingress>) return cluster.ingresses;
  if constexpr (std::is_same_v<T, Secret>) return cluster.secrets;
}

// Heartbeats change the version alone; nobody above needs to hear of them.
template <class T>
bool same_but_version(const T& a, const T& b) {
  if (a.meta.resource_version == b.meta.resource_version) return a == b;
  T copy = a;
  copy.meta.resource_version = b.meta.resource_version;
  return copy == b;
}

template <class T>
bool put_in(Store<T>& store, const std::shared_ptr<const T>& object) {
  auto& slot = store[object->meta.key];
  const bool changed = !slot || !same_but_version(*slot, *object);
  slot = object;
  return changed;
}

}  // namespace

std::optional<Object> find(const Cluster& cluster, const ObjectRef& ref) {
  return with_store(cluster, ref.kind, [&](const auto& store) -> std::optional<Object> {
    const auto found = store.find(ref.key);
    if (found == store.end()) return std::nullopt;
    return found->second;
  });
}

bool same_content(const Object& a, const Object& b) {
  return std::visit(
      [&]<class T>(const std::shared_ptr<const T>& one) {
        const auto* other = std::get_if<std::shared_ptr<const T>>(&b);
        return other && same_but_version(*one, **other);
      },
      a);
}

bool put(Cluster& cluster, const Object& object) {
  return std::visit(
      [&]<class T>(const std::shared_ptr<const T>& one) { return put_in(store_of<T>(cluster), one); },
      object);
}

bool erase(Cluster& cluster, const ObjectRef& ref) {
  return with_store(cluster, ref.kind, [&](auto& store) { return store.erase(ref.key) > 0; });
}

std::vector<ObjectRef> refs(const Cluster& cluster) {
  std::vector<ObjectRef> all;
  for (const auto& kind : kKinds) {
    with_store(cluster, kind.kind, [&](const auto& store) {
      for (const auto& [key, object] : store) all.push_back({kind.kind, key});
    });
  }
  return all;
}

void each_object(const Cluster& cluster, const std::function<void(const Object&)>& visit) {
  for (const auto& kind : kKinds)
    with_store(cluster, kind.kind, [&](const auto& store) {
      for (const auto& [key, object] : store) visit(object);
    });
}

}  // namespace thalweg::kube
