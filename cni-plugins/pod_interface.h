// The container's interface as a result says it: addresses and routes upon a link that is there. Used by
// every plugin that makes one.
#pragma once

#include <string>

#include "base/link.h"
#include "base/netns.h"
#include "cni-plugins/cni.h"

namespace thalweg::cni {

// The container's namespace. Absent: kUnknownContainer.
Outcome<Netns> open_netns(const Request& request);
// As open_netns, for DEL: none where there is no such namespace any more.
Outcome<std::optional<Netns>> find_netns(const Request& request);

// Fails where the name is taken: another plugin's, or an ADD's before.
Outcome<> check_free(nl::Socket& pod, const std::string& ifname);

// A veth with one end in the container, under CNI_IFNAME, and the other here: its name.
Outcome<std::string> create_pair(nl::Socket& host, const Netns& netns, const Request& request, uint32_t mtu,
                                 const std::optional<nl::Mac>& mac = std::nullopt);

// As a result tells it.
Interface interface_of(const nl::Link& link, const std::string& sandbox = "");

// This host passes packets of that family on.
Result<> enable_forwarding(bool v4);

// Up, with the addresses and routes of the result that are of this interface. `dad`: IPv6 addresses are tried
// first (RFC 4862), and waited for.
Result<> configure(const Netns& netns, nl::Socket& pod, const std::string& ifname, const CniResult& result,
                   bool dad = false);
// What the result says, compared with what is there (CHECK).
Outcome<> check_configured(nl::Socket& pod, const nl::Link& link, const CniResult& result);

// The addresses of the link, and it is gone. Absent: none, and no error.
Result<std::vector<nl::Address>> remove(nl::Socket& pod, const std::string& ifname);

// The interface of that name in the result, in the container's namespace.
const Interface* find_interface(const CniResult& result, const std::string& name, const std::string& sandbox);

// "veth" or another prefix and eight digits, of what is attached: the same ADD finds its own link again.
std::string host_name(std::string_view prefix, const Request& request, int attempt = 0);

}  // namespace thalweg::cni
