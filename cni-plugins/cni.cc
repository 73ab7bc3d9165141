#include "cni-plugins/cni.h"

#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdlib>

#include "base/netns.h"

namespace thalweg::cni {

namespace json = boost::json;

namespace {

constexpr std::string_view kCurrentVersion = "1.1.0";

struct VerbRow {
  std::string_view command;
  Verb verb;
  std::string_view since;         // first version of the protocol that has it
  bool needs_netns, needs_names;  // CNI_NETNS; CNI_CONTAINERID and CNI_IFNAME
};
constexpr VerbRow kVerbs[] = {
    {"ADD", Verb::Add, "0.3.0", true, true},         {"DEL", Verb::Del, "0.3.0", false, true},
    {"CHECK", Verb::Check, "0.4.0", true, true},     {"GC", Verb::Gc, "1.1.0", false, false},
    {"STATUS", Verb::Status, "1.1.0", false, false}, {"VERSION", Verb::Version, "0.1.0", false, false}};

const VerbRow* verb_of(std::string_view command) {
  const auto* row = std::find_if(std::begin(kVerbs), std::end(kVerbs),
                                 [&](const VerbRow& verb) { return verb.command == command; });
  return row == std::end(kVerbs) ? nullptr : row;
}

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// The spec's pattern of container ids and network names: ^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$. The bound is ours.
bool is_identifier(std::string_view text) {
  return !text.empty() && text.size() <= 255 && is_alphanumeric(text.front()) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

// Spec, "Parameters": not empty, at most 15 bytes, not . or .., no '/', ':' or white space.
bool is_interface_name(std::string_view text) {
  return !text.empty() && text.size() <= 15 && text != "." && text != ".." &&
         std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return c == '/' || c == ':' || c <= 0x20 || c == 0x7f; });
}

Outcome<> check_variable(bool fine, const char* name, std::string_view value) {
  if (fine) return {};
  if (value.empty()) return refuse(kInvalidEnvironment, fmt::format("{} is required", name));
  return refuse(kInvalidEnvironment, fmt::format("{}: \"{}\" is not valid", name, value));
}

Outcome<> check_environment(const VerbRow& verb, const Request& request) {
  Outcome<> fine = check_variable(
      is_identifier(request.container_id) || (request.container_id.empty() && !verb.needs_names),
      "CNI_CONTAINERID", request.container_id);
  if (fine)
    fine = check_variable(is_interface_name(request.ifname) || (request.ifname.empty() && !verb.needs_names),
                          "CNI_IFNAME", request.ifname);
  if (fine)
    fine = check_variable(request.netns.starts_with('/') || (request.netns.empty() && !verb.needs_netns),
                          "CNI_NETNS", request.netns);
  return fine;
}

// ADD into the runtime's own namespace would rewire the node itself. CNI_NETNS_OVERRIDE says it is meant.
Outcome<> check_not_own_netns(const Request& request, const Input& input) {
  if (request.verb != Verb::Add || !input.env("CNI_NETNS_OVERRIDE").empty()) return {};
  const auto netns = Netns::open(request.netns), own = Netns::current();
  if (netns && own && netns->inode() == own->inode())
    return refuse(kInvalidEnvironment,
                  fmt::format("CNI_NETNS: {} is the caller's own namespace", request.netns));
  return {};
}

Outcome<json::object> parse_config(const std::string& in) {
  boost::system::error_code code;
  if (in.size() > kMaxConfigBytes)
    return refuse(kDecodingFailure, fmt::format("configuration is larger than {} bytes", kMaxConfigBytes));
  json::value value = json::parse(in, code);
  if (code) return refuse(kDecodingFailure, "configuration on stdin is not JSON", code.message());
  if (!value.is_object()) return refuse(kDecodingFailure, "configuration on stdin is not a JSON object");
  return std::move(value.get_object());
}

// A field of text; absent reads as "".
Outcome<std::string> text_field(const json::object& config, std::string_view key) {
  const json::value* value = config.if_contains(key);
  if (!value) return "";
  if (!value->is_string()) return refuse(kDecodingFailure, fmt::format("{}: expected a string", key));
  return std::string(value->get_string());
}

Outcome<> check_version(const VerbRow& verb, const std::string& version) {
  const auto& known = supported_versions();
  if (std::find(known.begin(), known.end(), version) == known.end())
    return refuse(kIncompatibleVersion, fmt::format("cniVersion: \"{}\" is not supported", version),
                  fmt::format("supported versions: {}", fmt::join(known, ", ")));
  if (version < verb.since)  // all have one digit a part, so text order is version order
    return refuse(kIncompatibleVersion, fmt::format("cniVersion: {} does not have {}: it came with {}",
                                                    version, verb.command, verb.since));
  return {};
}

Outcome<std::vector<Attachment>> valid_attachments(const json::object& config) {
  // 1.1.0 writes the first; its first text wrote the second, and libcni sends both.
  const json::value* value = config.if_contains("cni.dev/valid-attachments");
  if (!value) value = config.if_contains("cni.dev/attachments");
  // Without the list, GC would collect everything: a runtime that means that sends an empty one.
  if (!value) return refuse(kInvalidConfig, "cni.dev/valid-attachments is required");
  if (!value->is_array()) return refuse(kDecodingFailure, "cni.dev/valid-attachments: expected an array");
  std::vector<Attachment> out;
  for (const json::value& row : value->get_array()) {
    if (!row.is_object()) return refuse(kDecodingFailure, "cni.dev/valid-attachments: expected objects");
    const auto id = text_field(row.get_object(), "containerID"),
               ifname = text_field(row.get_object(), "ifname");
    if (!id || !ifname || !is_identifier(*id) || !is_interface_name(*ifname))
      return refuse(kInvalidConfig, fmt::format("cni.dev/valid-attachments[{}] is not valid", out.size()));
    out.push_back({*id, *ifname});
  }
  return out;
}

Outcome<std::optional<CniResult>> previous_result(const json::object& config) {
  const json::value* value = config.if_contains("prevResult");
  if (!value || value->is_null()) return std::nullopt;
  if (!value->is_object()) return refuse(kDecodingFailure, "prevResult: expected an object");
  auto result = parse_result(value->get_object());
  if (!result) return refuse(result.error().code, "prevResult: " + result.error().msg);
  return std::move(*result);
}

// The configuration's own fields, once it is known to be an object of a version we speak.
Outcome<> read_fields(Request& request) {
  request.network = TRY(text_field(request.config, "name"));
  if (!is_identifier(request.network))
    return refuse(kInvalidConfig, fmt::format("name: \"{}\" is not a network name", request.network));
  // Not for DEL: a broken one must never keep a pod from being taken down.
  if (request.verb == Verb::Add || request.verb == Verb::Check)
    request.previous = TRY(previous_result(request.config));
  if (request.verb == Verb::Check && !request.previous)
    return refuse(kInvalidConfig, "prevResult is required");
  if (request.verb == Verb::Gc) request.valid_attachments = TRY(valid_attachments(request.config));
  return {};
}

struct Answer {
  std::string version;
  Outcome<json::object> body;  // empty: nothing is printed
};

json::object version_answer(const std::string& asked) {
  json::array versions;
  for (const std::string_view version : supported_versions()) versions.push_back(json::value(version));
  return {{"cniVersion", asked}, {"supportedVersions", std::move(versions)}};
}

// Spec, VERSION: cniVersion is the one on stdin. A person asking by hand sends none.
Outcome<json::object> answer_version(const std::string& in) {
  if (in.find_first_not_of(" \t\r\n") == in.npos) return version_answer(std::string(kCurrentVersion));
  const auto config = TRY(parse_config(in));
  const std::string version = TRY(text_field(config, "cniVersion"));
  return version_answer(version.empty() ? std::string(kCurrentVersion) : version);
}

Outcome<json::object> call(const Plugin& plugin, const Request& request) {
  const auto nothing = [](Outcome<>&& done) -> Outcome<json::object> {
    if (!done) return std::unexpected(std::move(done).error());
    return json::object();
  };
  switch (request.verb) {
    case Verb::Add: return to_json(TRY(plugin.add(request)), request.version);
    case Verb::Del: return nothing(plugin.del(request));
    case Verb::Check: return nothing(plugin.check(request));
    case Verb::Gc: return nothing(plugin.gc(request));
    case Verb::Status: return nothing(plugin.status(request));
    case Verb::Version: break;
  }
  return json::object();
}

Answer answer(const Plugin& plugin, const Input& input) {
  Answer out{std::string(kCurrentVersion), json::object()};
  Request request{.command = input.env("CNI_COMMAND"),
                  .container_id = input.env("CNI_CONTAINERID"),
                  .netns = input.env("CNI_NETNS"),
                  .ifname = input.env("CNI_IFNAME"),
                  .args = input.env("CNI_ARGS"),
                  .path = input.env("CNI_PATH")};
  const auto stages = [&]() -> Outcome<json::object> {
    const VerbRow* verb = verb_of(request.command);
    if (!verb) return std::unexpected(check_variable(false, "CNI_COMMAND", request.command).error());
    request.verb = verb->verb;
    if (request.verb == Verb::Version) return answer_version(input.in);
    request.config = TRY(parse_config(input.in));
    request.version = TRY(text_field(request.config, "cniVersion"));
    if (auto fine = check_version(*verb, request.version); !fine) return std::unexpected(fine.error());
    out.version = request.version;
    if (auto fine = check_environment(*verb, request); !fine) return std::unexpected(fine.error());
    if (auto fine = read_fields(request); !fine) return std::unexpected(fine.error());
    if (auto fine = check_not_own_netns(request, input); !fine) return std::unexpected(fine.error());
    return call(plugin, request);
  };
  out.body = stages();
  return out;
}

}  // namespace

const std::vector<std::string_view>& supported_versions() {
  static const std::vector<std::string_view> versions = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
  return versions;
}

std::unexpected<CniError> refuse(uint32_t code, std::string msg, std::string details) {
  return std::unexpected(CniError{code, std::move(msg), std::move(details)});
}

Output run(const Plugin& plugin, const Input& input) {
  const Answer got = answer(plugin, input);
  if (got.body) return {0, got.body->empty() ? "" : json::serialize(*got.body) + "\n"};
  const CniError& error = got.body.error();
  json::object body{{"cniVersion", got.version}, {"code", error.code}, {"msg", error.msg}};
  if (!error.details.empty()) body["details"] = error.details;
  return {1, json::serialize(body) + "\n"};
}

namespace {

// One byte more than the bound is enough to know that it is too much.
std::string read_stdin() {
  std::string in;
  for (char chunk[16384]; in.size() <= kMaxConfigBytes;) {
    const ssize_t n = ::read(STDIN_FILENO, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    in.append(chunk, n);
  }
  return in;
}

}  // namespace

int run_process(const Plugin& plugin) {
  const auto env = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  const Output output = run(plugin, {env, read_stdin()});
  for (std::string_view rest = output.out; !rest.empty();) {
    const ssize_t n = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return 1;
    rest.remove_prefix(n);
  }
  return output.exit;
}

}  // namespace thalweg::cni
