#include "cni-plugins/nft/change.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <cstring>

namespace thalweg::nft {

namespace {

constexpr uint8_t kCommentType = 0;  // NFTNL_UDATA_RULE_COMMENT of libnftnl: nft(8) prints it

uint16_t type_of(uint16_t type) { return static_cast<uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | type); }
uint8_t number_of(Family family) {
  constexpr uint8_t kNumbers[] = {NFPROTO_INET, NFPROTO_BRIDGE, NFPROTO_IPV4, NFPROTO_IPV6};
  return kNumbers[static_cast<size_t>(family)];
}

nl::Message batch_end(uint16_t type) {
  nl::Message message(type);
  message.header<nfgenmsg>().res_id = htons(NFNL_SUBSYS_NFTABLES);
  return message;
}

std::string comment_of(std::string_view userdata) {
  while (userdata.size() >= 2) {
    const auto type = static_cast<uint8_t>(userdata[0]), size = static_cast<uint8_t>(userdata[1]);
    if (userdata.size() < 2u + size) break;
    if (type == kCommentType)
      return std::string(userdata.substr(2, size).substr(0, userdata.substr(2, size).find('\0')));
    userdata.remove_prefix(2u + size);
  }
  return "";
}

std::optional<Placed> decode_rule(const nlmsghdr& message) {
  if (message.nlmsg_type != type_of(NFT_MSG_NEWRULE)) return std::nullopt;
  const nl::Attributes attrs(message, sizeof(nfgenmsg));
  const std::string_view handle = attrs.bytes(NFTA_RULE_HANDLE);
  uint64_t number = 0;
  if (handle.size() == sizeof number) std::memcpy(&number, handle.data(), sizeof number);
  return Placed{std::string(attrs.str(NFTA_RULE_CHAIN)), be64toh(number),
                comment_of(attrs.bytes(NFTA_RULE_USERDATA))};
}

}  // namespace

Change::Change(Family family, std::string table) : family_(family), table_(std::move(table)) {}

nl::Message& Change::request(uint16_t type, uint16_t flags) {
  nl::Message& message = requests_.emplace_back(type_of(type), static_cast<uint16_t>(flags | NLM_F_ACK));
  message.header<nfgenmsg>().nfgen_family = number_of(family_);
  return message;
}

void Change::add_table() { request(NFT_MSG_NEWTABLE, NLM_F_CREATE).put_str(NFTA_TABLE_NAME, table_); }

void Change::add_chain(const std::string& name) {
  nl::Message& message = request(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
  message.put_str(NFTA_CHAIN_TABLE, table_);
  message.put_str(NFTA_CHAIN_NAME, name);
}

void Change::add_chain(const std::string& name, const Hook& hook) {
  add_chain(name);
  nl::Message& message = requests_.back();
  message.put_str(NFTA_CHAIN_TYPE, hook.type);
  const auto nest = message.nest(NFTA_CHAIN_HOOK | NLA_F_NESTED);
  put_be32(message, NFTA_HOOK_HOOKNUM, hook.hook);
  put_be32(message, NFTA_HOOK_PRIORITY, static_cast<uint32_t>(hook.priority));
}

void Change::flush(const std::string& chain) {
  nl::Message& message = request(NFT_MSG_DELRULE, 0);
  message.put_str(NFTA_RULE_TABLE, table_);
  message.put_str(NFTA_RULE_CHAIN, chain);
}

void Change::add_rule(const std::string& chain, const std::string& comment,
                      const std::function<void(Expressions&)>& say) {
  put_rule(NLM_F_CREATE | NLM_F_APPEND, chain, comment, say);
}
void Change::insert_rule(const std::string& chain, const std::string& comment,
                         const std::function<void(Expressions&)>& say) {
  put_rule(NLM_F_CREATE, chain, comment, say);
}

void Change::put_rule(uint16_t flags, const std::string& chain, const std::string& comment,
                      const std::function<void(Expressions&)>& say) {
  nl::Message& message = request(NFT_MSG_NEWRULE, flags);
  message.put_str(NFTA_RULE_TABLE, table_);
  message.put_str(NFTA_RULE_CHAIN, chain);
  {
    const auto list = message.nest(NFTA_RULE_EXPRESSIONS | NLA_F_NESTED);
    Expressions expressions(message, family_ == Family::Inet);
    say(expressions);
  }
  if (comment.empty()) return;
  const std::string text = comment.substr(0, kMaxComment);
  std::string userdata{static_cast<char>(kCommentType), static_cast<char>(text.size() + 1)};
  userdata += text + '\0';
  message.put(NFTA_RULE_USERDATA, userdata.data(), userdata.size());
}

void Change::remove(const Placed& rule) {
  nl::Message& message = request(NFT_MSG_DELRULE, 0);
  message.put_str(NFTA_RULE_TABLE, table_);
  message.put_str(NFTA_RULE_CHAIN, rule.chain);
  const uint64_t handle = htobe64(rule.handle);
  message.put(NFTA_RULE_HANDLE, &handle, sizeof handle);
}

Result<> Change::commit(nl::Socket& netfilter) {
  std::vector<nl::Message> batch;
  batch.reserve(requests_.size() + 2);
  batch.push_back(batch_end(NFNL_MSG_BATCH_BEGIN));
  std::move(requests_.begin(), requests_.end(), std::back_inserter(batch));
  batch.push_back(batch_end(NFNL_MSG_BATCH_END));
  requests_.clear();
  return context(netfilter.transact_all(batch), "nftables table {}", table_);
}

Result<nl::Socket> open_netfilter() { return nl::Socket::open(NETLINK_NETFILTER); }

Result<std::vector<Placed>> rules(nl::Socket& netfilter, Family family, const std::string& table,
                                  const std::string& chain) {
  nl::Message message(type_of(NFT_MSG_GETRULE));
  message.header<nfgenmsg>().nfgen_family = number_of(family);
  message.put_str(NFTA_RULE_TABLE, table);
  if (!chain.empty()) message.put_str(NFTA_RULE_CHAIN, chain);
  auto all = netfilter.dump<Placed>(message, decode_rule);
  if (!all && all.error().code == ENOENT) return std::vector<Placed>();
  return context(std::move(all), "nftables rules of {} {}", table, chain);
}

Result<> remove_rules(nl::Socket& netfilter, Family family, const std::string& table,
                      const std::vector<std::string>& chains,
                      const std::function<bool(const std::string& comment)>& unwanted) {
  constexpr int kTries = 20;
  Result<> done;
  for (int i = 0; i < kTries; ++i) {
    Change change(family, table);
    for (const std::string& chain : chains)
      for (const Placed& rule : TRY(rules(netfilter, family, table, chain)))
        if (unwanted(rule.comment)) change.remove(rule);
    if (change.empty()) return {};
    done = change.commit(netfilter);
    if (done || done.error().code != ENOENT) return done;
  }
  return done;
}

}  // namespace thalweg::nft
