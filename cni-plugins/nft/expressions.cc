#include "cni-plugins/nft/expressions.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <array>
#include <cstring>

namespace thalweg::nft {

namespace {

constexpr uint32_t kValue = NFT_REG_1, kPort = NFT_REG_2;

// An expression: its name, and its attributes until the end of the scope.
class Open {
 public:
  Open(nl::Message& message, const char* name)
      : element_(message.nest(NFTA_LIST_ELEM | NLA_F_NESTED)), data_(named(message, name)) {}

 private:
  static nl::Message::Nest named(nl::Message& message, const char* name) {
    message.put_str(NFTA_EXPR_NAME, name);
    return message.nest(NFTA_EXPR_DATA | NLA_F_NESTED);
  }
  nl::Message::Nest element_, data_;
};

void put_data(nl::Message& message, uint16_t type, std::string_view bytes) {
  const auto data = message.nest(type | NLA_F_NESTED);
  message.put(NFTA_DATA_VALUE, bytes.data(), bytes.size());
}

std::string be(auto value) {
  std::string out(sizeof value, '\0');
  for (size_t i = 0; i < sizeof value; ++i) out[i] = static_cast<char>(value >> 8 * (sizeof value - 1 - i));
  return out;
}

std::string native(uint32_t value) { return {reinterpret_cast<const char*>(&value), sizeof value}; }

std::string bytes_of(const Ip& ip) {
  if (ip.is_v4()) return {reinterpret_cast<const char*>(ip.v4_bytes()), 4};
  return {reinterpret_cast<const char*>(ip.bytes().data()), 16};
}

std::string mask_of(const Cidr& subnet) {
  std::string mask(subnet.is_v4() ? 4 : 16, '\0');
  for (size_t bit = 0; bit < subnet.family_length(); ++bit)
    mask[bit / 8] |= static_cast<char>(0x80 >> bit % 8);
  return mask;
}

}  // namespace

void put_be32(nl::Message& message, uint16_t type, uint32_t value) { message.put_u32(type, htonl(value)); }

void Expressions::load(uint32_t base, uint32_t offset, uint32_t size) {
  const Open open(message_, "payload");
  put_be32(message_, NFTA_PAYLOAD_DREG, kValue);
  put_be32(message_, NFTA_PAYLOAD_BASE, base);
  put_be32(message_, NFTA_PAYLOAD_OFFSET, offset);
  put_be32(message_, NFTA_PAYLOAD_LEN, size);
}

void Expressions::compare(std::string_view bytes, Match match) {
  const Open open(message_, "cmp");
  put_be32(message_, NFTA_CMP_SREG, kValue);
  put_be32(message_, NFTA_CMP_OP, match == Match::Is ? NFT_CMP_EQ : NFT_CMP_NEQ);
  put_data(message_, NFTA_CMP_DATA, bytes);
}

void Expressions::keep_bits(std::string_view mask) {
  const Open open(message_, "bitwise");
  put_be32(message_, NFTA_BITWISE_SREG, kValue);
  put_be32(message_, NFTA_BITWISE_DREG, kValue);
  put_be32(message_, NFTA_BITWISE_LEN, static_cast<uint32_t>(mask.size()));
  put_data(message_, NFTA_BITWISE_MASK, mask);
  put_data(message_, NFTA_BITWISE_XOR, std::string(mask.size(), '\0'));
}

void Expressions::meta(uint32_t key) {
  const Open open(message_, "meta");
  put_be32(message_, NFTA_META_KEY, key);
  put_be32(message_, NFTA_META_DREG, kValue);
}

void Expressions::put_constant(uint32_t reg, std::string_view bytes) {
  const Open open(message_, "immediate");
  put_be32(message_, NFTA_IMMEDIATE_DREG, reg);
  put_data(message_, NFTA_IMMEDIATE_DATA, bytes);
}

void Expressions::verdict(int32_t code, const std::string& chain) {
  const Open open(message_, "immediate");
  put_be32(message_, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
  const auto data = message_.nest(NFTA_IMMEDIATE_DATA | NLA_F_NESTED);
  const auto verdict = message_.nest(NFTA_DATA_VERDICT | NLA_F_NESTED);
  put_be32(message_, NFTA_VERDICT_CODE, static_cast<uint32_t>(code));
  if (!chain.empty()) message_.put_str(NFTA_VERDICT_CHAIN, chain);
}

void Expressions::address(Side side, const Cidr& subnet, Match match) {
  const bool v4 = subnet.is_v4(), source = side == Side::Source;
  if (mixed_) {
    meta(NFT_META_NFPROTO);
    compare(std::string(1, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6));
  }
  load(NFT_PAYLOAD_NETWORK_HEADER, v4 ? (source ? 12 : 16) : (source ? 8 : 24), v4 ? 4 : 16);
  if (subnet.length() < 128) keep_bits(mask_of(subnet));
  compare(bytes_of(subnet.ip()), match);
}

void Expressions::ether_source(const nl::Mac& mac, Match match) {
  load(NFT_PAYLOAD_LL_HEADER, 6, 6);
  compare({reinterpret_cast<const char*>(mac.data()), mac.size()}, match);
}

void Expressions::input_link(const std::string& name) {
  meta(NFT_META_IIFNAME);
  std::string padded = name;
  padded.resize(IFNAMSIZ);
  compare(padded);
}

void Expressions::output_link(const std::string& name, Match match) {
  meta(NFT_META_OIFNAME);
  std::string padded = name;
  padded.resize(IFNAMSIZ);
  compare(padded, match);
}

void Expressions::protocol(uint8_t protocol) {
  meta(NFT_META_L4PROTO);
  compare(std::string(1, static_cast<char>(protocol)));
}

void Expressions::port(Side side, uint16_t port) {
  load(NFT_PAYLOAD_TRANSPORT_HEADER, side == Side::Source ? 0 : 2, 2);
  compare(be(port));
}

void Expressions::destination_is_local() {
  {
    const Open open(message_, "fib");
    put_be32(message_, NFTA_FIB_DREG, kValue);
    put_be32(message_, NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
    put_be32(message_, NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR);
  }
  compare(native(RTN_LOCAL));
}

void Expressions::established() {
  xt_conntrack_mtinfo3 info{};
  info.match_flags = XT_CONNTRACK_STATE;
  info.state_mask = XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED) | XT_CONNTRACK_STATE_BIT(IP_CT_RELATED);
  const Open open(message_, "match");
  message_.put_str(NFTA_MATCH_NAME, "conntrack");
  put_be32(message_, NFTA_MATCH_REV, 3);
  message_.put(NFTA_MATCH_INFO, &info, sizeof info);
}

void Expressions::dnat(const Ip& to, uint16_t port) {
  put_constant(kValue, bytes_of(to));
  put_constant(kPort, be(port));
  const Open open(message_, "nat");
  put_be32(message_, NFTA_NAT_TYPE, NFT_NAT_DNAT);
  put_be32(message_, NFTA_NAT_FAMILY, to.is_v4() ? NFPROTO_IPV4 : NFPROTO_IPV6);
  put_be32(message_, NFTA_NAT_REG_ADDR_MIN, kValue);
  put_be32(message_, NFTA_NAT_REG_PROTO_MIN, kPort);
}

void Expressions::masquerade() { const Open open(message_, "masq"); }

void Expressions::accept() { verdict(NF_ACCEPT); }
void Expressions::drop() { verdict(NF_DROP); }
void Expressions::give_back() { verdict(NFT_RETURN); }
void Expressions::jump(const std::string& chain) { verdict(NFT_JUMP, chain); }

}  // namespace thalweg::nft
