#include "dataplane/agent/cni_request.h"

#include <algorithm>
#include <array>

#include "base/asio.h"
#include "dataplane/agent/pod_link.h"

namespace thalweg::dataplane {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 5> kVerbs = {"ADD", "DEL", "CHECK", "GC", "STATUS"};
constexpr size_t kMaxContainerId = 256;

template <class... Args>
std::unexpected<CniFailure> refuse(uint32_t code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(CniFailure{code, fmt::format(format, std::forward<Args>(args)...)});
}

std::string text(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found != nullptr && found->is_string() ? std::string(found->as_string()) : std::string();
}

const json::object* child(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains(key);
  return found != nullptr ? found->if_object() : nullptr;
}

bool is_container_id(std::string_view id) {
  const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  return !id.empty() && id.size() <= kMaxContainerId && plain(id.front()) &&
         std::all_of(id.begin(), id.end(),
                     [&](char c) { return plain(c) || c == '_' || c == '.' || c == '-'; });
}

// CNI_ARGS: "KEY=VALUE;KEY=VALUE".
std::string argument(std::string_view args, std::string_view key) {
  for (size_t begin = 0; begin < args.size();) {
    const size_t end = std::min(args.find(';', begin), args.size());
    const std::string_view pair = args.substr(begin, end - begin);
    if (pair.size() > key.size() && pair.starts_with(key) && pair[key.size()] == '=')
      return std::string(pair.substr(key.size() + 1));
    begin = end + 1;
  }
  return {};
}

std::vector<Ip> previous_ips(const json::object& config) {
  std::vector<Ip> ips;
  const json::object* previous = child(config, "prevResult");
  const json::value* list = previous != nullptr ? previous->if_contains("ips") : nullptr;
  if (list == nullptr || !list->is_array()) return ips;
  for (const json::value& one : list->as_array()) {
    if (!one.is_object()) continue;
    const std::string address = text(one.as_object(), "address");
    if (const auto ip = Ip::parse(address.substr(0, address.find('/')))) ips.push_back(*ip);
  }
  return ips;
}

CniOutcome<std::set<Attachment>> valid_attachments(const json::object& config) {
  const json::value* list = config.if_contains("cni.dev/valid-attachments");
  if (list == nullptr || !list->is_array())
    return refuse(kCniInvalidConfig, "cni.dev/valid-attachments: expected a list");
  std::set<Attachment> valid;
  for (const json::value& one : list->as_array()) {
    if (!one.is_object()) return refuse(kCniInvalidConfig, "cni.dev/valid-attachments: expected objects");
    valid.insert({text(one.as_object(), "containerID"), text(one.as_object(), "ifname")});
  }
  return valid;
}

CniOutcome<> check_attachment(const CniRequest& request) {
  if (!is_container_id(request.attachment.container_id))
    return refuse(kCniInvalidEnvironment, "CNI_CONTAINERID \"{}\"", request.attachment.container_id);
  if (!nl::is_link_name(request.attachment.ifname))
    return refuse(kCniInvalidEnvironment, "CNI_IFNAME \"{}\"", request.attachment.ifname);
  if (request.verb == CniVerb::DEL) return {};
  if (!request.netns.starts_with("/"))
    return refuse(kCniInvalidEnvironment, "CNI_NETNS \"{}\": expected an absolute path", request.netns);
  if (request.verb == CniVerb::ADD && (request.pod.ns.empty() || request.pod.name.empty()))
    return refuse(kCniInvalidEnvironment,
                  "CNI_ARGS names no pod: K8S_POD_NAMESPACE and K8S_POD_NAME are required");
  return {};
}

json::object ip_json(const Ip& ip) {
  return {{"interface", 1},
          {"address", ip.str() + (ip.is_v4() ? "/32" : "/128")},
          {"gateway", (ip.is_v4() ? kPodGateway4 : kPodGateway6).str()}};
}

json::object route_json(bool v4) {
  return {{"dst", v4 ? "0.0.0.0/0" : "::/0"}, {"gw", (v4 ? kPodGateway4 : kPodGateway6).str()}};
}

}  // namespace

std::string_view verb_name(CniVerb verb) { return kVerbs[static_cast<size_t>(verb)]; }

CniOutcome<CniRequest> read_cni_request(std::string_view body) {
  boost::system::error_code error;
  const json::value value = json::parse(body, error);
  if (error || !value.is_object()) return refuse(kCniDecode, "the request is not a JSON object");
  const json::object& object = value.as_object();
  const auto verb = std::find(kVerbs.begin(), kVerbs.end(), text(object, "command"));
  if (verb == kVerbs.end())
    return refuse(kCniInvalidEnvironment, "CNI_COMMAND \"{}\"", text(object, "command"));
  const json::object* config = child(object, "config");
  if (config == nullptr) return refuse(kCniInvalidConfig, "config: expected an object");

  CniRequest request;
  request.verb = static_cast<CniVerb>(verb - kVerbs.begin());
  request.attachment = {text(object, "containerId"), text(object, "ifname")};
  request.netns = text(object, "netns");
  request.network = text(*config, "name");
  const std::string args = text(object, "args");
  request.pod = {argument(args, "K8S_POD_NAMESPACE"), argument(args, "K8S_POD_NAME")};
  request.pod_uid = argument(args, "K8S_POD_UID");
  request.previous_ips = previous_ips(*config);
  if (request.verb == CniVerb::STATUS) return request;
  if (request.verb == CniVerb::GC) {
    auto valid = valid_attachments(*config);
    if (!valid) return std::unexpected(valid.error());
    request.valid = std::move(*valid);
    return request;
  }
  if (const auto sound = check_attachment(request); !sound) return std::unexpected(sound.error());
  return request;
}

std::string cni_result(const AttachedPod& pod) {
  json::array ips, routes;
  for (const Ip& ip : pod.ips) {
    ips.push_back(ip_json(ip));
    routes.push_back(route_json(ip.is_v4()));
  }
  const json::object host{{"name", pod.host_link}, {"mac", nl::mac_str(pod.host_mac)}, {"mtu", pod.mtu}};
  const json::object inner{{"name", pod.attachment.ifname},
                           {"mac", nl::mac_str(pod.mac)},
                           {"mtu", pod.mtu},
                           {"sandbox", pod.netns_path}};
  return json::serialize(json::object{{"cniVersion", "1.1.0"},
                                      {"interfaces", json::array{host, inner}},
                                      {"ips", std::move(ips)},
                                      {"routes", std::move(routes)},
                                      {"dns", json::object()}});
}

std::string cni_error(const CniFailure& failure) {
  json::object object{{"code", failure.code}, {"msg", failure.msg}};
  if (!failure.details.empty()) object["details"] = failure.details;
  return json::serialize(object);
}

}  // namespace thalweg::dataplane
