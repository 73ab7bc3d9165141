// thalweg-ingress: flags, then the control loop (objects to routes) and one loop a thread (Proxy).
#include "base/asio.h"
//
#include <set>
#include <thread>

#include "base/flags.h"
#include "base/http.h"
#include "base/loop.h"
#include "ingress/process.h"
#include "ingress/proxy.h"
#include "kube/source.h"

namespace thalweg::ingress {
namespace {

struct Config {
  std::vector<std::string> http, https;
  kube::SourceOptions objects;
  std::string secrets;
  std::string metrics;
  std::string user;
  BuildOptions build{.classless = false};
  bool no_access_log = false;
  uint32_t threads = 1;
  uint32_t max_connections = 8192;
  uint32_t max_head_bytes = 16 << 10;
  uint32_t head_timeout_ms = 10'000;
  uint32_t idle_timeout_ms = 60'000;
  uint32_t body_timeout_ms = 60'000;
  uint32_t connect_timeout_ms = 3'000;
  uint32_t response_timeout_ms = 60'000;
  uint32_t drain_timeout_ms = 30'000;
};

constexpr std::string_view kDescription =
    "Takes HTTP/1.1 and HTTPS requests from outside and passes them to the endpoints of Kubernetes Services, "
    "as the "
    "Ingress objects (networking.k8s.io/v1) of the cluster say: by host, then by path.\n\n"
    "Objects come from exactly one of --api, --kubeconfig and --manifests; TLS certificates come from "
    "Secrets of type "
    "kubernetes.io/tls in --secrets (or, with --kubeconfig and without --secrets, from the API server). "
    "Every change "
    "is taken over without dropping a connection. A broken object is named in one line, and what was good "
    "before "
    "stays.\n\n"
    "A host or path no Ingress names is answered 404; a Service without ready endpoints 503; an endpoint "
    "that cannot "
    "be reached 502, or 504 when it does not answer in time. Requests whose meaning is ambiguous (two "
    "lengths, two "
    "hosts, folded lines) are refused with 400 before anything of them is passed on.\n\n"
    "Sockets are bound at the start and listen once the objects are known. After the bind every capability "
    "is given "
    "up.";

constexpr std::string_view kExamples =
    "thalweg-ingress --http 0.0.0.0:80 --https 0.0.0.0:443 --api unix:/run/thalweg/api.sock "
    "--secrets /etc/thalweg/secrets --metrics 127.0.0.1:9402\n"
    "thalweg-ingress --http 127.0.0.1:8080 --manifests examples/demo/manifests --default-class";

constexpr std::string_view kSignals =
    "SIGTERM, SIGINT: no new connections; requests under way are finished, for up to --drain-timeout-ms; "
    "then exit.";

void add_source_flags(Flags& flags, Config& config) {
  flags.add("--http", config.http, "ADDRESS:PORT to take plain HTTP on; repeatable");
  flags.add("--https", config.https, "ADDRESS:PORT to take HTTPS on; repeatable");
  flags.add("--api", config.objects.api,
            "read objects from a relay: unix:PATH (thalwegd's api.sock), or in-cluster");
  flags.add("--kubeconfig", config.objects.kubeconfig, "read objects from the API server this file names",
            {.is_path = true});
  flags.add("--manifests", config.objects.manifests,
            "read objects from this folder or file of YAML, and follow it", {.is_path = true});
  flags.add("--secrets", config.secrets, "read TLS Secrets from this folder or file of YAML, and follow it",
            {.is_path = true});
  flags.add("--class", config.build.class_name, "serve Ingresses of this spec.ingressClassName");
  flags.add("--default-class", config.build.classless, "also serve Ingresses that name no class");
}

void add_process_flags(Flags& flags, Config& config) {
  flags.add("--metrics", config.metrics, "ADDRESS:PORT for /metrics (Prometheus text) and /healthz");
  flags.add("--threads", config.threads, "loops, each with its own connections and its own pool");
  flags.add("--user", config.user, "become this user (a name or a number) after the bind");
  flags.add("--no-access-log", config.no_access_log, "do not log a line for every request");
  flags.add("--max-connections", config.max_connections,
            "clients at a time, a thread; further ones are closed");
  flags.add("--max-head-bytes", config.max_head_bytes, "of a request's head; beyond: 431");
  flags.add("--head-timeout-ms", config.head_timeout_ms,
            "for a TLS handshake, and for a head from its first byte");
  flags.add("--idle-timeout-ms", config.idle_timeout_ms, "between two requests of a connection");
  flags.add("--body-timeout-ms", config.body_timeout_ms, "without progress of a body, either way");
  flags.add("--connect-timeout-ms", config.connect_timeout_ms, "to connect to an endpoint");
  flags.add("--response-timeout-ms", config.response_timeout_ms,
            "from a whole request to the head of its response");
  flags.add("--drain-timeout-ms", config.drain_timeout_ms, "for requests under way when told to stop");
}

// What can be said of the flags' values before anything is tried.
Result<> check(const Config& config) {
  if (config.http.empty() && config.https.empty())
    return fail("nothing to listen on: give --http or --https");
  for (const auto& text : config.http) TRY(context(parse_address(text), "--http"));
  for (const auto& text : config.https) TRY(context(parse_address(text), "--https"));
  if (!config.metrics.empty()) TRY(context(parse_address(config.metrics), "--metrics"));
  return kube::check(config.objects);
}

ProxyLimits to_limits(const Config& config) {
  ProxyLimits limits;
  limits.max_connections = config.max_connections;
  limits.max_head_bytes = config.max_head_bytes;
  limits.head_timeout_ms = config.head_timeout_ms;
  limits.idle_timeout_ms = config.idle_timeout_ms;
  limits.body_timeout_ms = config.body_timeout_ms;
  limits.response_timeout_ms = config.response_timeout_ms;
  limits.upstream.connect_timeout_ms = config.connect_timeout_ms;
  limits.access_log = !config.no_access_log;
  return limits;
}

// One thread, one loop, one Proxy.
class Worker {
 public:
  Worker(const Snapshot<Routing>& routing, const ProxyLimits& limits, const Counters& counters)
      : proxy_(io_, routing, limits, counters) {}

  Result<Endpoint> bind(const Endpoint& address, bool tls, bool shared) {
    auto socket = TRY(bind_tcp(address, shared));
    const auto bound = TRY(bound_address(socket));
    sockets_.push_back({std::move(socket), tls});
    return bound;
  }

  Result<> listen() {
    for (auto& [socket, tls] : sockets_) {
      TRY(start_listening(socket));
      asio::post(io_, [this, fd = socket.release(), tls] { proxy_.listen(Fd(fd), tls); });
    }
    sockets_.clear();
    return {};
  }

  void start(std::function<void()> on_done) {
    thread_ = std::thread([this, on_done = std::move(on_done)] {
      run_loop(io_);
      on_done();
    });
  }
  void drain() {
    asio::post(io_, [this] { proxy_.drain(); });
  }
  void stop() {
    asio::post(io_, [this] { proxy_.stop(); });
  }
  void join() { thread_.join(); }

 private:
  asio::io_context io_{1};
  Proxy proxy_;
  std::vector<std::pair<Fd, bool>> sockets_;
  std::thread thread_;
};

// The control loop: objects in, Routing out.
class Program {
 public:
  explicit Program(Config config)
      : config_(std::move(config)), counters_(registry_), admin_(io_), grace_(io_) {}

  int run() {
    if (const auto ready = prepare(); !ready) {
      log::error("cannot start", {{"error", ready.error().message}});
      return kExitFailed;
    }
    StopSignals signals(io_, [this](int) { drain(); });
    for (auto& worker : workers_) worker->start([this] { asio::post(io_, [this] { worker_done(); }); });
    objects_->start([this](const kube::Cluster& cluster, auto) { take_objects(cluster); });
    if (secrets_) secrets_->start([this](const kube::Cluster& cluster, auto) { take_secrets(cluster); });
    run_loop(io_);
    for (auto& worker : workers_) worker->join();
    return kExitOk;
  }

 private:
  Result<> prepare() {
    fallback_ = TRY(make_self_signed("thalweg-ingress.invalid"));
    raise_open_files();
    for (uint32_t i = 0; i < std::max(1u, config_.threads); ++i)
      workers_.push_back(std::make_unique<Worker>(routing_, to_limits(config_), counters_));
    for (const auto& text : config_.http) TRY(bind(text, false));
    for (const auto& text : config_.https) TRY(bind(text, true));
    TRY(serve_metrics());
    TRY(drop_privileges(config_.user));
    return open_sources();
  }

  Result<> bind(const std::string& text, bool tls) {
    auto address = TRY(context(parse_address(text), "{}", tls ? "--https" : "--http"));
    for (auto& worker : workers_) address = TRY(worker->bind(address, tls, workers_.size() > 1));
    log::info("bound", {{"protocol", tls ? "https" : "http"}, {"address", address.str()}});
    return {};
  }

  Result<> serve_metrics() {
    if (config_.metrics.empty()) return {};
    const auto address = TRY(context(parse_address(config_.metrics), "--metrics"));
    admin_.route("GET", "/metrics", [this](const http::Request&) {
      return http::Response{200, std::string(metrics::Registry::kContentType), registry_.text()};
    });
    admin_.route("GET", "/healthz", [this](const http::Request&) {
      const bool ready = listening_ && !draining_;
      return http::Response{ready ? 200 : 503, "text/plain", ready ? "ok\n" : "not ready\n"};
    });
    const uint16_t port = TRY(admin_.listen_tcp(address.ip, address.port));
    log::info("bound", {{"protocol", "metrics"}, {"address", Endpoint{address.ip, port}.str()}});
    return {};
  }

  Result<> open_sources() {
    kube::SourceOptions options = config_.objects;
    options.user_agent = "thalweg-ingress";
    options.kinds = {kube::Kind::Ingress, kube::Kind::Service, kube::Kind::EndpointSlice};
    if (!options.manifests.empty()) options.kinds.push_back(kube::Kind::Pod);  // slices are derived from them
    if (!options.kubeconfig.empty() && config_.secrets.empty()) options.kinds.push_back(kube::Kind::Secret);
    objects_ = TRY(kube::make_source(io_, options));
    if (!config_.secrets.empty())
      secrets_ =
          TRY(context(kube::make_source(io_, {.manifests = config_.secrets, .kinds = {kube::Kind::Secret}}),
                      "--secrets"));
    secrets_known_ = secrets_ == nullptr;
    return {};
  }

  void take_objects(const kube::Cluster& cluster) {
    ingresses_ = cluster.ingresses;
    if (!secrets_) tls_secrets_ = cluster.secrets;
    auto built = build_routes(cluster, config_.build);
    report(built.warnings, route_warnings_);
    routes_ = std::make_shared<RouteTable>(std::move(built.routes));
    publish();
  }

  void take_secrets(const kube::Cluster& cluster) {
    tls_secrets_ = cluster.secrets;
    secrets_known_ = true;
    publish();
  }

  void publish() {
    if (!routes_ || !secrets_known_) return;
    auto built = build_certificates(ingresses_, tls_secrets_, config_.build, fallback_, certificates_.get());
    report(built.errors, certificate_errors_);
    certificates_ = built.certificates;
    routing_.publish(Routing{routes_, certificates_});
    log::info("routes", {{"routes", routes_->size()},
                         {"backends", routes_->backends().size()},
                         {"tls_names", certificates_->size()}});
    routes_gauge_.set(static_cast<double>(routes_->size()));
    if (!listening_) listen();
  }

  // Each line once, for as long as it stays true.
  static void report(const std::vector<std::string>& now, std::set<std::string>& known) {
    for (const auto& line : now)
      if (!known.contains(line)) log::warn("object", {{"error", line}});
    known = {now.begin(), now.end()};
  }

  void listen() {
    listening_ = true;
    for (auto& worker : workers_)
      if (const auto done = worker->listen(); !done) {
        log::error("cannot serve", {{"error", done.error().message}});
        return drain();
      }
    log::info("ready");
  }

  void drain() {
    if (draining_) return;
    draining_ = true;
    log::info("draining");
    objects_->stop();
    if (secrets_) secrets_->stop();
    for (auto& worker : workers_) worker->drain();
    grace_.after(config_.drain_timeout_ms, [this] {
      for (auto& worker : workers_) worker->stop();
    });
  }

  void worker_done() {
    if (++workers_done_ == workers_.size()) io_.stop();
  }

  Config config_;
  asio::io_context io_{1};
  metrics::Registry registry_;
  Counters counters_;
  metrics::Gauge routes_gauge_ = registry_.gauge("thalweg_ingress_routes", "routes in the table");
  http::Server admin_;
  Timer grace_;
  Snapshot<Routing> routing_;
  std::vector<std::unique_ptr<Worker>> workers_;
  size_t workers_done_ = 0;
  std::unique_ptr<kube::Source> objects_, secrets_;
  kube::Store<kube::Ingress> ingresses_;
  kube::Store<kube::Secret> tls_secrets_;
  std::shared_ptr<const RouteTable> routes_;
  std::shared_ptr<const Certificates> certificates_;
  std::set<std::string> route_warnings_, certificate_errors_;
  KeyPair fallback_;
  bool secrets_known_ = false;
  bool listening_ = false;
  bool draining_ = false;
};

}  // namespace
}  // namespace thalweg::ingress

int main(int argc, char** argv) {
  using namespace thalweg;
  ingress::Config config;
  Flags flags("thalweg-ingress", "the L7 ingress of a Kubernetes cluster", ingress::kDescription);
  ingress::add_source_flags(flags, config);
  ingress::add_process_flags(flags, config);
  flags.section("EXAMPLES", ingress::kExamples);
  flags.section("SIGNALS", ingress::kSignals);
  if (const auto code = flags.parse(argc, argv)) return *code;
  if (const auto good = ingress::check(config); !good) return flags.refuse(good.error().message);
  return ingress::Program(std::move(config)).run();
}
