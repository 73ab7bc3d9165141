#include "dataplane/agent/agent.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/file.h>

#include <algorithm>

#include "base/file.h"
#include "base/http.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/netns.h"
#include "dataplane/agent/cni_server.h"
#include "dataplane/agent/host_monitor.h"
#include "dataplane/agent/node_ports.h"
#include "dataplane/agent/overlay.h"
#include "dataplane/agent/peer_paths.h"
#include "dataplane/agent/saved_objects.h"
#include "dataplane/agent/service_health.h"
#include "dataplane/agent/status.h"
#include "dataplane/agent/stuck_sockets.h"
#include "dataplane/agent/xdp_uplink.h"
#include "dataplane/intent/nodes.h"
#include "kube/relay.h"
#include "kube/source.h"

namespace thalweg::dataplane {
namespace {

constexpr uint64_t kRetryMs = 1'000;
constexpr uint64_t kBootCheckMs = 50, kBootPatienceMs = 3'000;
constexpr uint64_t kHostQuietMs = 50, kHostMaxMs = 500;  // after a change of links or routes by anybody
constexpr uint64_t kUnderlayQuietMs = 200, kUnderlayMaxMs = 5'000;  // a router's table may never rest
constexpr size_t kManyObjects = 10'000;

// Says something once, not at every retry.
class OnceLog {
 public:
  void warn(const char* event, const std::string& error) {
    if (error != last_) log::warn(event, {{"error", error}});
    last_ = error;
  }
  void clear() { last_.clear(); }

 private:
  std::string last_;
};

Config config_of(const AgentOptions& options) {
  return {.node_name = options.node_name,
          .tunnel_port = options.tunnel_port,
          .overlay = options.overlay,
          .masquerade = options.masquerade,
          .dsr = options.dsr,
          .service_cidrs = options.service_cidrs,
          .external_ip_cidrs = options.external_ip_cidrs};
}

// One agent per state folder: a second one would hand out the same addresses.
Result<Fd> lock(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return fail_errno(errno, "open {}", path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return fail("{}: another thalwegd holds it", path);
  return fd;
}

bool has_family(const std::vector<Ip>& addresses, bool v4) {
  return std::ranges::any_of(addresses, [&](const Ip& ip) { return ip.is_v4() == v4; });
}

std::string decoded(const std::string& query, const std::string& key) {
  if (!query.starts_with(key + "=")) return {};
  std::string text;
  for (size_t i = key.size() + 1; i < query.size(); ++i) {
    if (query[i] == '%' && query.substr(i + 1, 2) == "2F") {
      text += '/';
      i += 2;
    } else {
      text += query[i];
    }
  }
  return text;
}

http::Response refused(int status, const std::string& error) { return {status, "text/plain", error + "\n"}; }

}  // namespace

struct Agent::Impl {
  asio::io_context& io;
  AgentOptions options;
  Config config;
  metrics::Registry registry;
  Fd state_lock;
  Features features;
  std::unique_ptr<Forwarding> forwarding;
  std::optional<Ipam> ipam;
  std::optional<Attachments> attachments;
  std::unique_ptr<CniServer> cni;
  std::optional<FlowSweeper> sweeper;
  StuckSockets stuck_sockets;
  ServiceHealth service_health;

  kube::Cluster cluster;  // what the source (or the last run) said
  std::unique_ptr<kube::Source> source;
  kube::Relay relay;
  http::Server server;
  bool booted_from_saved = false;
  uint64_t waited_ms = 0;  // for the source
  bool source_heard = false;
  bool node_ready = false;  // uplink, host's leg and addresses are as the Node object says
  bool attached = false;
  bool failed = false;
  std::string uplink;
  HostLeg leg;
  HostKeeper keeper;
  std::vector<std::string> route_complaints;

  Timer boot_timer, retry, verify_timer, sweep_timer;
  ObjectSaver saver;
  Debounce save, host_changed, underlay_changed;
  HostMonitor monitor;
  PeerPaths peer_paths;
  XdpUplink xdp;
  OnceLog settle_log, node_log, attach_log, routes_log, health_log, sockets_log;

  Impl(asio::io_context& loop, AgentOptions given)
      : io(loop),
        options(std::move(given)),
        config(config_of(options)),
        service_health(loop, [this] { return why_not_ready().empty(); }),
        relay(loop, options.run_dir + "/api.sock"),
        server(loop),
        boot_timer(loop),
        retry(loop),
        verify_timer(loop),
        sweep_timer(loop),
        saver(options.state_dir + "/objects.json"),
        save(loop, options.save_quiet_ms, options.save_max_ms, [this] { save_now(); }),
        host_changed(loop, kHostQuietMs, kHostMaxMs, [this] { keep_host(); }),
        underlay_changed(loop, kUnderlayQuietMs, kUnderlayMaxMs, [this] { follow_underlay(); }),
        monitor(loop, [this](const nlmsghdr* message) { on_netlink(message); }),
        peer_paths(loop, options.tunnel_port, [this] { underlay_changed.poke(); }),
        xdp(options.xdp) {}

  Result<> open();
  Result<> open_source();
  void await_source();
  void boot_from_saved();
  void on_change(const kube::Cluster& now, std::span<const kube::ObjectRef> changed);
  void take_over(const kube::Cluster& now, std::vector<kube::ObjectRef> changed);
  void keep_node();
  Result<> set_up_node(const kube::Node& node);
  void keep_routes();
  void on_netlink(const nlmsghdr* message);
  void keep_host();
  void follow_underlay();
  void settle();
  void keep_service_health();
  void close_stuck_sockets();
  void keep_attached();
  Result<> attach_all();
  void give_up(const Error& error);
  void retry_later();
  void try_again();
  uint64_t links_made();
  void verify();
  void sweep();
  void save_now();
  std::string why_not_ready() const;
  AgentView view() const;
  void serve();
  void stop();
};

// ---- start

Result<> Agent::Impl::open() {
  TRY(make_dirs(options.run_dir, 0755));
  TRY(make_dirs(options.state_dir, 0700));
  state_lock = TRY(lock(options.state_dir + "/lock"));
  features = TRY(find_features(options.bpf_dir, options.cgroup));
  for (const std::string& missing : features.missing) log::warn("this kernel lacks", {{"feature", missing}});
  forwarding = TRY(Forwarding::open(options.bpf_dir, options.state_dir + "/numbering", config));
  ipam = TRY(Ipam::open(options.state_dir + "/leases"));
  attachments = TRY(Attachments::open(options.state_dir + "/attachments"));
  for (const std::string& error : attachments->unreadable())
    log::error("attachment set aside", {{"error", error}});
  sweeper = TRY(FlowSweeper::of(forwarding->datapath()));
  CniSurroundings around{.why_not_ready = [this] { return why_not_ready(); },
                         .find_pod =
                             [this](const kube::ObjectKey& key) {
                               const auto pod = cluster.pods.find(key);
                               return pod == cluster.pods.end() ? nullptr : pod->second;
                             },
                         .settle = [this] { settle(); },
                         .mtu = [this] { return config.mtu; },
                         .pod_wait_ms = options.pod_wait_ms};
  cni = std::make_unique<CniServer>(io, *forwarding, *ipam, *attachments, registry, std::move(around));
  return cni->recover();
}

// The last good objects are for when their source is away, or slow: what is pinned forwards meanwhile, and a
// source that answers would only have everything held twice.
void Agent::Impl::await_source() {
  waited_ms += kBootCheckMs;
  const bool away = source->status().errors > 0 || waited_ms >= kBootPatienceMs;
  if (!source_heard && !away) return;
  boot_timer.stop();
  if (!source_heard) boot_from_saved();
}

void Agent::Impl::boot_from_saved() {
  auto saved = load_objects(options.state_dir + "/objects.json");
  if (!saved) {
    if (saved.error().code != ENOENT)
      log::warn("saved objects set aside", {{"error", saved.error().message}});
    return;
  }
  log::info("booting from the last good objects",
            {{"objects", kube::refs(saved->cluster).size()}, {"refused", saved->refused}});
  booted_from_saved = true;
  take_over(saved->cluster, kube::refs(saved->cluster));
}

Result<> Agent::Impl::open_source() {
  source = TRY(kube::make_source(io, {.manifests = options.manifests,
                                      .kubeconfig = options.kubeconfig,
                                      .api = options.api,
                                      .user_agent = "thalwegd"}));
  source->start([this](const kube::Cluster& now, std::span<const kube::ObjectRef> changed) {
    on_change(now, changed);
  });
  return {};
}

// ---- objects

void Agent::Impl::on_change(const kube::Cluster& now, std::span<const kube::ObjectRef> changed) {
  std::vector<kube::ObjectRef> refs(changed.begin(), changed.end());
  if (!source_heard)  // what the saved objects still held may be gone by now
    for (const kube::ObjectRef& ref : kube::refs(cluster))
      if (!kube::find(now, ref)) refs.push_back(ref);
  if (!source_heard) log::info("objects known", {{"objects", refs.size()}});
  source_heard = true;
  take_over(now, std::move(refs));
  save.poke();
}

void Agent::Impl::take_over(const kube::Cluster& now, std::vector<kube::ObjectRef> changed) {
  bool nodes_changed = false;
  for (const kube::ObjectRef& ref : changed) {
    nodes_changed |= ref.kind == kube::Kind::Node;
    if (const auto object = kube::find(now, ref))
      kube::put(cluster, *object);
    else
      kube::erase(cluster, ref);
  }
  relay.update(cluster, changed);
  forwarding->compiler().update(cluster, changed);
  if (nodes_changed || !node_ready) keep_node();
  if (nodes_changed) keep_routes();
  settle();
  if (changed.size() > kManyObjects) ::malloc_trim(0);  // what it took meanwhile: the allocator would keep it
}

// ---- the node's own place

void Agent::Impl::keep_node() {
  const auto node = cluster.nodes.find({"", options.node_name});
  Result<> done = node == cluster.nodes.end() ? fail("there is no Node object called {}", options.node_name)
                                              : set_up_node(*node->second);
  if (done) {
    node_log.clear();
    if (!std::exchange(node_ready, true)) keep_routes();
    return;
  }
  node_log.warn("the node is not set up", done.error().message);
  retry_later();
}

Result<> Agent::Impl::set_up_node(const kube::Node& node) {
  nl::Socket socket = TRY(nl::Socket::open());
  const nl::Link link = TRY(find_uplink(socket, options.uplink, node.addresses));
  config.underlay_v4 = has_family(node.addresses, true);
  config.underlay_v6 = has_family(node.addresses, false);
  const uint32_t tunnel_bytes = config.overlay == Overlay::Direct ? 0
                                : config.underlay_v4              ? kTunnelBytes
                                                                  : kTunnel6Bytes;
  config.uplink_mtu = static_cast<uint16_t>(std::min<uint32_t>(link.mtu, 65'535));
  config.mtu = options.mtu != 0 ? options.mtu : inner_mtu(link.mtu, tunnel_bytes);
  config.segment = TRY(segment_of(socket, link.index));
  config.peer_paths = TRY(peer_paths.read(socket, cluster.nodes, options.node_name, link));
  leg = TRY(ensure_host_leg(socket, options.node_name, config.mtu));
  TRY(set_forwarding(link.name, config.overlay != Overlay::Vxlan));
  TRY(ipam->set_ranges(node.pod_cidrs));
  if (config.uplink_ifindex != link.index || config.host_ifindex != leg.host.index) attached = false;
  cni->set_mtu(config.mtu);
  keeper.repairs.links += config.host_ifindex != 0 && config.host_ifindex != leg.host.index;
  uplink = link.name;
  config.uplink_ifindex = link.index;
  config.host_ifindex = leg.host.index;
  config.host_mac = leg.host.mac;
  config.netns_cookie = TRY(Netns::current_cookie());
  config.node_port_addresses = TRY(find_node_port_addresses(socket, options.node_port_cidrs));
  forwarding->compiler().configure(config);
  return {};
}

void Agent::Impl::keep_routes() {
  if (!node_ready) return;
  HostRoutes routes = desired_routes(cluster.nodes, config);
  for (const std::string& refused : routes.refused) log::warn("no route", {{"why", refused}});
  route_complaints = std::move(routes.refused);
  HostState state{.links = {{leg.host.index, config.mtu}, {leg.net.index, config.mtu}},
                  .routes = std::move(routes.routes),
                  .neighbours = leg_neighbours(leg)};
  cni->add_host_sides(state);
  auto socket = nl::Socket::open();
  const Result<> done = socket ? keeper.keep(*socket, state) : Result<>(std::unexpected(socket.error()));
  if (done) return routes_log.clear();
  routes_log.warn("host routes", done.error().message);
  retry_later();
}

// Somebody has touched links, routes or neighbours: perhaps ours.
void Agent::Impl::keep_host() {
  if (!node_ready) return;
  keep_node();
  keep_routes();
  settle();
}

void Agent::Impl::on_netlink(const nlmsghdr* message) {
  if (message == nullptr || keeper.concerns(*message)) return host_changed.poke();
  if (HostKeeper::concerns_underlay(*message, config.uplink_ifindex)) underlay_changed.poke();
}

// What the way to peers carries may be another now.
void Agent::Impl::follow_underlay() {
  if (!node_ready) return;
  const Config before = config;
  keep_node();
  if (config == before) return;
  keep_routes();
  settle();
}

// ---- tables and programs

void Agent::Impl::settle() {
  const auto done = forwarding->settle();
  if (done) {
    settle_log.clear();
  } else {
    settle_log.warn("tables not as desired", done.error().message);
    retry_later();
  }
  keep_service_health();
  keep_attached();
  close_stuck_sockets();
  cni->poke();
}

void Agent::Impl::close_stuck_sockets() {
  if (!attached || !features.cgroup2) return;
  const Reconciler& reconciler = forwarding->reconciler();
  const auto done =
      stuck_sockets.close_after(reconciler.stats().moves, forwarding->datapath(), reconciler.applied());
  if (done) return sockets_log.clear();
  sockets_log.warn("sockets of gone UDP backends", done.error().message);
  retry_later();
}

// A port that is taken, or an address that is not there yet, is tried again.
void Agent::Impl::keep_service_health() {
  const Compiler& compiler = forwarding->compiler();
  service_health.update(compiler.health_checks(), compiler.node_port_addresses());
  if (service_health.complaints().empty()) return health_log.clear();
  health_log.warn("balancers cannot ask", service_health.complaints().front());
  retry_later();
}

// Only over tables that were whole once: the programs of the last run forward by the old ones meanwhile.
void Agent::Impl::keep_attached() {
  if (attached || !node_ready || !forwarding->settled()) return;
  if (const auto programs = forwarding->programs(); !programs) return give_up(programs.error());
  const auto done = forwarding->attach([this] { return attach_all(); });
  attached = done.has_value();
  if (attached) {
    attach_log.clear();
    log::info("attached", {{"programs", forwarding->attached().size()}, {"uplink", uplink}});
    return;
  }
  attach_log.warn("programs not attached", done.error().message);
  retry_later();
}

Result<> Agent::Impl::attach_all() {
  Programs& programs = *TRY(forwarding->programs());
  nl::Socket socket = TRY(nl::Socket::open());
  const nl::Link net = TRY(nl::link_by_name(socket, kNetLink));
  TRY(programs.attach("from_host", kNetLink, net.index));
  TRY(programs.attach("from_uplink", uplink, config.uplink_ifindex));
  TRY(programs.attach("to_uplink", uplink, config.uplink_ifindex));
  TRY(cni->attach_all());
  if (features.cgroup2) TRY(programs.attach_cgroup(options.cgroup));
  std::set<std::string> used = {kNetLink, uplink};
  for (const std::string& link : cni->links()) used.insert(link);
  TRY(programs.keep_only(used));
  return xdp.keep(programs, socket, uplink, config.uplink_ifindex);
}

// A kernel that does not take the programs will not take them later.
void Agent::Impl::give_up(const Error& error) {
  log::error("cannot start", {{"error", error.message}});
  failed = true;
  stop();
  io.stop();
}

std::string Agent::Impl::why_not_ready() const {
  if (!source_heard && !booted_from_saved) return "the objects are not known yet";
  if (!node_ready) return "the node is not set up (its Node object, its uplink)";
  if (!attached) return "the programs are not attached yet";
  return {};
}

void Agent::Impl::retry_later() {
  if (!retry.pending()) retry.after(kRetryMs, [this] { try_again(); });
}

void Agent::Impl::try_again() {
  if (!node_ready) keep_node();
  keep_routes();
  settle();
}

// ---- from time to time

uint64_t Agent::Impl::links_made() {
  const auto programs = forwarding->programs();
  return programs ? (*programs)->links_made() : 0;
}

void Agent::Impl::verify() {
  const auto drifted = forwarding->verify();
  if (!drifted) {
    settle_log.warn("verify", drifted.error().message);
    return retry_later();
  }
  if (*drifted > 0) log::warn("tables had drifted, repaired", {{"rows", *drifted}});
  if (node_ready) keep_node();  // links and routes are anyone's to delete
  keep_routes();
  settle();
  if (!attached) return;  // else: hooks are anyone's to remove, too
  const uint64_t before = links_made();
  if (const auto done = attach_all(); !done) attach_log.warn("programs not attached", done.error().message);
  keeper.repairs.hooks += links_made() - before;
}

void Agent::Impl::sweep() {
  if (const auto done = sweeper->step(forwarding->reconciler().applied()); !done)
    log::warn("flow sweep", {{"error", done.error().message}});
}

void Agent::Impl::save_now() { saver.save(cluster); }

// ---- what it says

AgentView Agent::Impl::view() const {
  std::vector<std::string> complaints = route_complaints;
  for (const std::string& one : service_health.complaints()) complaints.push_back(one);
  for (const Complaint& one : forwarding->compiler().complaints())
    complaints.push_back(one.object + ": " + one.text);
  return {.options = options,
          .features = features,
          .forwarding = *forwarding,
          .attachments = *attachments,
          .cluster = cluster,
          .source = source->status(),
          .flows = sweeper->stats(),
          .sockets_closed = stuck_sockets.closed(),
          .repairs = keeper.repairs,
          .xdp = xdp.state(),
          .why_not_ready = why_not_ready(),
          .booted_from_saved = booted_from_saved,
          .complaints = std::move(complaints)};
}

void Agent::Impl::serve() {
  server.route("GET", "/v1/status",
               [this](const http::Request&) { return http::Response{.body = status_json(view())}; });
  server.route("GET", "/v1/tables", [this](const http::Request&) {
    auto tables = tables_json(view());
    return tables ? http::Response{.body = std::move(*tables)} : refused(500, tables.error().message);
  });
  server.route("GET", "/v1/resolve", [this](const http::Request& request) {
    auto found = resolve_json(view(), decoded(request.query, "name"));
    return found ? http::Response{.body = std::move(*found)} : refused(404, found.error().message);
  });
  server.route("GET", "/healthz", [this](const http::Request&) {
    const std::string why = why_not_ready();
    return refused(why.empty() ? 200 : 503, why.empty() ? "ok" : why);
  });
  server.route("GET", "/metrics", [this](const http::Request&) {
    return http::Response{.content_type = std::string(metrics::Registry::kContentType),
                          .body = registry.text()};
  });
  server.route_async("POST", "/v1/cni", [this](http::Request request, http::Respond respond) {
    cni->handle(std::move(request), std::move(respond));
  });
  registry.before_text([this] { collect_metrics(registry, view()); });
}

void Agent::Impl::stop() {
  boot_timer.stop();
  retry.stop();
  verify_timer.stop();
  sweep_timer.stop();
  host_changed.stop();
  underlay_changed.stop();
  monitor.stop();
  peer_paths.stop();
  save.stop();
  if (source) source->stop();
  server.stop();
  service_health.stop();
  relay.stop();
  if (cni) cni->stop();
  if (source_heard) save_now();
}

Agent::Agent(asio::io_context& io, AgentOptions options)
    : impl_(std::make_unique<Impl>(io, std::move(options))) {}
Agent::~Agent() = default;

Result<> Agent::start() {
  TRY(impl_->open());
  TRY(context(impl_->relay.start(), "relay"));
  TRY(impl_->monitor.start());
  TRY(impl_->peer_paths.start());
  TRY(impl_->open_source());
  impl_->boot_timer.every(kBootCheckMs, [this] { impl_->await_source(); });
  impl_->serve();
  TRY(impl_->server.listen_unix(impl_->options.run_dir + "/agent.sock"));
  impl_->verify_timer.every(impl_->options.verify_ms, [this] { impl_->verify(); });
  impl_->sweep_timer.every(impl_->options.sweep_ms, [this] { impl_->sweep(); });
  return {};
}

void Agent::stop() { impl_->stop(); }
bool Agent::failed() const { return impl_->failed; }

Result<> clean_up(const AgentOptions& options) {
  TRY(unpin_all(options.bpf_dir));
  nl::Socket socket = TRY(nl::Socket::open());
  return remove_overlay(socket);
}

}  // namespace thalweg::dataplane
