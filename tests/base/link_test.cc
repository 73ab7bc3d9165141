// Against the real kernel, each test in namespaces of its own.
#include "base/link.h"
#include "base/bridge.h"

#include <gmock/gmock.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "tests/base/scratch_netns.h"

namespace thalweg::nl {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

Ip ip(const char* text) { return Ip::parse(text).value(); }
Cidr cidr(const char* text) { return Cidr::parse(text).value(); }

// A veth pair "a"–"b" in one namespace, both up.
struct Pair {
  explicit Pair(std::string_view part) : ns(part) {
    EXPECT_TRUE(create_veth(ns.socket(), {.name = "a", .peer_name = "b"}));
    a = link_by_name(ns.socket(), "a").value();
    b = link_by_name(ns.socket(), "b").value();
    EXPECT_TRUE(set_up(ns.socket(), a.index));
    EXPECT_TRUE(set_up(ns.socket(), b.index));
  }
  ScratchNetns ns;
  Link a, b;
};

TEST(MacText, RoundTripsAndRefuses) {
  EXPECT_EQ(mac_str(parse_mac("02:00:5e:10:00:ff").value()), "02:00:5e:10:00:ff");
  for (const char* text :
       {"", "02:00:5e:10:00", "02-00-5e-10-00-ff", "0g:00:5e:10:00:ff", "02:00:5e:10:00:ff:"})
    EXPECT_FALSE(parse_mac(text)) << text;
}

TEST(MacText, FromSeedIsLocalUnicastAndStable) {
  for (const char* seed : {"", "a", "b", "pod"}) EXPECT_EQ(mac_from(seed)[0] & 3, 2) << seed;
  EXPECT_EQ(mac_from("x"), mac_from("x"));
  EXPECT_NE(mac_from("x"), mac_from("y"));
}

TEST(LinkName, AsTheKernelSeesIt) {
  for (const char* name : {"eth0", "a.b", "x-y_z", "123456789012345"})
    EXPECT_TRUE(is_link_name(name)) << name;
  for (const char* name : {"", ".", "..", "a/b", "a b", "a:b", "1234567890123456"})
    EXPECT_FALSE(is_link_name(name)) << name;
}

TEST(Link, VethAcrossNamespaces) {
  NEED_NETNS();
  ScratchNetns here("here"), there("there");
  const Mac mac = mac_from("here"), peer_mac = mac_from("there");
  ASSERT_TRUE(create_veth(here.socket(), {.name = "tw0",
                                          .mac = mac,
                                          .peer_name = "eth0",
                                          .peer_mac = peer_mac,
                                          .peer_netns = &there.netns(),
                                          .mtu = 1400}));
  const Link ours = link_by_name(here.socket(), "tw0").value();
  const Link theirs = link_by_name(there.socket(), "eth0").value();
  EXPECT_EQ(ours.kind, "veth");
  EXPECT_EQ(ours.mac, mac);
  EXPECT_EQ(theirs.mac, peer_mac);
  EXPECT_EQ(ours.mtu, 1400u);
  EXPECT_EQ(theirs.mtu, 1400u);
  EXPECT_EQ(ours.peer, theirs.index);
  EXPECT_TRUE(ours.peer_netns);
  EXPECT_FALSE(ours.up);
  ASSERT_TRUE(set_up(here.socket(), ours.index));
  EXPECT_TRUE(link_by_index(here.socket(), ours.index)->up);
  ASSERT_TRUE(set_up(here.socket(), ours.index, false));
  EXPECT_FALSE(link_by_index(here.socket(), ours.index)->up);
}

TEST(Link, RenameMoveMtuMaster) {
  NEED_NETNS();
  ScratchNetns here("here"), there("there");
  auto& socket = here.socket();
  ASSERT_TRUE(create_veth(socket, {.name = "one", .peer_name = "two"}));
  const Link one = link_by_name(socket, "one").value();
  ASSERT_TRUE(rename(socket, one.index, "uno"));
  EXPECT_EQ(link_by_index(socket, one.index)->name, "uno");
  ASSERT_TRUE(set_mtu(socket, one.index, 1300));
  EXPECT_EQ(link_by_name(socket, "uno")->mtu, 1300u);
  ASSERT_TRUE(set_mac(socket, one.index, mac_from("new")));
  EXPECT_EQ(link_by_name(socket, "uno")->mac, mac_from("new"));
  ASSERT_TRUE(create_bridge(socket, {.name = "br"}));
  const Link bridge = link_by_name(socket, "br").value();
  EXPECT_EQ(bridge.kind, "bridge");
  ASSERT_TRUE(set_master(socket, one.index, bridge.index));
  EXPECT_EQ(link_by_name(socket, "uno")->master, bridge.index);
  ASSERT_TRUE(move_to_netns(socket, link_by_name(socket, "two")->index, there.netns()));
  EXPECT_TRUE(link_by_name(there.socket(), "two"));
  EXPECT_EQ(link_by_name(socket, "two").error().code, ENODEV);
}

TEST(Link, ErrorsNameTheLinkAndTheKernelsWord) {
  NEED_NETNS();
  Pair pair("err");
  const auto again = create_veth(pair.ns.socket(), {.name = "a", .peer_name = "c"});
  EXPECT_EQ(again.error().code, EEXIST);
  EXPECT_THAT(again.error().message, HasSubstr("create veth a"));
  const auto absent = link_by_name(pair.ns.socket(), "nothere");
  EXPECT_EQ(absent.error().code, ENODEV);
  EXPECT_THAT(absent.error().message, HasSubstr("nothere"));
  EXPECT_EQ(create_veth(pair.ns.socket(), {.name = "../x", .peer_name = "c"}).error().code, EINVAL);
  // An extack text of the kernel's own.
  const auto far = set_route(pair.ns.socket(), {.to = cidr("198.51.100.0/24"), .gateway = ip("192.0.2.1")});
  EXPECT_THAT(far.error().message, HasSubstr("("));
}

TEST(Link, DeletingTheAbsentIsNoError) {
  NEED_NETNS();
  Pair pair("del");
  auto& socket = pair.ns.socket();
  EXPECT_TRUE(delete_link(socket, "a"));
  EXPECT_TRUE(delete_link(socket, "a"));
  EXPECT_TRUE(delete_link(socket, pair.b.index));
  EXPECT_TRUE(delete_route(socket, {.to = cidr("198.51.100.0/24")}));
  EXPECT_TRUE(delete_route(socket, {.to = cidr("2001:db8::/64")}));
  EXPECT_TRUE(delete_neighbour(socket, {.ip = ip("192.0.2.1"), .link = 1}));
  EXPECT_TRUE(delete_address(socket, {.ip = ip("192.0.2.1"), .link = 1}));
  EXPECT_TRUE(delete_rule(socket, {.priority = 77, .mark = 1, .mask = 1, .table = 5}));
}

TEST(Link, AddressesBothFamilies) {
  NEED_NETNS();
  Pair pair("addr");
  auto& socket = pair.ns.socket();
  const Address v4{.ip = ip("192.0.2.5"), .link = pair.a.index};
  const Address v6{.ip = ip("2001:db8::5"), .link = pair.a.index};
  for (int twice = 0; twice < 2; ++twice) {
    ASSERT_TRUE(set_address(socket, v4));
    ASSERT_TRUE(set_address(socket, v6));
  }
  const auto there = addresses(socket, pair.a.index).value();
  EXPECT_THAT(there, Contains(v4));
  EXPECT_THAT(there, Contains(v6));
  EXPECT_TRUE(is_local(socket, v4.ip).value());
  EXPECT_FALSE(is_local(socket, ip("192.0.2.6")).value());
  EXPECT_FALSE(is_local(socket, ip("2001:db8::6")).value());
  ASSERT_TRUE(delete_address(socket, v4));
  EXPECT_FALSE(is_local(socket, v4.ip).value());
  EXPECT_THAT(addresses(socket, pair.a.index).value(), Not(Contains(v4)));
  EXPECT_TRUE(addresses(socket, 4711)->empty());
}

TEST(Link, RoutesBothFamilies) {
  NEED_NETNS();
  Pair pair("route");
  auto& socket = pair.ns.socket();
  const uint32_t a = pair.a.index;
  ASSERT_TRUE(set_address(socket, {.ip = ip("192.0.2.5"), .link = a}));
  ASSERT_TRUE(set_address(socket, {.ip = ip("2001:db8::5"), .link = a}));
  const Route host{.to = cidr("198.51.100.7/32"), .link = a, .protocol = kProtocolThalweg};
  const Route v4{.to = cidr("0.0.0.0/0"),
                 .link = a,
                 .gateway = ip("169.254.1.1"),
                 .source = ip("192.0.2.5"),
                 .metric = 50,
                 .protocol = kProtocolThalweg,
                 .onlink = true,
                 .mtu = 1400};
  const Route v6{.to = cidr("::/0"),
                 .link = a,
                 .gateway = ip("fe80::1"),
                 .source = ip("2001:db8::5"),
                 .metric = 50,
                 .protocol = kProtocolThalweg};
  const Route other{.to = cidr("203.0.113.0/24"), .link = a, .table = 1000, .protocol = kProtocolThalweg};
  const Route hole{.to = cidr("203.0.113.0/24"), .protocol = kProtocolThalweg, .blackhole = true};
  for (const Route& route : {host, v4, v6, other, hole}) {
    for (int twice = 0; twice < 2; ++twice) {
      const auto set = set_route(socket, route);
      ASSERT_TRUE(set) << set.error().message;
    }
    EXPECT_THAT(routes(socket, route.table).value(), Contains(route)) << route.to.str();
    EXPECT_THAT(routes(socket, 0).value(), Contains(route)) << route.to.str();
    const auto gone = delete_route(socket, route);
    ASSERT_TRUE(gone) << gone.error().message;
    EXPECT_THAT(routes(socket, 0).value(), Not(Contains(route))) << route.to.str();
  }
}

TEST(Link, TheKernelsWayIsFound) {
  NEED_NETNS();
  Pair pair("routemtu");
  auto& socket = pair.ns.socket();
  ASSERT_TRUE(set_address(socket, {.ip = ip("192.0.2.5"), .length = 120, .link = pair.a.index}));
  EXPECT_EQ(route_to(socket, ip("192.0.2.9")).value().link, pair.a.index);
  EXPECT_EQ(route_to(socket, ip("192.0.2.9")).value().mtu, 0u);
  EXPECT_TRUE(route_to(socket, ip("192.0.2.9")).value().gateway.is_none()) << "a neighbour";
  ASSERT_TRUE(set_route(socket, {.to = cidr("192.0.2.9/32"), .link = pair.a.index, .mtu = 1400}));
  EXPECT_EQ(route_to(socket, ip("192.0.2.9")).value().mtu, 1400u);
  EXPECT_EQ(route_to(socket, ip("203.0.113.9")).value().link, 0u) << "no route";
  const Route by_router{.to = cidr("203.0.113.0/24"), .link = pair.a.index, .gateway = ip("192.0.2.10")};
  ASSERT_TRUE(set_route(socket, by_router));
  EXPECT_EQ(route_to(socket, ip("203.0.113.9")).value().gateway, ip("192.0.2.10"));
  const Route by_ipv6{.to = cidr("203.0.113.0/24"), .link = pair.a.index, .gateway = ip("fe80::1")};
  ASSERT_TRUE(set_route(socket, by_ipv6));
  EXPECT_EQ(route_to(socket, ip("203.0.113.9")).value().gateway, ip("fe80::1")) << "RFC 8950";
}

TEST(Link, ReplacingARouteLeavesOne) {
  NEED_NETNS();
  Pair pair("replace");
  auto& socket = pair.ns.socket();
  for (const char* to : {"198.51.100.0/24", "2001:db8:1::/64"}) {
    Route route{.to = cidr(to), .link = pair.a.index, .metric = 9};
    ASSERT_TRUE(set_route(socket, route));
    route.link = pair.b.index;
    ASSERT_TRUE(set_route(socket, route));
    std::vector<uint32_t> links;
    const auto all = routes(socket).value();
    for (const Route& row : all)
      if (row.to == route.to) links.push_back(row.link);
    EXPECT_THAT(links, ::testing::ElementsAre(pair.b.index)) << to;
  }
}

TEST(Link, PermanentNeighbours) {
  NEED_NETNS();
  Pair pair("neigh");
  auto& socket = pair.ns.socket();
  for (const char* text : {"169.254.1.1", "fe80::1"}) {
    const Neighbour neighbour{.ip = ip(text), .link = pair.a.index, .mac = pair.b.mac};
    ASSERT_TRUE(set_neighbour(socket, neighbour));
    ASSERT_TRUE(set_neighbour(socket, neighbour));
    EXPECT_THAT(neighbours(socket, pair.a.index).value(), Contains(neighbour));
    ASSERT_TRUE(delete_neighbour(socket, neighbour));
    EXPECT_THAT(neighbours(socket, pair.a.index).value(), Not(Contains(neighbour)));
  }
}

TEST(Link, FdbOfAVxlan) {
  NEED_NETNS();
  Pair pair("fdb");
  auto& socket = pair.ns.socket();
  ASSERT_TRUE(create_vxlan(socket, {.name = "vx", .vni = 7, .local = ip("192.0.2.1")}));
  const Link vxlan = link_by_name(socket, "vx").value();
  EXPECT_EQ(vxlan.kind, "vxlan");
  const FdbEntry one{.mac = mac_from("n2"), .link = vxlan.index, .remote = ip("192.0.2.2")};
  const FdbEntry flood2{.mac = {}, .link = vxlan.index, .remote = ip("192.0.2.2")};
  const FdbEntry flood3{.mac = {}, .link = vxlan.index, .remote = ip("192.0.2.3")};
  ASSERT_TRUE(set_fdb(socket, one));
  ASSERT_TRUE(append_fdb(socket, flood2));
  ASSERT_TRUE(append_fdb(socket, flood3));
  ASSERT_TRUE(append_fdb(socket, flood3));
  EXPECT_THAT(fdb(socket, vxlan.index).value(), ::testing::UnorderedElementsAre(one, flood2, flood3));
  ASSERT_TRUE(delete_fdb(socket, one));
  ASSERT_TRUE(delete_fdb(socket, one));
  EXPECT_THAT(fdb(socket, vxlan.index).value(), Not(Contains(one)));
}

TEST(Link, RulesBothFamilies) {
  NEED_NETNS();
  ScratchNetns ns("rule");
  for (const bool v6 : {false, true}) {
    const Rule rule{.v6 = v6, .priority = 77, .mark = 0x7a1e0000, .mask = 0xffff0000, .table = 1000};
    ASSERT_TRUE(set_rule(ns.socket(), rule));
    ASSERT_TRUE(set_rule(ns.socket(), rule));
    const auto there = rules(ns.socket()).value();
    EXPECT_EQ(std::count(there.begin(), there.end(), rule), 1);
    ASSERT_TRUE(delete_rule(ns.socket(), rule));
    EXPECT_THAT(rules(ns.socket()).value(), Not(Contains(rule)));
  }
}

// A dump of 4,000 rows takes several packets; all arrive, none twice, also while another socket changes the
// table.
TEST(Dump, IsWholeWhileTheTableChanges) {
  NEED_NETNS();
  Pair pair("dump");
  auto& socket = pair.ns.socket();
  const uint32_t kRows = 4000;
  for (uint32_t i = 0; i < kRows; ++i)
    ASSERT_TRUE(
        set_neighbour(socket, {.ip = ip("198.18.0.0").plus(i + 1), .link = pair.a.index, .mac = pair.b.mac}));
  auto other = Socket::open_in(pair.ns.netns()).value();
  std::atomic<bool> stop = false;
  std::thread disturber([&] {
    const Neighbour n{.ip = ip("203.0.113.9"), .link = pair.a.index, .mac = pair.b.mac};
    for (int i = 0; i < 20000 && !stop; ++i) (void)set_neighbour(other, n), (void)delete_neighbour(other, n);
  });
  for (int round = 0; round < 5; ++round) {
    std::set<Ip> seen;
    size_t rows = 0;
    const auto all = neighbours(socket, pair.a.index);
    if (!all) {
      EXPECT_EQ(all.error().code, EBUSY) << all.error().message;  // it never held still: said so
      continue;
    }
    for (const Neighbour& n : *all)
      if (cidr("198.18.0.0/15").contains(n.ip)) ++rows, seen.insert(n.ip);
    EXPECT_EQ(rows, kRows);
    EXPECT_EQ(seen.size(), kRows);
  }
  stop = true;
  disturber.join();
}

TEST(Message, OverflowIsAnErrorNotACrash) {
  NEED_NETNS();
  ScratchNetns ns("over");
  Message message(RTM_NEWLINK);
  message.header<ifinfomsg>();
  {
    const auto nest = message.nest(IFLA_LINKINFO);
    for (int i = 0; i < 100; ++i) message.put_str(IFLA_INFO_KIND, std::string(200, 'x'));
  }
  EXPECT_TRUE(message.overflowed());
  EXPECT_EQ(ns.socket().transact(message).error().code, E2BIG);
}

TEST(Netns, RunStaysOnItsThread) {
  NEED_NETNS();
  ScratchNetns ns("run");
  const uint64_t before = Netns::current()->inode();
  const auto inside = ns.netns().run([]() -> Result<uint64_t> { return Netns::current()->inode(); });
  EXPECT_EQ(inside.value(), ns.netns().inode());
  EXPECT_NE(*inside, before);
  EXPECT_EQ(Netns::current()->inode(), before);
  const auto failed = ns.netns().run([]() -> Result<> { return fail("said inside"); });
  EXPECT_EQ(failed.error().message, "said inside");
}

TEST(Netns, NamesAndAbsence) {
  NEED_NETNS();
  for (const char* name : {"", ".x", "a/b", "..", "a b"}) {
    EXPECT_EQ(create_netns(name).error().code, EINVAL) << name;
    EXPECT_EQ(delete_netns(name).error().code, EINVAL) << name;
  }
  EXPECT_EQ(Netns::open("/run/netns/twt-base-absent").error().code, ENOENT);
  EXPECT_EQ(Netns::open("/etc/passwd").error().code, EINVAL);
  EXPECT_TRUE(delete_netns("twt-base-absent"));
  ScratchNetns ns("names");
  EXPECT_EQ(create_netns(ns.name()).error().code, EEXIST);
  EXPECT_THAT(list_netns("twt-base-names").value(), Contains(ns.name()));
}

TEST(Netns, SysctlIsTheNamespacesOwn) {
  NEED_NETNS();
  ScratchNetns ns("sysctl");
  const auto seen = ns.netns().run([]() -> Result<std::string> {
    TRY(set_sysctl("net/ipv4/ip_forward", "1"));
    return get_sysctl("net/ipv4/ip_forward");
  });
  EXPECT_EQ(seen.value(), "1");
  EXPECT_FALSE(set_sysctl("../../etc/x", "1"));
}

}  // namespace
}  // namespace thalweg::nl
