// static: addresses as the configuration, the runtime or CNI_ARGS say. Keeps nothing.
#include <algorithm>

#include "cni-plugins/arguments.h"
#include "cni-plugins/fields.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace {

Result<AddressConfig> parse_with_length(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == text.npos) return fail("\"{}\": expected ADDRESS/LENGTH", text);
  const Cidr subnet = TRY(Cidr::parse_lenient(text));
  return AddressConfig {
    .ip = TRY(Ip::parse(text.substr(0, slash)))
    , .length = subnet.family_length()
  };
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    std::string_view part = text.substr(start, end - start);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (!part.empty()) out.push_back(part);
    start = end + 1;
  }
  return out;
}

// What is said later takes the place of all before, if it says any.
void read_list(Fields& fields, std::vector<AddressConfig>& out) {
  const auto texts = fields.texts("ips");
  if (!texts.empty()) out.clear();
  for (const std::string& text : texts) {
    const auto address = parse_with_length(text);
    address ? out.push_back(*address) : fields.refuse("ips", address.error().message);
  }
}

Outcome<> read_environment(const Request& request, std::vector<AddressConfig>& out) {
  auto env = TRY(read_arguments(request.args, {"IP", "GATEWAY"}));
  for (const std::string_view text : split(env["IP"]))
    out.push_back(TRY(under(kInvalidEnvironment, parse_with_length(text))));
  for (const std::string_view text : split(env["GATEWAY"])) {
    const Ip gateway = TRY(under(kInvalidEnvironment, Ip::parse(text)));
    for (AddressConfig& address : out)
      if (subnet_of(address).contains(gateway)) address.gateway = gateway;
  }
  return {};
}

Outcome<CniResult> read_config(const Request& request) {
  Fields fields(request.config);
  Fields ipam = fields.object("ipam"), runtime = fields.object("runtimeConfig"),
         args = fields.object("args").object("cni");
  if (!fields.has("ipam")) fields.refuse("ipam", "is required");
  CniResult out{.routes = ipam.routes("routes"), .dns = ipam.object("dns").raw()};
  for (Fields& row : ipam.objects("addresses")) {
    const auto address = parse_with_length(row.text("address"));
    if (!address) row.refuse("address", address.error().message);
    out.ips.push_back(address.value_or(AddressConfig()));
    out.ips.back().gateway = row.ip("gateway");
  }
  TRY(read_environment(request, out.ips));
  read_list(args, out.ips);
  read_list(runtime, out.ips);
  TRY(fields.done());
  return out;
}

Outcome<CniResult> add(const Request& request) { return read_config(request); }

Outcome<> check(const Request& request) {
  const CniResult ours = TRY(read_config(request));
  for (const AddressConfig& address : ours.ips)
    for (const AddressConfig& given : request.previous->ips)
      if (given.ip == address.ip && !address.gateway.is_none() && given.gateway != address.gateway)
        return refuse(kPluginFailure, fmt::format("{}: its gateway is {}, not {}", address.ip, given.gateway,
                                                  address.gateway));
  return {};
}

Outcome<> status(const Request& request) {
  TRY(read_config(request));
  return {};
}

Outcome<> nothing(const Request&) { return {}; }

}  // namespace

Plugin static_plugin() { return {"static", add, nothing, check, nothing, status}; }

}  // namespace thalweg::cni
