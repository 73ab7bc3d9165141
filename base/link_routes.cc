// Routes, neighbours, forwarding entries and rules; links and addresses are in link.cc.
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "base/link.h"
#include "base/link_parts.h"

namespace thalweg::nl {

namespace {

// The same dump for IPv4 and IPv6, one after the other.
template <class Row, class Header>
Result<std::vector<Row>> dump_families(Socket& socket, uint16_t type, uint8_t Header::*family,
                                       std::optional<Row> (*decode)(const nlmsghdr&)) {
  std::vector<Row> all;
  for (const uint8_t value : {AF_INET, AF_INET6}) {
    Message message(type);
    message.header<Header>().*family = value;
    auto rows = TRY(socket.dump<Row>(message, decode));
    all.insert(all.end(), std::make_move_iterator(rows.begin()), std::make_move_iterator(rows.end()));
  }
  return all;
}

// ---- routes

uint8_t scope_of(const Route& route) {
  if (route.scope) return static_cast<uint8_t>(*route.scope);
  if (route.blackhole || !route.gateway.is_none() || !route.to.is_v4()) return RT_SCOPE_UNIVERSE;
  return RT_SCOPE_LINK;
}

Message route_message(uint16_t type, uint16_t flags, const Route& route, uint8_t scope) {
  Message message(type, flags);
  auto& header = message.header<rtmsg>();
  header.rtm_family = route.to.is_v4() ? AF_INET : AF_INET6;
  header.rtm_dst_len = route.to.family_length();
  header.rtm_table = route.table < 256 ? route.table : static_cast<uint8_t>(RT_TABLE_COMPAT);
  header.rtm_scope = scope;
  message.put_ip(RTA_DST, route.to.ip());
  message.put_u32(RTA_TABLE, route.table);
  if (route.metric) message.put_u32(RTA_PRIORITY, route.metric);
  if (route.link && !route.blackhole) message.put_u32(RTA_OIF, route.link);
  return message;
}

// An IPv4 gateway for an IPv6 route, or the reverse, is told with its family (RTA_VIA).
void put_gateway(Message& message, const Route& route) {
  if (route.gateway.is_none()) return;
  if (route.gateway.is_v4() == route.to.is_v4()) return message.put_ip(RTA_GATEWAY, route.gateway);
  struct {
    uint16_t family;
    uint8_t bytes[16];
  } via = {family_of(route.gateway), {}};
  const bool v4 = route.gateway.is_v4();
  std::memcpy(via.bytes, v4 ? route.gateway.v4_bytes() : route.gateway.bytes().data(), v4 ? 4 : 16);
  message.put(RTA_VIA, &via, sizeof via.family + (v4 ? 4 : 16));
}

Ip gateway_of(const Attributes& attrs) {
  const auto via = attrs.bytes(RTA_VIA);
  if (via.size() < sizeof(uint16_t) + 4) return attrs.ip(RTA_GATEWAY).value_or(Ip());
  const auto* bytes = reinterpret_cast<const uint8_t*>(via.data()) + sizeof(uint16_t);
  return via.size() < sizeof(uint16_t) + 16 ? Ip::v4(bytes[0], bytes[1], bytes[2], bytes[3])
                                            : Ip::from_v6_bytes(bytes);
}

// Of the tables' routes, and of what the kernel makes of them when it is asked for a way.
std::optional<Route> decode_way(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWROUTE) return std::nullopt;
  const auto& header = *static_cast<const rtmsg*>(NLMSG_DATA(&message));
  if (header.rtm_type != RTN_UNICAST && header.rtm_type != RTN_BLACKHOLE) return std::nullopt;
  const Attributes attrs(message, sizeof header);
  const bool v4 = header.rtm_family == AF_INET;
  const Ip to = attrs.ip(RTA_DST).value_or(v4 ? Ip::v4(0, 0, 0, 0) : Ip());
  return Route{.to = Cidr(to, static_cast<uint8_t>(v4 ? header.rtm_dst_len + 96 : header.rtm_dst_len)),
               .link = header.rtm_type == RTN_BLACKHOLE ? 0 : attrs.u32(RTA_OIF).value_or(0),
               .gateway = gateway_of(attrs),
               .source = attrs.ip(RTA_PREFSRC).value_or(Ip()),
               .table = attrs.u32(RTA_TABLE).value_or(header.rtm_table),
               .metric = attrs.u32(RTA_PRIORITY).value_or(0),
               .protocol = header.rtm_protocol,
               .onlink = (header.rtm_flags & RTNH_F_ONLINK) != 0,
               .blackhole = header.rtm_type == RTN_BLACKHOLE,
               .mtu = Attributes(attrs.get(RTA_METRICS)).u32(RTAX_MTU).value_or(0)};
}

std::optional<Route> decode_route(const nlmsghdr& message) {
  const auto& header = *static_cast<const rtmsg*>(NLMSG_DATA(&message));
  if (message.nlmsg_type == RTM_NEWROUTE && header.rtm_flags & RTM_F_CLONED) return std::nullopt;
  return decode_way(message);
}

}  // namespace

Result<> set_route(Socket& socket, const Route& route) {
  Message message = route_message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, scope_of(route));
  auto& header = *static_cast<rtmsg*>(NLMSG_DATA(message.raw()));
  header.rtm_type = route.blackhole ? RTN_BLACKHOLE : RTN_UNICAST;
  header.rtm_protocol = route.protocol ? route.protocol : kProtocolThalweg;
  if (route.onlink) header.rtm_flags |= RTNH_F_ONLINK;
  put_gateway(message, route);
  if (!route.source.is_none()) message.put_ip(RTA_PREFSRC, route.source);
  if (route.mtu || route.adv_mss) {
    const auto metrics = message.nest(RTA_METRICS);
    if (route.mtu) message.put_u32(RTAX_MTU, route.mtu);
    if (route.adv_mss) message.put_u32(RTAX_ADVMSS, route.adv_mss);
  }
  return context(socket.transact(message), "set route to {}", route.to);
}

Result<> delete_route(Socket& socket, const Route& route) {
  Message message = route_message(RTM_DELROUTE, 0, route, RT_SCOPE_NOWHERE);
  return context(unless_absent(socket.transact(message), {ESRCH, ENODEV}), "delete route to {}", route.to);
}

Result<std::vector<Route>> routes(Socket& socket, uint32_t table) {
  auto all = TRY(context(dump_families<Route, rtmsg>(socket, RTM_GETROUTE, &rtmsg::rtm_family, decode_route),
                         "list routes"));
  if (table) std::erase_if(all, [&](const Route& route) { return route.table != table; });
  return all;
}

namespace {

// The route a packet to ip would take; no route is no reply.
Result<> look_up(Socket& socket, const Ip& ip, const std::function<void(const nlmsghdr&)>& on_route) {
  Message message(RTM_GETROUTE);
  auto& header = message.header<rtmsg>();
  header.rtm_family = family_of(ip);
  header.rtm_dst_len = ip.is_v4() ? 32 : 128;
  message.put_ip(RTA_DST, ip);
  return context(unless_absent(socket.ask(message, on_route), {ENETUNREACH, EHOSTUNREACH}), "route to {}",
                 ip);
}

}  // namespace

Result<bool> is_local(Socket& socket, const Ip& ip) {
  bool local = false;
  TRY(look_up(socket, ip, [&](const nlmsghdr& reply) {
    local = static_cast<const rtmsg*>(NLMSG_DATA(&reply))->rtm_type == RTN_LOCAL;
  }));
  return local;
}

Result<Route> route_to(Socket& socket, const Ip& ip) {
  Route way;
  TRY(look_up(socket, ip, [&](const nlmsghdr& reply) { way = decode_way(reply).value_or(way); }));
  return way;
}

// ---- neighbours

namespace {

Message neighbour_message(uint16_t type, uint16_t flags, uint8_t family, uint32_t link) {
  Message message(type, flags);
  auto& header = message.header<ndmsg>();
  header.ndm_family = family;
  header.ndm_ifindex = static_cast<int>(link);
  return message;
}

Mac mac_of(const Attributes& attrs) {
  Mac mac{};
  if (const auto bytes = attrs.bytes(NDA_LLADDR); bytes.size() == 6)
    std::copy(bytes.begin(), bytes.end(), mac.begin());
  return mac;
}

std::optional<Neighbour> decode_neighbour(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWNEIGH) return std::nullopt;
  const auto& header = *static_cast<const ndmsg*>(NLMSG_DATA(&message));
  const Attributes attrs(message, sizeof header);
  const auto ip = attrs.ip(NDA_DST);
  if (!ip || !(header.ndm_state & (NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)))
    return std::nullopt;
  return Neighbour{.ip = *ip,
                   .link = static_cast<uint32_t>(header.ndm_ifindex),
                   .mac = mac_of(attrs),
                   .permanent = (header.ndm_state & NUD_PERMANENT) != 0};
}

}  // namespace

Result<> set_neighbour(Socket& socket, const Neighbour& neighbour) {
  Message message =
      neighbour_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, family_of(neighbour.ip), neighbour.link);
  static_cast<ndmsg*>(NLMSG_DATA(message.raw()))->ndm_state =
      neighbour.permanent ? NUD_PERMANENT : NUD_REACHABLE;
  message.put_ip(NDA_DST, neighbour.ip);
  message.put(NDA_LLADDR, neighbour.mac.data(), 6);
  return context(socket.transact(message), "set neighbour {} on link {}", neighbour.ip, neighbour.link);
}

Result<> delete_neighbour(Socket& socket, const Neighbour& neighbour) {
  Message message = neighbour_message(RTM_DELNEIGH, 0, family_of(neighbour.ip), neighbour.link);
  message.put_ip(NDA_DST, neighbour.ip);
  return context(unless_absent(socket.transact(message), {ENOENT, ENODEV, ENXIO}),
                 "delete neighbour {} on link {}", neighbour.ip, neighbour.link);
}

Result<std::vector<Neighbour>> neighbours(Socket& socket, uint32_t link) {
  auto all =
      TRY(context(dump_families<Neighbour, ndmsg>(socket, RTM_GETNEIGH, &ndmsg::ndm_family, decode_neighbour),
                  "list neighbours"));
  if (link) std::erase_if(all, [&](const Neighbour& neighbour) { return neighbour.link != link; });
  return all;
}

// ---- forwarding entries

namespace {

Message fdb_message(uint16_t type, uint16_t flags, const FdbEntry& entry) {
  Message message = neighbour_message(type, flags, AF_BRIDGE, entry.link);
  auto& header = *static_cast<ndmsg*>(NLMSG_DATA(message.raw()));
  header.ndm_state = NUD_PERMANENT | NUD_NOARP;
  header.ndm_flags = NTF_SELF;
  message.put(NDA_LLADDR, entry.mac.data(), 6);
  if (!entry.remote.is_none()) message.put_ip(NDA_DST, entry.remote);
  return message;
}

std::optional<FdbEntry> decode_fdb(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWNEIGH) return std::nullopt;
  const auto& header = *static_cast<const ndmsg*>(NLMSG_DATA(&message));
  if (header.ndm_family != AF_BRIDGE) return std::nullopt;
  const Attributes attrs(message, sizeof header);
  return FdbEntry{.mac = mac_of(attrs),
                  .link = static_cast<uint32_t>(header.ndm_ifindex),
                  .remote = attrs.ip(NDA_DST).value_or(Ip())};
}

}  // namespace

Result<> set_fdb(Socket& socket, const FdbEntry& entry) {
  Message message = fdb_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, entry);
  return context(socket.transact(message), "set fdb {} on link {}", mac_str(entry.mac), entry.link);
}

Result<> append_fdb(Socket& socket, const FdbEntry& entry) {
  Message message = fdb_message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, entry);
  return context(unless_absent(socket.transact(message), {EEXIST}), "append fdb {} on link {}",
                 mac_str(entry.mac), entry.link);
}

Result<> delete_fdb(Socket& socket, const FdbEntry& entry) {
  Message message = fdb_message(RTM_DELNEIGH, 0, entry);
  return context(unless_absent(socket.transact(message), {ENOENT, ENODEV}), "delete fdb {} on link {}",
                 mac_str(entry.mac), entry.link);
}

Result<std::vector<FdbEntry>> fdb(Socket& socket, uint32_t link) {
  Message message = neighbour_message(RTM_GETNEIGH, 0, AF_BRIDGE, 0);
  auto rows = TRY(context(socket.dump<FdbEntry>(message, decode_fdb), "list fdb"));
  std::erase_if(rows, [&](const FdbEntry& entry) { return entry.link != link; });
  return rows;
}

// ---- rules

namespace {

Message rule_message(uint16_t type, uint16_t flags, const Rule& rule) {
  Message message(type, flags);
  auto& header = message.header<fib_rule_hdr>();
  header.family = rule.v6 ? AF_INET6 : AF_INET;
  header.action = FR_ACT_TO_TBL;
  header.table = rule.table < 256 ? rule.table : static_cast<uint8_t>(RT_TABLE_UNSPEC);
  message.put_u32(FRA_TABLE, rule.table);
  message.put_u32(FRA_PRIORITY, rule.priority);
  if (rule.mark || rule.mask) {
    message.put_u32(FRA_FWMARK, rule.mark);
    message.put_u32(FRA_FWMASK, rule.mask);
  }
  return message;
}

std::optional<Rule> decode_rule(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWRULE) return std::nullopt;
  const auto& header = *static_cast<const fib_rule_hdr*>(NLMSG_DATA(&message));
  const Attributes attrs(message, sizeof header);
  return Rule{.v6 = header.family == AF_INET6,
              .priority = attrs.u32(FRA_PRIORITY).value_or(0),
              .mark = attrs.u32(FRA_FWMARK).value_or(0),
              .mask = attrs.u32(FRA_FWMASK).value_or(0),
              .table = attrs.u32(FRA_TABLE).value_or(header.table)};
}

}  // namespace

// NLM_F_EXCL makes the kernel see that an equal rule is there already; without it there would be two.
Result<> set_rule(Socket& socket, const Rule& rule) {
  Message message = rule_message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
  return context(unless_absent(socket.transact(message), {EEXIST}), "set rule {}", rule.priority);
}

Result<> delete_rule(Socket& socket, const Rule& rule) {
  Message message = rule_message(RTM_DELRULE, 0, rule);
  return context(unless_absent(socket.transact(message), {ENOENT}), "delete rule {}", rule.priority);
}

Result<std::vector<Rule>> rules(Socket& socket) {
  return context(dump_families<Rule, fib_rule_hdr>(socket, RTM_GETRULE, &fib_rule_hdr::family, decode_rule),
                 "list rules");
}

}  // namespace thalweg::nl
