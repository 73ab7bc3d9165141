#include "dns/endpoint.h"

#include <arpa/inet.h>
#include <ifaddrs.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace thalweg::dns {

namespace {

bool is_wildcard(const Endpoint& endpoint) {
  return endpoint.ip.is_none() || endpoint.ip == Ip::v4(0, 0, 0, 0);
}

Result<uint16_t> parse_port(std::string_view text, std::string_view whole) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0)
    return fail("address \"{}\": \"{}\" is no port", whole, text);
  return port;
}

std::string_view next_word(std::string_view& line) {
  const size_t from = std::min(line.find_first_not_of(" \t\r"), line.size());
  const size_t to = std::min(line.find_first_of(" \t\r", from), line.size());
  const std::string_view word = line.substr(from, to - from);
  line.remove_prefix(to);
  return word;
}

}  // namespace

std::string Endpoint::str() const {
  return v4 ? fmt::format("{}:{}", ip == Ip() ? "0.0.0.0" : ip.str(), port)
            : fmt::format("[{}]:{}", ip.str(), port);
}

Result<Endpoint> parse_endpoint(std::string_view text, uint16_t default_port) {
  Endpoint out;
  out.port = default_port;
  std::string_view address = text;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == text.npos) return fail("address \"{}\": no closing bracket", text);
    address = text.substr(1, close - 1);
    const std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest[0] != ':')
      return fail("address \"{}\": expected :PORT behind the bracket", text);
    if (!rest.empty()) out.port = TRY(parse_port(rest.substr(1), text));
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    address = text.substr(0, text.find(':'));
    out.port = TRY(parse_port(text.substr(text.find(':') + 1), text));
  }
  out.ip = TRY(context(Ip::parse(address), "address \"{}\"", text));
  out.v4 = address.find(':') == address.npos;
  return out;
}

std::vector<Endpoint> nameservers(std::string_view resolv_conf) {
  std::vector<Endpoint> out;
  while (!resolv_conf.empty()) {
    const size_t end = std::min(resolv_conf.find('\n'), resolv_conf.size());
    std::string_view line = resolv_conf.substr(0, end);
    resolv_conf.remove_prefix(std::min(end + 1, resolv_conf.size()));
    if (next_word(line) != "nameserver") continue;
    if (auto endpoint = parse_endpoint(next_word(line))) out.push_back(*endpoint);
  }
  return out;
}

bool loops(const Endpoint& upstream, const std::vector<Endpoint>& listen, const std::vector<Ip>& local) {
  const bool is_local = upstream.ip.is_loopback() || is_wildcard(upstream) ||
                        std::find(local.begin(), local.end(), upstream.ip) != local.end();
  return std::any_of(listen.begin(), listen.end(), [&](const Endpoint& each) {
    if (each.port != upstream.port) return false;
    return each.ip == upstream.ip || (is_wildcard(each) && each.v4 == upstream.v4 && is_local);
  });
}

std::vector<Ip> local_addresses() {
  std::vector<Ip> out;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return out;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(list, freeifaddrs);
  for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr) continue;
    if (each->ifa_addr->sa_family == AF_INET)
      out.push_back(Ip::from_v4_bytes(&reinterpret_cast<const sockaddr_in*>(each->ifa_addr)->sin_addr));
    if (each->ifa_addr->sa_family == AF_INET6)
      out.push_back(Ip::from_v6_bytes(&reinterpret_cast<const sockaddr_in6*>(each->ifa_addr)->sin6_addr));
  }
  return out;
}

}  // namespace thalweg::dns
