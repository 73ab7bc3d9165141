// `thalweg why`: what this node would do with the first packet of a flow, and by whose word. Pure: the tables
// and a question in, the stages in plain words out.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/cli/packet.h"
#include "dataplane/cli/tables.h"

namespace thalweg::cli {

struct Step {
  std::string stage;
  std::string text;
};

struct Answer {
  bool allowed = false;
  std::string origin;  // how the packet comes to this node
  std::vector<Step> steps;
  std::string verdict;  // "dropped", "redirected", "passed to the host"
  std::string reason;   // of a drop: "POLICY_INGRESS"
  std::string text;     // one sentence
  std::string policy;   // the rule that allowed it or the policies that isolate; empty: none
  std::string note;     // what another node decides
};

// "8080/tcp", "53/udp", "icmp": protocol and destination port of a flow.
Result<std::pair<uint8_t, uint16_t>> parse_port(const std::string& text);
Result<Answer> why(const Tables& tables, FlowSpec flow);

}  // namespace thalweg::cli
