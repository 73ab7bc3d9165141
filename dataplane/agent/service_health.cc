#include "base/asio.h"
// Asio first: it is precompiled.
#include "base/http.h"
#include "dataplane/agent/service_health.h"

namespace thalweg::dataplane {
namespace {

namespace json = boost::json;

// Balancers ask from a few places, each a short question every few seconds.
constexpr http::Limits kLimits{.max_connections = 16,
                               .max_header_bytes = 4 << 10,
                               .max_body_bytes = 1 << 10,
                               .read_timeout_ms = 2'000,
                               .idle_timeout_ms = 10'000,
                               .write_timeout_ms = 2'000};

http::Response answer(const kube::ObjectKey& service, uint32_t endpoints, bool healthy) {
  const json::object body{{"service", {{"namespace", service.ns}, {"name", service.name}}},
                          {"localEndpoints", endpoints},
                          {"serviceProxyHealthy", healthy}};
  return {.status = endpoints > 0 && healthy ? 200 : 503,
          .body = json::serialize(body) + "\n",
          .headers = {{"X-Content-Type-Options", "nosniff"},
                      {"X-Load-Balancing-Endpoint-Weight", std::to_string(endpoints)}}};
}

}  // namespace

struct ServiceHealth::Port {
  explicit Port(asio::io_context& io) : server(io, kLimits) {}
  uint16_t number = 0;
  uint32_t endpoints = 0;
  http::Server server;
};

ServiceHealth::ServiceHealth(asio::io_context& io, std::function<bool()> healthy)
    : io_(io), healthy_(std::move(healthy)) {}
ServiceHealth::~ServiceHealth() = default;

void ServiceHealth::update(const std::map<kube::ObjectKey, HealthCheck>& checks,
                           const std::vector<Ip>& addresses) {
  complaints_.clear();
  std::map<Name, const HealthCheck*> wanted;
  for (const auto& [service, check] : checks)
    for (const auto& address : addresses) wanted[{service, address}] = &check;
  // Closed first: a port may go from one Service to another.
  std::erase_if(ports_, [&](const auto& entry) {
    const auto found = wanted.find(entry.first);
    return found == wanted.end() || found->second->port != entry.second->number;
  });
  for (const auto& [name, check] : wanted) {
    if (!ports_.contains(name)) open(name, *check);
    if (const auto port = ports_.find(name); port != ports_.end())
      port->second->endpoints = check->local_endpoints[name.address.is_v4()];
  }
}

void ServiceHealth::open(const Name& name, const HealthCheck& check) {
  const auto complain = [&](const std::string& why) {
    complaints_.push_back(fmt::format("Service {}: healthCheckNodePort: {}", name.service.str(), why));
  };
  if (ports_.size() >= kMostPorts)
    return complain(fmt::format("{} port {}: there are {} already", name.address, check.port, kMostPorts));
  auto port = std::make_unique<Port>(io_);
  port->number = check.port;
  port->server.route_rest([this, service = name.service, of = port.get()](const http::Request&) {
    return answer(service, of->endpoints, healthy_());
  });
  if (const auto listens = port->server.listen_tcp(name.address, check.port); !listens)
    return complain(listens.error().message);
  ports_.emplace(name, std::move(port));
}

void ServiceHealth::stop() { ports_.clear(); }

}  // namespace thalweg::dataplane
