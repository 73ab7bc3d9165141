// ServiceHealth: answers the balancers that ask by HTTP whether this node has endpoints of a Service
// (spec.healthCheckNodePort), one port a Service, as kube-proxy answers them. The agent's loop keeps it up to
// date.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/asio_fwd.h"
#include "dataplane/intent/endpoints.h"

namespace thalweg::dataplane {

class ServiceHealth {
 public:
  // healthy: whether the tables forward for the endpoints there are; without that no Service is.
  ServiceHealth(asio::io_context& io, std::function<bool()> healthy);
  ~ServiceHealth();

  // From now on these, on these addresses. What cannot be listened on is named in complaints(), and tried
  // again by the next call.
  void update(const std::map<kube::ObjectKey, HealthCheck>& checks, const std::vector<Ip>& addresses);
  const std::vector<std::string>& complaints() const { return complaints_; }
  void stop();

  // Ports beyond so many are not opened, and complained of.
  static constexpr size_t kMostPorts = 1024;

 private:
  struct Port;
  struct Name {
    kube::ObjectKey service;
    Ip address;
    auto operator<=>(const Name&) const = default;
  };
  void open(const Name& name, const HealthCheck& check);

  asio::io_context& io_;
  std::function<bool()> healthy_;
  std::map<Name, std::unique_ptr<Port>> ports_;
  std::vector<std::string> complaints_;
};

}  // namespace thalweg::dataplane
