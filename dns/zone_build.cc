// Which names the cluster has: the Kubernetes DNS specification 1.1.0, section by section
// (https://github.com/kubernetes/dns/blob/master/docs/specification.md).
#include <algorithm>

#include "dns/records.h"
#include "dns/zone.h"
#include "dns/zone_writer.h"

namespace thalweg::dns {

namespace {

using kube::EndpointSlice;
using kube::ObjectKey;
using kube::Service;

bool label_byte(unsigned char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// A name with one label more in front; objects are hostile, so what is no host name label is left out.
std::optional<Name> below(const Name& parent, std::string_view label) {
  Name name = parent;
  if (!std::all_of(label.begin(), label.end(), label_byte) || !name.prepend(label)) return std::nullopt;
  return name;
}

std::string_view protocol_label(kube::Protocol protocol) {
  switch (protocol) {
    case kube::Protocol::TCP: return "_tcp";
    case kube::Protocol::UDP: return "_udp";
    case kube::Protocol::SCTP: return "_sctp";
  }
  return "_tcp";
}

// _port._proto.<service>: §2.3.2, §2.4.2. Unnamed ports have no SRV records.
std::optional<Name> srv_name(const Name& service, std::string_view port, kube::Protocol protocol) {
  if (port.empty()) return std::nullopt;
  const auto parent = below(service, protocol_label(protocol));
  return parent ? below(*parent, "_" + std::string(port)) : std::nullopt;
}

using Slices = std::map<ObjectKey, std::vector<const EndpointSlice*>>;

class ZoneBuild {
 public:
  ZoneBuild(const kube::Cluster& cluster, const ZoneConfig& config)
      : cluster_(cluster),
        config_(config),
        services_(services_name(config.apex)),
        pods_(pods_name(config.apex)),
        records_(config.apex) {}

  Records build() {
    apex();
    for (const auto& [key, ns] : cluster_.namespaces) ns_exists(key.name);
    const Slices slices = headless_slices();
    for (const auto& [key, service] : cluster_.services) add(*service, slices);
    for (const auto& [key, pod] : cluster_.pods) add(*pod);
    return std::move(records_);
  }

 private:
  // §2.1: the schema version; and what a zone's apex must have (RFC 1035).
  void apex() {
    Name dns = config_.apex;
    Name server = config_.apex;
    Name mailbox = config_.apex;
    Name version = config_.apex;
    if (!dns.prepend("dns") || !server.prepend("dns") || !server.prepend("ns") ||
        !mailbox.prepend("hostmaster") || !version.prepend("dns-version"))
      return records_.skip();
    records_.soa(config_.apex, server, mailbox, config_.serial, config_.ttl_s);
    records_.pointer(config_.apex, kNs, server);
    records_.exists(server);
    for (const Ip& ip : config_.name_servers) records_.address(server, ip);
    records_.text(version, "1.1.0");
    records_.exists(services_);
    if (config_.pods != PodNames::Disabled) records_.exists(pods_);
  }

  // An existing namespace answers NODATA, with or without Services in it.
  void ns_exists(const std::string& ns) {
    const auto services = below(services_, ns);
    const auto pods = below(pods_, ns);
    if (!services || !pods) return records_.skip();
    records_.exists(*services);
    if (config_.pods != PodNames::Disabled) records_.exists(*pods);
  }

  Slices headless_slices() const {
    Slices out;
    for (const auto& [key, slice] : cluster_.endpoint_slices) {
      const auto service = cluster_.services.find({key.ns, slice->service});
      if (service != cluster_.services.end() && service->second->headless)
        out[{key.ns, slice->service}].push_back(slice.get());
    }
    return out;
  }

  void add(const Service& service, const Slices& slices) {
    const ObjectKey& key = service.meta.key;
    ns_exists(key.ns);
    const auto ns = below(services_, key.ns);
    const auto name = ns ? below(*ns, key.name) : std::nullopt;
    if (!name) return records_.skip();
    if (service.type == Service::Type::ExternalName) return external(*name, service);
    records_.exists(*name);
    if (!service.headless) return cluster_ip(*name, service);
    const auto found = slices.find(key);
    if (found == slices.end()) return;
    for (const EndpointSlice* slice : found->second) headless(*name, service, *slice);
  }

  // §2.3: Services with a ClusterIP.
  void cluster_ip(const Name& name, const Service& service) {
    for (const Ip& ip : service.cluster_ips) {
      records_.address(name, ip);
      records_.pointer(reverse_name(ip), kPtr, name);
    }
    for (const auto& port : service.ports)
      if (const auto owner = srv_name(name, port.name, port.protocol))
        records_.srv(*owner, 100, port.port, name);
  }

  // §2.4: headless Services, an address a ready endpoint.
  void headless(const Name& name, const Service& service, const EndpointSlice& slice) {
    for (const auto& endpoint : slice.endpoints) {
      if (!endpoint.ready && !service.publish_not_ready) continue;
      for (const Ip& ip : endpoint.addresses) {
        const auto host = below(name, endpoint.hostname.empty() ? dashed(ip) : endpoint.hostname);
        if (!host) {
          records_.skip();
          continue;
        }
        records_.address(name, ip);
        records_.address(*host, ip);
        records_.pointer(reverse_name(ip), kPtr, *host);
        for (const auto& port : slice.ports)
          if (const auto owner = srv_name(name, port.name, port.protocol); owner && port.port != 0)
            records_.srv(*owner, 100, port.port, *host);
      }
    }
  }

  // §2.5: External Name Services.
  void external(const Name& name, const Service& service) {
    const auto target = Name::parse(service.external_name);
    if (!target) return records_.skip();
    records_.pointer(name, kCname, *target);
  }

  void add(const kube::Pod& pod) {
    if (config_.pods == PodNames::Disabled) return;
    ns_exists(pod.meta.key.ns);
    if (config_.pods != PodNames::Verified || pod.finished) return;
    const auto ns = below(pods_, pod.meta.key.ns);
    for (const Ip& ip : pod.ips)
      if (const auto name = ns ? below(*ns, dashed(ip)) : std::nullopt) records_.address(*name, ip);
  }

  const kube::Cluster& cluster_;
  const ZoneConfig& config_;
  const Name services_;
  const Name pods_;
  Records records_;
};

}  // namespace

Name services_name(const Name& apex) {
  Name name = apex;
  name.prepend("svc");
  return name;
}

Name pods_name(const Name& apex) {
  Name name = apex;
  name.prepend("pod");
  return name;
}

std::shared_ptr<const Zone> build_zone(const kube::Cluster& cluster, const ZoneConfig& config) {
  return ZoneWriter(config).write(ZoneBuild(cluster, config).build());
}

Name reverse_name(const Ip& ip) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  Name name;
  name.prepend("arpa");
  name.prepend(ip.is_v4() ? "in-addr" : "ip6");
  if (ip.is_v4()) {
    for (int i = 0; i < 4; ++i) name.prepend(std::to_string(ip.v4_bytes()[i]));
    return name;
  }
  for (const uint8_t byte : ip.bytes()) {
    name.prepend(kDigits.substr(byte >> 4, 1));
    name.prepend(kDigits.substr(byte & 15, 1));
  }
  return name;
}

std::string dashed(const Ip& ip) {
  std::string text = ip.str();
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '.' || c == ':'; }, '-');
  if (text.starts_with('-')) text.insert(0, "0");
  if (text.ends_with('-')) text += '0';
  return text;
}

std::optional<Ip> from_dashed(std::string_view label) {
  for (const char separator : {'.', ':'}) {
    std::string text(label);
    std::replace(text.begin(), text.end(), '-', separator);
    if (auto ip = Ip::parse(text)) return *ip;
  }
  return std::nullopt;
}

}  // namespace thalweg::dns
