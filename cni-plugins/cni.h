// The CNI protocol (spec 1.1.0): environment and stdin in, a verb of the plugin called, a result or an error
// object out. Nothing here touches the network; a plugin is a Plugin value handed to run().
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace thalweg::cni {

// Spec 1.1.0, "Error": codes of the protocol itself.
enum Code : uint32_t {
  kIncompatibleVersion = 1,
  kUnsupportedField = 2,
  kUnknownContainer = 3,
  kInvalidEnvironment = 4,
  kIoFailure = 5,
  kDecodingFailure = 6,
  kInvalidConfig = 7,
  kTryAgainLater = 11,
  kNotAvailable = 50,
  kNotAvailableLimited = 51,
  kPluginFailure = 100,  // first of the plugins' own
};

struct CniError {
  CniError(uint32_t code, std::string msg, std::string details = "")
      : code(code), msg(std::move(msg)), details(std::move(details)) {}
  CniError(Error&& error) : msg(std::move(error.message)) {}  // implicit, so that TRY passes such on
  uint32_t code = kPluginFailure;
  std::string msg;
  std::string details;
};
template <class T = void>
using Outcome = std::expected<T, CniError>;

std::unexpected<CniError> refuse(uint32_t code, std::string msg, std::string details = "");
// An error of the project's own kind, under a code of the protocol.
template <class T>
Outcome<T> under(uint32_t code, Result<T>&& result) {
  if (!result) return refuse(code, std::move(result.error().message));
  if constexpr (std::is_void_v<T>)
    return {};
  else
    return std::move(*result);
}

enum class Verb { Add, Del, Check, Gc, Status, Version };

struct Attachment {
  std::string container_id;
  std::string ifname;
};

// ---- results (spec 1.1.0, "Success")
struct Interface {
  std::string name;
  std::string mac;
  uint32_t mtu = 0;     // 1.1.0 and later, as the next two
  std::string sandbox;  // "" on the host
  std::string socket_path, pci_id;
};
struct AddressConfig {
  Ip ip;
  uint8_t length = 0;  // as written: of 32 or 128
  Ip gateway;          // none: absent
  std::optional<uint32_t> interface;
};
Cidr subnet_of(const AddressConfig& address);
struct Route {
  Cidr to;
  Ip gateway;
  uint32_t mtu = 0, adv_mss = 0, priority = 0;  // bytes, bytes, metric; 0: absent
  std::optional<uint32_t> table, scope;
};
struct CniResult {
  std::vector<Interface> interfaces;
  std::vector<AddressConfig> ips;
  std::vector<Route> routes;
  boost::json::object dns;
};
// In the form of that version: 0.3.x and 0.4.0 name the family in each address, 1.1.0 knows an MTU.
boost::json::object to_json(const CniResult& result, std::string_view version);
// Any of the versions' forms.
Outcome<CniResult> parse_result(const boost::json::object& json);
// The routes under that key, as in a result; absent: none.
Outcome<std::vector<Route>> parse_routes(const boost::json::object& json, std::string_view key);

// ---- requests
struct Request {
  Verb verb = Verb::Version;
  std::string command;
  std::string container_id, netns, ifname, args, path;
  std::string version;
  std::string network;  // "name" of the configuration
  boost::json::object config;
  std::optional<CniResult> previous;          // prevResult, of ADD and CHECK
  std::vector<Attachment> valid_attachments;  // GC
};

struct Plugin {
  std::string_view name;
  std::function<Outcome<CniResult>(const Request&)> add;
  std::function<Outcome<>(const Request&)> del;
  std::function<Outcome<>(const Request&)> check;
  std::function<Outcome<>(const Request&)> gc;
  std::function<Outcome<>(const Request&)> status;
};

// What a process is given.
struct Input {
  std::function<std::string(const char* name)> env;  // "" when unset
  std::string in;                                    // all of stdin
};
struct Output {
  int exit = 0;
  std::string out;
};
inline constexpr size_t kMaxConfigBytes = 1u << 20;

// Names are checked against the spec's patterns before the plugin sees them.
Output run(const Plugin& plugin, const Input& input);

// run() with the process's environment, stdin and stdout; its exit code.
int run_process(const Plugin& plugin);

// Oldest first: 0.3.0 … 1.1.0.
const std::vector<std::string_view>& supported_versions();

}  // namespace thalweg::cni
