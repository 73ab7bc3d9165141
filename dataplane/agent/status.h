// What the agent says of itself: GET /v1/status, /v1/tables, /v1/resolve as JSON, and the totals of /metrics.
#pragma once

#include <string>
#include <vector>

#include "base/metrics.h"
#include "dataplane/agent/attachments.h"
#include "dataplane/agent/conntrack.h"
#include "dataplane/agent/forwarding.h"
#include "dataplane/agent/host_state.h"
#include "dataplane/agent/options.h"
#include "dataplane/ebpf/features.h"
#include "kube/cluster.h"

namespace thalweg::dataplane {

// A view for the time of one call.
struct AgentView {
  const AgentOptions& options;
  const Features& features;
  const Forwarding& forwarding;
  const Attachments& attachments;
  const kube::Cluster& cluster;
  kube::SourceStatus source;
  SweepStats flows;
  uint64_t sockets_closed = 0;
  Repairs repairs;
  std::string xdp;            // at the uplink: "native", or "off" and why
  std::string why_not_ready;  // empty: everything is in place
  bool booted_from_saved = false;
  std::vector<std::string> complaints;
};

std::string status_json(const AgentView& view);
// Every AGENT table and `generation` as rows of hex, with what their numbers stand for.
Result<std::string> tables_json(const AgentView& view);
// "namespace/name" of a Pod, else of a Service; the error says what is not known.
Result<std::string> resolve_json(const AgentView& view, const std::string& name);
void collect_metrics(metrics::Registry& registry, const AgentView& view);

}  // namespace thalweg::dataplane
