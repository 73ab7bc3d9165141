#include "tests/packet/random_world.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace thalweg::packet {

namespace {

const std::vector<std::string> kAddresses = {
    "198.51.100.10", "198.51.100.10", "198.51.100.11", "198.51.100.12", "198.51.100.70",
    "198.51.100.71", "192.0.2.1",     "192.0.2.2",     "203.0.113.9",   "203.0.113.77",
    "203.0.113.130", "203.0.113.131", "203.0.113.20",  "203.0.113.20",  "198.51.100.130"};
const std::vector<std::string> kAddresses6 = {"2001:db8:1::10", "2001:db8:1::10", "2001:db8:1::11",
                                              "2001:db8:2::70", "2001:db8:9::9",  "2001:db8::1",
                                              "2001:db8:f::1"};
const std::vector<std::string> kPeers = {"192.0.2.2", "192.0.2.2",   "192.0.2.2",  "192.0.2.3",
                                         "192.0.2.9", "2001:db8::2", "2001:db8::9"};
struct Client {
  origin from;
  std::string address, outer = "";
};
const std::vector<Client> kClients = {{FROM_POD, "198.51.100.10"},
                                      {FROM_POD, "198.51.100.11"},
                                      {FROM_HOST, "192.0.2.1"},
                                      {FROM_UPLINK, "203.0.113.9"},
                                      {FROM_UPLINK, "203.0.113.9"},
                                      {FROM_UPLINK, "203.0.113.77"},
                                      {FROM_UPLINK, "192.0.2.3"},
                                      {FROM_UPLINK, "198.51.100.130"},
                                      {FROM_UPLINK, "198.51.100.70", "192.0.2.2"},
                                      {FROM_UPLINK, "192.0.2.2", "192.0.2.2"},
                                      {FROM_UPLINK, "203.0.113.9", "192.0.2.2"},
                                      {FROM_UPLINK, "203.0.113.77", "192.0.2.3"}};
const std::vector<Client> kClients6 = {{FROM_POD, "2001:db8:1::10"},
                                       {FROM_HOST, "2001:db8::1"},
                                       {FROM_UPLINK, "2001:db8:9::9"},
                                       {FROM_UPLINK, "2001:db8:2::70", "192.0.2.2"},
                                       {FROM_UPLINK, "2001:db8:9::9", "2001:db8::2"}};
const std::vector<uint8_t> kChunks = {0, 1, 1, 2, 6, 14};
const std::vector<uint16_t> kPorts = {80, 80, 443, 4789, 40000, 40001};

PutRow denying(PutRow row) {
  ::rule rule;
  std::memcpy(&rule, row.value.data(), sizeof rule);
  rule.verdict = RULE_DENY;
  row.value = raw(rule);
  return row;
}

PutRow without_masquerade(PutRow row) {
  auto self = as<::node>(row.value);
  self.flags &= ~NODE_MASQUERADE;
  row.value = raw(self);
  return row;
}

PutRow random_rule(Chance& chance, uint32_t set) {
  const uint32_t peer = chance.one_in(3) ? IDENTITY_ANY : chance.below(4);
  const uint8_t protocol = chance.of<uint8_t>({0, kTcp, kUdp, kIcmp, kSctp});
  const uint16_t port = protocol && protocol != kIcmp ? chance.of<uint16_t>({0, 80, 443}) : 0;
  const PutRow row =
      allow(set, chance.one_in(2) ? INGRESS : EGRESS, peer, protocol, port, 1 + chance.below(99));
  return chance.one_in(5) ? denying(row) : row;
}

PutRow random_pod(Chance& chance, const std::string& address, uint32_t ifindex = kSenderIfindex) {
  return endpoint(address, ifindex, chance.of<uint32_t>({0, 0, 0, 1, 2, 3}));
}

PutRow random_rule_set(Chance& chance, uint32_t set) {
  return rule_set(set, chance.below(4), 1 + chance.below(1u << 30));
}

std::vector<std::string> some_of(Chance& chance, const std::vector<std::string>& all) {
  std::vector<std::string> some(chance.below(4));
  for (std::string& one : some) one = chance.of(all);
  return some;
}

const std::vector<std::string>& backends_for(const std::string& address) {
  static const std::vector<std::string> kV4 = {"198.51.100.10", "198.51.100.11", "198.51.100.70",
                                               "192.0.2.1",     "192.0.2.2",     "198.51.100.130"},
                                        kV6 = {"2001:db8:1::10", "2001:db8:2::70", "2001:db8::1"};
  return is_v6(address) ? kV6 : kV4;
}

std::vector<uint16_t> random_positions(Chance& chance) {
  std::vector<uint16_t> positions(chance.of<size_t>({0, 0, 7, 67}));
  for (uint16_t& slot : positions) slot = static_cast<uint16_t>(chance.below(4));
  return positions;
}

// Rows that decisions rest on go under a new generation or epoch, as the reconciler takes them away.
const std::set<table_id>& removable() {
  static const std::set<table_id> kTables = {TABLE_rules,     TABLE_identities,    TABLE_prefixes,
                                             TABLE_endpoints, TABLE_backends,      TABLE_members,
                                             TABLE_maglev,    TABLE_source_ranges, TABLE_services};
  return kTables;
}

bool can_go(const PutRow& row) {
  if (row.table != TABLE_routes) return removable().contains(row.table);
  const uint32_t kind = as<::route>(row.value).kind;
  return kind == ROUTE_TUNNEL || kind == ROUTE_DIRECT;
}

// The tunnel's own packets are the cases' business: here one would be a tunnel packet that holds nothing.
Sent not_to_the_tunnel(Sent sent) {
  const Frame& f = sent.frame;
  if (sent.from == FROM_UPLINK && f.protocol == kUdp && f.to_port == 4789) sent.frame.to_port = 80;
  return sent;
}

}  // namespace

// That its backends serve, and perhaps some that are none of its slots; the flows of all of them look again.
Rows RandomWorld::members(const FullService& of, const std::vector<std::string>& all) {
  Rows rows;
  for (const std::string& backend : all) {
    for (const audience whose : {INSIDE, OUTSIDE}) {
      const auto& slots = whose == OUTSIDE && of.flags & SERVICE_APART ? of.outside : of.inside;
      const bool serves = std::ranges::find(slots, backend) != slots.end() || chance_.one_in(10);
      rows.push_back(serves ? member(of, backend, whose) : no_member(of, backend, whose));
    }
    if (!chance_.one_in(4)) rows.push_back(moved(backend, static_cast<uint32_t>(++number_)));
  }
  return rows;
}

Rows RandomWorld::service(const std::string& address, uint32_t flags) {
  const auto& backends = backends_for(address);
  FullService of{.address = address,
                 .protocol = chance_.of<uint8_t>({kTcp, kTcp, kUdp, kSctp}),
                 .inside = some_of(chance_, backends)};
  if (chance_.one_in(3)) of.outside = some_of(chance_, backends), flags |= SERVICE_APART;
  if (chance_.one_in(4)) flags |= SERVICE_INSIDE_LOCAL;
  if (chance_.one_in(4)) flags |= SERVICE_OUTSIDE_LOCAL;
  if (flags & SERVICE_LOAD_BALANCER && chance_.one_in(2)) flags |= SERVICE_DSR;
  of.flags = flags;
  of.affinity_s = chance_.of<uint32_t>({0, 0, 0, 20});
  of.maglev = random_positions(chance_);
  if (chance_.one_in(4))
    of.source_ranges = is_v6(address) ? std::vector<std::string>{"2001:db8:9::/48", "2001:db8:1::/64"}
                                      : std::vector<std::string>{
                                            chance_.of<std::string>({"203.0.113.0/26", "203.0.113.9/32"}),
                                            "198.51.100.0/28"};
  Rows rows = of.rows();
  if (flags & SERVICE_CLUSTER_IP) rows.push_back(any_port(of));
  return members(of, backends) + rows;
}

// Other nodes: one reached by tunnel, one directly.
Rows RandomWorld::nodes() {
  Rows rows = node() + route("192.0.2.3", ROUTE_DIRECT, "192.0.2.3", ROUTE_NODE_ADDRESS) +
              route("198.51.100.128/26", ROUTE_DIRECT, "192.0.2.3") +
              route("2001:db8::2", ROUTE_TUNNEL, "192.0.2.2", ROUTE_NODE_ADDRESS);
  if (chance_.one_in(6)) rows[0] = without_masquerade(rows[0]);
  return rows;
}

Rows RandomWorld::begin() {
  Rows rows = nodes() + random_pod(chance_, "198.51.100.10") +
              random_pod(chance_, "198.51.100.11", kOtherIfindex) + random_pod(chance_, "2001:db8:1::10") +
              service("203.0.113.130", SERVICE_CLUSTER_IP) + service("192.0.2.1", SERVICE_NODE_PORT) +
              service("203.0.113.20", SERVICE_LOAD_BALANCER) +
              service("2001:db8:f::1", chance_.one_in(2) ? SERVICE_CLUSTER_IP : SERVICE_LOAD_BALANCER);
  rows.push_back(identity("198.51.100.10", chance_.below(4)));
  rows.push_back(identity("198.51.100.70", chance_.below(4)));
  rows.push_back(ip_block("203.0.113.0/24", chance_.below(4)));
  rows.push_back(ip_block("203.0.113.64/26", chance_.below(4)));
  rows.push_back(ip_block("2001:db8::/32", chance_.below(4)));
  for (uint32_t set = 1; set < 4; ++set) {
    rows.push_back(random_rule_set(chance_, set));
    for (uint32_t i = chance_.below(5); i > 0; --i) rows.push_back(random_rule(chance_, set));
  }
  return stands(rows);
}

// A row taken away, with what tells the flows that rest on it.
Rows RandomWorld::removal() {
  Rows all;
  std::ranges::copy_if(rows_, std::back_inserter(all), can_go);
  if (all.empty()) return {};
  const PutRow& row = chance_.of(all);
  Rows rows = {{row.table, row.key, ""}};
  if (row.table == TABLE_rules) rows.push_back(random_rule_set(chance_, as<rule_key>(row.key).rule_set));
  if (row.table == TABLE_routes || row.table == TABLE_identities || row.table == TABLE_prefixes ||
      row.table == TABLE_endpoints)
    rows.push_back(next_generation());
  if (row.table == TABLE_members) {
    const auto key = as<member_key>(row.key);
    rows.push_back(moved(text(key.address), static_cast<uint32_t>(++number_)));
  }
  return rows;
}

// As the reconciler changes tables: rules under a new epoch, addresses under a new generation.
Rows RandomWorld::change() {
  const uint32_t set = 1 + chance_.below(3);
  switch (chance_.below(10)) {
    case 0: return stands({random_rule(chance_, set), random_rule_set(chance_, set)});
    case 1: return stands({random_pod(chance_, "198.51.100.10"), next_generation()});
    case 2: return stands({identity("198.51.100.70", chance_.below(4)), next_generation()});
    case 3: return stands(service("203.0.113.20", SERVICE_LOAD_BALANCER));
    case 4: return stands(service("192.0.2.1", SERVICE_NODE_PORT));
    case 5: return stands(service("203.0.113.130", SERVICE_CLUSTER_IP));
    case 6: return stands(service("2001:db8:f::1", SERVICE_LOAD_BALANCER));
    case 7: return stands(nodes() + next_generation());
    default: return stands(removal());
  }
}

// Only what changes anything: a row that goes must stand.
Rows RandomWorld::stands(const Rows& rows) {
  Rows changes;
  for (const PutRow& row : rows) {
    const auto gone =
        std::erase_if(rows_, [&](const PutRow& old) { return old.table == row.table && old.key == row.key; });
    if (!row.value.empty()) rows_.push_back(row);
    if (gone || !row.value.empty()) changes.push_back(row);
  }
  return changes;
}

Sent RandomWorld::new_packet() {
  const bool v6 = chance_.one_in(4);
  const auto& addresses = v6 ? kAddresses6 : kAddresses;
  const auto from = static_cast<origin>(chance_.of<int>(
      {FROM_POD, FROM_POD, FROM_UPLINK, FROM_UPLINK, FROM_UPLINK, TO_POD, FROM_HOST, TO_UPLINK}));
  Sent sent{from, {.from = chance_.of(addresses), .to = chance_.of(addresses)}, ""};
  if (from == FROM_POD && !chance_.one_in(8)) sent.frame.from = addresses[0];
  if (from == FROM_UPLINK && chance_.one_in(2)) sent.outer = chance_.of(kPeers);
  sent.frame.protocol = chance_.of<uint8_t>({kTcp, kTcp, kUdp, kSctp, v6 ? kIcmpv6 : kIcmp});
  sent.frame.from_port = chance_.of(kPorts);
  sent.frame.to_port = chance_.of(kPorts);
  sent.frame.tcp_flags = chance_.of<uint8_t>({kSyn, kSyn, kAck, kAck | kFin, kRst});
  sent.frame.sctp_chunk = chance_.of(kChunks);
  sent.frame.no_sctp_checksum = chance_.one_in(6);
  sent.frame.payload.assign(chance_.below(20), 'x');
  return sent;
}

// A service of this world asked as its clients ask, by one who may or may not: a pod, the host, the world,
// another node's pod, another node that leaves it to this one.
Sent RandomWorld::question() {
  Rows services;
  std::ranges::copy_if(rows_, std::back_inserter(services), [](const PutRow& row) {
    return row.table == TABLE_services && as<service_key>(row.key).port;
  });
  if (services.empty()) return new_packet();
  const auto key = as<service_key>(chance_.of(services).key);
  const Client& client = chance_.of(is_v6(text(key.address)) ? kClients6 : kClients);
  Sent sent{
      client.from, {.from = client.address, .to = text(key.address), .protocol = key.protocol}, client.outer};
  sent.frame.from_port = chance_.of<uint16_t>({40000, 40001});
  sent.frame.tcp_flags = chance_.of<uint8_t>({kSyn, kSyn, kAck, kAck | kFin});
  sent.frame.sctp_chunk = chance_.of(kChunks);
  return sent;
}

// By the way on which the answer to what went there would come.
origin back_from(Chance& chance, const Answer& answer) {
  if (answer.hop == HOP_HOST) return chance.one_in(2) ? TO_UPLINK : FROM_HOST;
  return answer.hop == HOP_ENDPOINT ? FROM_POD : FROM_UPLINK;
}

// What the one who got `answer` would send back, the way it came.
Sent RandomWorld::answer_to(const Answer& answer) {
  Sent back{back_from(chance_, answer), turned(answer.frame), answer.peer};
  back.frame.tcp_flags = chance_.of<uint8_t>({kSyn | kAck, kAck, kAck | kFin});
  back.frame.sctp_chunk = chance_.of(kChunks);
  back.frame.icmp_type = back.frame.icmp_type == 8 ? 0 : 8;
  back.frame.ttl = 64;
  back.frame.from_mac = kPodMac;
  return back;
}

// An ICMP error of the one who got `answer`, or of someone on the way.
Sent RandomWorld::error_about(const Answer& answer) {
  Sent error{back_from(chance_, answer), {}, answer.peer, answer.frame};
  error.frame.from = answer.frame.to;
  error.frame.to = answer.frame.from;
  return error;
}

// The opener's, about what would have answered it.
Sent RandomWorld::error_about_answer(const Sent& sent) {
  Sent error{sent.from, {}, sent.outer, turned(sent.frame)};
  error.frame.from = sent.frame.from;
  error.frame.to = sent.frame.to;
  return error;
}

Sent RandomWorld::random_error(const Forwarded& one) {
  Sent error = chance_.one_in(3) ? error_about_answer(one.sent) : error_about(one.answer);
  const bool v6 = is_v6(error.frame.from);
  if (chance_.one_in(4)) error.frame.from = v6 ? "2001:db8:9::9" : "203.0.113.77";
  error.frame.protocol = v6 ? kIcmpv6 : kIcmp;
  error.frame.from_mac = kPodMac;
  if (chance_.one_in(12)) std::swap(error.about->from, error.about->to);
  if (chance_.one_in(12)) std::swap(error.frame.from, error.frame.to);
  return error;
}

// Makes a fragment of it. The bytes of an echo's header are in the first.
void RandomWorld::cut(Sent& sent) {
  Frame& frame = sent.frame;
  frame.id = static_cast<uint16_t>(7 + chance_.below(2));
  frame.fragment = chance_.of<uint16_t>({0x2000, 0x2003, 5});
  frame.payload.assign(8, 'y');
  frame.no_transport = is_later_fragment(frame);
}

// What follows the first fragment of what has been sent; that one, where there is none.
Sent RandomWorld::rest_of(Sent sent) {
  if (!is_first_fragment(sent.frame)) return sent;
  sent.frame.fragment = 5;
  sent.frame.no_transport = true;
  return sent;
}

// From the interface of its source, or as someone else would send it; on its last hop.
Sent RandomWorld::disguised(Sent sent) {
  if (sent.from == FROM_POD && has_interfaces_) {
    sent.ifindex = sent.frame.from == "198.51.100.11" ? kOtherIfindex : kSenderIfindex;
    if (chance_.one_in(20)) sent.ifindex ^= kOtherIfindex ^ kSenderIfindex;
  }
  if (sent.from == FROM_POD && chance_.one_in(30)) sent.frame.from_mac = kVethMac;
  if (!sent.outer.empty() && chance_.one_in(30)) sent.outer = chance_.of(kPeers);
  if (chance_.one_in(25)) sent.frame.ttl = 1;
  return sent;
}

Sent RandomWorld::packet() {
  if (!forwarded_.empty() && chance_.one_in(10)) return disguised(random_error(chance_.of(forwarded_)));
  Sent sent = !forwarded_.empty() && chance_.one_in(3)   ? answer_to(chance_.of(forwarded_).answer)
              : !forwarded_.empty() && chance_.one_in(4) ? rest_of(chance_.of(forwarded_).sent)
              : !sent_.empty() && chance_.one_in(4)      ? chance_.of(sent_)
              : chance_.one_in(2)                        ? question()
                                                         : new_packet();
  if (sent.about) return sent;
  if (!is_later_fragment(sent.frame) && chance_.one_in(8)) cut(sent);
  return not_to_the_tunnel(disguised(std::move(sent)));
}

}  // namespace thalweg::packet
