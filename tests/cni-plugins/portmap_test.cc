// portmap behind bridge, with traffic: from the world, from the host's own loopback, from the container
// itself.
#include "tests/cni-plugins/runtime.h"
#include "tests/cni-plugins/talk.h"

namespace thalweg {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

struct PortmapTest : ::testing::Test {
  void SetUp() override {
    NEED_PLUGINS();
    runtime = std::make_unique<Runtime>("cnipm");
    world = std::make_unique<World>(*runtime, "cnipmw");
  }
  std::string bridge() {
    return R"({"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":"br0","isDefaultGateway":true,"hairpinMode":true,)"
           R"("ipam":{"type":"host-local","dataDir":")" +
           runtime->folder +
           R"(/data","ranges":[[{"subnet":"192.0.2.0/24"}],[{"subnet":"2001:db8::/64"}]]}})";
  }
  std::string portmap(const std::string& mappings, const std::string& more = "") {
    const std::string text = R"({"cniVersion":"1.1.0","name":"net","type":"portmap")" + more +
                             R"(,"runtimeConfig":{"portMappings":)" + mappings + "}}";
    return added.body.empty() ? text : Runtime::with(text, "prevResult", added.body);
  }
  void make_pod() {
    added = runtime->add(bridge());
    ASSERT_EQ(added.exit, 0) << added.out;
    speakers.push_back(std::make_unique<Speaker>(runtime->pod, Place{SOCK_STREAM, "0.0.0.0", 8080}, "pod"));
    speakers.push_back(std::make_unique<Speaker>(runtime->pod, Place{SOCK_STREAM, "::", 8080}, "pod6"));
    speakers.push_back(std::make_unique<Speaker>(runtime->pod, Place{SOCK_DGRAM, "0.0.0.0", 5353}, "udp"));
  }
  std::string web(const ScratchNetns& from, const std::string& ip = "203.0.113.1") {
    return who_answers(from, {SOCK_STREAM, ip, 80});
  }
  std::unique_ptr<Runtime> runtime;
  std::unique_ptr<World> world;
  Answer added;
  std::vector<std::unique_ptr<Speaker>> speakers;
};

const std::string kWeb =
    R"([{"hostPort":80,"containerPort":8080,"protocol":"tcp"},{"hostPort":53,"containerPort":5353,"protocol":"udp"}])";

const Place kName{SOCK_DGRAM, "203.0.113.1", 53};

TEST_F(PortmapTest, LeadsToTheContainerFromEverywhere) {
  make_pod();
  EXPECT_EQ(web(world->ns), "nobody");
  const Answer mapped = runtime->add(portmap(kWeb));
  ASSERT_EQ(mapped.exit, 0) << mapped.out;
  EXPECT_EQ(mapped.body.at("ips"), added.body.at("ips"));
  EXPECT_EQ(web(world->ns), "pod");
  EXPECT_EQ(web(world->ns, "2001:db8:ffff::1"), "pod6");
  EXPECT_EQ(who_answers(world->ns, kName), "udp");
  EXPECT_EQ(web(runtime->host), "pod") << "this host, by its own address";
  EXPECT_EQ(web(runtime->host, "127.0.0.1"), "pod") << "this host, by its loopback";
  EXPECT_EQ(web(runtime->pod), "pod") << "the container itself";
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = portmap(kWeb)}).exit, 0);
  EXPECT_EQ(run_in(runtime->host, "nft flush chain inet thalweg-cni hostports"), 0);
  EXPECT_THAT(runtime->call({.command = "CHECK", .config = portmap(kWeb)}).msg(),
              HasSubstr("0 of its 4 rules"));
  EXPECT_EQ(runtime->add(portmap(kWeb)).exit, 0);
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = portmap(kWeb)}).exit, 0);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(runtime->del(portmap("[]")).exit, 0);
  EXPECT_EQ(web(world->ns), "nobody");
  EXPECT_EQ(run_in(runtime->host, "sh -c 'nft list table inet thalweg-cni | grep -q c1'"), 1);
}

TEST_F(PortmapTest, OneHostAddressOnly) {
  make_pod();
  ASSERT_EQ(
      runtime
          ->add(portmap(R"([{"hostPort":80,"containerPort":8080,"protocol":"tcp","hostIP":"203.0.113.9"}])"))
          .exit,
      0);
  EXPECT_EQ(web(world->ns), "nobody");
  ASSERT_TRUE(nl::set_address(runtime->host.socket(),
                              {.ip = Ip::v4(203, 0, 113, 9),
                               .length = 120,
                               .link = nl::link_by_name(runtime->host.socket(), "uplink")->index}));
  EXPECT_EQ(web(world->ns, "203.0.113.9"), "pod");
}

TEST_F(PortmapTest, ConditionsInBothTongues) {
  make_pod();
  for (const char* no : {R"(["ip","saddr","!=","203.0.113.2"])", R"(["!","-s","203.0.113.0/24"])",
                         R"(["-i","br0"])", R"(["ip saddr 198.51.100.0/24"])"}) {
    ASSERT_EQ(runtime->add(portmap(kWeb, fmt::format(R"(,"conditionsV4":{})", no))).exit, 0) << no;
    EXPECT_EQ(web(world->ns), "nobody") << no;
  }
  for (const char* yes :
       {R"(["-s","203.0.113.2"])", R"(["iifname uplink"])", R"(["ip","daddr","==","203.0.113.1"])"}) {
    ASSERT_EQ(runtime->add(portmap(kWeb, fmt::format(R"(,"conditionsV4":{})", yes))).exit, 0) << yes;
    EXPECT_EQ(web(world->ns), "pod") << yes;
  }
  for (const char* bad :
       {R"(["-m","time"])", R"(["ip","saddr","2001:db8::1"])", R"(["-s"])", R"(["tcp","dport","1"])"})
    EXPECT_THAT(runtime->add(portmap(kWeb, fmt::format(R"(,"conditionsV4":{})", bad))).msg(),
                HasSubstr("conditionsV4"))
        << bad;
}

// A client that goes on asking from one port is tracked: without the sweep its flow would go on to nowhere.
TEST_F(PortmapTest, AUdpClientThatAskedBeforeIsLedToo) {
  make_pod();
  ASSERT_EQ(runtime->add(portmap(R"([{"hostPort":99,"containerPort":8080,"protocol":"tcp"}])")).exit,
            0);  // tracking is on
  EXPECT_EQ(who_answers(world->ns, kName, 4444), "nobody");
  ASSERT_EQ(runtime->add(portmap(kWeb)).exit, 0);
  EXPECT_EQ(who_answers(world->ns, kName, 4444), "udp");
}

TEST_F(PortmapTest, GcAndBadConfigurations) {
  make_pod();
  ASSERT_EQ(runtime->add(portmap(kWeb)).exit, 0);
  const auto collect = [&](const char* id) {
    const json::array valid{json::object{{"containerID", id}, {"ifname", "eth0"}}};
    return runtime
        ->call({.command = "GC", .config = Runtime::with(portmap("[]"), "cni.dev/valid-attachments", valid)})
        .exit;
  };
  EXPECT_EQ(collect("c1"), 0);
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = portmap(kWeb)}).exit, 0);
  EXPECT_EQ(collect("c2"), 0);
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = portmap(kWeb)}).exit, 1);
  EXPECT_EQ(runtime->call({.command = "STATUS", .config = portmap("[]")}).exit, 0);
  for (const auto& [mapping, field] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"([{"hostPort":0,"containerPort":1}])", "portMappings[0].hostPort"},
           {R"([{"hostPort":1,"containerPort":65536}])", "portMappings[0].containerPort"},
           {R"([{"hostPort":1}])", "containerPort: is required"},
           {R"([{"hostPort":1,"containerPort":1,"protocol":"icmp"}])", "protocol"},
           {R"([{"hostPort":1,"containerPort":1,"hostIP":"nowhere"}])", "hostIP"}})
    EXPECT_THAT(runtime->add(portmap(mapping)).msg(), HasSubstr(field)) << mapping;
  EXPECT_THAT(runtime->add(portmap(kWeb, R"(,"markMasqBit":14,"externalSetMarkChain":"X")")).msg(),
              HasSubstr("markMasqBit"));
  EXPECT_EQ(
      runtime->add(portmap(kWeb, R"(,"backend":"iptables","externalSetMarkChain":"KUBE-MARK-MASQ")")).exit,
      0);
  added = Answer();
  EXPECT_THAT(runtime->add(portmap(kWeb)).msg(), HasSubstr("prevResult"));
}

}  // namespace
}  // namespace thalweg
