// Plugins killed at every system call they make, one run for each: what the runtime does then, DEL, leaves
// nothing, and the next ADD works. Takes a minute or so.
#include <algorithm>

#include "cni-plugins/host_rules.h"
#include "tests/cni-plugins/killed.h"
#include "tests/cni-plugins/runtime.h"

namespace thalweg {
namespace {

namespace json = boost::json;

struct CrashTest : ::testing::Test {
  void SetUp() override {
    NEED_PLUGINS();
    runtime = std::make_unique<Runtime>("cnicr");
  }
  std::string bridge() {
    return R"({"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":"br0","isDefaultGateway":true,"ipMasq":true,)"
           R"("macspoofchk":true,"ipam":{"type":"host-local","dataDir":")" +
           runtime->folder +
           R"(/data","ranges":[[{"subnet":"192.0.2.0/24"}],[{"subnet":"2001:db8::/64"}]]}})";
  }
  std::string portmap() {
    const std::string text =
        R"({"cniVersion":"1.1.0","name":"net","type":"portmap","runtimeConfig":{"portMappings":)"
        R"([{"hostPort":80,"containerPort":8080,"protocol":"tcp"},{"hostPort":53,"containerPort":53,"protocol":"udp"}]}})";
    return Runtime::with(text, "prevResult", added.body);
  }
  std::string firewall() {
    return Runtime::with(R"({"cniVersion":"1.1.0","name":"net","type":"firewall"})", "prevResult",
                         added.body);
  }
  std::string collected(const std::string& config) {
    return Runtime::with(config, "cni.dev/valid-attachments", json::array());
  }

  Killed killed(const std::string& command, const std::string& config, int k) {
    const std::string type = json::parse(config).at("type").as_string().c_str();
    return runtime->host.netns()
        .run([&]() -> Result<Killed> {
          return Tracer().run(runtime->path + "/" + type,
                              {"CNI_COMMAND=" + command, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0",
                               "CNI_NETNS=" + runtime->pod.path(), "CNI_PATH=" + runtime->path},
                              config, k);
        })
        .value();
  }

  size_t rules_left() {
    return runtime->host.netns()
        .run([&]() -> Result<size_t> {
          auto rules = TRY(cni::HostRules::open());
          size_t count = 0;
          for (const auto purpose : {cni::Purpose::Masquerade, cni::Purpose::HostPorts,
                                     cni::Purpose::HostPortMasquerade, cni::Purpose::SpoofCheck})
            count += TRY(rules.count(cni::owner_of("net", {"c1", "eth0"}), purpose));
          auto netfilter = TRY(nft::open_netfilter());
          for (const auto family : {nft::Family::V4, nft::Family::V6})
            for (const auto& rule : TRY(nft::rules(netfilter, family, "filter", "CNI-FORWARD")))
              count += rule.comment == cni::owner_of("net", {"c1", "eth0"});
          return count;
        })
        .value();
  }
  // Everything in the folder but what a network keeps for good.
  std::vector<std::string> files_left() {
    std::vector<std::string> out;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(runtime->folder + "/data/net", none)) {
      const std::string name = entry.path().filename();
      if (name != "lock" && !name.starts_with("last_reserved_ip.")) out.push_back(name);
    }
    return out;
  }
  void expect_nothing(const std::string& when) {
    EXPECT_EQ(nl::links(runtime->pod.socket())->size(), 1u) << when;
    const auto links = nl::links(runtime->host.socket()).value();
    EXPECT_LE(std::count_if(links.begin(), links.end(),
                            [](const auto& link) { return link.name != "lo" && link.name != "br0"; }),
              0)
        << when;
    EXPECT_THAT(files_left(), ::testing::IsEmpty()) << when;
    EXPECT_EQ(rules_left(), 0u) << when;
  }

  void add_all() {
    added = runtime->add(bridge());
    ASSERT_EQ(added.exit, 0) << added.out;
    const Answer mapped = runtime->add(portmap());
    ASSERT_EQ(mapped.exit, 0) << mapped.out;
    const Answer passed = runtime->add(firewall());
    ASSERT_EQ(passed.exit, 0) << passed.out;
  }
  void del_all(const std::string& when) {
    for (const std::string& config : {firewall(), portmap(), bridge()}) {
      const Answer gone = runtime->del(config);
      EXPECT_EQ(gone.exit, 0) << when << ": " << gone.out;
    }
  }

  // `prepare`, then the call killed at its k-th system call, then what the runtime does. For every k there
  // is.
  int for_every_call(const std::string& command, const std::function<std::string()>& config,
                     const std::function<void()>& prepare) {
    for (int k = 1; k < 2000; ++k) {
      prepare();
      if (HasFatalFailure()) return k;
      const Killed got = killed(command, config(), k);
      const std::string when = fmt::format("{} killed at call {}", command, k);
      if (!got.killed) {
        EXPECT_EQ(got.exit, 0) << when;
        del_all(when);
        fmt::print("{} of {}: {} points\n", command, json::parse(config()).at("type").as_string().c_str(),
                   k - 1);
        return k - 1;
      }
      del_all(when);
      expect_nothing(when);
      if (HasFailure()) return k;
    }
    ADD_FAILURE() << command << " makes too many calls";
    return 0;
  }

  std::unique_ptr<Runtime> runtime;
  Answer added;
};

TEST_F(CrashTest, KilledAtEverySystemCall) {
  // A result to stand behind, for portmap's DEL where the bridge's ADD never came to give one.
  add_all();
  del_all("the first time");
  const auto nothing = [] {};
  const auto all = [this] { add_all(); };
  const auto behind_bridge = [this] {
    added = runtime->add(bridge());
    ASSERT_EQ(added.exit, 0) << added.out;
  };
  int points = 0;
  points += for_every_call(
      "ADD", [this] { return bridge(); }, nothing);
  points += for_every_call(
      "ADD", [this] { return portmap(); }, behind_bridge);
  points += for_every_call(
      "ADD", [this] { return firewall(); }, behind_bridge);
  points += for_every_call(
      "DEL", [this] { return firewall(); }, all);
  points += for_every_call(
      "GC", [this] { return collected(firewall()); }, all);
  points += for_every_call(
      "DEL", [this] { return portmap(); }, all);
  points += for_every_call(
      "DEL", [this] { return bridge(); }, all);
  points += for_every_call(
      "GC", [this] { return collected(portmap()); }, all);
  points += for_every_call(
      "GC", [this] { return collected(bridge()); }, all);
  EXPECT_GE(points, 500);
  add_all();
  EXPECT_EQ(runtime->check(bridge(), added).exit, 0);
  del_all("at the end");
}

// The first bridge of a host, its table and its folder: killed while they are made, the next ADD makes them
// whole.
TEST_F(CrashTest, KilledWhileTheHostsPartIsMade) {
  for (int k = 1; k < 2000; ++k) {
    runtime.reset();
    runtime = std::make_unique<Runtime>("cnicr");
    const Killed got = killed("ADD", bridge(), k);
    if (!got.killed) {
      fmt::print("the first ADD of bridge: {} points\n", k - 1);
      EXPECT_GE(k, 100);
      return;
    }
    EXPECT_EQ(runtime->del(bridge()).exit, 0);
    added = runtime->add(bridge());
    EXPECT_EQ(added.exit, 0) << k << added.out;
    EXPECT_EQ(runtime->check(bridge(), added).exit, 0) << k;
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace thalweg
