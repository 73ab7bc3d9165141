// tuning behind bridge: sysctls and link settings in a real namespace, and set back.
#include "base/folder.h"
#include "base/link_settings.h"
#include "cni-plugins/sysctls.h"
#include "tests/cni-plugins/runtime.h"

namespace thalweg {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

struct TuningTest : ::testing::Test {
  void SetUp() override {
    NEED_PLUGINS();
    runtime = std::make_unique<Runtime>("cnitu");
    added = runtime->add(R"({"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":"br0"})");
    ASSERT_EQ(added.exit, 0) << added.out;
  }
  std::string config(const std::string& more) {
    return Runtime::with(R"({"cniVersion":"1.1.0","name":"net","type":"tuning","dataDir":")" +
                             runtime->folder + "/tuning\"" + more + "}",
                         "prevResult", added.body);
  }
  nl::Link eth0() { return nl::link_by_name(runtime->pod.socket(), "eth0").value(); }
  nl::LinkSettings settings() { return nl::link_settings(runtime->pod.socket(), eth0().index).value(); }
  std::string sysctl(const std::string& key) {
    return runtime->pod.netns().run([&] { return get_sysctl(key); }).value();
  }
  size_t backups() { return list_files(runtime->folder + "/tuning")->size(); }
  std::unique_ptr<Runtime> runtime;
  Answer added;
};

const std::string kAll = R"(,"sysctl":{"net.ipv4.conf.IFNAME.arp_filter":"1","net/core/somaxconn":"500"},)"
                         R"("mac":"02:00:00:00:00:77","mtu":1280,"promisc":true,"allmulti":true,"txQLen":77)";

TEST_F(TuningTest, SetsAndSetsBack) {
  const nl::Link before = eth0();
  const nl::LinkSettings was = settings();
  const std::string all = config(kAll);
  const Answer tuned = runtime->add(all);
  ASSERT_EQ(tuned.exit, 0) << tuned.out;
  EXPECT_EQ(tuned.body.at("interfaces").at(2).at("mac"), "02:00:00:00:00:77");
  EXPECT_EQ(nl::mac_str(eth0().mac), "02:00:00:00:00:77");
  EXPECT_EQ(eth0().mtu, 1280u);
  EXPECT_TRUE(settings().promiscuous && settings().all_multicast);
  EXPECT_EQ(settings().queue_length, 77u);
  EXPECT_EQ(sysctl("net/ipv4/conf/eth0/arp_filter"), "1");
  EXPECT_EQ(sysctl("net/core/somaxconn"), "500");
  EXPECT_EQ(runtime->call({.command = "CHECK", .config = all}).exit, 0);
  for (const auto& [more, what] : std::initializer_list<std::pair<std::string, const char*>>{
           {R"(,"mtu":1281,"promisc":true)", "mtu"},
           {R"(,"mtu":1280)", "promisc"},
           {R"(,"promisc":true,"allmulti":false)", "allmulti"},
           {R"(,"promisc":true,"txQLen":78)", "txQLen"},
           {R"(,"promisc":true,"mac":"02:00:00:00:00:78")", "mac"},
           {R"(,"promisc":true,"sysctl":{"net.core.somaxconn":"501"})", "net.core.somaxconn is 500"}})
    EXPECT_THAT(runtime->call({.command = "CHECK", .config = config(more)}).msg(), HasSubstr(what)) << more;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(runtime->del(all).exit, 0);
  EXPECT_EQ(eth0().mac, before.mac);
  EXPECT_EQ(eth0().mtu, before.mtu);
  EXPECT_EQ(settings().promiscuous, was.promiscuous);
  EXPECT_EQ(settings().all_multicast, was.all_multicast);
  EXPECT_EQ(settings().queue_length, was.queue_length);
  EXPECT_EQ(backups(), 0u);
}

TEST_F(TuningTest, TheLaterWordGoes) {
  const std::string words =
      R"(,"mac":"02:00:00:00:00:01","mtu":1300,"runtimeConfig":{"mac":"02:00:00:00:00:03"})";
  ASSERT_EQ(runtime->call({.command = "ADD", .config = config(words), .args = "MAC=02:00:00:00:00:02"}).exit,
            0);
  EXPECT_EQ(nl::mac_str(eth0().mac), "02:00:00:00:00:03");
  const std::string args =
      words +
      R"(,"args":{"cni":{"mac":"02:00:00:00:00:04","mtu":1290,"sysctl":{"net.core.somaxconn":"501"}}})";
  ASSERT_EQ(runtime->add(config(args)).exit, 0);
  EXPECT_EQ(nl::mac_str(eth0().mac), "02:00:00:00:00:04");
  EXPECT_EQ(eth0().mtu, 1290u);
  EXPECT_EQ(sysctl("net/core/somaxconn"), "501");
}

// An ADD that was ended kept what was before it, and the next must not keep what the first had made of it.
TEST_F(TuningTest, AnAddTwiceIsSetBackToTheStart) {
  const uint32_t mtu = eth0().mtu;
  ASSERT_EQ(runtime->add(config(R"(,"mtu":1300)")).exit, 0);
  ASSERT_EQ(runtime->add(config(R"(,"mtu":1290)")).exit, 0);
  EXPECT_EQ(runtime->del(config(R"(,"mtu":1290)")).exit, 0);
  EXPECT_EQ(eth0().mtu, mtu);
}

TEST_F(TuningTest, AFailedAddSetsBack) {
  const nl::Link before = eth0();
  EXPECT_EQ(runtime->add(config(R"(,"mac":"02:00:00:00:00:77","mtu":1)")).exit, 1);
  EXPECT_EQ(eth0().mac, before.mac);
  EXPECT_EQ(backups(), 0u);
}

TEST_F(TuningTest, GcAndNamespacesThatAreGone) {
  ASSERT_EQ(runtime->add(config(R"(,"mtu":1300)")).exit, 0);
  EXPECT_EQ(backups(), 1u);
  const auto collect = [&](const char* id) {
    const json::array valid{json::object{{"containerID", id}, {"ifname", "eth0"}}};
    return runtime
        ->call({.command = "GC", .config = Runtime::with(config(""), "cni.dev/valid-attachments", valid)})
        .exit;
  };
  EXPECT_EQ(collect("c1"), 0);
  EXPECT_EQ(backups(), 1u);
  EXPECT_EQ(collect("c2"), 0);
  EXPECT_EQ(backups(), 0u);
  ASSERT_EQ(runtime->add(config(R"(,"mtu":1290)")).exit, 0);
  EXPECT_EQ(
      runtime->call({.command = "DEL", .config = config(""), .netns = "/run/netns/twt-base-absent"}).exit, 0);
  EXPECT_EQ(backups(), 0u);
}

TEST_F(TuningTest, BadConfigurationsNameTheField) {
  for (const auto& [more, word] : std::initializer_list<std::pair<std::string, const char*>>{
           {R"(,"sysctl":{"kernel.hostname":"x"})", "kernel.hostname"},
           {R"(,"sysctl":{"net/../kernel/hostname":"x"})", "no sysctl of the network"},
           {R"(,"sysctl":{"net.core.somaxconn":500})", "sysctl.net.core.somaxconn: expected a string"},
           {R"(,"mac":"x")", "mac"},
           {R"(,"mtu":70000)", "mtu"},
           {R"(,"dataDir":"../x")", "dataDir"}})
    EXPECT_THAT(runtime->add(config(more)).msg(), HasSubstr(word)) << more;
  EXPECT_THAT(runtime->add(R"({"cniVersion":"1.1.0","name":"net","type":"tuning"})").msg(),
              HasSubstr("prevResult"));
}

TEST(Sysctls, OnlyThoseTheHostAllows) {
  const std::string file = ::testing::TempDir() + "thalweg-allowlist";
  EXPECT_TRUE(cni::check_allowed(file + "-absent", {"net.core.somaxconn"}));
  ASSERT_TRUE(write_atomically(file, "^net.ipv4.conf.[a-zA-Z0-9]+.arp_filter$\n\n  ^net.core.somax \n"));
  EXPECT_TRUE(cni::check_allowed(file, {"net.core.somaxconn", "net.ipv4.conf.IFNAME.arp_filter"}));
  EXPECT_THAT(cni::check_allowed(file, {"net.core.somaxconn", "net.ipv4.ip_forward"}).error().message,
              HasSubstr("net.ipv4.ip_forward is not allowed"));
  ASSERT_TRUE(write_atomically(file, "(\n"));
  EXPECT_THAT(cni::check_allowed(file, {"net.core.somaxconn"}).error().message, HasSubstr("pattern"));
  ::unlink(file.c_str());
}

}  // namespace
}  // namespace thalweg
