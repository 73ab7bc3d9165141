#include "base/asio.h"
// Asio first: it is precompiled.
#include <boost/json.hpp>

#include "base/http.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "dataplane/agent/reconciler.h"
#include "dataplane/dpdk/edge.h"

namespace thalweg::dataplane::dpdk {
namespace {

namespace json = boost::json;

constexpr uint64_t kRetryMs = 1'000;
constexpr uint64_t kVerifyMs = 60'000;  // the tables against the Intent

constexpr std::string_view kReasonNames[] = {
#define REASON(name, text) #name,
    THALWEG_DROP_REASONS(REASON)
#undef REASON
};

std::string hex(const Bytes& bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<uint8_t>(c));
  return out;
}

json::object to_json(const Counters& counters) {
  json::object out;
  for (size_t i = 1; i < DROP_REASONS; ++i)
    if (counters[i].packets) out[kReasonNames[i]] = counters[i].packets;
  return out;
}

json::object to_json(const WorkerStats& stats) {
  json::object discarded;
  for (size_t i = 0; i < stats.discarded.size(); ++i)
    if (stats.discarded[i]) discarded[kDiscardNames[i]] = stats.discarded[i];
  return {{"received", stats.received},
          {"sent", stats.sent},
          {"arpAnswers", stats.arp_answers},
          {"ndAnswers", stats.nd_answers},
          {"echoAnswers", stats.echo_answers},
          {"announced", stats.announced},
          {"neighbours", stats.neighbour_entries},
          {"neighboursWaiting", stats.neighbours_waiting},
          {"discarded", discarded}};
}

http::Response answer(const json::value& value) {
  return {200, "application/json", json::serialize(value) + "\n"};
}

http::Response failure(const Error& error) {
  return {503, "application/json", json::serialize(json::object{{"error", error.message}}) + "\n"};
}

}  // namespace

struct Edge::Impl {
  Impl(asio::io_context& io, const Options& options, DpdkDatapath& datapath, const Port& port)
      : io(io),
        options(options),
        datapath(datapath),
        port(port),
        compiler(options.config),
        reconciler(datapath),
        server(io),
        retry(io),
        verification(io) {}

  Result<> start();
  void on_objects(const kube::Cluster& cluster, std::span<const kube::ObjectRef> changed);
  void settle(const Touched& touched);
  void verify();
  void routes();
  http::Response status() const;
  http::Response tables() const;
  void collect();
  void tell_complaints();

  asio::io_context& io;
  Options options;
  DpdkDatapath& datapath;
  const Port& port;
  Compiler compiler;
  Reconciler reconciler;
  metrics::Registry registry;
  http::Server server;
  Timer retry, verification;
  std::unique_ptr<kube::Source> source;
  bool synced = false;
  std::string last_error;
  std::vector<Complaint> told;
};

Edge::Edge(asio::io_context& io, const Options& options, DpdkDatapath& datapath, const Port& port)
    : impl_(std::make_unique<Impl>(io, options, datapath, port)) {}
Edge::~Edge() { stop(); }
Result<> Edge::start() { return impl_->start(); }

void Edge::stop() {
  if (impl_->source) impl_->source->stop();
  impl_->retry.stop();
  impl_->verification.stop();
  impl_->server.stop();
}

Result<> Edge::Impl::start() {
  TRY(reconciler.adopt());
  routes();
  TRY(context(server.listen_unix(options.socket), "listen on {}", options.socket));
  auto objects = options.objects;
  objects.user_agent = "thalweg-edge";
  objects.kinds = {kube::Kind::Node, kube::Kind::Service, kube::Kind::EndpointSlice};
  if (!objects.manifests.empty()) objects.kinds.push_back(kube::Kind::Pod);  // slices are derived from pods
  source = TRY(kube::make_source(io, std::move(objects)));
  source->start([this](const auto& cluster, auto changed) { on_objects(cluster, changed); });
  verification.every(kVerifyMs, [this] { verify(); });
  return {};
}

// Pods and policies are the nodes' business: an edge decides where a packet goes, not whether it may.
void Edge::Impl::on_objects(const kube::Cluster& cluster, std::span<const kube::ObjectRef> changed) {
  std::vector<kube::ObjectRef> ours;
  for (const auto& ref : changed)
    if (ref.kind == kube::Kind::Node || ref.kind == kube::Kind::Service ||
        ref.kind == kube::Kind::EndpointSlice)
      ours.push_back(ref);
  compiler.update(cluster, ours);
  settle(compiler.compile());
  tell_complaints();
}

void Edge::Impl::settle(const Touched& touched) {
  const bool first = !synced;
  const auto done =
      first ? reconciler.update_all(compiler.intent()) : reconciler.update(compiler.intent(), touched);
  last_error = done ? "" : done.error().message;
  if (done && first) log::info("in sync", {{"rows", row_count(compiler.intent())}});
  synced = synced || done;
  if (!done) log::warn("tables not as desired", {{"error", last_error}});
  if (!done || !reconciler.settled()) retry.after(kRetryMs, [this] { settle({}); });
}

void Edge::Impl::verify() {
  if (!synced) return;
  const auto drifted = reconciler.verify(compiler.intent());
  if (!drifted)
    log::warn("tables not verified", {{"error", drifted.error().message}});
  else if (*drifted)
    log::warn("tables had drifted", {{"rows", *drifted}});
}

void Edge::Impl::tell_complaints() {
  const auto complaints = compiler.complaints();
  for (const auto& complaint : complaints)
    if (std::ranges::find(told, complaint) == told.end())
      log::warn("object not served in full", {{"object", complaint.object}, {"why", complaint.text}});
  told = complaints;
}

void Edge::Impl::routes() {
  registry.before_text([this] { collect(); });
  server.route("GET", "/v1/status", [this](const auto&) { return status(); });
  server.route("GET", "/v1/tables", [this](const auto&) { return tables(); });
  server.route("GET", "/healthz", [this](const auto&) {
    return http::Response{synced ? 200 : 503, "text/plain", synced ? "ok\n" : "not in sync yet\n"};
  });
  server.route("GET", "/metrics", [this](const auto&) {
    return http::Response{200, std::string(metrics::Registry::kContentType), registry.text()};
  });
}

http::Response Edge::Impl::status() const {
  const auto stats = datapath.stats();
  if (!stats) return failure(stats.error());
  const auto counters = datapath.counters();
  if (!counters) return failure(counters.error());
  const auto from = source ? source->status() : kube::SourceStatus{};
  const auto wire = port.stats();
  json::array complaints;
  for (const auto& one : compiler.complaints())
    complaints.push_back(json::object{{"object", one.object}, {"text", one.text}});
  return answer(json::object{{"node", options.config.node_name},
                             {"program", "thalweg-edge"},
                             {"synced", synced},
                             {"error", last_error},
                             {"source", json::object{{"where", from.where},
                                                     {"synced", from.synced},
                                                     {"events", from.events},
                                                     {"errors", from.errors},
                                                     {"lastError", from.last_error}}},
                             {"rows", row_count(compiler.intent())},
                             {"complaints", complaints},
                             {"port", json::object{{"mac", nl::mac_str(port.mac())},
                                                   {"mtu", port.mtu()},
                                                   {"rxPackets", wire.rx_packets},
                                                   {"txPackets", wire.tx_packets},
                                                   {"rxMissed", wire.rx_missed}}},
                             {"worker", to_json(*stats)},
                             {"drops", to_json(*counters)},
                             {"forwarded", (*counters)[DROP_NONE].packets}});
}

http::Response Edge::Impl::tables() const {
  json::object out;
  for (int i = 0; i < TABLES; ++i) {
    const auto table = static_cast<table_id>(i);
    if (info(table).writer != TableInfo::Writer::AGENT && table != TABLE_generation) continue;
    const auto rows = datapath.dump(table);
    if (!rows) return failure(rows.error());
    json::array list;
    for (const auto& row : *rows)
      list.push_back(json::object{{"key", hex(row.key)}, {"value", hex(row.value)}});
    out[info(table).name] = std::move(list);
  }
  return answer(json::object{{"tables", out}, {"rules", json::object{}}});
}

void Edge::Impl::collect() {
  const auto counters = datapath.counters();
  const auto stats = datapath.stats();
  if (!counters || !stats) return;
  const auto total = [this](const char* name, const char* help, uint64_t value,
                            const metrics::Labels& labels = {}) {
    registry.counter(name, help, labels).raise_to(static_cast<double>(value));
  };
  for (size_t i = 1; i < DROP_REASONS; ++i)
    total("thalweg_drops_total", "Packets the path dropped, by reason", (*counters)[i].packets,
          {{"reason", std::string(kReasonNames[i])}});
  total("thalweg_forwarded_packets_total", "Packets the path let through", (*counters)[DROP_NONE].packets);
  for (size_t i = 0; i < stats->discarded.size(); ++i)
    total("thalweg_edge_discards_total", "Packets the worker itself let go, by reason", stats->discarded[i],
          {{"reason", std::string(kDiscardNames[i])}});
  total("thalweg_edge_received_packets_total", "Packets taken from the port", stats->received);
  total("thalweg_edge_sent_packets_total", "Packets given to the port", stats->sent);
  total("thalweg_edge_answers_total", "Answers by the edge itself", stats->arp_answers, {{"to", "arp"}});
  total("thalweg_edge_answers_total", "Answers by the edge itself", stats->nd_answers, {{"to", "nd"}});
  total("thalweg_edge_answers_total", "Answers by the edge itself", stats->echo_answers, {{"to", "echo"}});
  total("thalweg_edge_neighbours_failed_total", "Next hops that did not answer", stats->neighbours.failed);
  total("thalweg_edge_neighbours_evicted_total", "Next hops forgotten for want of room",
        stats->neighbours.evicted);
  registry.gauge("thalweg_edge_neighbours", "Next hops known or asked for")
      .set(static_cast<double>(stats->neighbour_entries));
  const auto& reconciled = reconciler.stats();
  total("thalweg_changes_applied_total", "Rows put or deleted", reconciled.changes_applied);
  total("thalweg_apply_errors_total", "Changes that failed", reconciled.apply_errors);
}

}  // namespace thalweg::dataplane::dpdk
