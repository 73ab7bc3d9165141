// thalweg: the command line. Asks the node's agent over its socket and says it in plain words.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdio>

#include "base/flags.h"
#include "base/http_call.h"
#include "dataplane/cli/why.h"

namespace thalweg::cli {
namespace {

namespace json = boost::json;

constexpr int kExitUnreachable = 3;
constexpr uint64_t kTimeoutMs = 20'000;

struct Given {
  std::string socket = "/run/thalweg/agent.sock";
  bool json = false;
  std::string source, destination, port;
};

int unreachable(const Given& given, const std::string& error) {
  fmt::print(stderr, "thalweg: no answer from the agent at {}: {}\n", given.socket, error);
  return kExitUnreachable;
}
int usage(const std::string& error) {
  fmt::print(stderr, "thalweg: {}\n", error);
  return kExitUsage;
}

Result<HttpReply> get(const Given& given, const std::string& target) {
  return http_call(given.socket, "GET", target, "", kTimeoutMs);
}

// ---- status

std::string text(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr) return "";
  return found->is_string() ? std::string(found->as_string()) : json::serialize(*found);
}
bool flag(const json::object& object, std::string_view key) { return text(object, key) == "true"; }

void each(const json::object& object, std::string_view key, const auto& row) {
  if (const json::value* list = object.if_contains(key); list != nullptr && list->is_array())
    for (const json::value& one : list->as_array())
      if (one.is_object()) row(one.as_object());
}
void each_line(const json::object& object, std::string_view key, const char* label) {
  if (const json::value* list = object.if_contains(key); list != nullptr && list->is_array())
    for (const json::value& one : list->as_array())
      if (one.is_string()) fmt::print("{:<12}{}\n", label, one.as_string().c_str());
}

void print_status(const json::object& status) {
  fmt::print("{:<12}{}\n", "node", text(status, "node"));
  const std::string why = text(status, "whyNotReady");
  fmt::print("{:<12}{}{}\n", "state", flag(status, "synced") ? "in sync" : "not in sync",
             why.empty() ? "" : ": " + why);
  if (const json::value* source = status.if_contains("source"); source != nullptr && source->is_object()) {
    const json::object& from = source->as_object();
    fmt::print("{:<12}{}{}, {} events, {} errors\n", "source", text(from, "where"),
               flag(from, "synced") ? "" : " (not heard yet)", text(from, "events"), text(from, "errors"));
    if (const std::string error = text(from, "lastError"); !error.empty())
      fmt::print("{:<12}{}\n", "last error", error);
  }
  if (status.contains("driftRepaired"))
    fmt::print("{:<12}{} rows repaired, {} rows written, {} failures\n", "drift",
               text(status, "driftRepaired"), text(status, "changesApplied"), text(status, "applyErrors"));
  if (const json::value* features = status.if_contains("features");
      features != nullptr && features->is_object())
    each_line(features->as_object(), "missing", "lacks");
  each_line(status, "complaints", "complaint");
  each(status, "pods", [](const json::object& pod) {
    fmt::print("{:<12}{}  {}  {}\n", "pod", text(pod, "pod"), text(pod, "ips"), text(pod, "link"));
  });
  each(status, "programs", [](const json::object& program) {
    fmt::print("{:<12}{} at {}\n", "program", text(program, "program"), text(program, "at"));
  });
  if (const json::value* by_xdp = status.if_contains("byXdp"); by_xdp != nullptr && by_xdp->is_object())
    fmt::print("{:<12}{}, {} packets\n", "xdp", text(status, "xdp"), text(by_xdp->as_object(), "packets"));
  each(status, "tables", [](const json::object& table) {
    fmt::print("{:<12}{:<12}{:>8} of {}\n", "table", text(table, "name"), text(table, "rows"),
               text(table, "limit"));
  });
  each(status, "drops", [](const json::object& drop) {
    fmt::print("{:<12}{:<20}{:>8} packets: {}\n", "drops", text(drop, "reason"), text(drop, "packets"),
               text(drop, "text"));
  });
}

int status(const Given& given) {
  const auto reply = get(given, "/v1/status");
  if (!reply) return unreachable(given, reply.error().message);
  boost::system::error_code error;
  const json::value value = json::parse(reply->body, error);
  if (reply->status != 200 || error || !value.is_object()) return unreachable(given, "not an agent's answer");
  if (given.json)
    fmt::print("{}", reply->body);
  else
    print_status(value.as_object());
  return kExitOk;
}

// ---- why

// An address, or what the agent knows under NAMESPACE/NAME. code ENOENT: it knows none.
Result<std::vector<Ip>> resolve(const Given& given, const std::string& name) {
  if (const auto ip = Ip::parse(name)) return std::vector<Ip>{*ip};
  if (name.find_first_of("?&#% ") != std::string::npos) return fail_errno(EINVAL, "{}", name);
  const auto reply = TRY(get(given, "/v1/resolve?name=" + name));
  if (reply.status != 200) return std::unexpected(Error{reply.body.substr(0, reply.body.find('\n')), EINVAL});
  boost::system::error_code error;
  const json::value value = json::parse(reply.body, error);
  std::vector<Ip> ips;
  if (!error && value.is_object())
    if (const json::value* list = value.as_object().if_contains("ips"); list != nullptr && list->is_array())
      for (const json::value& one : list->as_array())
        if (one.is_string()) ips.push_back(TRY(Ip::parse(one.as_string())));
  if (ips.empty()) return fail_errno(EINVAL, "{} has no address", name);
  return ips;
}

// The first pair of one family: IPv4 before IPv6, as pods list them.
std::optional<std::pair<Ip, Ip>> pair_up(const std::vector<Ip>& sources,
                                         const std::vector<Ip>& destinations) {
  for (const Ip& source : sources)
    for (const Ip& destination : destinations)
      if (source.is_v4() == destination.is_v4()) return std::pair(source, destination);
  return {};
}

void print_answer(const Given& given, const Answer& answer) {
  fmt::print("{} → {} {}: {}\n", given.source, given.destination, given.port,
             answer.allowed ? "ALLOWED" : "DENIED");
  fmt::print("  {:<10}{}\n", "arrives", answer.origin);
  for (const Step& step : answer.steps) fmt::print("  {:<10}{}\n", step.stage, step.text);
  fmt::print("  {:<10}{}{}: {}\n", "verdict", answer.verdict,
             answer.reason.empty() ? "" : " (" + answer.reason + ")", answer.text);
  if (!answer.policy.empty()) fmt::print("  {:<10}{}\n", "policy", answer.policy);
  if (!answer.note.empty()) fmt::print("  {:<10}{}\n", "note", answer.note);
}

void print_json(const Answer& answer) {
  json::array steps;
  for (const Step& step : answer.steps) steps.push_back({{"stage", step.stage}, {"text", step.text}});
  const json::object object{{"allowed", answer.allowed}, {"arrives", answer.origin},
                            {"steps", std::move(steps)}, {"verdict", answer.verdict},
                            {"reason", answer.reason},   {"text", answer.text},
                            {"policy", answer.policy},   {"note", answer.note}};
  fmt::print("{}\n", json::serialize(object));
}

int complain(const Given& given, const Error& error) {
  return error.code == EINVAL || error.code == 0 ? usage(error.message) : unreachable(given, error.message);
}

// The edge decides nothing by policy, and its table of endpoints is another: it is not asked why.
bool is_edge(const Given& given) {
  const auto reply = get(given, "/v1/status");
  boost::system::error_code error;
  const json::value value = reply ? json::parse(reply->body, error) : json::value();
  return value.is_object() && text(value.as_object(), "program") == "thalweg-edge";
}

int explain(const Given& given) {
  if (is_edge(given)) return usage(given.socket + " is thalweg-edge's: why asks a node's agent");
  const auto port = parse_port(given.port);
  if (!port) return usage(port.error().message);
  const auto sources = resolve(given, given.source);
  if (!sources) return complain(given, sources.error());
  const auto destinations = resolve(given, given.destination);
  if (!destinations) return complain(given, destinations.error());
  const auto pair = pair_up(*sources, *destinations);
  if (!pair) return usage("source and destination have no address family in common");
  const auto reply = get(given, "/v1/tables");
  if (!reply || reply->status != 200) return unreachable(given, reply ? reply->body : reply.error().message);
  const auto tables = read_tables(reply->body);
  if (!tables) return unreachable(given, tables.error().message);
  const auto answer = why(*tables, {.source = pair->first,
                                    .destination = pair->second,
                                    .protocol = port->first,
                                    .destination_port = port->second});
  if (!answer) return unreachable(given, answer.error().message);
  given.json ? print_json(*answer) : print_answer(given, *answer);
  return answer->allowed ? kExitOk : kExitFailed;
}

}  // namespace
}  // namespace thalweg::cli

int main(int argc, char** argv) {
  using namespace thalweg;
  cli::Given given;
  Flags flags("thalweg", "asks a node of Thalweg what it does and why");
  flags.add("--socket", given.socket, "the agent's socket; status also reads thalweg-edge's edge.sock",
            {.is_path = true});
  Flags& status = flags.command("status", "sync, tables, programs, drops");
  status.add("--json", given.json, "as the agent says it");
  Flags& why =
      flags.command("why", "what this node does with a flow, stage by stage, and which policy says so",
                    "Exit 0: allowed; 1: denied; 2: usage; 3: no agent.");
  why.add("SRC", given.source, "an address, or NAMESPACE/NAME of a pod or service", {.required = true});
  why.add("DST", given.destination, "the same", {.required = true});
  why.add("PORT", given.port, "PORT/PROTO, e.g. 8080/tcp, 53/udp; or icmp", {.required = true});
  why.add("--json", given.json, "one JSON object");
  if (const auto code = flags.parse(argc, argv)) return *code;
  return flags.chosen() == "status" ? cli::status(given) : cli::explain(given);
}
