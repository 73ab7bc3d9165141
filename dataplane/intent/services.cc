#include "dataplane/intent/services.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>

#include "dataplane/intent/maglev.h"
#include "dataplane/intent/nodes.h"

namespace thalweg::dataplane {

namespace {

constexpr const char* kZoneLabel = "topology.kubernetes.io/zone";
constexpr uint32_t kMostAffinitySeconds = 86400;  // what the API allows

// One way in: an address of the service.
struct Address {
  Ip ip;
  uint32_t flag;  // SERVICE_*
};

std::string_view name_of(uint32_t flag) {
  switch (flag) {
    case SERVICE_CLUSTER_IP: return "ClusterIP";
    case SERVICE_NODE_PORT: return "NodePort";
    case SERVICE_LOAD_BALANCER: return "LoadBalancer address";
    default: return "external IP";
  }
}

std::string_view name_of(kube::Protocol protocol) {
  return protocol == kube::Protocol::TCP ? "TCP" : protocol == kube::Protocol::UDP ? "UDP" : "SCTP";
}

service_key key_of(const Ip& ip, uint16_t port, uint8_t protocol) {
  service_key key{};
  key.address = to_addr(ip);
  key.port = htons(port);
  key.protocol = protocol;
  return key;
}

template <class K, class V>
void add_row(Claim& claim, table_id table, const K& key, const V& value) {
  claim.rows.push_back({table, to_bytes(key), to_bytes(value)});
}

// The addresses of a service that do not depend on its ports, better claims first, no address twice.
class Addresses {
 public:
  Addresses(const kube::Service& service, const ServiceSurroundings& around,
            std::vector<std::string>& complaints)
      : config_(around.config), complaints_(complaints) {
    if (!config_.edge)
      for (const auto& ip : service.cluster_ips) add(ip, SERVICE_CLUSTER_IP);
    if (service.type == kube::Service::Type::LoadBalancer)
      for (const auto& ip : service.load_balancer_ips) add(ip, SERVICE_LOAD_BALANCER);
    for (const auto& ip : service.external_ips) add_external(ip);
    for (const auto& text : service.wrong_source_ranges)
      complaints_.push_back(fmt::format("loadBalancerSourceRanges: {} is no CIDR and lets no one in", text));
  }
  std::vector<Address> take() { return std::move(out_); }

 private:
  void add(const Ip& ip, uint32_t flag) {
    if (ip.is_none() || !seen_.insert(ip).second) return;
    out_.push_back({ip, flag});
  }

  void add_external(const Ip& ip) {
    const auto& allowed = config_.external_ip_cidrs;
    const auto allows = [&](const Cidr& cidr) { return cidr.is_v4() == ip.is_v4() && cidr.contains(ip); };
    if (std::ranges::any_of(allowed, allows))
      add(ip, SERVICE_EXTERNAL_IP);
    else
      complaints_.push_back(
          fmt::format("external IP {} is in no CIDR this node allows; it is not served", ip));
  }

  const Config& config_;
  std::vector<std::string>& complaints_;
  std::set<Ip> seen_;
  std::vector<Address> out_;
};

// A set of endpoints; with the table that spreads clients from outside over them, once someone asked for it.
struct Backing {
  std::vector<Target> targets;
  std::vector<maglev_row> maglev = {};
  uint32_t maglev_size = 0;  // of the positions in maglev

  void spread() {
    if (maglev_size || targets.size() < 2) return;
    maglev_size = dataplane::maglev_size(targets.size());
    const auto positions = maglev_table(targets, maglev_size);
    maglev.resize((maglev_size + MAGLEV_ROW - 1) / MAGLEV_ROW);
    for (size_t at = 0; at < positions.size(); ++at)
      maglev[at / MAGLEV_ROW].slots[at % MAGLEV_ROW] = positions[at];
  }
};

// What one port has behind it in one family.
struct Offer {
  explicit Offer(Choice choice)
      : cluster{std::move(choice.cluster)},
        local{std::move(choice.local)},
        anywhere{std::move(choice.anywhere)} {}
  Backing cluster, local, anywhere;
};

// Every row of one port at one address.
class Frontend {
 public:
  Frontend(const kube::Service& of, const service_key& key, uint32_t flag, Offer& offer, const Config& config)
      : of_(of), key_(key), inside_(&offer.cluster), outside_(&offer.cluster) {
    value_.flags = flag;
    value_.affinity_s = std::min(of.affinity_timeout_s, kMostAffinitySeconds);
    if (!config.edge) keep_local(offer);
    if (config.dsr && is_same_everywhere()) leave_to_others(offer);
    if (inside_->targets != outside_->targets) value_.flags |= SERVICE_APART;
    value_.backends[INSIDE] = static_cast<uint32_t>(inside_->targets.size());
    value_.backends[OUTSIDE] = static_cast<uint32_t>(outside_->targets.size());
    if (!(flag & SERVICE_CLUSTER_IP)) {
      outside_->spread();
      value_.maglev = outside_->maglev_size;
    }
    if (flag & SERVICE_LOAD_BALANCER && restricts_sources()) value_.flags |= SERVICE_SOURCE_RANGES;
  }

  Claim claim() const {
    Claim out = claim_row(TABLE_services, key_, value_);
    add_backends(out, INSIDE, inside_->targets);
    if (value_.flags & SERVICE_APART) add_backends(out, OUTSIDE, outside_->targets);
    if (value_.maglev) add_maglev(out, outside_->maglev);
    if (value_.flags & SERVICE_SOURCE_RANGES) add_source_ranges(out);
    return out;
  }

 private:
  // externalTrafficPolicy says nothing to those inside who ask by an address meant for the outside: they need
  // not come by this node. Where nothing serves anywhere, the flags are not set: they mean that other nodes
  // may have what this one lacks.
  void keep_local(Offer& offer) {
    const bool anyone = !offer.cluster.targets.empty();
    if (value_.flags & SERVICE_CLUSTER_IP) {
      if (!of_.internal_local) return;
      inside_ = outside_ = &offer.local;
      if (anyone) value_.flags |= SERVICE_INSIDE_LOCAL;
    } else if (of_.external_local) {
      outside_ = &offer.local;
      if (anyone) value_.flags |= SERVICE_OUTSIDE_LOCAL;
    }
  }

  // A balancer's address means the same to every node, so they can choose for each other; a NodePort is each
  // node's own.
  bool is_same_everywhere() const {
    return value_.flags & (SERVICE_LOAD_BALANCER | SERVICE_EXTERNAL_IP) && !of_.external_local;
  }
  void leave_to_others(Offer& offer) {
    outside_ = &offer.anywhere;
    value_.flags |= SERVICE_DSR;
  }

  bool restricts_sources() const {
    return !of_.load_balancer_source_ranges.empty() || !of_.wrong_source_ranges.empty();
  }

  void add_backends(Claim& out, audience whose, const std::vector<Target>& targets) const {
    for (uint32_t slot = 0; slot < targets.size(); ++slot) {
      backend_key at{};
      at.service = key_;
      at.slot = slot;
      at.audience = whose;
      backend to{};
      to.address = to_addr(targets[slot].ip);
      to.port = htons(targets[slot].port);
      add_row(out, TABLE_backends, at, to);
      if (key_.protocol == IPPROTO_UDP || value_.affinity_s) add_member(out, whose, to);
    }
  }

  void add_member(Claim& out, audience whose, const backend& to) const {
    member_key at{};
    at.service = key_;
    at.address = to.address;
    at.port = to.port;
    at.audience = static_cast<__u8>(whose);
    add_row(out, TABLE_members, at, __u32{1});
  }

  void add_maglev(Claim& out, const std::vector<maglev_row>& rows) const {
    maglev_key at{};
    at.service = key_;
    for (const auto& row : rows) {
      add_row(out, TABLE_maglev, at, row);
      ++at.row;
    }
  }

  // Of the address's own family only: ::/0 would also cover every v4-mapped client.
  void add_source_ranges(Claim& out) const {
    const bool v4 = to_ip(key_.address).is_v4();
    for (const auto& range : of_.load_balancer_source_ranges) {
      if (range.is_v4() != v4) continue;
      source_range_key at{};
      at.prefixlen = SOURCE_RANGE_BITS + range.length();
      at.port = key_.port;
      at.protocol = key_.protocol;
      at.address = key_.address;
      at.client = to_addr(range.ip());
      add_row(out, TABLE_source_ranges, at, __u32{1});
    }
  }

  const kube::Service& of_;
  const service_key key_;
  Backing* inside_;
  Backing* outside_;
  service value_{};
};

// A Service's ports, each at any of its addresses.
class Ports {
 public:
  Ports(const kube::Service& service, std::span<const kube::EndpointSlice* const> slices,
        const ServiceSurroundings& around)
      : service_(service), slices_(slices), around_(around), offers_(service.ports.size()) {}

  Claim claim(size_t index, const Address& at, uint16_t number) {
    const auto& port = service_.ports[index];
    const auto key = key_of(at.ip, number, policy::ip_protocol(port.protocol));
    Claim out = Frontend(service_, key, at.flag, offer(index, at.ip.is_v4()), around_.config).claim();
    out.rank = static_cast<uint8_t>(at.flag);
    out.what = fmt::format("{} {} port {}/{}", name_of(at.flag), at.ip, number, name_of(port.protocol));
    return out;
  }

 private:
  Offer& offer(size_t index, bool v4) {
    auto& out = offers_[index][v4];
    if (!out) out.emplace(choose_endpoints(service_.ports[index], slices_, v4, around_.place));
    return *out;
  }

  const kube::Service& service_;
  std::span<const kube::EndpointSlice* const> slices_;
  const ServiceSurroundings& around_;
  std::vector<std::array<std::optional<Offer>, 2>> offers_;  // by port and family
};

// What is sent to a service address but to none of its ports has nowhere to go. What a node, a balancer or an
// operator calls an address may be more than a service's; to an edge it is not.
bool is_all_the_services(const Address& at, const ServiceSurroundings& around) {
  return at.flag == SERVICE_CLUSTER_IP || around.config.edge;
}

Claim whole_address(const Address& at) {
  service value{};
  value.flags = at.flag;
  Claim out = claim_row(TABLE_services, key_of(at.ip, 0, 0), value);
  out.rank = static_cast<uint8_t>(at.flag);
  return out;
}

}  // namespace

ServiceSurroundings surroundings(const Config& config, const kube::Node* own) {
  ServiceSurroundings out{
      .config = config, .node_port_addresses = {}, .place = {.node_name = config.node_name}};
  if (config.edge) {
    out.place.nowhere = true;
    return out;
  }
  out.node_port_addresses = config.node_port_addresses ? *config.node_port_addresses
                                                       : primary_addresses(own_addresses(config, own));
  if (own)
    if (const auto zone = own->meta.labels.find(kZoneLabel); zone != own->meta.labels.end())
      out.place.zone = zone->second;
  return out;
}

Fragment service_fragment(const kube::Service& service, std::span<const kube::EndpointSlice* const> slices,
                          const ServiceSurroundings& around) {
  Fragment out;
  if (!is_served(service)) return out;
  Ports ports(service, slices, around);
  for (const auto& at : Addresses(service, around, out.complaints).take()) {
    for (size_t index = 0; index < service.ports.size(); ++index)
      out.claims.push_back(ports.claim(index, at, service.ports[index].port));
    if (is_all_the_services(at, around)) out.claims.push_back(whole_address(at));
  }
  if (service.type == kube::Service::Type::ClusterIP) return out;
  for (size_t index = 0; index < service.ports.size(); ++index)
    for (const auto& ip : around.node_port_addresses)
      if (const uint16_t number = service.ports[index].node_port)
        out.claims.push_back(ports.claim(index, {ip, SERVICE_NODE_PORT}, number));
  return out;
}

}  // namespace thalweg::dataplane
