// tuning: sysctls of the container's network, and settings of its interface, which DEL sets back. Stands
// behind the plugin that made the interface.
#include "base/link_settings.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/file.h"
#include "base/folder.h"
#include "cni-plugins/arguments.h"
#include "cni-plugins/delegate.h"
#include "cni-plugins/fields.h"
#include "cni-plugins/plugins.h"
#include "cni-plugins/pod_interface.h"
#include "cni-plugins/sysctls.h"

namespace thalweg::cni {

namespace json = boost::json;

namespace {

constexpr std::string_view kDefaultDataDir = "/run/cni/tuning";
constexpr const char* kAllowed = "/etc/cni/tuning/allowlist.conf";

// What is to be of the link; absent: as it is.
struct Settings {
  std::optional<nl::Mac> mac;
  std::optional<uint32_t> mtu, queue_length;
  std::optional<bool> promiscuous, all_multicast;
  bool any() const { return mac || mtu || queue_length || promiscuous || all_multicast; }
};

struct Config {
  std::string data_dir;
  std::vector<std::pair<std::string, std::string>> sysctls;  // name as written, value
  Settings link;
};

void read_sysctls(Fields fields, std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& member : fields.raw()) {
    const std::string name(member.key());
    std::erase_if(out, [&](const auto& each) { return each.first == name; });
    out.emplace_back(name, fields.text(name));
  }
}

void read_mac(Fields& fields, Settings& out) {
  const std::string mac = fields.text("mac");
  if (mac.empty()) return;
  const auto parsed = nl::parse_mac(mac);
  if (parsed) out.mac = *parsed;
  if (!parsed) fields.refuse("mac", parsed.error().message);
}

// "promisc": false is as good as not said, as in the reference; the other flag may be set off, too.
void read_link(Fields& fields, Settings& out) {
  read_mac(fields, out);
  if (const auto mtu = fields.number("mtu", 0, 65'535); mtu && *mtu != 0)
    out.mtu = static_cast<uint32_t>(*mtu);
  if (const auto length = fields.number("txQLen", 0, INT32_MAX))
    out.queue_length = static_cast<uint32_t>(*length);
  if (fields.has("promisc")) out.promiscuous = fields.flag("promisc") ? std::optional(true) : std::nullopt;
  if (fields.has("allmulti")) out.all_multicast = fields.flag("allmulti");
}

// Of two words for one thing the later goes: the configuration, CNI_ARGS, the runtime, "args".
Outcome<Config> read_config(const Request& request) {
  Fields fields(request.config);
  Fields runtime = fields.object("runtimeConfig"), args = fields.object("args").object("cni");
  Config out{.data_dir = fields.absolute_path("dataDir")};
  if (out.data_dir.empty()) out.data_dir = kDefaultDataDir;
  read_sysctls(fields.object("sysctl"), out.sysctls);
  read_link(fields, out.link);
  auto env = TRY(read_arguments(request.args, {"MAC"}));
  if (!env["MAC"].empty()) out.link.mac = TRY(under(kInvalidEnvironment, nl::parse_mac(env["MAC"])));
  read_mac(runtime, out.link);
  read_sysctls(args.object("sysctl"), out.sysctls);
  read_link(args, out.link);
  TRY(fields.done());
  for (const auto& [name, value] : out.sysctls) TRY(under(kInvalidConfig, sysctl_path(name, request.ifname)));
  return out;
}

// ---- the link as it was, kept from ADD to DEL: a file the reference reads, too

std::string backup_path(const Config& config, const Attachment& of) {
  return fmt::format("{}/{}_{}.json", config.data_dir, of.container_id, of.ifname);
}
std::string backup_path(const Config& config, const Request& request) {
  return backup_path(config, {request.container_id, request.ifname});
}

// One that is there is of an ADD that was ended: it holds what was before that.
Result<> back_up(nl::Socket& pod, const Config& config, const Request& request, const nl::Link& link) {
  const std::string path = backup_path(config, request);
  if (read_file(path)) return {};
  const nl::LinkSettings now = TRY(nl::link_settings(pod, link.index));
  json::object was{{"network", request.network},  // for GC: the reference passes over these three
                   {"containerID", request.container_id},
                   {"ifname", request.ifname}};
  if (config.link.mac) was["mac"] = nl::mac_str(link.mac);
  if (config.link.mtu) was["mtu"] = link.mtu;
  if (config.link.promiscuous) was["promisc"] = now.promiscuous;
  if (config.link.all_multicast) was["allmulti"] = now.all_multicast;
  if (config.link.queue_length) was["txQLen"] = now.queue_length;
  TRY(make_dirs(config.data_dir, 0700));
  return write_atomically(path, json::serialize(was), 0600);
}

Outcome<std::optional<json::object>> read_backup(const std::string& path) {
  const auto text = read_file(path, 1u << 16);
  if (!text && text.error().code == ENOENT) return std::nullopt;
  if (!text) return refuse(kIoFailure, text.error().message);
  boost::system::error_code code;
  json::value value = json::parse(*text, code);
  if (code || !value.is_object()) return json::object();
  return std::move(value.get_object());
}

// ---- changing

Result<> apply(nl::Socket& pod, uint32_t link, const Settings& to) {
  if (to.mac) TRY(nl::set_mac(pod, link, *to.mac));
  if (to.promiscuous) TRY(nl::set_promiscuous(pod, link, *to.promiscuous));
  if (to.mtu) TRY(nl::set_mtu(pod, link, *to.mtu));
  if (to.all_multicast) TRY(nl::set_all_multicast(pod, link, *to.all_multicast));
  if (to.queue_length) TRY(nl::set_queue_length(pod, link, *to.queue_length));
  return {};
}

// The link may be gone, and its file with it.
Outcome<> set_back(const Config& config, const Request& request) {
  const std::string path = backup_path(config, request);
  const auto was = TRY(read_backup(path));
  if (!was) return {};
  if (const auto netns = TRY(find_netns(request))) {
    auto pod = TRY(nl::Socket::open_in(*netns));
    if (const auto link = nl::link_by_name(pod, request.ifname)) {
      Fields fields(*was);
      Settings before;
      read_link(fields, before);
      if (fields.has("promisc")) before.promiscuous = fields.flag("promisc");
      TRY(fields.done());
      TRY(apply(pod, link->index, before));
    }
  }
  return under(kIoFailure, remove_file(path));
}

Result<> set_sysctls(const Netns& netns, const Config& config, const std::string& ifname) {
  return netns.run([&]() -> Result<> {
    for (const auto& [name, value] : config.sysctls) TRY(set_sysctl(TRY(sysctl_path(name, ifname)), value));
    return {};
  });
}

CniResult with_mac(CniResult result, const Request& request, const Settings& settings) {
  for (Interface& each : result.interfaces)
    if (settings.mac && each.name == request.ifname) each.mac = nl::mac_str(*settings.mac);
  return result;
}

Outcome<> check_sysctls_allowed(const Config& config) {
  std::vector<std::string> names;
  for (const auto& [name, value] : config.sysctls) names.push_back(name);
  return under(kInvalidConfig, check_allowed(kAllowed, names));
}

// ---- verbs

Outcome<CniResult> add(const Request& request) {
  const Config config = TRY(read_config(request));
  if (!request.previous)
    return refuse(kInvalidConfig, "prevResult is required: tuning stands behind another plugin");
  TRY(check_sysctls_allowed(config));
  const Netns netns = TRY(open_netns(request));
  auto pod = TRY(nl::Socket::open_in(netns));
  Undo undo([&] { (void)set_back(config, request); });
  TRY(set_sysctls(netns, config, request.ifname));
  if (config.link.any()) {
    const nl::Link link = TRY(nl::link_by_name(pod, request.ifname));
    TRY(under(kIoFailure, back_up(pod, config, request, link)));
    TRY(apply(pod, link.index, config.link));
  }
  undo.keep();
  return with_mac(*request.previous, request, config.link);
}

Outcome<> del(const Request& request) { return set_back(TRY(read_config(request)), request); }

Outcome<> check_sysctls(const Netns& netns, const Config& config, const std::string& ifname) {
  for (const auto& [name, value] : config.sysctls) {
    const std::string path = TRY(sysctl_path(name, ifname))
    , now = TRY(netns.run([&] { return get_sysctl(path); }));
    if (now != value) return refuse(kPluginFailure, fmt::format("{} is {}, not {}", name, now, value));
  }
  return {};
}

Outcome<> check(const Request& request) {
  const Config config = TRY(read_config(request));
  const Netns netns = TRY(open_netns(request));
  auto pod = TRY(nl::Socket::open_in(netns));
  TRY(check_sysctls(netns, config, request.ifname));
  const nl::Link link = TRY(nl::link_by_name(pod, request.ifname));
  const nl::LinkSettings now = TRY(nl::link_settings(pod, link.index));
  const Settings& want = config.link;
  const auto differs = [&](const char* what) {
    return refuse(kPluginFailure, fmt::format("{} has another {} than it should", request.ifname, what));
  };
  if (want.mac && link.mac != *want.mac) return differs("mac");
  if (want.mtu && link.mtu != *want.mtu) return differs("mtu");
  if (now.promiscuous != want.promiscuous.value_or(false)) return differs("promisc");
  if (want.all_multicast && now.all_multicast != *want.all_multicast) return differs("allmulti");
  if (want.queue_length && now.queue_length != *want.queue_length) return differs("txQLen");
  return {};
}

// Files of this network's attachments that are none any more. Others' do not say whose they are, and stay.
bool is_left(const json::object& backup, const Request& request) {
  Fields fields(backup);
  const Attachment of{fields.text("containerID"), fields.text("ifname")};
  const std::string network = fields.text("network");
  return fields.done() && network == request.network &&
         std::none_of(request.valid_attachments.begin(), request.valid_attachments.end(),
                      [&](const Attachment& valid) {
                        return valid.container_id == of.container_id && valid.ifname == of.ifname;
                      });
}

Outcome<> gc(const Request& request) {
  const Config config = TRY(read_config(request));
  for (const std::string& name : TRY(under(kIoFailure, list_files(config.data_dir)))) {
    const std::string path = config.data_dir + "/" + name;
    if (!name.ends_with(".json")) continue;
    if (const auto backup = TRY(read_backup(path)); backup && is_left(*backup, request))
      TRY(under(kIoFailure, remove_file(path)));
  }
  return {};
}

Outcome<> status(const Request& request) {
  TRY(check_sysctls_allowed(TRY(read_config(request))));
  return {};
}

}  // namespace

Plugin tuning_plugin() { return {"tuning", add, del, check, gc, status}; }

}  // namespace thalweg::cni
