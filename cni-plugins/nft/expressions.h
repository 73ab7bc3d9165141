// A rule's expressions as nf_tables takes them (linux/netfilter/nf_tables.h), each called by its word in
// nft(8). Used in Change::rule().
#pragma once

#include <string>
#include <string_view>

#include "base/link.h"
#include "base/netlink.h"

namespace thalweg::nft {

enum class Side : uint8_t { Source, Destination };
enum class Match : uint8_t { Is, IsNot };

class Expressions {
 public:
  // mixed: of a table for both families, where a packet's must be asked for first.
  Expressions(nl::Message& message, bool mixed) : message_(message), mixed_(mixed) {}

  // ip saddr 192.0.2.0/24, ip6 daddr != 2001:db8::1
  void address(Side side, const Cidr& subnet, Match match = Match::Is);
  void ether_source(const nl::Mac& mac, Match match = Match::Is);
  void output_link(const std::string& name, Match match = Match::Is);  // oifname
  void input_link(const std::string& name);                            // iifname
  void protocol(uint8_t protocol);                                     // meta l4proto: 6, 17, 132
  void port(Side side, uint16_t port);  // of TCP, UDP or SCTP; behind protocol()
  void destination_is_local();          // fib daddr type local
  // ct state established,related; as the match `conntrack` of iptables, so that iptables-nft can read the
  // rule.
  void established();                      // ct state established,related
  void dnat(const Ip& to, uint16_t port);  // family as the address's
  void masquerade();
  void accept();
  void drop();
  void give_back();  // return
  void jump(const std::string& chain);

 private:
  void load(uint32_t base, uint32_t offset, uint32_t size);
  void compare(std::string_view bytes, Match match = Match::Is);
  void keep_bits(std::string_view mask);
  void meta(uint32_t key);
  void put_constant(uint32_t reg, std::string_view bytes);
  void verdict(int32_t code, const std::string& chain = "");
  nl::Message& message_;
  bool mixed_;
};

void put_be32(nl::Message& message, uint16_t type, uint32_t value);

}  // namespace thalweg::nft
