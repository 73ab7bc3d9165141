// Where DNS is spoken: addresses as flags write them, and the resolv.conf a node gives us. Read by main and
// upstream.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace thalweg::dns {

struct Endpoint {
  Ip ip;
  bool v4 = true;  // which wildcard "0.0.0.0" or "::" means
  uint16_t port = 53;
  std::string str() const;  // 192.0.2.1:53, [2001:db8::1]:53
  bool operator==(const Endpoint&) const = default;
};

// "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353". Errors name the text.
Result<Endpoint> parse_endpoint(std::string_view text, uint16_t default_port = 53);

// The nameserver lines of a resolv.conf(5); lines it cannot read are skipped, as the resolver skips them.
std::vector<Endpoint> nameservers(std::string_view resolv_conf);

// Whether a query sent to `upstream` would come back to one of `listen`; `local` are this machine's
// addresses, which a wildcard listens on.
bool loops(const Endpoint& upstream, const std::vector<Endpoint>& listen, const std::vector<Ip>& local);

// Addresses of this machine's interfaces, in the namespace of the caller.
std::vector<Ip> local_addresses();

}  // namespace thalweg::dns
