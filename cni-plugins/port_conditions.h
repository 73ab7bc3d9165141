// portmap's "conditionsV4" and "conditionsV6": who may use the mappings, in words of nft(8) or of
// iptables(8). Used by portmap.
#pragma once

#include <string>
#include <vector>

#include "cni-plugins/fields.h"
#include "cni-plugins/nft/expressions.h"

namespace thalweg::cni {

struct PortCondition {
  bool v4 = true;
  nft::Side side = nft::Side::Source;
  nft::Match match = nft::Match::Is;
  Cidr subnet;
  std::string link;  // instead of an address: it comes in by this one

  void put(nft::Expressions& rule) const;
};

// nft: "ip saddr [!=] SUBNET", "ip6 daddr …", "iifname NAME"; iptables: "[!] -s SUBNET", "-d", "-i NAME" and
// their long names. Each word an element of the list, or several in one. Anything else is an error that names
// it.
void read_conditions(Fields& fields, std::string_view key, bool v4, std::vector<PortCondition>& out);

}  // namespace thalweg::cni
