// bridge, for real: a host's namespace and a container's, links, addresses and routes read back from the
// kernel.
#include "base/bridge.h"

#include <algorithm>

#include "tests/cni-plugins/runtime.h"

namespace thalweg {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

struct BridgeTest : ::testing::Test {
  void SetUp() override {
    NEED_PLUGINS();
    runtime = std::make_unique<Runtime>("cnibr");
  }
  std::string config(const std::string& more = "", const std::string& ipam = "") {
    return R"({"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":"br0")" + more +
           R"(,"ipam":{"type":"host-local","dataDir":")" + runtime->folder + "/data\"," +
           (ipam.empty() ? R"("ranges":[[{"subnet":"192.0.2.0/24"}],[{"subnet":"2001:db8::/64"}]])" : ipam) +
           "}}";
  }
  bool has_address(ScratchNetns& ns, const std::string& link, const std::string& ip) {
    const auto all = nl::addresses(ns.socket(), nl::link_by_name(ns.socket(), link)->index).value();
    return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.ip.str() == ip; });
  }
  size_t links(ScratchNetns& ns) { return nl::links(ns.socket())->size(); }
  size_t given() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(runtime->folder + "/data/net"))
      count += Ip::parse(entry.path().filename().string()).has_value();
    return count;
  }
  std::unique_ptr<Runtime> runtime;
};

TEST_F(BridgeTest, AddCheckDel) {
  const std::string with_gateway = config(R"(,"isDefaultGateway":true,"mtu":1400)");
  const Answer added = runtime->add(with_gateway);
  ASSERT_EQ(added.exit, 0) << added.out;
  auto& pod = runtime->pod.socket();
  auto& host = runtime->host.socket();
  const nl::Link eth0 = nl::link_by_name(pod, "eth0").value(), br0 = nl::link_by_name(host, "br0").value();
  const nl::Link port = nl::link_by_index(host, eth0.peer).value();
  EXPECT_TRUE(eth0.up && eth0.operational && port.operational);
  EXPECT_EQ(eth0.mtu, 1400u);
  EXPECT_EQ(port.master, br0.index);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.2"));
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "2001:db8::2"));
  EXPECT_TRUE(has_address(runtime->host, "br0", "192.0.2.1"));
  EXPECT_TRUE(has_address(runtime->host, "br0", "2001:db8::1"));
  const nl::Route way = nl::route_to(pod, Ip::v4(203, 0, 113, 9)).value();
  EXPECT_EQ(way.gateway.str(), "192.0.2.1");
  EXPECT_EQ(runtime->host.netns().run([] { return get_sysctl("net/ipv4/ip_forward"); }).value(), "1");
  const auto& interfaces = added.body.at("interfaces").as_array();
  EXPECT_EQ(interfaces.at(0).at("name"), "br0");
  EXPECT_EQ(std::string(interfaces.at(0).at("mac").as_string()), nl::mac_str(br0.mac));
  EXPECT_EQ(std::string(interfaces.at(1).at("name").as_string()), port.name);
  EXPECT_EQ(std::string(interfaces.at(2).at("sandbox").as_string()), runtime->pod.path());
  EXPECT_EQ(runtime->check(with_gateway, added).exit, 0);

  EXPECT_THAT(runtime->add(with_gateway).msg(), HasSubstr("eth0 exists"));
  EXPECT_EQ(given(), 2u) << "the failed ADD gave an address away, or took the first one's";
  EXPECT_EQ(runtime->del(with_gateway).exit, 0);
  EXPECT_EQ(runtime->del(with_gateway).exit, 0);
  EXPECT_EQ(given(), 0u);
  EXPECT_EQ(links(runtime->pod), 1u);
  EXPECT_EQ(links(runtime->host), 2u) << "lo and the bridge";
  EXPECT_NE(runtime->check(with_gateway, added).exit, 0);
}

TEST_F(BridgeTest, CheckSeesWhatIsWrong) {
  const std::string plain =
      config(R"(,"isGateway":true)", R"("subnet":"192.0.2.0/24","routes":[{"dst":"203.0.113.0/24"}])");
  const Answer added = runtime->add(plain);
  ASSERT_EQ(added.exit, 0) << added.out;
  ASSERT_EQ(runtime->check(plain, added).exit, 0) << runtime->check(plain, added).out;
  auto& pod = runtime->pod.socket();
  auto& host = runtime->host.socket();
  const nl::Link eth0 = nl::link_by_name(pod, "eth0").value();
  const auto broken = [&](const char* word) {
    const Answer checked = runtime->check(plain, added);
    EXPECT_EQ(checked.exit, 1);
    EXPECT_THAT(checked.msg(), HasSubstr(word));
  };
  const nl::Route route{.to = Cidr::parse("203.0.113.0/24").value(), .link = eth0.index};
  ASSERT_TRUE(nl::delete_route(pod, route));
  broken("203.0.113.0/24");
  ASSERT_TRUE(nl::delete_address(pod, {.ip = Ip::v4(192, 0, 2, 2), .length = 120, .link = eth0.index}));
  broken("192.0.2.2");
  ASSERT_TRUE(nl::set_master(host, eth0.peer, 0));
  broken("no port");
  ASSERT_TRUE(nl::set_mac(pod, eth0.index, nl::mac_from("other")));
  broken("MAC");
}

TEST_F(BridgeTest, AFailedAddLeavesNothing) {
  // The bridge has another address, and may not lose it: found only after the pair and the addresses are
  // made.
  ASSERT_TRUE(nl::create_bridge(runtime->host.socket(), {.name = "br0"}));
  const uint32_t br0 = nl::link_by_name(runtime->host.socket(), "br0")->index;
  ASSERT_TRUE(
      nl::set_address(runtime->host.socket(), {.ip = Ip::v4(198, 51, 100, 1), .length = 120, .link = br0}));
  const Answer refused = runtime->add(config(R"(,"isGateway":true)"));
  EXPECT_THAT(refused.msg(), HasSubstr("forceAddress"));
  EXPECT_EQ(links(runtime->pod), 1u);
  EXPECT_EQ(links(runtime->host), 2u);
  EXPECT_EQ(given(), 0u);
  const Answer forced = runtime->add(config(R"(,"isGateway":true,"forceAddress":true)"));
  EXPECT_EQ(forced.exit, 0) << forced.out;
  EXPECT_FALSE(has_address(runtime->host, "br0", "198.51.100.1"));
}

TEST_F(BridgeTest, PortSettingsAndTheMacAskedFor) {
  const std::string more =
      R"(,"hairpinMode":true,"portIsolation":true,"runtimeConfig":{"mac":"02:00:00:00:00:77"})";
  const Answer added = runtime->add(config(more));
  ASSERT_EQ(added.exit, 0) << added.out;
  const nl::Link eth0 = nl::link_by_name(runtime->pod.socket(), "eth0").value();
  EXPECT_EQ(nl::mac_str(eth0.mac), "02:00:00:00:00:77");
  const auto port = nl::port_state(runtime->host.socket(), eth0.peer).value();
  EXPECT_TRUE(port.hairpin);
  EXPECT_TRUE(port.isolated);
  EXPECT_EQ(runtime->check(config(more), added).exit, 0);
  EXPECT_THAT(runtime->check(config(), added).msg(), HasSubstr("hairpinMode"));
}

TEST_F(BridgeTest, IpMasqLetsThePodOutAndDelTakesItsRules) {
  World world(*runtime, "cnibrw");
  const std::string plain = config(R"(,"isDefaultGateway":true)"),
                    masked = config(R"(,"isDefaultGateway":true,"ipMasq":true)");
  const auto reaches = [&](const char* ip) {
    return run_in(runtime->pod, fmt::format("ping -c1 -W1 {}", ip)) == 0;
  };
  ASSERT_EQ(runtime->add(plain).exit, 0);
  EXPECT_FALSE(reaches("203.0.113.2")) << "the world answers without masquerade: the test shows nothing";
  EXPECT_EQ(runtime->del(plain).exit, 0);
  const Answer added = runtime->add(masked);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_TRUE(reaches("203.0.113.2"));
  EXPECT_TRUE(reaches("2001:db8:ffff::2"));
  EXPECT_EQ(runtime->check(masked, added).exit, 0);
  EXPECT_EQ(runtime->del(masked).exit, 0);
  EXPECT_EQ(run_in(runtime->host, "sh -c 'nft list table inet thalweg-cni | grep -q c1'"), 1);

  const Answer again = runtime->add(masked);
  ASSERT_EQ(again.exit, 0) << again.out;
  EXPECT_EQ(runtime->add(masked, "c2").exit, 1);  // its failure takes none of c1's rules
  EXPECT_EQ(run_in(runtime->host, "sh -c 'nft list table inet thalweg-cni | grep -q c1'"), 0);
  EXPECT_EQ(run_in(runtime->host, "nft flush chain inet thalweg-cni ipmasq"), 0);
  EXPECT_THAT(runtime->check(masked, again).msg(), HasSubstr("ipMasq"));
  EXPECT_THAT(runtime->add(config(R"(,"ipMasqBackend":"ebpf")")).msg(), HasSubstr("ipMasqBackend"));
}

TEST_F(BridgeTest, GcTakesRulesOfTheGone) {
  const std::string masked = config(R"(,"isGateway":true,"ipMasq":true,"macspoofchk":true)");
  ASSERT_EQ(runtime->add(masked).exit, 0);
  const auto rules = [&](const char* family) {
    return run_in(runtime->host,
                  fmt::format("sh -c 'nft list table {} thalweg-cni | grep -q \"net c1 eth0\"'", family)) ==
           0;
  };
  const auto collect = [&](const char* id) {
    const json::array valid{json::object{{"containerID", id}, {"ifname", "eth0"}}};
    return runtime
        ->call({.command = "GC", .config = Runtime::with(masked, "cni.dev/valid-attachments", valid)})
        .exit;
  };
  EXPECT_EQ(collect("c1"), 0);
  EXPECT_TRUE(rules("inet") && rules("bridge"));
  EXPECT_EQ(given(), 2u);
  EXPECT_EQ(collect("c2"), 0);
  EXPECT_FALSE(rules("inet") || rules("bridge"));
  EXPECT_EQ(given(), 0u);
}

TEST_F(BridgeTest, MacspoofchkDropsOtherSources) {
  const std::string checked = config(R"(,"isGateway":true,"macspoofchk":true)");
  const Answer added = runtime->add(checked);
  ASSERT_EQ(added.exit, 0) << added.out;
  const auto reaches = [&] { return run_in(runtime->pod, "ping -c1 -W1 192.0.2.1") == 0; };
  EXPECT_TRUE(reaches());
  auto& pod = runtime->pod.socket();
  ASSERT_TRUE(nl::set_mac(pod, nl::link_by_name(pod, "eth0")->index, nl::mac_from("forged")));
  EXPECT_FALSE(reaches());
  EXPECT_EQ(runtime->del(checked).exit, 0);
  EXPECT_EQ(run_in(runtime->host, "sh -c 'nft list table bridge thalweg-cni | grep -q c1'"), 1);
}

TEST_F(BridgeTest, WithoutIpamItIsALinkOnly) {
  const std::string bare = R"({"cniVersion":"1.0.0","name":"net","type":"bridge","bridge":"br0"})";
  const Answer added = runtime->add(bare);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_FALSE(added.body.contains("ips"));
  EXPECT_TRUE(nl::link_by_name(runtime->pod.socket(), "eth0")->up);
  EXPECT_EQ(runtime->del(bare).exit, 0);
}

TEST_F(BridgeTest, AForeignIpamPluginIsRun) {
  const std::string file = runtime->folder + "/fixed";
  ASSERT_TRUE(write_atomically(
      file,
      "#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\ncat >" + runtime->folder +
          "/asked\necho '{\"cniVersion\":\"1.1.0\",\"ips\":[{\"address\":\"192.0.2.77/24\"}]}'\n",
      0755));
  runtime->path += ":" + runtime->folder;
  const auto first = runtime->path.substr(0, runtime->path.find(':'));
  const std::string text = config("", R"("x":1)");
  std::string foreign = Runtime::with(text, "ipam", json::object{{"type", "fixed"}});
  const auto call = [&](const char* command, const std::string& config) {
    return runtime->host.netns()
        .run([&]() -> Result<Answer> {
          return call_plugin(first + "/bridge", runtime->path,
                             {.command = command, .config = config, .netns = runtime->pod.path()},
                             runtime->folder);
        })
        .value();
  };
  EXPECT_EQ(call("ADD", foreign).exit, 0);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.77"));
  EXPECT_EQ(json::parse(read_file(runtime->folder + "/asked").value()).at("ipam").at("type"), "fixed");
  EXPECT_EQ(call("DEL", foreign).exit, 0);
  ASSERT_TRUE(write_atomically(
      file, "#!/bin/sh\necho '{\"code\":42,\"msg\":\"none left\",\"details\":\"d\"}'\nexit 1\n", 0755));
  const Answer refused = call("ADD", foreign);
  EXPECT_EQ(refused.code(), 42);
  EXPECT_EQ(refused.msg(), "fixed: none left");
  EXPECT_EQ(links(runtime->pod), 1u);
  for (const char* type : {"../fixed", "/bin/true", ".hidden", "no such"})
    EXPECT_EQ(call("ADD", Runtime::with(foreign, "ipam", json::object{{"type", type}})).code(), 7) << type;
  EXPECT_THAT(call("ADD", Runtime::with(foreign, "ipam", json::object{{"type", "absent"}})).msg(),
              HasSubstr("CNI_PATH"));
}

TEST_F(BridgeTest, BadConfigurationsNameTheField) {
  for (const auto& [more, field] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"(,"vlan":4095)", "vlan"},
           {R"(,"mtu":"1500")", "mtu"},
           {R"(,"isGateway":1)", "isGateway"},
           {R"(,"hairpinMode":true,"promiscMode":true)", "hairpinMode"},
           {R"(,"disableContainerInterface":true)", "disableContainerInterface"},
           {R"(,"vlanTrunk":[{"minID":5}])", "vlanTrunk[0].maxID"},
           {R"(,"runtimeConfig":{"mac":"nonsense"})", "mac"}}) {
    const Answer refused = runtime->add(config(more));
    EXPECT_EQ(refused.exit, 1);
    EXPECT_THAT(refused.msg(), HasSubstr(field)) << more;
  }
  EXPECT_EQ(links(runtime->host), 1u);
}

TEST_F(BridgeTest, TheContainersNamespaceIsGone) {
  EXPECT_EQ(runtime->add(config()).exit, 0);
  EXPECT_EQ(runtime->call({.command = "DEL", .config = config(), .netns = "/run/netns/twt-base-absent"}).exit,
            0);
  EXPECT_EQ(given(), 0u);
  EXPECT_EQ(
      runtime->call({.command = "ADD", .config = config(), .netns = "/run/netns/twt-base-absent"}).code(), 3);
}

}  // namespace
}  // namespace thalweg
