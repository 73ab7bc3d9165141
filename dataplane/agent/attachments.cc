#include "dataplane/agent/attachments.h"

#include <filesystem>

#include "base/asio.h"
#include "base/file.h"
#include "dataplane/agent/pod_link.h"

namespace thalweg::dataplane {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

json::object to_json(const AttachedPod& pod) {
  json::array ips;
  for (const Ip& ip : pod.ips) ips.emplace_back(ip.str());
  return {{"containerId", pod.attachment.container_id},
          {"ifname", pod.attachment.ifname},
          {"namespace", pod.pod.ns},
          {"name", pod.pod.name},
          {"network", pod.network},
          {"netns", pod.netns_path},
          {"hostLink", pod.host_link},
          {"ips", std::move(ips)},
          {"mac", nl::mac_str(pod.mac)},
          {"hostMac", nl::mac_str(pod.host_mac)},
          {"mtu", pod.mtu}};
}

Result<std::string> text(const json::object& object, const char* key) {
  const json::value* found = object.if_contains(key);
  if (found == nullptr || !found->is_string()) return fail("{}: expected a string", key);
  return std::string(found->as_string());
}

Result<AttachedPod> from_json(const json::value& value) {
  if (!value.is_object()) return fail("expected an object");
  const json::object& object = value.as_object();
  AttachedPod pod;
  pod.attachment = { TRY(text(object, "containerId")), TRY(text(object, "ifname")) };
  pod.pod = { TRY(text(object, "namespace")), TRY(text(object, "name")) };
  pod.network = TRY(text(object, "network"));
  pod.netns_path = TRY(text(object, "netns"));
  pod.host_link = TRY(text(object, "hostLink"));
  pod.mac = TRY(nl::parse_mac(TRY(text(object, "mac"))));
  pod.host_mac = TRY(nl::parse_mac(TRY(text(object, "hostMac"))));
  const json::value* mtu = object.if_contains("mtu");
  if (mtu == nullptr || !mtu->is_int64()) return fail("mtu: expected a number");
  pod.mtu = static_cast<uint32_t>(mtu->as_int64());
  const json::value* ips = object.if_contains("ips");
  if (ips == nullptr || !ips->is_array()) return fail("ips: expected a list");
  for (const json::value& ip : ips->as_array()) {
    if (!ip.is_string()) return fail("ips: expected addresses");
    pod.ips.push_back(TRY(Ip::parse(ip.as_string())));
  }
  return pod;
}

Result<AttachedPod> read_record(const std::string& path) {
  const std::string content = TRY(read_file(path));
  boost::system::error_code error;
  const json::value value = json::parse(content, error);
  if (error) return fail("{}: {}", path, error.message());
  return context(from_json(value), "{}", path);
}

}  // namespace

Result<Attachments> Attachments::open(const std::string& folder) {
  TRY(make_dirs(folder, 0700));
  Attachments attachments;
  attachments.folder_ = folder;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".json") continue;  // left by a crash while writing
    if (auto pod = read_record(entry.path()))
      attachments.all_.insert_or_assign(pod->attachment, *pod);
    else
      attachments.unreadable_.push_back(pod.error().message);
  }
  if (error) return fail_errno(error.value(), "read {}", folder);
  return attachments;
}

std::string Attachments::path_of(const Attachment& attachment) const {
  return fmt::format("{}/{}.json", folder_, host_link_name(attachment.container_id, attachment.ifname));
}

Result<> Attachments::put(const AttachedPod& pod) {
  TRY(write_atomically(path_of(pod.attachment), json::serialize(to_json(pod)) + "\n", 0600));
  all_.insert_or_assign(pod.attachment, pod);
  return {};
}

Result<> Attachments::erase(const Attachment& attachment) {
  TRY(remove_file(path_of(attachment)));
  all_.erase(attachment);
  return {};
}

const AttachedPod* Attachments::find(const Attachment& attachment) const {
  const auto found = all_.find(attachment);
  return found == all_.end() ? nullptr : &found->second;
}

}  // namespace thalweg::dataplane
