// Cluster: the desired state, one store a kind. A Source fills it; the agent, DNS and ingress compile from
// it.
#pragma once

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
};

}  // namespace thalweg::kube
