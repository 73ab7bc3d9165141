#include "dataplane/agent/conntrack.h"

#include <netinet/in.h>
#include <time.h>

#include <cstring>

namespace thalweg::dataplane {
namespace {

constexpr uint32_t kSetsPerStep = 512;

uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // what bpf_ktime_get_ns() counts
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

uint64_t idle_limit_ns(uint8_t protocol) {
  if (protocol == IPPROTO_TCP) return kTcpIdleNs;
  return protocol == IPPROTO_UDP ? kUdpIdleNs : kOtherIdleNs;
}

service_key service_at(const addr& address, uint16_t port, uint8_t protocol) {
  return {.address = address, .port = port, .protocol = protocol};
}

// A service's flow is kept under the tuple its first packet had: one side of the key is the service.
bool backend_gone(const flow_key& key, const flow& value, const Backends& backends) {
  for (const service_key& service :
       {service_at(key.a, key.a_port, key.protocol), service_at(key.b, key.b_port, key.protocol)})
    if (backends.is_service(service))
      return !backends.has(service, value.to.destination, value.to.destination_port);
  return false;
}

bool is_first(const addr& a, uint16_t a_port, const addr& b, uint16_t b_port) {
  const int order = std::memcmp(&a, &b, sizeof a);
  return order != 0 ? order < 0 : std::memcmp(&a_port, &b_port, sizeof a_port) <= 0;
}

}  // namespace

Backends::Backends(const Intent& intent) {
  for (const auto& [key, value] : intent.services)
    if (key.protocol == IPPROTO_UDP) services_[key];
  for (const auto& [key, value] : intent.backends)
    if (key.service.protocol == IPPROTO_UDP) services_[key.service].insert(value);
}

bool Backends::has(const service_key& service, const addr& address, uint16_t port) const {
  const auto found = services_.find(service);
  return found != services_.end() && found->second.contains(backend{address, port, {}});
}

FlowEnd flow_end(const flow_key& key, const flow& value, const Backends& backends, uint64_t now_ns) {
  if (value.last_seen_ns < now_ns && now_ns - value.last_seen_ns > idle_limit_ns(key.protocol))
    return FlowEnd::Expired;
  const bool forward_nat = (value.flags & FLOW_NAT) != 0 && (value.flags & FLOW_REPLY) == 0;
  if (key.protocol == IPPROTO_UDP && forward_nat && backend_gone(key, value, backends))
    return FlowEnd::BackendGone;
  return FlowEnd::None;
}

flow_key twin_key(const flow& value, uint8_t protocol) {
  const tuple& to = value.to;
  flow_key key{};
  key.protocol = protocol;
  const bool in_order = is_first(to.source, to.source_port, to.destination, to.destination_port);
  key.a = in_order ? to.source : to.destination;
  key.b = in_order ? to.destination : to.source;
  key.a_port = in_order ? to.source_port : to.destination_port;
  key.b_port = in_order ? to.destination_port : to.source_port;
  return key;
}

Result<FlowSweeper> FlowSweeper::of(const EbpfDatapath& datapath) {
  return FlowSweeper(TRY(FlowTable::open(datapath.fd(TABLE_flow_secret), datapath.fd(TABLE_flow_sets),
                                         datapath.fd(TABLE_flows), FlowTable::Rows::WINDOWS)));
}

void FlowSweeper::look(uint32_t number, const std::string& bytes, uint64_t now_ns) {
  flow_row row;
  std::memcpy(&row, bytes.data(), sizeof row);
  ++met_;
  const FlowEnd end = flow_end(row.key, row.flow, *backends_, now_ns);
  if (end == FlowEnd::None) return;
  ++(end == FlowEnd::Expired ? stats_.expired : stats_.backend_gone);
  table_.forget(number, bytes);
  if (end != FlowEnd::BackendGone) return;
  const flow_key twin = twin_key(row.flow, row.key.protocol);
  if (const uint32_t other = table_.find(to_bytes(twin)); other != 0) table_.forget(other);
}

Result<bool> FlowSweeper::step(const Intent& intent) {
  if (next_set_ == 0) {
    backends_ = std::make_unique<Backends>(intent);
    met_ = 0;
  }
  const uint64_t now_ns = monotonic_ns();
  table_.each(next_set_, kSetsPerStep,
              [&](uint32_t number, const std::string& row) { look(number, row, now_ns); });
  next_set_ += kSetsPerStep;
  if (next_set_ < table_.sets()) return false;
  stats_.flows = met_;
  next_set_ = 0;
  return true;
}

}  // namespace thalweg::dataplane
