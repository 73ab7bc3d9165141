// firewall behind bridge, on a host whose iptables forward nothing by themselves; with traffic.
#include "tests/cni-plugins/runtime.h"
#include "tests/cni-plugins/talk.h"

namespace thalweg {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

struct FirewallTest : ::testing::Test {
  void SetUp() override {
    NEED_PLUGINS();
    runtime = std::make_unique<Runtime>("cnifw");
    world = std::make_unique<World>(*runtime, "cnifww");
    ASSERT_EQ(run_in(runtime->host, "iptables-nft -P FORWARD DROP"), 0);
    ASSERT_EQ(run_in(runtime->host, "ip6tables-nft -P FORWARD DROP"), 0);
  }
  std::string bridge(const std::string& name, const std::string& subnet, const std::string& subnet6) {
    return R"({"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":")" + name +
           R"(","isDefaultGateway":true,"ipMasq":true,"ipam":{"type":"host-local","dataDir":")" +
           runtime->folder + "/" + name + R"(","ranges":[[{"subnet":")" + subnet + R"("}],[{"subnet":")" +
           subnet6 + R"("}]]}})";
  }
  std::string first() { return bridge("br0", "192.0.2.0/24", "2001:db8::/64"); }
  std::string firewall(const Answer& added, const std::string& more = "") {
    return Runtime::with(R"({"cniVersion":"1.1.0","name":"net","type":"firewall")" + more + "}", "prevResult",
                         added.body);
  }
  bool reaches(const ScratchNetns& from, const std::string& ip) {
    return run_in(from, fmt::format("ping -c1 -W1 {}", ip)) == 0;
  }
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<World> world;
};

TEST_F(FirewallTest, WhatThePodAsksAndIsAnsweredPasses) {
  const Answer added = runtime->add(first());
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_FALSE(reaches(runtime->pod, "203.0.113.2")) << "the host forwards without: the test shows nothing";
  const std::string config = firewall(added);
  const Answer passed = runtime->add(config);
  ASSERT_EQ(passed.exit, 0) << passed.out;
  EXPECT_EQ(passed.body.at("ips"), added.body.at("ips"));
  EXPECT_TRUE(reaches(runtime->pod, "203.0.113.2"));
  EXPECT_TRUE(reaches(runtime->pod, "2001:db8:ffff::2"));
  ASSERT_EQ(run_in(world->ns, "ip route add 192.0.2.0/24 via 203.0.113.1"), 0);
  EXPECT_FALSE(reaches(world->ns, "192.0.2.2")) << "nobody asked for that";
  // iptables can read what stands there, and goes on with it.
  EXPECT_EQ(run_in(runtime->host,
                   "sh -c 'iptables-nft -S CNI-FORWARD | grep -q -- \"-s 192.0.2.2/32 .*-j ACCEPT\"'"),
            0);
  EXPECT_EQ(run_in(runtime->host,
                   "sh -c 'iptables-nft -S CNI-FORWARD | grep -q -- \"--ctstate RELATED,ESTABLISHED\"'"),
            0);
  EXPECT_EQ(run_in(runtime->host, "iptables-nft -A CNI-ADMIN -d 203.0.113.2 -j DROP"), 0);
  EXPECT_FALSE(reaches(runtime->pod, "203.0.113.2")) << "the operator's chain comes first";
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = config}).exit, 0);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(runtime->add(config).exit, 0);
  EXPECT_EQ(run_in(runtime->host, "sh -c 'test $(iptables-nft -S CNI-FORWARD | wc -l) = 4'"), 0)
      << "a rule stands twice";
  for (int i = 0; i < 2; ++i) EXPECT_EQ(runtime->del(config).exit, 0);
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = config}).exit, 1);
  EXPECT_EQ(run_in(runtime->host, "iptables-nft -F CNI-ADMIN"), 0);
  EXPECT_FALSE(reaches(runtime->pod, "203.0.113.2"));
}

TEST_F(FirewallTest, OtherBridgesAreKeptApart) {
  ScratchNetns other("cnifwo");
  ASSERT_EQ(run_in(runtime->host, "iptables-nft -P FORWARD ACCEPT"), 0);
  const Answer added = runtime->add(first());
  const std::string second = bridge("br1", "198.51.100.0/24", "2001:db8:1::/64");
  const Answer apart = runtime->call({.command = "ADD", .config = second, .id = "c2", .netns = other.path()});
  ASSERT_EQ(apart.exit, 0) << apart.out;
  EXPECT_TRUE(reaches(other, "192.0.2.2"));
  const std::string more = R"(,"ingressPolicy":"same-bridge")";
  ASSERT_EQ(runtime->add(firewall(added, more)).exit, 0);
  EXPECT_TRUE(reaches(other, "192.0.2.2"))
      << "br1 has no policy, so its containers go where they like but out of br0";
  ASSERT_EQ(
      runtime->call({.command = "ADD", .config = firewall(apart, more), .id = "c2", .netns = other.path()})
          .exit,
      0);
  EXPECT_FALSE(reaches(other, "192.0.2.2"));
  EXPECT_TRUE(reaches(other, "198.51.100.1"));
  EXPECT_TRUE(reaches(other, "203.0.113.2")) << "out of all bridges it may";
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = firewall(added, more)}).exit, 0);
}

TEST_F(FirewallTest, GcAndBadConfigurations) {
  const Answer added = runtime->add(first());
  ASSERT_EQ(runtime->add(firewall(added)).exit, 0);
  const auto collect = [&](const char* id) {
    const json::array valid{json::object{{"containerID", id}, {"ifname", "eth0"}}};
    return runtime
        ->call(
            {.command = "GC", .config = Runtime::with(firewall(added), "cni.dev/valid-attachments", valid)})
        .exit;
  };
  EXPECT_EQ(collect("c1"), 0);
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = firewall(added)}).exit, 0);
  EXPECT_EQ(collect("c2"), 0);
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = firewall(added)}).exit, 1);
  EXPECT_EQ(runtime->call({.command = "STATUS", .config = firewall(added)}).exit, 0);
  for (const auto& [more, field] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"(,"backend":"firewalld")", "backend"},
           {R"(,"ingressPolicy":"closed")", "ingressPolicy"},
           {R"(,"iptablesAdminChainName":"a b")", "iptablesAdminChainName"}})
    EXPECT_THAT(runtime->add(firewall(added, more)).msg(), HasSubstr(field)) << more;
  EXPECT_THAT(runtime->add(R"({"cniVersion":"1.1.0","name":"net","type":"firewall"})").msg(),
              HasSubstr("prevResult"));
}

}  // namespace
}  // namespace thalweg
