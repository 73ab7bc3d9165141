#include "dataplane/agent/node_ports.h"

#include <algorithm>

#include "base/link.h"

namespace thalweg::dataplane {

Result<std::vector<Cidr>> parse_node_port_addresses(std::string_view text) {
  std::vector<Cidr> out;
  if (text == "primary") return out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view one = text.substr(at, end - at);
    const Cidr range = TRY(context(Cidr::parse(one), "expected primary or ranges of addresses"));
    if (range.ip().is_loopback()) return fail("{}: NodePorts are never served on loopback addresses", one);
    out.push_back(range);
    at = end + 1;
  }
  return out;
}

Result<std::optional<std::vector<Ip>>> find_node_port_addresses(nl::Socket& socket,
                                                                const std::vector<Cidr>& ranges) {
  if (ranges.empty()) return std::nullopt;
  std::vector<Ip> out;
  for (const auto& address : TRY(nl::addresses(socket))) {
    const Ip& ip = address.ip;
    const bool wanted = std::ranges::any_of(
        ranges, [&](const Cidr& range) { return range.is_v4() == ip.is_v4() && range.contains(ip); });
    if (wanted && !ip.is_loopback() && !ip.is_link_local()) out.push_back(ip);
  }
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

}  // namespace thalweg::dataplane
