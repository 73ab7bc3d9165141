// Cluster: the desired state, one store a kind. A Source fills it; the agent, DNS and ingress compile from
// it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>

#include "kube/object.h"

namespace thalweg::kube {

// Objects are immutable once stored: a change is a new object under the same key.
template <class T>
using Store = std::map<ObjectKey, std::shared_ptr<const T>>;

struct Cluster {
  Store<Node> nodes;
  Store<Namespace> namespaces;
  Store<Pod> pods;
  Store<Service> services;
  Store<EndpointSlice> endpoint_slices;
  Store<NetworkPolicy> network_policies;
  Store<Ingress> ingresses;
  Store<Secret> secrets;
};

// The object under ref, or nothing.
std::optional<Object> find(const Cluster& cluster, const ObjectRef& ref);
// Whether two objects are the same but for their resourceVersion.
bool same_content(const Object& a, const Object& b);
// Stores object under its key. False when what was there is the same but for its resourceVersion.
bool put(Cluster& cluster, const Object& object);
// False when there was nothing.
bool erase(Cluster& cluster, const ObjectRef& ref);
// Everything in the cluster, kind by kind.
std::vector<ObjectRef> refs(const Cluster& cluster);
void each_object(const Cluster& cluster, const std::function<void(const Object&)>& visit);

// What `thalweg status` says of a source.
struct SourceStatus {
  std::string where;    // "manifests examples/demo", "https://10.0.0.1:6443"
  bool synced = false;  // every kind has been listed once
  uint64_t events = 0;  // objects added, changed, deleted since the start
  uint64_t errors = 0;  // since the start; a malformed object counts once a version
  std::string last_error;
  std::chrono::system_clock::time_point last_event{};  // when the source last heard anything
};

// Where objects come from: an API server (kube/client), manifests (kube/manifests), another node's relay.
// Lives on one loop; owns the Cluster it fills.
class Source {
 public:
  // Called once when every kind has been listed (changed then names everything), afterwards once a batch of
  // changes, on the source's loop. The Cluster is valid during the call only.
  using OnChange = std::function<void(const Cluster&, std::span<const ObjectRef> changed)>;

  virtual ~Source() = default;
  virtual void start(OnChange on_change) = 0;
  virtual void stop() = 0;
  virtual SourceStatus status() const { return {}; }
};

}  // namespace thalweg::kube
