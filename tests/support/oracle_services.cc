// The oracle's services: who may ask, which backends it could be, who comes back to the one it had.
#include <arpa/inet.h>

#include <algorithm>
#include <set>

#include "tests/support/oracle.h"

namespace thalweg::packet {

namespace {

service_key key_of(const Frame& asked) {
  service_key key{};
  key.address = abi_address(asked.to);
  key.port = htons(to_port(asked));
  key.protocol = asked.protocol;
  return key;
}

bool is_same(const service_key& one, const service_key& other) { return raw(one) == raw(other); }

uint32_t audience_of(const ::service& service, bool outside) {
  return outside && service.flags & SERVICE_APART ? OUTSIDE : INSIDE;
}

}  // namespace

bool Oracle::serves(const Frame& asked, const ::service& service, bool outside,
                    const ::backend& backend) const {
  return find<member_key, uint32_t>(TABLE_members, [&](const member_key& key) {
    return is_same(key.service, key_of(asked)) && key.audience == audience_of(service, outside) &&
                   text(key.address) == text(backend.address) && key.port == backend.port
               ? 0
               : -1;
  });
}

bool Oracle::may_ask(const Frame& asked) const {
  return find<source_range_key, uint32_t>(TABLE_source_ranges, [&](const source_range_key& key) {
    const bool its =
        key.port == htons(to_port(asked)) && key.protocol == asked.protocol && text(key.address) == asked.to;
    return its && begins_with(abi_address(asked.from), key.client.bytes, key.prefixlen - SOURCE_RANGE_BITS)
               ? 0
               : -1;
  });
}

// By chance any; by Maglev those that its table names, and any where a part of the table is missing.
std::vector<uint32_t> Oracle::slots_for(const Frame& asked, const ::service& service, bool outside) const {
  const uint32_t backends = service.backends[outside];
  std::set<uint32_t> slots;
  uint32_t covered = 0;
  for (const PutRow& row : rows_) {
    if (row.table != TABLE_maglev || !outside) continue;
    const auto key = as<maglev_key>(row.key);
    if (!is_same(key.service, key_of(asked))) continue;
    const auto positions = as<maglev_row>(row.value);
    for (uint32_t i = 0; i < MAGLEV_ROW && key.row * MAGLEV_ROW + i < service.maglev; ++i, ++covered)
      slots.insert(positions.slots[i] % backends);
  }
  if (!outside || !service.maglev || covered < service.maglev)
    for (uint32_t slot = 0; slot < backends; ++slot) slots.insert(slot);
  return {slots.begin(), slots.end()};
}

const ::backend* Oracle::backend_at(const Frame& asked, const ::service& service, bool outside,
                                    uint32_t slot) const {
  const PutRow* row = find<backend_key, ::backend>(TABLE_backends, [&](const backend_key& key) {
    const bool its = is_same(key.service, key_of(asked)) && key.audience == audience_of(service, outside);
    return its && key.slot == slot ? 0 : -1;
  });
  return row ? reinterpret_cast<const ::backend*>(row->value.data()) : nullptr;
}

std::optional<::backend> Oracle::same_as_before(const Frame& asked, const ::service& service, bool outside) {
  for (State::Client& client : state_->clients) {
    if (client.service != raw(key_of(asked)) || client.address != asked.from) continue;
    const auto backend = as<::backend>(client.backend);
    if (now_s_ - client.seen_s > service.affinity_s || !serves(asked, service, outside, backend)) return {};
    client.seen_s = now_s_;
    return backend;
  }
  return {};
}

std::optional<::backend> Oracle::pick(const Frame& asked, const ::service& service, bool outside) {
  const auto slots = slots_for(asked, service, outside);
  choices_ = slots.size();
  const ::backend* backend = backend_at(asked, service, outside, slots[choice_ % slots.size()]);
  if (!backend) return {};
  if (service.affinity_s && !(outside && service.flags & SERVICE_DSR)) {
    const Bytes key = raw(key_of(asked));
    std::erase_if(state_->clients,
                  [&](const auto& old) { return old.service == key && old.address == asked.from; });
    state_->clients.push_back({key, asked.from, raw(*backend), now_s_});
  }
  return *backend;
}

// What another node leaves to this one to answer.
bool Oracle::is_left_here(const Sent& sent, const ::service& service) const {
  const ::route* route = route_of(sent.frame.from);
  return !sent.outer.empty() && service.flags & SERVICE_DSR && (!route || route->kind == ROUTE_WORLD);
}

drop_reason Oracle::choose_backend(Way& way) {
  constexpr uint32_t kOutside = SERVICE_NODE_PORT | SERVICE_LOAD_BALANCER | SERVICE_EXTERNAL_IP;
  const Frame asked = way.frame;
  const ::service* exact = service_of(asked, false);
  way.dsr = exact && is_left_here(way.sent, *exact);
  const bool outside = from_outside(way.sent) || way.dsr;
  const auto may = [&](const ::service* s) { return s && (!outside || s->flags & kOutside); };
  if (!exact) return may(service_of(asked, true)) ? DROP_NO_SERVICE_PORT : DROP_NONE;
  if (!may(exact)) return DROP_NONE;
  if (exact->flags & SERVICE_SOURCE_RANGES && !may_ask(asked)) return DROP_SOURCE_RANGE;
  const bool local = exact->flags & (outside ? SERVICE_OUTSIDE_LOCAL : SERVICE_INSIDE_LOCAL);
  const drop_reason none = local ? DROP_NO_LOCAL_BACKEND : DROP_NO_BACKEND;
  if (!exact->backends[outside]) return none;
  const bool dsr = outside && exact->flags & SERVICE_DSR;
  std::optional<::backend> chosen;
  if (exact->affinity_s && !dsr) chosen = same_as_before(asked, *exact, outside);
  if (!chosen) chosen = pick(asked, *exact, outside);
  if (!chosen) return none;
  way.frame.to = text(chosen->address);
  way.frame.to_port = ntohs(chosen->port);
  way.moved = moved_of(way.frame.to, way.frame.to_port);
  way.nat = !dsr || is_here(way.frame.to);
  if (dsr && way.dsr && !way.nat) return DROP_NO_LOCAL_BACKEND;
  way.dsr = dsr && (way.dsr || !way.nat);
  return DROP_NONE;
}

uint32_t Oracle::moved_of(const std::string& address, uint16_t port) const {
  const addr to = abi_address(address);
  const PutRow* row = find<uint32_t, uint32_t>(
      TABLE_moved, [&](uint32_t key) { return key == moved_row(&to, htons(port)) ? 0 : -1; });
  return row ? as<uint32_t>(row->value) : 0;
}

// A UDP flow whose backend's row has changed, and whose backend serves no more. An ICMP error is about what
// was.
bool Oracle::must_begin_again(const Flow& flow, Way& way) const {
  const Frame& asked = way.sent.frame;
  if (asked.protocol != kUdp || !flow.is_one_way() || flow.reply || way.sent.about) return false;
  way.moved = moved_of(way.frame.to, way.frame.to_port);
  if (way.moved == flow.moved) return false;
  const ::service* service = service_of(asked, false);
  if (!service) return asked.to != way.frame.to;
  ::backend backend{};
  backend.address = abi_address(way.frame.to);
  backend.port = htons(way.frame.to_port);
  return !serves(asked, *service, from_outside(way.sent) || (!way.sent.outer.empty() && flow.dsr), backend);
}

}  // namespace thalweg::packet
