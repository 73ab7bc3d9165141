#include "dataplane/agent/status.h"

#include <chrono>
#include <numeric>

#include "base/asio.h"

namespace thalweg::dataplane {
namespace {

namespace json = boost::json;

constexpr std::string_view kReasonNames[] = {
#define REASON(name, text) #name,
    THALWEG_DROP_REASONS(REASON)
#undef REASON
};
constexpr std::string_view kReasonTexts[] = {
#define REASON(name, text) text,
    THALWEG_DROP_REASONS(REASON)
#undef REASON
};

std::string hex(const Bytes& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// A pod wired here has its addresses before its status says so.
std::vector<Ip> ips_of(const AgentView& view, const kube::Pod& pod) {
  for (const auto& [attachment, wired] : view.attachments.all())
    if (wired.pod == pod.meta.key) return wired.ips;
  return pod.ips;
}

json::array strings(const auto& list) {
  json::array array;
  for (const auto& one : list) array.emplace_back(one);
  return array;
}

json::array ip_strings(const std::vector<Ip>& ips) {
  json::array array;
  for (const Ip& ip : ips) array.emplace_back(ip.str());
  return array;
}

uint64_t drift_of(const ReconcilerStats& stats) {
  return std::accumulate(stats.drift_repaired.begin(), stats.drift_repaired.end(), uint64_t{0});
}

json::array tables_of(const AgentView& view) {
  json::array tables;
  for_each_table(view.forwarding.reconciler().applied(), [&](table_id id, const auto& rows) {
    tables.push_back({{"name", kTables[id].name}, {"rows", rows.size()}, {"limit", kTables[id].entries}});
  });
  tables.push_back({{"name", "flows"}, {"rows", view.flows.flows}, {"limit", kTables[TABLE_flows].entries}});
  return tables;
}

json::array pods_of(const AgentView& view) {
  json::array pods;
  std::map<kube::ObjectKey, const AttachedPod*> by_name;
  for (const auto& [attachment, pod] : view.attachments.all()) by_name[pod.pod] = &pod;
  for (const auto& [key, pod] : by_name)
    pods.push_back({{"pod", key.str()}, {"ips", ip_strings(pod->ips)}, {"link", pod->host_link}});
  return pods;
}

json::array programs_of(const AgentView& view) {
  json::array programs;
  for (const Hook& hook : view.forwarding.attached())
    programs.push_back({{"program", hook.program}, {"at", hook.where}});
  return programs;
}

json::array drops_of(const Counters& counters) {
  json::array drops;
  for (size_t reason = DROP_NONE + 1; reason < DROP_REASONS; ++reason)
    if (counters[reason].packets > 0)
      drops.push_back({{"reason", kReasonNames[reason]},
                       {"text", kReasonTexts[reason]},
                       {"packets", counters[reason].packets},
                       {"bytes", counters[reason].bytes}});
  return drops;
}

json::object source_of(const kube::SourceStatus& source) {
  const auto age = std::chrono::system_clock::now() - source.last_event;
  json::object object{{"where", source.where},
                      {"synced", source.synced},
                      {"events", source.events},
                      {"errors", source.errors},
                      {"lastError", source.last_error}};
  if (source.last_event.time_since_epoch().count() != 0)
    object["lastEventSecondsAgo"] = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  return object;
}

json::object features_of(const Features& features) {
  return {{"btf", features.btf},
          {"tcx", features.tcx},
          {"cgroup2", features.cgroup2},
          {"batch", features.batch},
          {"missing", strings(features.missing)}};
}

json::array rows_json(const std::vector<Row>& rows) {
  json::array array;
  array.reserve(rows.size());
  for (const Row& row : rows) array.push_back(json::array{hex(row.key), hex(row.value)});
  return array;
}

json::object names_json(const policy::Names& names) {
  json::object rules, rule_sets, identities;
  for (const auto& [id, name] : names.rules) rules[std::to_string(id)] = name;
  for (const auto& [id, name] : names.identities) identities[std::to_string(id)] = name;
  for (const auto& [id, set] : names.rule_sets)
    rule_sets[std::to_string(id)] = {{"ingress", strings(set.ingress)}, {"egress", strings(set.egress)}};
  return {
      {"rules", std::move(rules)}, {"ruleSets", std::move(rule_sets)}, {"identities", std::move(identities)}};
}

}  // namespace

std::string status_json(const AgentView& view) {
  const ReconcilerStats& stats = view.forwarding.reconciler().stats();
  json::object status{
      {"node", view.options.node_name},
      {"synced", view.why_not_ready.empty() && view.source.synced && view.forwarding.settled()},
      {"ready", view.why_not_ready.empty()},
      {"whyNotReady", view.why_not_ready},
      {"bootedFromSavedObjects", view.booted_from_saved},
      {"source", source_of(view.source)},
      {"pods", pods_of(view)},
      {"tables", tables_of(view)},
      {"programs", programs_of(view)},
      {"xdp", view.xdp},
      {"features", features_of(view.features)},
      {"changesApplied", stats.changes_applied},
      {"applyErrors", stats.apply_errors},
      {"driftRepaired", drift_of(stats)},
      {"flows",
       {{"known", view.flows.flows},
        {"expired", view.flows.expired},
        {"backendGone", view.flows.backend_gone}}},
      {"complaints", strings(view.complaints)}};
  if (const auto counters = view.forwarding.datapath().counters()) {
    status["letThrough"] = {{"packets", (*counters)[DROP_NONE].packets},
                            {"bytes", (*counters)[DROP_NONE].bytes}};
    status["byXdp"] = {{"packets", (*counters)[COUNTER_XDP].packets},
                       {"bytes", (*counters)[COUNTER_XDP].bytes}};
    status["drops"] = drops_of(*counters);
  }
  return json::serialize(status) + "\n";
}

Result<std::string> tables_json(const AgentView& view) {
  json::object tables;
  for (size_t id = 0; id < TABLES; ++id) {
    if (kTables[id].writer != TableInfo::Writer::AGENT && id != TABLE_generation) continue;
    tables[kTables[id].name] = rows_json(TRY(view.forwarding.datapath().dump(static_cast<table_id>(id))));
  }
  const json::object all{{"node", view.options.node_name},
                         {"tables", std::move(tables)},
                         {"names", names_json(view.forwarding.compiler().names())}};
  return json::serialize(all) + "\n";
}

Result<std::string> resolve_json(const AgentView& view, const std::string& name) {
  const kube::Cluster& cluster = view.cluster;
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return fail("{}: expected an address or NAMESPACE/NAME", name);
  const kube::ObjectKey key{name.substr(0, slash), name.substr(slash + 1)};
  json::object found;
  if (const auto pod = cluster.pods.find(key); pod != cluster.pods.end())
    found = {
        {"kind", "Pod"}, {"ips", ip_strings(ips_of(view, *pod->second))}, {"node", pod->second->node_name}};
  else if (const auto service = cluster.services.find(key); service != cluster.services.end())
    found = {{"kind", "Service"}, {"ips", ip_strings(service->second->cluster_ips)}};
  else
    return fail("no Pod and no Service is called {}", name);
  return json::serialize(found) + "\n";
}

void collect_metrics(metrics::Registry& registry, const AgentView& view) {
  const ReconcilerStats& stats = view.forwarding.reconciler().stats();
  registry.gauge("thalweg_synced", "1 when the objects are known and every table is as they say")
      .set(view.why_not_ready.empty() && view.source.synced && view.forwarding.settled());
  registry.counter("thalweg_source_events_total", "Objects added, changed or deleted")
      .raise_to(view.source.events);
  registry.counter("thalweg_source_errors_total", "Errors of the object source").raise_to(view.source.errors);
  registry.counter("thalweg_changes_applied_total", "Table rows written or deleted")
      .raise_to(stats.changes_applied);
  registry.counter("thalweg_apply_errors_total", "Failures to write tables").raise_to(stats.apply_errors);
  registry.gauge("thalweg_pods", "Pods wired on this node").set(view.attachments.all().size());
  for_each_table(view.forwarding.reconciler().applied(), [&](table_id id, const auto& rows) {
    const metrics::Labels labels = {{"table", std::string(kTables[id].name)}};
    registry.gauge("thalweg_table_rows", "Rows of a table", labels).set(rows.size());
    registry.gauge("thalweg_table_limit", "Most rows of a table", labels).set(kTables[id].entries);
    registry.counter("thalweg_drift_repaired_total", "Rows found other than last written", labels)
        .raise_to(stats.drift_repaired[id]);
  });
  for (const auto& [what, count] : {std::pair("link", view.repairs.links),
                                    {"route", view.repairs.routes},
                                    {"neighbour", view.repairs.neighbours},
                                    {"hook", view.repairs.hooks}})
    registry
        .counter("thalweg_host_repaired_total",
                 "What this node's namespace had lost or had too much, put right", {{"what", what}})
        .raise_to(count);
  registry.gauge("thalweg_flows", "Flows met by the last sweep").set(view.flows.flows);
  const std::string help = "Flows removed by the sweep";
  registry.counter("thalweg_flows_swept_total", help, {{"why", "expired"}}).raise_to(view.flows.expired);
  registry.counter("thalweg_flows_swept_total", help, {{"why", "backend_gone"}})
      .raise_to(view.flows.backend_gone);
  registry
      .counter("thalweg_sockets_closed_total",
               "UDP sockets of this node closed because the backend they were connected to serves no more")
      .raise_to(view.sockets_closed);
  const auto counters = view.forwarding.datapath().counters();
  if (!counters) return;
  registry.counter("thalweg_let_through_packets_total", "Packets let through")
      .raise_to((*counters)[DROP_NONE].packets);
  registry.counter("thalweg_let_through_bytes_total", "Bytes let through")
      .raise_to((*counters)[DROP_NONE].bytes);
  registry.counter("thalweg_xdp_packets_total", "Of all packets, those the uplink's XDP program decided")
      .raise_to((*counters)[COUNTER_XDP].packets);
  registry.counter("thalweg_xdp_bytes_total", "Of all bytes, those the uplink's XDP program decided")
      .raise_to((*counters)[COUNTER_XDP].bytes);
  for (const auto& [state, row] :
       {std::pair("answered", COUNTER_SETTLED_PUSHED_OUT), {"opening", COUNTER_OPENING_PUSHED_OUT}})
    registry
        .counter("thalweg_flows_pushed_out_total", "Flows that gave way to others, in a full set",
                 {{"state", state}})
        .raise_to((*counters)[row].packets);
  for (size_t reason = DROP_NONE + 1; reason < DROP_REASONS; ++reason)
    registry
        .counter("thalweg_drops_total", "Packets dropped, by reason",
                 {{"reason", std::string(kReasonNames[reason])}})
        .raise_to((*counters)[reason].packets);
}

}  // namespace thalweg::dataplane
