// thalweg-dns: flags; the control loop (objects to zone, metrics); and the workers that answer.
#include "base/asio.h"
// Asio first: it is precompiled.
#include <sys/random.h>

#include "base/file.h"
#include "base/flags.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "dns/worker.h"
#include "dns/zone_keeper.h"
#include "kube/source.h"

namespace thalweg::dns {
namespace {

struct Config {
  std::vector<std::string> listen;
  std::string zone = "cluster.local";
  uint32_t ttl_s = 5;
  std::string pods = "disabled";
  std::vector<std::string> upstream;
  std::string resolv_conf = "/etc/resolv.conf";
  uint32_t upstream_timeout_ms = UpstreamConfig().timeout_ms;
  uint32_t max_in_flight = UpstreamConfig().max_in_flight;
  uint32_t cache_entries = CacheLimits().max_entries;
  uint32_t cache_kib = CacheLimits().max_bytes >> 10;
  uint32_t tcp_connections = TcpLimits().max_connections;
  uint32_t tcp_idle_ms = TcpLimits().idle_ms;
  std::string metrics;
  uint32_t threads = 1;
  kube::SourceOptions objects;
};

constexpr std::string_view kDescription =
    "Answers the names of a Kubernetes cluster as the Kubernetes DNS specification 1.1.0 says (Services, "
    "headless "
    "Services, named ports, pods, reverse names), and hands every other question to the upstream name "
    "servers.\n\n"
    "Objects come from exactly one of --api, --kubeconfig and --manifests. Until they are known, names that "
    "could be "
    "the cluster's are answered SERVFAIL, and /ready says 503. A broken object is left out and counted; a "
    "change of "
    "objects is taken over without losing a query.\n\n"
    "Replies leave from the address their query came to. Forwarded answers are cached for as long as their "
    "TTLs "
    "allow; identical questions are asked once. Without --upstream the name servers of resolv.conf are used, "
    "except "
    "those that would lead back to --listen; with none left, names outside the zone are REFUSED.\n\n"
    "After the sockets are bound every capability is given up, so files and sockets named here must be "
    "readable for "
    "the user alone, without root's privileges.";

constexpr std::string_view kExamples =
    "thalweg-dns --listen 10.96.0.10:53 --listen [fd00:96::a]:53 --api unix:/run/thalweg/api.sock "
    "--metrics 127.0.0.1:9153\n"
    "thalweg-dns --listen 127.0.0.1:5353 --manifests examples/demo/manifests --upstream 192.0.2.53";

constexpr std::string_view kEndpoint =
    "GET /metrics: Prometheus text, under CoreDNS's names where the meaning is the same. GET /health: 200 "
    "while the "
    "program runs. GET /ready: 200 once the zone is built, 503 before.";

void add_flags(Flags& flags, Config& config) {
  flags.add("--listen", config.listen, "ADDRESS:PORT to answer on, UDP and TCP; repeatable",
            {.required = true});
  flags.add("--zone", config.zone, "the cluster's domain");
  flags.add("--ttl", config.ttl_s, "seconds, of the zone's records and negative answers");
  flags.add("--pods", config.pods,
            "answer <a-b-c-d>.<namespace>.pod names: not, for any address, for pods that exist",
            {.choices = {"disabled", "insecure", "verified"}});
  flags.add("--api", config.objects.api,
            "read objects from a relay: unix:PATH (thalwegd's api.sock), or in-cluster");
  flags.add("--kubeconfig", config.objects.kubeconfig, "read objects from the API server this file names",
            {.is_path = true});
  flags.add("--manifests", config.objects.manifests,
            "read objects from this folder or file of YAML, and follow it", {.is_path = true});
  flags.add("--upstream", config.upstream,
            "ADDRESS[:PORT] to ask for other names, in this order; repeatable");
  flags.add("--resolv-conf", config.resolv_conf, "where upstreams come from without --upstream",
            {.is_path = true});
  flags.add("--upstream-timeout-ms", config.upstream_timeout_ms, "of the first try at an upstream");
  flags.add("--max-in-flight", config.max_in_flight,
            "questions at upstreams, a thread; further ones are SERVFAIL");
  flags.add("--cache-entries", config.cache_entries, "forwarded answers kept, a thread");
  flags.add("--cache-kib", config.cache_kib, "memory for them, a thread");
  flags.add("--tcp-connections", config.tcp_connections,
            "at a time, an address and thread; further ones are closed");
  flags.add("--tcp-idle-ms", config.tcp_idle_ms, "a TCP connection may take to send a whole query");
  flags.add("--metrics", config.metrics, "ADDRESS:PORT or unix:PATH of /metrics, /health and /ready");
  flags.add("--threads", config.threads, "workers, each with its own sockets and cache");
  flags.section("ENDPOINT", kEndpoint);
  flags.section("EXAMPLES", kExamples);
  flags.section("EXIT STATUS", "0 told to stop (SIGTERM, SIGINT); 1 could not start; 2 wrong flags");
}

PodNames pod_names(std::string_view text) {
  if (text == "insecure") return PodNames::Insecure;
  return text == "verified" ? PodNames::Verified : PodNames::Disabled;
}

Result<std::vector<Endpoint>> endpoints(const std::vector<std::string>& texts, std::string_view flag) {
  std::vector<Endpoint> out;
  for (const std::string& text : texts) out.push_back(TRY(context(parse_endpoint(text), "{}", flag)));
  return out;
}

// --upstream, or what resolv.conf names, without those that would lead back here.
Result<std::vector<Endpoint>> upstreams(const Config& config, const std::vector<Endpoint>& listen) {
  const std::vector<Ip> local = local_addresses();
  if (!config.upstream.empty()) {
    auto given = TRY(endpoints(config.upstream, "--upstream"));
    for (const Endpoint& each : given)
      if (loops(each, listen, local)) return fail("--upstream {}: that is this server itself", each.str());
    return given;
  }
  std::vector<Endpoint> out;
  const auto text = read_file(config.resolv_conf);
  if (!text) log::warn("no upstreams", {{"error", text.error().message}});
  for (const Endpoint& each : text ? nameservers(*text) : std::vector<Endpoint>()) {
    if (loops(each, listen, local))
      log::warn("upstream left out: it leads back here",
                {{"upstream", each.str()}, {"file", config.resolv_conf}});
    else
      out.push_back(each);
  }
  if (out.empty())
    log::warn("no upstreams: names outside the zone are refused", {{"file", config.resolv_conf}});
  return out;
}

Result<Name> apex(const std::string& zone) {
  const Name name = TRY(context(Name::parse(zone), "--zone {}", zone));
  return name.size() > 128 ? fail("--zone {}: longer than 128 bytes", zone) : Result<Name>(name);
}

// What can be said of the flags' values before anything is tried.
Result<> check(const Config& config) {
  TRY(endpoints(config.listen, "--listen"));
  TRY(endpoints(config.upstream, "--upstream"));
  TRY(apex(config.zone));
  if (!config.metrics.empty() && !config.metrics.starts_with("unix:"))
    TRY(context(parse_endpoint(config.metrics, 9153), "--metrics"));
  return kube::check(config.objects);
}

// The addresses that ns.dns.<zone> has: those clients can be told.
std::vector<Ip> name_servers(const std::vector<Endpoint>& listen) {
  std::vector<Ip> out;
  for (const Endpoint& each : listen)
    if (!each.ip.is_none() && each.ip != Ip::v4(0, 0, 0, 0)) out.push_back(each.ip);
  return out;
}

class Program {
 public:
  explicit Program(Config config) : config_(std::move(config)), http_(io_) {}

  int run() {
    if (const auto ready = prepare(); !ready) {
      log::error("cannot start", {{"error", ready.error().message}});
      return kExitFailed;
    }
    const StopSignals signals(io_, [this](int) { stop(); });
    for (const auto& worker : workers_) worker->start();
    keeper_->start();
    run_loop(io_);
    for (const auto& worker : workers_) worker->stop();
    log::info("stopped");
    return kExitOk;
  }

 private:
  Result<> prepare() {
    const auto listen = TRY(endpoints(config_.listen, "--listen"));
    ZoneConfig zone = TRY(zone_config(listen));
    WorkerConfig worker = worker_config();
    worker.upstream.servers = TRY(upstreams(config_, listen));
    const uint32_t threads = std::max(1u, config_.threads);
    std::vector<std::vector<ListenSockets>> sockets;
    for (uint32_t i = 0; i < threads; ++i) sockets.push_back(TRY(open_sockets(listen, threads > 1)));
    TRY(serve_http());
    TRY(drop_rights());
    for (auto& each : sockets) workers_.push_back(TRY(Worker::make(std::move(each), zone_, worker)));
    TRY(open_source(std::move(zone)));
    prepare_metrics();
    for (const Endpoint& each : listen)
      log::info("listening", {{"address", each.str()}, {"zone", config_.zone}});
    return {};
  }

  Result<ZoneConfig> zone_config(const std::vector<Endpoint>& listen) {
    ZoneConfig out;
    out.apex = TRY(apex(config_.zone));
    out.ttl_s = config_.ttl_s;
    out.pods = pod_names(config_.pods);
    out.name_servers = name_servers(listen);
    out.serial = static_cast<uint32_t>(time(nullptr));
    if (getrandom(&out.hash_seed, sizeof out.hash_seed, 0) != sizeof out.hash_seed)
      return fail_errno(errno, "getrandom");
    return out;
  }

  WorkerConfig worker_config() const {
    WorkerConfig out;
    out.upstream.timeout_ms = config_.upstream_timeout_ms;
    out.upstream.max_in_flight = config_.max_in_flight;
    out.cache.max_entries = config_.cache_entries;
    out.cache.max_bytes = size_t{config_.cache_kib} << 10;
    out.tcp.max_connections = config_.tcp_connections;
    out.tcp.idle_ms = config_.tcp_idle_ms;
    return out;
  }

  Result<> open_source(ZoneConfig zone) {
    kube::SourceOptions options = config_.objects;
    options.user_agent = "thalweg-dns";
    options.kinds = {kube::Kind::Namespace, kube::Kind::Service, kube::Kind::EndpointSlice};
    // Slices of manifests are derived from pods.
    if (zone.pods != PodNames::Disabled || !options.manifests.empty())
      options.kinds.push_back(kube::Kind::Pod);
    source_ = TRY(kube::make_source(io_, std::move(options)));
    keeper_ = std::make_unique<ZoneKeeper>(*source_, std::move(zone), zone_,
                                           [this](const ZoneBuilt& built) { on_built(built); });
    return {};
  }

  void on_built(const ZoneBuilt& built) {
    registry_.gauge("thalweg_dns_zone_names", "Names of the zone").set(static_cast<double>(built.names));
    registry_.gauge("thalweg_dns_zone_bytes", "Memory of the zone").set(static_cast<double>(built.bytes));
    registry_.gauge("thalweg_dns_zone_skipped", "Names and records left out: no DNS names, or too many")
        .set(static_cast<double>(built.skipped));
    registry_.counter("thalweg_dns_zone_builds_total", "Zones built").add();
    registry_.gauge("thalweg_dns_zone_build_seconds", "Time the last zone took to build").set(built.seconds);
    log::info("zone built",
              {{"names", built.names}, {"skipped", built.skipped}, {"ms", built.seconds * 1000}});
  }

  Result<> serve_http() {
    if (config_.metrics.empty()) return {};
    const auto text = [](int status, const char* body) { return http::Response{status, "text/plain", body}; };
    http_.route("GET", "/health", [text](const http::Request&) { return text(200, "OK\n"); });
    http_.route("GET", "/ready", [this, text](const http::Request&) {
      return keeper_ && keeper_->synced() ? text(200, "OK\n") : text(503, "the zone is not built yet\n");
    });
    http_.route("GET", "/metrics", [this](const http::Request&) {
      return http::Response{200, std::string(metrics::Registry::kContentType), registry_.text()};
    });
    if (config_.metrics.starts_with("unix:"))
      return context(http_.listen_unix(config_.metrics.substr(5)), "--metrics {}", config_.metrics);
    const Endpoint at = TRY(context(parse_endpoint(config_.metrics, 9153), "--metrics"));
    TRY(context(http_.listen_tcp(at.ip, at.port), "--metrics {}", config_.metrics));
    return {};
  }

  void prepare_metrics() {
    std::vector<const Stats*> stats;
    for (const auto& worker : workers_) stats.push_back(&worker->stats());
    stats_metrics_.emplace(registry_, std::move(stats), config_.zone + ".");
    registry_.before_text([this] { stats_metrics_->collect(); });
  }

  void stop() {
    keeper_->stop();
    http_.stop();
    io_.stop();
  }

  Config config_;
  asio::io_context io_{1};
  metrics::Registry registry_;
  http::Server http_;
  Snapshot<Zone> zone_;
  std::unique_ptr<kube::Source> source_;
  std::unique_ptr<ZoneKeeper> keeper_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::optional<StatsMetrics> stats_metrics_;
};

}  // namespace
}  // namespace thalweg::dns

int main(int argc, char** argv) {
  thalweg::dns::Config config;
  thalweg::Flags flags("thalweg-dns", "the cluster DNS server", thalweg::dns::kDescription);
  thalweg::dns::add_flags(flags, config);
  if (const auto exit = flags.parse(argc, argv)) return *exit;
  if (const auto good = thalweg::dns::check(config); !good) return flags.refuse(good.error().message);
  return thalweg::dns::Program(std::move(config)).run();
}
