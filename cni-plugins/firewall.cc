// firewall: what this host forwards from and to the container passes, whatever else the host's iptables say;
// with "ingressPolicy", only from its own bridge, or from nobody. The rules stand where the reference's do:
// chains CNI-FORWARD and CNI-ADMIN of the tables `filter` that iptables-nft(8) shows and other firewalls are
// written for.
#include <linux/netfilter.h>

#include <algorithm>

#include "cni-plugins/delegate.h"
#include "cni-plugins/fields.h"
#include "cni-plugins/host_rules.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace {

constexpr const char *kTable = "filter", *kForward = "FORWARD", *kOwn = "CNI-FORWARD",
                     *kStage1 = "CNI-ISOLATION-STAGE-1", *kStage2 = "CNI-ISOLATION-STAGE-2";
constexpr const char *kOurJump = "CNI firewall plugin rules",
                     *kAdminJump = "CNI firewall plugin admin overrides",
                     *kStageJump = "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)";
constexpr nft::Family kFamilies[] = {nft::Family::V4, nft::Family::V6};

enum class Ingress : uint8_t { Open, SameBridge, Isolated };

struct Config {
  std::string admin_chain;
  Ingress ingress = Ingress::Open;
};

// A chain's name of iptables(8): what nft(8) takes, too.
bool is_chain_name(std::string_view name) {
  return !name.empty() && name.size() <= 28 && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                  c == '-';
         });
}

// firewalldZone is of the firewalld backend, which is refused: its rules come and go behind our back over
// D-Bus.
Outcome<Config> read_config(const Request& request) {
  Fields fields(request.config);
  Config out{.admin_chain = fields.text("iptablesAdminChainName", "CNI-ADMIN")};
  if (!is_chain_name(out.admin_chain))
    fields.refuse("iptablesAdminChainName", fmt::format("\"{}\" is no chain's name", out.admin_chain));
  const std::string policy = fields.text("ingressPolicy", "open");
  if (policy == "same-bridge")
    out.ingress = Ingress::SameBridge;
  else if (policy == "isolated")
    out.ingress = Ingress::Isolated;
  else if (policy != "open")
    fields.refuse("ingressPolicy", fmt::format("\"{}\" is none of open, same-bridge, isolated", policy));
  const std::string backend = fields.text("backend");
  (void)fields.text("firewalldZone");
  TRY(fields.done());
  TRY(check_backend("backend", backend, request.verb == Verb::Add));
  return out;
}

bool is_there(const std::vector<nft::Placed>& rules, std::string_view chain, std::string_view comment) {
  return std::any_of(rules.begin(), rules.end(),
                     [&](const nft::Placed& rule) { return rule.chain == chain && rule.comment == comment; });
}

using Say = std::function<void(nft::Expressions&)>;
Say jump_to(const std::string& chain) {
  return [chain](nft::Expressions& rule) { rule.jump(chain); };
}

void add_frame(nft::Change& change, const std::vector<nft::Placed>& there, const Config& config) {
  change.add_table();
  change.add_chain(kForward, {"filter", NF_INET_FORWARD, 0});
  change.add_chain(kOwn);
  change.add_chain(config.admin_chain);
  if (!is_there(there, kForward, kOurJump)) change.insert_rule(kForward, kOurJump, jump_to(kOwn));
  if (!is_there(there, kOwn, kAdminJump)) change.insert_rule(kOwn, kAdminJump, jump_to(config.admin_chain));
}

// Of the bridge, for all its containers: they stay. Stage 1 sees what comes from one, stage 2 what goes to
// another.
void add_isolation(nft::Change& change, const std::vector<nft::Placed>& there, const std::string& bridge,
                   bool isolated) {
  change.add_chain(kStage1);
  change.add_chain(kStage2);
  if (!is_there(there, kForward, kStageJump)) change.insert_rule(kForward, kStageJump, jump_to(kStage1));
  const auto once = [&](const char* chain, const std::string& word, const Say& say) {
    const std::string comment = fmt::format("CNI firewall plugin rules ({}: {})", word, bridge);
    if (!is_there(there, chain, comment)) change.insert_rule(chain, comment, say);
  };
  once(kStage1, "to others", [&](nft::Expressions& rule) {
    rule.input_link(bridge);
    rule.output_link(bridge, nft::Match::IsNot);
    rule.jump(kStage2);
  });
  if (isolated)
    once(kStage1, "isolated", [&](nft::Expressions& rule) {
      rule.input_link(bridge);
      rule.output_link(bridge);
      rule.drop();
    });
  once(kStage2, "from others", [&](nft::Expressions& rule) {
    rule.output_link(bridge);
    rule.drop();
  });
}

void add_passes(nft::Change& change, const std::string& owner, const Ip& ip) {
  change.add_rule(kOwn, owner, [&](nft::Expressions& rule) {
    rule.address(nft::Side::Destination, Cidr::host(ip));
    rule.established();
    rule.accept();
  });
  change.add_rule(kOwn, owner, [&](nft::Expressions& rule) {
    rule.address(nft::Side::Source, Cidr::host(ip));
    rule.accept();
  });
}

std::vector<Ip> ips_of(const CniResult& result, nft::Family family) {
  std::vector<Ip> out;
  for (const AddressConfig& address : result.ips)
    if (address.ip.is_v4() == (family == nft::Family::V4)) out.push_back(address.ip);
  return out;
}

Result<> set(nl::Socket& netfilter, nft::Family family, const Request& request, const Config& config) {
  const auto ips = ips_of(*request.previous, family);
  if (ips.empty()) return {};
  const auto there = TRY(nft::rules(netfilter, family, kTable));
  const std::string owner = owner_of(request);
  nft::Change change(family, kTable);
  add_frame(change, there, config);
  if (config.ingress != Ingress::Open)
    add_isolation(change, there, request.previous->interfaces.front().name,
                  config.ingress == Ingress::Isolated);
  for (const nft::Placed& rule : there)
    if (rule.chain == kOwn && rule.comment == owner) change.remove(rule);
  for (const Ip& ip : ips) add_passes(change, owner, ip);
  return change.commit(netfilter);
}

Result<> remove_if(const std::function<bool(const std::string&)>& unwanted) {
  auto netfilter = TRY(nft::open_netfilter());
  for (const nft::Family family : kFamilies)
    TRY(nft::remove_rules(netfilter, family, kTable, {kOwn}, unwanted));
  return {};
}

Result<> remove(const Request& request) {
  return remove_if([owner = owner_of(request)](const std::string& comment) { return comment == owner; });
}

Outcome<CniResult> add(const Request& request) {
  const Config config = TRY(read_config(request));
  if (!request.previous)
    return refuse(kInvalidConfig, "prevResult is required: firewall stands behind another plugin");
  if (config.ingress != Ingress::Open && request.previous->interfaces.empty())
    return refuse(kInvalidConfig, "ingressPolicy: prevResult names no bridge");
  Undo undo([&] { (void)remove(request); });
  auto netfilter = TRY(nft::open_netfilter());
  for (const nft::Family family : kFamilies) TRY(set(netfilter, family, request, config));
  undo.keep();
  return *request.previous;
}

Outcome<> del(const Request& request) {
  TRY(remove(request));
  return {};
}

Outcome<> check(const Request& request) {
  const Config config = TRY(read_config(request));
  auto netfilter = TRY(nft::open_netfilter());
  for (const nft::Family family : kFamilies) {
    const auto ips = ips_of(*request.previous, family);
    if (ips.empty()) continue;
    const auto there = TRY(nft::rules(netfilter, family, kTable));
    if (!is_there(there, kForward, kOurJump))
      return refuse(kPluginFailure, "FORWARD does not lead to CNI-FORWARD");
    if (!is_there(there, kOwn, kAdminJump))
      return refuse(kPluginFailure, "CNI-FORWARD does not lead to " + config.admin_chain);
    const auto own = std::count_if(there.begin(), there.end(), [&](const nft::Placed& rule) {
      return rule.chain == kOwn && rule.comment == owner_of(request);
    });
    if (own < static_cast<ptrdiff_t>(2 * ips.size()))
      return refuse(kPluginFailure,
                    fmt::format("{} of its {} rules in CNI-FORWARD are there", own, 2 * ips.size()));
    if (config.ingress != Ingress::Open && !is_there(there, kForward, kStageJump))
      return refuse(kPluginFailure, "FORWARD does not lead to " + std::string(kStage1));
  }
  return {};
}

Outcome<> gc(const Request& request) {
  TRY(remove_if([&](const std::string& comment) {
    return is_of_network(comment, request.network) &&
           std::none_of(request.valid_attachments.begin(), request.valid_attachments.end(),
                        [&](const Attachment& valid) { return comment == owner_of(request.network, valid); });
  }));
  return {};
}

Outcome<> status(const Request& request) {
  TRY(read_config(request));
  TRY(under(kNotAvailable, nft::open_netfilter()));
  return {};
}

}  // namespace

Plugin firewall_plugin() { return {"firewall", add, del, check, gc, status}; }

}  // namespace thalweg::cni
