// What a compilation costs: 1,000 policies × 10,000 pods, from scratch and after one pod changed. Run by
// scripts/bench; CPU time, rounds interleaved A B B A, median; a JSON object a line.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <vector>

#include "dataplane/intent/compile.h"
#include "tests/policy/builders.h"

namespace {

using namespace thalweg;
using namespace thalweg::test;

constexpr int kPolicies = 1000, kPods = 10000, kNamespaces = 100, kRounds = 11;
constexpr int kLinks = 110;  // pods of a full node

kube::Pod pod_number(int n, int version) {
  auto out = pod(fmt::format("ns{}/pod{}", n % kNamespaces, n),
                 {{"app", fmt::format("app{}", n % 50)}, {"version", std::to_string(version)}}, {});
  out.ips = {Ip::v4(10, 0, 0, 0).plus(static_cast<uint64_t>(n) + 1)};
  return out;
}

kube::Cluster big_cluster() {
  kube::Cluster out;
  for (int n = 0; n < kNamespaces; ++n)
    kube::put(out, object(ns(fmt::format("ns{}", n), {{"team", fmt::format("t{}", n % 10)}})));
  for (int n = 0; n < kPods; ++n) kube::put(out, object(pod_number(n, 0)));
  for (int n = 0; n < kPolicies; ++n)
    kube::put(out, object(ingress(fmt::format("ns{}/p{}", n % kNamespaces, n),
                                  with({{"app", fmt::format("app{}", n % 50)}}),
                                  {{{pods(with({{"app", fmt::format("app{}", (n + 1) % 50)}})),
                                     pods_of(with({{"team", fmt::format("t{}", n % 10)}}), everything()),
                                     block(fmt::format("10.{}.0.0/16", n % 40))},
                                    {tcp(80), tcp(8000, 8099)}}})));
  return out;
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

double measure(const std::function<void()>& work) {
  const double start = cpu_seconds();
  work();
  return (cpu_seconds() - start) * 1e3;
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<long>(values.size() / 2));
  return values[values.size() / 2];
}

}  // namespace

int main() {
  auto cluster = big_cluster();
  std::vector<dataplane::LocalPod> links(kLinks);
  for (int n = 0; n < kLinks; ++n) {
    const auto one = pod_number(n, 0);
    links[static_cast<size_t>(n)].key = one.meta.key;
    links[static_cast<size_t>(n)].ips = one.ips;
  }
  const dataplane::Config config{.node_name = "n1"};
  dataplane::Compiler compiler(config);
  compiler.update(cluster, kube::refs(cluster));
  for (const auto& link : links) compiler.put_link(link);
  compiler.compile();

  int version = 0;
  const auto one_pod = [&] {
    ++version;
    auto changed = pod_number(kLinks + version, 0);
    changed.meta.labels["app"] = fmt::format("app{}", version % 50);
    kube::put(cluster, object(changed));
    compiler.update(cluster, std::vector<kube::ObjectRef>{{kube::Kind::Pod, changed.meta.key}});
    compiler.compile();
  };
  const auto scratch = [&] { dataplane::compile_from_scratch(config, cluster, links); };
  std::vector<double> incremental, whole;
  for (int round = 0; round < kRounds; ++round) {
    incremental.push_back(measure(one_pod));
    whole.push_back(measure(scratch));
    whole.push_back(measure(scratch));
    incremental.push_back(measure(one_pod));
  }
  const double ours = median(incremental), theirs = median(whole);
  fmt::print(
      "{{\"bench\":\"policy\",\"metric\":\"compile after one pod changed, 1000 policies x 10000 "
      "pods\",\"unit\":\"ms\","
      "\"ours\":{:.3f},\"peer\":\"from scratch\",\"theirs\":{:.1f},\"ratio\":{:.5f}}}\n",
      ours, theirs, ours / theirs);
}
