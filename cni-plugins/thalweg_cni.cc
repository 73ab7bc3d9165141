// thalweg-cni: the cluster plugin. It asks the node agent over its socket and says what the agent said; the
// work is in dataplane/agent/. One request, one answer; nothing is kept here.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/http_call.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace json = boost::json;

namespace {

constexpr std::string_view kDefaultSocket = "/run/thalweg/agent.sock";
// Below the runtimes' own limit (kubelet and containerd give a sandbox minutes; the agent may wait for the
// Pod).
constexpr uint64_t kTimeoutMs = 55'000;

Outcome<std::string> socket_path(const Request& request) {
  const json::value* value = request.config.if_contains("agentSocket");
  if (!value) return std::string(kDefaultSocket);
  if (!value->is_string() || !value->get_string().starts_with("/"))
    return refuse(kInvalidConfig, "agentSocket: expected an absolute path");
  return std::string(value->get_string());
}

std::string request_body(const Request& request) {
  return json::serialize(json::object{{"command", request.command},
                                      {"containerId", request.container_id},
                                      {"netns", request.netns},
                                      {"ifname", request.ifname},
                                      {"args", request.args},
                                      {"path", request.path},
                                      {"config", request.config}});
}

// The agent's own CNI error object, passed on.
CniError agent_error(const HttpReply& reply, const json::object& body) {
  CniError error{kPluginFailure, fmt::format("agent answered {}", reply.status), ""};
  if (const auto* code = body.if_contains("code"); code && code->is_int64() && code->get_int64() > 0)
    error.code = static_cast<uint32_t>(code->get_int64());
  if (const auto* msg = body.if_contains("msg"); msg && msg->is_string())
    error.msg = msg->get_string().c_str();
  if (const auto* details = body.if_contains("details"); details && details->is_string())
    error.details = details->get_string().c_str();
  return error;
}

// `unreachable`: the code when there is no agent to ask, or it is too busy to hear us.
Outcome<json::object> ask(const Request& request, uint32_t unreachable) {
  const auto path = socket_path(request);
  if (!path) return std::unexpected(path.error());
  const auto reply = http_call(*path, "POST", "/v1/cni", request_body(request), kTimeoutMs);
  if (!reply) return refuse(unreachable, "the node agent does not answer", reply.error().message);
  if (reply->status == 503) return refuse(unreachable, "the node agent is busy");
  boost::system::error_code code;
  json::value body = reply->body.empty() ? json::value(json::object()) : json::parse(reply->body, code);
  if (code || !body.is_object()) {
    if (reply->status != 200) return refuse(kPluginFailure, fmt::format("agent answered {}", reply->status));
    return refuse(kDecodingFailure, "the agent's answer is not a JSON object", code.message());
  }
  if (reply->status != 200) return std::unexpected(agent_error(*reply, body.get_object()));
  return std::move(body.get_object());
}

Outcome<CniResult> add(const Request& request) {
  auto body = ask(request, kTryAgainLater);
  if (!body) return std::unexpected(body.error());
  return parse_result(*body);
}

// DEL, CHECK and GC too are asked again by the runtime: an address is not freed by silence.
Outcome<> ask_only(const Request& request) {
  auto body = ask(request, kTryAgainLater);
  if (!body) return std::unexpected(body.error());
  return {};
}

// Pods that are up keep their network without the agent (the kernel forwards): 50, not 51.
Outcome<> status(const Request& request) {
  auto body = ask(request, kNotAvailable);
  if (!body) return std::unexpected(body.error());
  return {};
}

}  // namespace

Plugin cluster_plugin() { return {"thalweg-cni", add, ask_only, ask_only, ask_only, status}; }

}  // namespace thalweg::cni
