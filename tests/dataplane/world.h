// A random cluster with random links and its compiler, stepped together.
#pragma once

#include "dataplane/intent/compile.h"
#include "tests/dataplane/tables.h"
#include "tests/policy/random_cluster.h"

namespace thalweg::test {

class World {
 public:
  explicit World(uint32_t seed) : dice_(seed), compiler_(config()) {}

  static dataplane::Config config() {
    dataplane::Config out;
    out.node_name = "n1";
    out.v4 = ip("192.0.2.1");
    out.service_cidrs = {cidr("10.96.0.0/16")};
    out.external_ip_cidrs = {cidr("10.96.0.0/16")};
    return out;
  }

  // Changes a few things and compiles.
  dataplane::Touched step(uint32_t changes) {
    auto changed = random_changes(cluster_, dice_, changes);
    for (uint32_t n = 0; n < changes; ++n) changed.push_back(change_service_or_node());
    compiler_.update(cluster_, changed);
    for (const auto& key : random_subjects(cluster_, subjects_, dice_)) wire(key);
    return compiler_.compile();
  }

  dataplane::Intent from_scratch() const {
    std::vector<dataplane::LocalPod> links;
    for (const auto& [key, link] : links_) links.push_back(link);
    return dataplane::compile_from_scratch(config(), cluster_, links, compiler_.numbering());
  }

  dataplane::Compiler& compiler() { return compiler_; }
  const kube::Cluster& cluster() const { return cluster_; }
  const std::map<kube::ObjectKey, dataplane::LocalPod>& links() const { return links_; }
  Dice& dice() { return dice_; }

 private:
  kube::ObjectRef change(const kube::Object& made) {
    const auto ref = kube::ref_of(made);
    if (dice_.one_in(4))
      kube::erase(cluster_, ref);
    else
      kube::put(cluster_, made);
    return ref;
  }

  kube::ObjectRef change_service_or_node() {
    const auto n = std::to_string(dice_.below(4));
    if (dice_.one_in(4))
      return change(
          object(node("n" + n, {"10." + std::to_string(dice_.below(5)) + ".0.0/24"}, {"192.0.2." + n})));
    if (dice_.one_in(2)) return change(object(random_service(n)));
    std::vector<kube::Endpoint> endpoints;
    for (uint32_t e = dice_.below(6); e > 0; --e)
      endpoints.push_back(
          endpoint_at("10.0.0." + std::to_string(dice_.below(9)), "n" + std::to_string(dice_.below(3))));
    for (auto& endpoint : endpoints) endpoint.ready = !dice_.one_in(4);
    for (auto& endpoint : endpoints) endpoint.terminating = !endpoint.ready && dice_.one_in(2);
    const uint16_t port = dice_.one_in(3) ? 9090 : 8080;
    return change(object(slice("a/s" + n, "svc" + std::to_string(dice_.below(4)),
                               {{"http", port}, {"http", port, kube::Protocol::UDP}}, endpoints)));
  }

  kube::Service random_service(const std::string& n) {
    auto out = service("a/svc" + n, {"10.96.0." + std::to_string(dice_.below(4))}, {{"http", 80}});
    if (dice_.one_in(3)) out.external_ips = {ip("10.96.0." + std::to_string(dice_.below(4)))};
    if (dice_.one_in(3)) out.type = kube::Service::Type::NodePort, out.ports[0].node_port = 30080;
    if (dice_.one_in(2)) make_balancer(out);
    if (dice_.one_in(3)) out.ports[0].protocol = kube::Protocol::UDP;
    out.internal_local = dice_.one_in(4);
    out.external_local = dice_.one_in(3);
    if (dice_.one_in(3)) out.affinity_timeout_s = 100 + dice_.below(2);
    return out;
  }

  void make_balancer(kube::Service& out) {
    out.type = kube::Service::Type::LoadBalancer;
    out.load_balancer_ips = {ip("203.0.113." + std::to_string(dice_.below(3)))};
    for (const char* range : {"198.51.100.0/24", "198.51.100.0/25", "192.0.2.0/24"})
      if (dice_.one_in(3)) out.load_balancer_source_ranges.push_back(cidr(range));
  }

  void wire(const kube::ObjectKey& key) {
    if (!subjects_.contains(key)) {
      compiler_.remove_link(key);
      links_.erase(key);
      return;
    }
    dataplane::LocalPod link;
    link.key = key;
    link.ips = subjects_.at(key);
    link.ifindex = ++next_ifindex_;
    links_[key] = link;
    compiler_.put_link(link);
  }

  Dice dice_;
  kube::Cluster cluster_;
  policy::Subjects subjects_;
  std::map<kube::ObjectKey, dataplane::LocalPod> links_;
  dataplane::Compiler compiler_;
  uint32_t next_ifindex_ = 10;
};

}  // namespace thalweg::test
