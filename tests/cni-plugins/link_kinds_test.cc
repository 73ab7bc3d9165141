// The plugins for kinds of links that not every kernel has: for real where it has them, skipped with its own
// word where it does not. What they ask of it is in tests/base/link_kinds_test.cc.
#include "base/bridge.h"
#include "base/tap.h"
#include "tests/cni-plugins/links.h"

namespace thalweg {
namespace {

using ::testing::HasSubstr;

struct LinkKindsTest : MasterTest {
  // The name and the master of a link of the container's, to see whether the kernel has the kind.
  nl::NewLink probe() {
    auto& pod = runtime->pod.socket();
    if (!has_link(runtime->pod, "net0")) {
      EXPECT_TRUE(nl::create_veth(pod, {.name = "net0", .peer_name = "net1"}));
    }
    return {.name = "probe", .on = nl::link_by_name(pod, "net0")->index};
  }
  void forget_probe() { EXPECT_TRUE(nl::delete_link(runtime->pod.socket(), std::string("net0"))); }
};

#define NEED_KIND(request, ...)                                                                    \
  if (const std::string word = lacks(probe(), nl::request(probe(), ##__VA_ARGS__)); !word.empty()) \
    GTEST_SKIP() << "this kernel: " << word;                                                       \
  forget_probe()

TEST_F(LinkKindsTest, Dummy) {
  NEED_KIND(dummy_request);
  const Answer added = runtime->add(config("dummy"));
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().kind, "dummy");
  EXPECT_TRUE(eth0().up);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.2"));
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "2001:db8::2"));
  repeats_and_ends(config("dummy"), added);
}

TEST_F(LinkKindsTest, DummyRefuses) {
  refuses(bare("dummy"), "ipam: is missing");
  refuses(bare("dummy", R"(,"ipam":{"type":5})"), "ipam.type");
}

TEST_F(LinkKindsTest, Vlan) {
  NEED_KIND(vlan_request, 7);
  const auto vlan = [&](const std::string& more) { return config("vlan", R"(,"master":"up0")" + more); };
  const std::string text = vlan(R"(,"vlanId":7,"mtu":1400)");
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().kind, "vlan");
  EXPECT_EQ(eth0().mtu, 1400u);
  EXPECT_EQ(nl::vlan_id(runtime->pod.socket(), eth0().index).value(), 7);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.2"));
  check_finds(vlan(R"(,"vlanId":8)"), added, "of VLAN 7, not 8");
  check_finds(vlan(R"(,"vlanId":7,"mtu":1401)"), added, "MTU");
  repeats_and_ends(text, added);
}

TEST_F(LinkKindsTest, VlanUponALinkOfTheContainer) {
  NEED_KIND(vlan_request, 7);
  ASSERT_TRUE(nl::set_up(runtime->pod.socket(), probe().on));  // the kernel wants it up before its VLANs
  const std::string text = config("vlan", R"(,"master":"net0","linkInContainer":true,"vlanId":7)");
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().peer, nl::link_by_name(runtime->pod.socket(), "net0")->index);
  EXPECT_EQ(runtime->del(text).exit, 0);
}

TEST_F(LinkKindsTest, VlanRefuses) {
  refuses(config("vlan", R"(,"vlanId":7)"), "master: is missing");
  refuses(config("vlan", R"(,"master":"up0","vlanId":4095)"), "vlanId");
  refuses(config("vlan", R"(,"master":"gone","vlanId":7)"), "master: link gone");
  refuses(config("vlan", R"(,"master":"up0","vlanId":7,"mtu":1451)"), "mtu: 1451 is more than up0's, 1450");
  refuses(bare("vlan", R"(,"master":"up0","vlanId":7)"), "ipam: is missing");
}

TEST_F(LinkKindsTest, Ipvlan) {
  NEED_KIND(ipvlan_request, nl::IpvlanMode::L2);
  const auto ipvlan = [&](const std::string& more) { return config("ipvlan", R"(,"master":"up0")" + more); };
  for (const auto& [name, mode] : std::initializer_list<std::pair<std::string, nl::IpvlanMode>>{
           {"l3", nl::IpvlanMode::L3}, {"l3s", nl::IpvlanMode::L3s}, {"l2", nl::IpvlanMode::L2}}) {
    const std::string text = ipvlan(R"(,"mtu":1400,"mode":")" + name + "\"");
    const Answer added = runtime->add(text);
    ASSERT_EQ(added.exit, 0) << added.out;
    EXPECT_EQ(nl::ipvlan_mode(runtime->pod.socket(), eth0().index).value(), mode);
    EXPECT_EQ(eth0().mac, nl::link_by_name(runtime->host.socket(), "up0")->mac);
    EXPECT_EQ(eth0().mtu, 1400u);
    const std::string address(added.body.at("ips").at(0).at("address").as_string());
    EXPECT_TRUE(has_address(runtime->pod, "eth0", address.substr(0, address.find('/'))));
    check_finds(ipvlan(name == "l2" ? R"(,"mode":"l3")" : ""), added, "has the mode " + name);
    repeats_and_ends(text, added);
  }
}

TEST_F(LinkKindsTest, IpvlanBehindAnotherPlugin) {
  NEED_KIND(ipvlan_request, nl::IpvlanMode::L2);
  const boost::json::value before = {{"cniVersion", "1.1.0"},
                                     {"interfaces", {{{"name", "up0"}}}},
                                     {"ips", {{{"address", "198.51.100.9/24"}, {"interface", 0}}}}};
  const std::string text = Runtime::with(bare("ipvlan"), "prevResult", before);
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().peer, nl::link_by_name(runtime->host.socket(), "up0")->index);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "198.51.100.9"));
  EXPECT_EQ(added.body.at("interfaces").as_array().size(), 1u);
  EXPECT_EQ(runtime->check(bare("ipvlan"), added).exit, 0);
  EXPECT_EQ(runtime->del(text).exit, 0);
}

TEST_F(LinkKindsTest, IpvlanRefuses) {
  refuses(config("ipvlan", R"(,"mode":"bridge")"), "mode");
  refuses(config("ipvlan"), "master: none is named");
  refuses(bare("ipvlan", R"(,"master":"up0")"), "ipam: is missing");
  const auto behind = [](const std::string& interfaces) {
    return bare("ipvlan", R"(,"prevResult":{"cniVersion":"1.1.0","interfaces":[)" + interfaces +
                              R"(],"ips":[{"address":"198.51.100.9/24"}]})");
  };
  refuses(behind(""), "master: is missing");
  refuses(behind(R"({"name":"a0"},{"name":"b0"})"), "master: is missing");
  refuses(behind(R"({"name":"gone"})"), "master: link gone");
}

// ---- tap

struct TapTest : LinkKindsTest {
  void SetUp() override {
    LinkKindsTest::SetUp();
    if (!IsSkipped() && ::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/net/tun";
  }
};

TEST_F(TapTest, AddCheckDel) {
  auto& pod = runtime->pod.socket();
  ASSERT_TRUE(nl::create_bridge(pod, {.name = "br0"}));
  const auto tap = [&](const std::string& more) {
    return config("tap", R"(,"bridge":"br0","mtu":1400)" + more);
  };
  const std::string text = tap(R"(,"multiQueue":true,"owner":1000,"group":0,"mac":"02:00:00:00:00:77")");
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().kind, "tun");
  EXPECT_EQ(eth0().mtu, 1400u);
  EXPECT_EQ(nl::mac_str(eth0().mac), "02:00:00:00:00:77");
  EXPECT_EQ(eth0().master, nl::link_by_name(pod, "br0")->index);
  EXPECT_TRUE(eth0().up);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.2"));
  const nl::Tap have = nl::tap_of(pod, eth0().index).value();
  EXPECT_TRUE(have.multi_queue);
  EXPECT_EQ(have.owner, 1000u);
  EXPECT_EQ(have.group, 0u);
  check_finds(tap(R"(,"owner":1000,"group":0)"), added, "multiQueue");
  check_finds(tap(R"(,"multiQueue":true,"group":0)"), added, "owner");
  check_finds(tap(R"(,"multiQueue":true,"owner":1000)"), added, "group");
  repeats_and_ends(text, added);
  ASSERT_TRUE(nl::delete_link(pod, std::string("br0")));
}

TEST_F(TapTest, NobodysAndWithoutAddresses) {
  const Answer added = runtime->add(bare("tap"));
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_TRUE(eth0().up);
  const nl::Tap have = nl::tap_of(runtime->pod.socket(), eth0().index).value();
  EXPECT_FALSE(have.owner || have.group || have.multi_queue);
  repeats_and_ends(bare("tap"), added);
}

TEST_F(TapTest, Refuses) {
  refuses(bare("tap", R"(,"owner":"root")"), "owner");
  refuses(bare("tap", R"(,"group":-1)"), "group");
  refuses(bare("tap", R"(,"mac":"nonsense")"), "mac");
  refuses(bare("tap", R"(,"bridge":"a/b")"), "bridge");
  // Found out only when the device is made.
  refuses(bare("tap", R"(,"bridge":"gone")"), "bridge: link gone");
  refuses(bare("tap", R"(,"mtu":9)"), "mtu 9");
  refuses(bare("tap", R"(,"ipam":{"type":"absent"})"), "CNI_PATH");
  const std::string labelled = bare("tap", R"(,"selinuxContext":"system_u:object_r:tun_t:s0")");
  EXPECT_EQ(runtime->add(labelled).code(), 2);
  EXPECT_EQ(runtime->del(labelled).exit, 0);
}

}  // namespace
}  // namespace thalweg
