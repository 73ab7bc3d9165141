// CNI results to and from JSON, in the forms of the versions from 0.3.0 on.
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <charconv>

#include "cni-plugins/cni.h"

namespace thalweg::cni {

namespace json = boost::json;

namespace {

bool has_mtu(std::string_view version) { return version == "1.1.0"; }
bool names_family(std::string_view version) { return version.starts_with("0."); }

json::object interface_json(const Interface& interface, std::string_view version) {
  json::object out{{"name", interface.name}};
  if (!interface.mac.empty()) out["mac"] = interface.mac;
  if (interface.mtu && has_mtu(version)) out["mtu"] = interface.mtu;
  if (!interface.sandbox.empty()) out["sandbox"] = interface.sandbox;
  if (!interface.socket_path.empty() && has_mtu(version)) out["socketPath"] = interface.socket_path;
  if (!interface.pci_id.empty() && has_mtu(version)) out["pciID"] = interface.pci_id;
  return out;
}

json::object address_json(const AddressConfig& address, std::string_view version) {
  json::object out;
  if (names_family(version)) out["version"] = address.ip.is_v4() ? "4" : "6";
  if (address.interface) out["interface"] = *address.interface;
  out["address"] = fmt::format("{}/{}", address.ip.str(), address.length);
  if (!address.gateway.is_none()) out["gateway"] = address.gateway.str();
  return out;
}

json::object route_json(const Route& route) {
  json::object out{{"dst", route.to.str()}};
  if (!route.gateway.is_none()) out["gw"] = route.gateway.str();
  if (route.mtu) out["mtu"] = route.mtu;
  if (route.adv_mss) out["advmss"] = route.adv_mss;
  if (route.priority) out["priority"] = route.priority;
  if (route.table) out["table"] = *route.table;
  if (route.scope) out["scope"] = *route.scope;
  return out;
}

template <class Rows, class Encode>
json::array encoded(const Rows& rows, Encode encode) {
  json::array out;
  for (const auto& row : rows) out.push_back(encode(row));
  return out;
}

// ---- reading

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : "";
}

std::optional<uint32_t> number_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (!value || !value->is_int64() || value->get_int64() < 0 || value->get_int64() > UINT32_MAX)
    return std::nullopt;
  return static_cast<uint32_t>(value->get_int64());
}

// "gateway": "" is what some plugins write for none.
Result<Ip> gateway_at(const json::object& object, std::string_view key) {
  const std::string text = text_at(object, key);
  return text.empty() ? Ip() : Ip::parse(text);
}

Result<AddressConfig> parse_address(const json::object& object) {
  const std::string text = text_at(object, "address");
  const size_t slash = text.find('/');
  if (slash == text.npos) return fail("address \"{}\" has no prefix length", text);
  AddressConfig out {
    .ip = TRY(Ip::parse(std::string_view(text).substr(0, slash)))
    , .gateway = TRY(gateway_at(object, "gateway"))
    , .interface = number_at(object, "interface")
  };
  const char* end = text.data() + text.size();
  const auto [rest, code] = std::from_chars(text.data() + slash + 1, end, out.length);
  if (code != std::errc() || rest != end || out.length > (out.ip.is_v4() ? 32 : 128))
    return fail("address \"{}\": prefix length", text);
  return out;
}

Result<Route> parse_route(const json::object& object) {
  Route out {
    .to = TRY(Cidr::parse_lenient(text_at(object, "dst")))
    , .gateway = TRY(gateway_at(object, "gw"))
  };
  out.mtu = number_at(object, "mtu").value_or(0);
  out.adv_mss = number_at(object, "advmss").value_or(0);
  out.priority = number_at(object, "priority").value_or(0);
  out.table = number_at(object, "table");
  out.scope = number_at(object, "scope");
  return out;
}

Result<Interface> parse_interface(const json::object& object) {
  return Interface{
      text_at(object, "name"),    text_at(object, "mac"),        number_at(object, "mtu").value_or(0),
      text_at(object, "sandbox"), text_at(object, "socketPath"), text_at(object, "pciID")};
}

template <class Row>
Outcome<> parse_rows(const json::object& result, std::string_view key, std::vector<Row>& rows,
                     Result<Row> (*parse)(const json::object&)) {
  const json::value* value = result.if_contains(key);
  if (!value || value->is_null()) return {};
  if (!value->is_array()) return refuse(kDecodingFailure, fmt::format("result: {} is not an array", key));
  for (size_t i = 0; i < value->get_array().size(); ++i) {
    const json::value& row = value->get_array()[i];
    if (!row.is_object())
      return refuse(kDecodingFailure, fmt::format("result: {}[{}] is not an object", key, i));
    auto parsed = parse(row.get_object());
    if (!parsed)
      return refuse(kDecodingFailure, fmt::format("result: {}[{}]: {}", key, i, parsed.error().message));
    rows.push_back(std::move(*parsed));
  }
  return {};
}

}  // namespace

Cidr subnet_of(const AddressConfig& address) {
  return Cidr(address.ip, static_cast<uint8_t>(address.length + (address.ip.is_v4() ? 96 : 0)));
}

json::object to_json(const CniResult& result, std::string_view version) {
  json::object out{{"cniVersion", version}};
  if (!result.interfaces.empty())
    out["interfaces"] =
        encoded(result.interfaces, [&](const auto& row) { return interface_json(row, version); });
  if (!result.ips.empty())
    out["ips"] = encoded(result.ips, [&](const auto& row) { return address_json(row, version); });
  if (!result.routes.empty()) out["routes"] = encoded(result.routes, route_json);
  out["dns"] = result.dns;
  return out;
}

Outcome<std::vector<Route>> parse_routes(const json::object& object, std::string_view key) {
  std::vector<Route> routes;
  TRY(parse_rows(object, key, routes, parse_route));
  return routes;
}

Outcome<CniResult> parse_result(const json::object& object) {
  CniResult result;
  TRY(parse_rows(object, "interfaces", result.interfaces, parse_interface));
  TRY(parse_rows(object, "ips", result.ips, parse_address));
  result.routes = TRY(parse_routes(object, "routes"));
  for (const AddressConfig& address : result.ips)
    if (address.interface && *address.interface >= result.interfaces.size())
      return refuse(kDecodingFailure, fmt::format("result: address {} of interface {}: there is none",
                                                  address.ip.str(), *address.interface));
  if (const json::value* dns = object.if_contains("dns"); dns && dns->is_object())
    result.dns = dns->get_object();
  return result;
}

}  // namespace thalweg::cni
