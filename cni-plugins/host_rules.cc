#include "cni-plugins/host_rules.h"

#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>

#include <algorithm>
#include <cstdio>
#include <set>

namespace thalweg::cni {

namespace {

constexpr const char* kTable = "thalweg-cni";
constexpr int32_t kBeforeNat = -100, kAfterRouting = 100,
                  kBridgeEarly = -300;  // nft(8): dstnat, srcnat, dstnat

const nft::Hook kPrerouting{"nat", NF_INET_PRE_ROUTING, kBeforeNat},
    kOutput{"nat", NF_INET_LOCAL_OUT, kBeforeNat}, kPostrouting{"nat", NF_INET_POST_ROUTING, kAfterRouting},
    kBridgePrerouting{"filter", NF_BR_PRE_ROUTING, kBridgeEarly};

const char* chain_of(Purpose purpose) {
  switch (purpose) {
    case Purpose::Masquerade: return "ipmasq";  // "masquerade" is a word of nft(8)
    case Purpose::HostPorts: return "hostports";
    case Purpose::HostPortMasquerade: return "hostport-masquerade";
    case Purpose::SpoofCheck: return "prerouting";
  }
  return "";
}

nft::Family family_of(Purpose purpose) {
  return purpose == Purpose::SpoofCheck ? nft::Family::Bridge : nft::Family::Inet;
}

// Of the rules that are nobody's. Another word stands for another frame: then it is made anew.
constexpr const char* kFrame = "frame 1";

const Cidr kMulticast4 = Cidr(Ip::v4(224, 0, 0, 0), 100), kMulticast6 = Cidr::parse("ff00::/8").value();

void add_masquerade_frame(nft::Change& change) {
  change.add_chain("postrouting", kPostrouting);
  change.add_chain(chain_of(Purpose::Masquerade));
  change.add_chain(chain_of(Purpose::HostPortMasquerade));
  change.flush("postrouting");
  change.add_rule("postrouting", kFrame,
                  [](auto& rule) { rule.jump(chain_of(Purpose::HostPortMasquerade)); });
  for (const Cidr& multicast : {kMulticast4, kMulticast6})
    change.add_rule("postrouting", kFrame, [&](auto& rule) {
      rule.address(nft::Side::Destination, multicast);
      rule.give_back();
    });
  change.add_rule("postrouting", kFrame, [](auto& rule) { rule.jump(chain_of(Purpose::Masquerade)); });
}

void add_host_ports_frame(nft::Change& change) {
  change.add_chain(chain_of(Purpose::HostPorts));
  for (const auto& [name, hook] : {std::pair{"prerouting", kPrerouting}, {"output", kOutput}}) {
    change.add_chain(name, hook);
    change.flush(name);
    change.add_rule(name, kFrame, [](auto& rule) {
      rule.destination_is_local();
      rule.jump(chain_of(Purpose::HostPorts));
    });
  }
}

// What a purpose's rules stand in: the chains that lead to them, and how many rules each has.
struct Frame {
  std::vector<std::pair<const char*, ptrdiff_t>> chains;
  void (*add)(nft::Change&);
};
const Frame& frame_of(Purpose purpose) {
  static const Frame masquerade{{{"postrouting", 4}}, add_masquerade_frame},
      host_ports{{{"prerouting", 1}, {"output", 1}}, add_host_ports_frame},
      spoof_check{
          {}, [](nft::Change&change) { change.add_chain(chain_of(Purpose::SpoofCheck), kBridgePrerouting); }};
  if (purpose == Purpose::HostPorts) return host_ports;
  return purpose == Purpose::SpoofCheck ? spoof_check : masquerade;
}

// Removing a rule waits for the kernel's grace period when the socket is closed, 10 ms or more: a frame that
// stands is left alone.
bool stands(const Frame& frame, const std::vector<nft::Placed>& rules) {
  return std::all_of(frame.chains.begin(), frame.chains.end(), [&](const auto& chain) {
    return chain.second == std::count_if(rules.begin(), rules.end(), [&](const nft::Placed& rule) {
             return rule.chain == chain.first && rule.comment == kFrame;
           });
  });
}

uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

// A comment has room for 253 bytes; names that are too long for it end with a hash of themselves.
std::string shortened(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  return fmt::format("{}~{:016x}", text.substr(0, most - 17), hash_of(text));
}

std::string network_part(const std::string& network) { return shortened(network, 100) + " "; }

}  // namespace

std::string owner_of(const std::string& network, const Attachment& attachment) {
  return network_part(network) + shortened(attachment.container_id, 100) + " " + attachment.ifname;
}
std::string owner_of(const Request& request) {
  return owner_of(request.network, {request.container_id, request.ifname});
}

bool is_of_network(const std::string& owner, const std::string& network) {
  return owner.starts_with(network_part(network));
}

Result<HostRules> HostRules::open() { return HostRules(TRY(nft::open_netfilter())); }

Result<std::vector<nft::Placed>> HostRules::rules_of(Purpose purpose) {
  return nft::rules(netfilter_, family_of(purpose), kTable, chain_of(purpose));
}

// All purposes of one call are of one family.
Result<> HostRules::set(const std::string& owner, const std::vector<Purpose>& purposes,
                        const std::vector<Rule>& rules) {
  const nft::Family family = family_of(purposes.front());
  const auto there = TRY(nft::rules(netfilter_, family, kTable));
  nft::Change change(family, kTable);
  change.add_table();
  for (const Purpose purpose : purposes) {
    if (const Frame& frame = frame_of(purpose); frame.chains.empty() || !stands(frame, there))
      frame.add(change);
    for (const nft::Placed& rule : there)
      if (rule.chain == chain_of(purpose) && rule.comment == owner) change.remove(rule);
  }
  for (const Rule& rule : rules) change.add_rule(chain_of(rule.purpose), owner, rule.say);
  return change.commit(netfilter_);
}

Result<> HostRules::remove_if(const std::vector<Purpose>& purposes,
                              const std::function<bool(const std::string&)>& unwanted) {
  std::vector<std::string> chains;
  for (const Purpose purpose : purposes) chains.emplace_back(chain_of(purpose));
  return nft::remove_rules(netfilter_, family_of(purposes.front()), kTable, chains, unwanted);
}

Result<> HostRules::remove(const std::string& owner, const std::vector<Purpose>& purposes) {
  return remove_if(purposes, [&](const std::string& comment) { return comment == owner; });
}

Result<> HostRules::collect(const std::string& network, const std::vector<Attachment>& valid,
                            const std::vector<Purpose>& purposes) {
  std::set<std::string> keep;
  for (const Attachment& attachment : valid) keep.insert(owner_of(network, attachment));
  return remove_if(purposes, [&](const std::string& comment) {
    return is_of_network(comment, network) && !keep.contains(comment);
  });
}

Result<size_t> HostRules::count(const std::string& owner, Purpose purpose) {
  const auto all = TRY(rules_of(purpose));
  return std::count_if(all.begin(), all.end(), [&](const auto& rule) { return rule.comment == owner; });
}

// ---- ipMasq

Result<> add_masquerade(const Request& request, const CniResult& result) {
  std::vector<HostRules::Rule> rules;
  for (const AddressConfig& address : result.ips)
    rules.push_back({Purpose::Masquerade, [&address](nft::Expressions& rule) {
                       rule.address(nft::Side::Source, Cidr::host(address.ip));
                       rule.address(nft::Side::Destination, subnet_of(address), nft::Match::IsNot);
                       rule.masquerade();
                     }});
  return TRY(HostRules::open())
  .set(owner_of(request), {Purpose::Masquerade}, rules);
}

Result<> remove_masquerade(const Request& request) {
  return TRY(HostRules::open())
  .remove(owner_of(request), {Purpose::Masquerade});
}

Result<> collect_masquerade(const Request& request) {
  return TRY(HostRules::open())
  .collect(request.network, request.valid_attachments, {Purpose::Masquerade});
}

Outcome<> check_masquerade(const Request& request) {
  if (TRY(TRY(HostRules::open()).count(owner_of(request), Purpose::Masquerade)) != 0) return {};
  return refuse(kPluginFailure, "its ipMasq rules are missing");
}

Outcome<> check_backend(std::string_view option, const std::string& backend, bool say) {
  if (backend.empty() || backend == "nftables") return {};
  if (backend != "iptables")
    return refuse(kInvalidConfig,
                  fmt::format("{}: \"{}\" is neither nftables nor iptables", option, backend));
  if (say) fmt::print(stderr, "{}: iptables is done with nftables here\n", option);
  return {};
}

}  // namespace thalweg::cni
