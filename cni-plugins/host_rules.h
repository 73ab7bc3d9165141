// What this host's nf_tables hold for its containers: one table, `thalweg-cni`, with a chain for each purpose
// and in it the rules of each attachment, known by their comments. Used by the plugins with ipMasq or
// macspoofchk, by portmap and by firewall.
#pragma once

#include <string>
#include <vector>

#include "base/link.h"
#include "base/netlink.h"
#include "cni-plugins/cni.h"
#include "cni-plugins/nft/change.h"

namespace thalweg::cni {

// Purposes: a chain each. Rules of nobody's are set again with every change, so that none is missing for
// long.
enum class Purpose : uint8_t { Masquerade, HostPorts, HostPortMasquerade, SpoofCheck };

// Written into each rule of an attachment; no two attachments have the same.
std::string owner_of(const std::string& network, const Attachment& attachment);
std::string owner_of(const Request& request);
bool is_of_network(const std::string& owner, const std::string& network);

class HostRules {
 public:
  static Result<HostRules> open();

  // Rules of the attachment, in place of those it had for these purposes: all at once.
  struct Rule {
    Purpose purpose;
    std::function<void(nft::Expressions&)> say;
  };
  Result<> set(const std::string& owner, const std::vector<Purpose>& purposes,
               const std::vector<Rule>& rules);
  Result<> remove(const std::string& owner, const std::vector<Purpose>& purposes);
  // Of that network's attachments, all but the valid ones'.
  Result<> collect(const std::string& network, const std::vector<Attachment>& valid,
                   const std::vector<Purpose>& purposes);
  // How many it has there.
  Result<size_t> count(const std::string& owner, Purpose purpose);

 private:
  explicit HostRules(nl::Socket netfilter) : netfilter_(std::move(netfilter)) {}
  Result<std::vector<nft::Placed>> rules_of(Purpose purpose);
  Result<> remove_if(const std::vector<Purpose>& purposes,
                     const std::function<bool(const std::string&)>& unwanted);
  nl::Socket netfilter_;
};

// ---- ipMasq: what leaves the container's subnets, but for multicast, goes out with this host's address

Result<> add_masquerade(const Request& request, const CniResult& result);
Result<> remove_masquerade(const Request& request);
Result<> collect_masquerade(const Request& request);
Outcome<> check_masquerade(const Request& request);
// "iptables" is done with nftables, too, and that is said once, on stderr, at ADD. Anything else is an error.
Outcome<> check_backend(std::string_view option, const std::string& backend, bool say);

}  // namespace thalweg::cni
