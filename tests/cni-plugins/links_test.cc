// ptp and macvlan, for real: links, addresses and routes read back from the kernel, and packets sent.
#include "tests/cni-plugins/links.h"
#include "base/link_kinds.h"
#include "cni-plugins/pod_link.h"
#include "tests/cni-plugins/talk.h"

namespace thalweg {
namespace {

using ::testing::HasSubstr;

// ---- ptp

TEST_F(LinksTest, Ptp) {
  const std::string text = config("ptp", R"(,"mtu":1400)");
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  auto& pod = runtime->pod.socket();
  auto& host = runtime->host.socket();
  const nl::Link eth0 = nl::link_by_name(pod, "eth0").value(),
                 end = nl::link_by_index(host, eth0.peer).value();
  EXPECT_TRUE(eth0.up && end.up);
  EXPECT_EQ(eth0.mtu, 1400u);
  EXPECT_EQ(end.mtu, 1400u);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.2"));
  EXPECT_TRUE(has_address(runtime->host, end.name, "192.0.2.1"));
  EXPECT_TRUE(has_address(runtime->host, end.name, "2001:db8::1"));
  for (const auto& [to, by] : std::initializer_list<std::pair<const char*, const char*>>{
           {"192.0.2.9", "192.0.2.1"}, {"203.0.113.9", "192.0.2.1"}, {"2001:db8::9", "2001:db8::1"}})
    EXPECT_EQ(nl::route_to(pod, Ip::parse(to).value())->gateway.str(), by) << to;
  for (const char* ip : {"192.0.2.2", "2001:db8::2"})
    EXPECT_EQ(nl::route_to(host, Ip::parse(ip).value())->link, end.index);
  const auto& interfaces = added.body.at("interfaces").as_array();
  EXPECT_EQ(std::string(interfaces.at(0).at("name").as_string()), end.name);
  EXPECT_EQ(std::string(interfaces.at(1).at("mac").as_string()), nl::mac_str(eth0.mac));
  EXPECT_EQ(added.body.at("ips").at(0).at("interface"), 1);
  repeats_and_ends(text, added);
  EXPECT_EQ(links(runtime->host), 1u) << "the host's end went along";
}

TEST_F(LinksTest, PtpPodsReachEachOther) {
  ScratchNetns other("cnilq");
  ASSERT_EQ(runtime->add(config("ptp")).exit, 0);
  ASSERT_EQ(
      runtime->call({.command = "ADD", .config = config("ptp"), .id = "c2", .netns = other.path()}).exit, 0);
  const Speaker v4(other, {SOCK_STREAM, "192.0.2.3", 80}, "four"),
      v6(other, {SOCK_STREAM, "2001:db8::3", 80}, "six");
  EXPECT_EQ(who_answers(runtime->pod, {SOCK_STREAM, "192.0.2.3", 80}), "four");
  EXPECT_EQ(who_answers(runtime->pod, {SOCK_STREAM, "2001:db8::3", 80}), "six");
}

TEST_F(LinksTest, PtpCheckSeesTheHostsSide) {
  const Answer added = runtime->add(config("ptp"));
  ASSERT_EQ(added.exit, 0) << added.out;
  auto& host = runtime->host.socket();
  const uint32_t end = nl::link_by_name(runtime->pod.socket(), "eth0")->peer;
  ASSERT_TRUE(nl::delete_route(host, {.to = Cidr::host(Ip::v4(192, 0, 2, 2)), .link = end}));
  check_finds(config("ptp"), added, "host's route to 192.0.2.2");
  ASSERT_TRUE(nl::delete_address(host, {.ip = Ip::v4(192, 0, 2, 1), .length = 128, .link = end}));
  check_finds(config("ptp"), added, "lacks the address 192.0.2.1");
  ASSERT_TRUE(nl::set_up(host, end, false));
  check_finds(config("ptp"), added, "is down");
}

TEST_F(LinksTest, PtpIpMasq) {
  World world(*runtime, "cnilw");
  const std::string masked = config("ptp", R"(,"ipMasq":true)");
  const auto reaches = [&](const char* ip) {
    return run_in(runtime->pod, fmt::format("ping -c1 -W1 {}", ip)) == 0;
  };
  ASSERT_EQ(runtime->add(config("ptp")).exit, 0);
  EXPECT_FALSE(reaches("203.0.113.2")) << "the world answers without masquerade: the test shows nothing";
  EXPECT_EQ(runtime->del(config("ptp")).exit, 0);
  const Answer added = runtime->add(masked);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_TRUE(reaches("203.0.113.2"));
  EXPECT_TRUE(reaches("2001:db8:ffff::2"));
  EXPECT_EQ(runtime->check(masked, added).exit, 0);
  EXPECT_EQ(run_in(runtime->host, "nft flush chain inet thalweg-cni ipmasq"), 0);
  check_finds(masked, added, "ipMasq");
  EXPECT_EQ(runtime->del(masked).exit, 0);
  ASSERT_EQ(runtime->add(masked).exit, 0);
  const std::string nobody = Runtime::with(masked, "cni.dev/valid-attachments", boost::json::array{});
  EXPECT_EQ(runtime->call({.command = "GC", .config = nobody}).exit, 0);
  EXPECT_EQ(run_in(runtime->host, "sh -c 'nft list table inet thalweg-cni | grep -q c1'"), 1);
}

TEST_F(LinksTest, PtpRefuses) {
  refuses(config("ptp", R"(,"ipMasqBackend":"ebpf")"), "ipMasqBackend");
  refuses(bare("ptp"), "ipam: is missing");
  refuses(config("ptp", R"(,"mtu":-1)"), "mtu");
  refuses(config("ptp", R"(,"ipMasq":"yes")"), "ipMasq");
  // Found out only when the pair is made and has its address.
  refuses(bare("ptp", R"(,"ipam":{"type":"static","addresses":[{"address":"192.0.2.9/24"}]})"),
          "without a gateway");
  EXPECT_EQ(links(runtime->host), 1u);
}

// ---- macvlan

struct MacvlanTest : MasterTest {
  std::string macvlan(const std::string& more = "") { return config("macvlan", R"(,"master":"up0")" + more); }
};

TEST_F(MacvlanTest, AddCheckDel) {
  // A link of the host has the container's name: that is no matter.
  ASSERT_TRUE(nl::create_veth(runtime->host.socket(), {.name = "eth0", .peer_name = "other"}));
  const std::string text = macvlan(R"(,"mtu":1400,"mac":"02:00:00:00:00:77","bcqueuelen":2000)");
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().kind, "macvlan");
  EXPECT_EQ(eth0().mtu, 1400u);
  EXPECT_EQ(nl::mac_str(eth0().mac), "02:00:00:00:00:77");
  EXPECT_EQ(nl::macvlan_mode(runtime->pod.socket(), eth0().index).value(), nl::MacvlanMode::Bridge);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.2"));
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "2001:db8::2"));
  EXPECT_EQ(runtime->pod.netns().run([] { return get_sysctl("net/ipv4/conf/eth0/arp_notify"); }).value(),
            "1");
  EXPECT_EQ(std::string(added.body.at("interfaces").at(0).at("sandbox").as_string()), runtime->pod.path());
  const Speaker far(*wire, {SOCK_STREAM, "192.0.2.1", 80}, "far");
  EXPECT_EQ(who_answers(runtime->pod, {SOCK_STREAM, "192.0.2.1", 80}), "far");
  check_finds(macvlan(R"(,"mode":"vepa")"), added, "mode bridge, not vepa");
  check_finds(macvlan(R"(,"mtu":1401)"), added, "MTU");
  check_finds(config("macvlan", R"(,"master":"eth0")"), added, "another link");
  check_finds(config("macvlan", R"(,"master":"gone")"), added, "master");
  repeats_and_ends(text, added);
}

TEST_F(MacvlanTest, ModesAndTheMasterOfTheDefaultRoute) {
  const uint32_t up0 = nl::link_by_name(runtime->host.socket(), "up0")->index;
  EXPECT_THAT(runtime->add(bare("macvlan")).msg(), HasSubstr("master"));
  ASSERT_TRUE(nl::set_route(runtime->host.socket(), {.to = Cidr(Ip::v4(0, 0, 0, 0), 96), .link = up0}));
  for (const auto& [name, mode] : std::initializer_list<std::pair<std::string, nl::MacvlanMode>>{
           {"private", nl::MacvlanMode::Private},
           {"vepa", nl::MacvlanMode::Vepa},
           {"passthru", nl::MacvlanMode::Passthru}}) {
    const std::string text = bare("macvlan", R"(,"mode":")" + name + "\"");
    const Answer added = runtime->add(text);
    ASSERT_EQ(added.exit, 0) << added.out;
    EXPECT_EQ(eth0().peer, up0);
    EXPECT_TRUE(eth0().up) << "without addresses it is a link, and up";
    EXPECT_FALSE(added.body.contains("ips"));
    EXPECT_EQ(nl::macvlan_mode(runtime->pod.socket(), eth0().index).value(), mode) << name;
    EXPECT_EQ(runtime->check(text, added).exit, 0);
    EXPECT_EQ(runtime->del(text).exit, 0);
  }
}

TEST_F(MacvlanTest, UponALinkOfTheContainer) {
  ASSERT_TRUE(nl::create_veth(runtime->pod.socket(), {.name = "net0", .peer_name = "net1"}));
  const std::string text = bare("macvlan", R"(,"master":"net0","linkInContainer":true)");
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().peer, nl::link_by_name(runtime->pod.socket(), "net0")->index);
  repeats_and_ends(text, added);
  EXPECT_TRUE(has_link(runtime->pod, "net0"));
}

TEST_F(MacvlanTest, TheRuntimesMacGoesFirst) {
  const auto mac_with = [&](const std::string& more, const std::string& args) {
    const std::string text = bare("macvlan", R"(,"master":"up0","mac":"02:00:00:00:00:01")" + more);
    EXPECT_EQ(runtime->call({.command = "ADD", .config = text, .args = args}).exit, 0);
    const std::string mac = nl::mac_str(eth0().mac);
    EXPECT_EQ(runtime->del(text).exit, 0);
    return mac;
  };
  EXPECT_EQ(mac_with("", ""), "02:00:00:00:00:01");
  EXPECT_EQ(mac_with("", "IgnoreUnknown=1;K8S_POD_NAME=x;MAC=02:00:00:00:00:02"), "02:00:00:00:00:02");
  EXPECT_EQ(mac_with(R"(,"runtimeConfig":{"mac":"02:00:00:00:00:03"})", "MAC=02:00:00:00:00:02"),
            "02:00:00:00:00:03");
}

TEST_F(MacvlanTest, Refuses) {
  refuses(macvlan(R"(,"mode":"l2")"), "mode");
  refuses(macvlan(R"(,"mtu":1451)"), "mtu: 1451 is more than up0's, 1450");
  refuses(macvlan(R"(,"mac":"nonsense")"), "mac");
  refuses(macvlan(R"(,"bcqueuelen":-1)"), "bcqueuelen");
  refuses(config("macvlan", R"(,"master":"../x")"), "master");
  refuses(config("macvlan", R"(,"master":"gone")"), "master: link gone");
  // Found out only when the link is made.
  refuses(bare("macvlan", R"(,"master":"up0","ipam":{"type":"absent"})"), "CNI_PATH");
}

TEST_F(MacvlanTest, WhatAKilledAddLeftIsNoMatter) {
  // It had not changed the link's name yet.
  const std::string passing = cni::passing_name({.container_id = "c1", .ifname = "eth0", .network = "net"});
  auto& host = runtime->host.socket();
  const nl::NewLink left{
      .name = passing, .on = nl::link_by_name(host, "up0")->index, .netns = &runtime->pod.netns()};
  const auto leave = [&] {
    return nl::create_link(host, left, nl::macvlan_request(left, nl::MacvlanMode::Bridge));
  };
  ASSERT_TRUE(leave());
  EXPECT_EQ(runtime->del(macvlan()).exit, 0);
  EXPECT_EQ(links(runtime->pod), 1u);
  ASSERT_TRUE(leave());
  EXPECT_EQ(runtime->add(macvlan()).exit, 0);
  EXPECT_EQ(links(runtime->pod), 2u);
}

}  // namespace
}  // namespace thalweg
