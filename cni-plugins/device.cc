#include "cni-plugins/device.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <vector>

namespace thalweg::cni {

namespace {

namespace fs = std::filesystem;

const std::string kPci = "/sys/bus/pci/devices/", kAuxiliary = "/sys/bus/auxiliary/devices/";
constexpr std::string_view kProgramDrivers[] = {"vfio-pci", "uio_pci_generic", "igb_uio"};

// It becomes part of a path.
bool is_bus_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && id.front() != '.' &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '.' || c == ':' || c == '_' || c == '-';
         });
}

bool exists(const std::string& path) {
  std::error_code code;
  return fs::exists(path, code);
}

// Sorted, so that the same one is the first each time.
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder, code)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

Outcome<nl::Link> first_link(nl::Socket& host, const std::string& field, const std::string& folder) {
  const auto names = names_in(folder);
  if (names.empty()) return refuse(kPluginFailure, fmt::format("{}: no network device in {}", field, folder));
  return TRY(context(nl::link_by_name(host, names.front()), "{}", field));
}

Outcome<nl::Link> find_by_mac(nl::Socket& host, const std::string& text) {
  const nl::Mac mac = TRY(nl::parse_mac(text));
  for (nl::Link& link : TRY(nl::links(host)))
    if (link.mac == mac) return std::move(link);
  return refuse(kPluginFailure, fmt::format("hwaddr: no link here has the MAC address {}", text));
}

// A virtio device stands one folder further down.
std::string folder_of_pci(const std::string& id) {
  const std::string device = kPci + id;
  if (exists(device + "/net")) return device + "/net";
  for (const std::string& name : names_in(device))
    if (name.starts_with("virtio") && exists(device + "/" + name + "/net"))
      return device + "/" + name + "/net";
  return device + "/net";
}

void read_bus_id(Fields& runtime, Device& device) {
  const std::string id = runtime.text("deviceID");
  if (id.empty()) return;
  if (!is_bus_id(id)) return runtime.refuse("deviceID", fmt::format("\"{}\" is no device's address", id));
  if (exists(kPci + id)) {
    device.pci = id;
  } else {
    device.pci = "";
    device.auxiliary = id;
  }
}

}  // namespace

Device read_device(Fields& fields) {
  Device device{.name = fields.text("device"),
                .mac = fields.text("hwaddr"),
                .kernel_path = fields.absolute_path("kernelpath"),
                .pci = fields.text("pciBusID"),
                .auxiliary = ""};
  if (!device.name.empty() && !nl::is_link_name(device.name))
    fields.refuse("device", fmt::format("\"{}\" is no link's name", device.name));
  if (!device.mac.empty())
    if (const auto mac = nl::parse_mac(device.mac); !mac) fields.refuse("hwaddr", mac.error().message);
  if (!device.kernel_path.empty() && !device.kernel_path.starts_with("/sys/devices/"))
    fields.refuse("kernelpath", "does not begin with /sys/devices/");
  if (!device.pci.empty() && !is_bus_id(device.pci))
    fields.refuse("pciBusID", fmt::format("\"{}\" is no device's address", device.pci));
  Fields runtime = fields.object("runtimeConfig");
  read_bus_id(runtime, device);
  return device;
}

Outcome<nl::Link> find_device(nl::Socket& host, const Device& device) {
  if (!device.name.empty()) return TRY(context(nl::link_by_name(host, device.name), "device"));
  if (!device.mac.empty()) return find_by_mac(host, device.mac);
  if (!device.kernel_path.empty()) return first_link(host, "kernelpath", device.kernel_path + "/net");
  if (!device.pci.empty()) return first_link(host, "pciBusID", folder_of_pci(device.pci));
  return first_link(host, "deviceID", kAuxiliary + device.auxiliary + "/net");
}

bool is_for_programs(const Device& device) {
  if (device.pci.empty()) return false;
  std::error_code code;
  const std::string driver = fs::read_symlink(kPci + device.pci + "/driver", code).filename();
  return std::find(std::begin(kProgramDrivers), std::end(kProgramDrivers), driver) !=
         std::end(kProgramDrivers);
}

}  // namespace thalweg::cni
