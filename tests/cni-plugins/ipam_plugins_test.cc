// host-local and static, as a runtime calls them; and host-local's files beside the reference's program.
#include <fstream>
#include <set>
#include <thread>

#include "tests/cni-plugins/runtime.h"

namespace thalweg {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

// IPAM plugins look at no network: no namespaces are needed.
struct Ipam : ::testing::Test {
  Ipam() {
    std::string pattern = ::testing::TempDir() + "thalweg-ipam-XXXXXX";
    folder = ::mkdtemp(pattern.data());
  }
  ~Ipam() override { std::filesystem::remove_all(folder); }
  void SetUp() override {
    if (cni_bin().empty()) GTEST_SKIP() << "THALWEG_BIN: no built plugin there";
  }
  std::string config(const std::string& ranges, const std::string& more = "", const std::string& top = "") {
    return R"({"cniVersion":"1.1.0","name":"net","ipam":{"type":"host-local","dataDir":")" + folder +
           R"(/data","ranges":)" + ranges + more + "}" + top + "}";
  }
  Answer call(const std::string& command, const std::string& config, const std::string& id = "c1",
              const std::string& args = "", const std::string& bin = cni_bin(), const std::string& own = "") {
    const std::string place = folder + "/" + (own.empty() ? "own" : own);
    std::filesystem::create_directories(place);
    return call_plugin(
        bin + "/" + plugin, bin,
        {.command = command, .config = config, .id = id, .netns = "/run/netns/absent", .args = args}, place);
  }
  std::string address(const Answer& answer, size_t at = 0) {
    if (answer.exit != 0) return answer.out;
    return std::string(answer.body.at("ips").at(at).at("address").as_string());
  }
  std::string file(const std::string& name) {
    return read_file(folder + "/data/net/" + name).value_or("none");
  }
  size_t given() {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/data/net"))
      count += Ip::parse(entry.path().filename().string()).has_value();
    return count;
  }
  std::string folder, plugin = "host-local";
};

const std::string kFour = R"([[{"subnet":"192.0.2.0/29"}]])";  // .1 the gateway, .2 to .6

TEST_F(Ipam, GivesTheNextAndBeginsAgainAtTheEnd) {
  for (int i = 2; i <= 6; ++i)
    EXPECT_EQ(address(call("ADD", config(kFour), fmt::format("c{}", i))), fmt::format("192.0.2.{}/29", i));
  const Answer full = call("ADD", config(kFour), "c7");
  EXPECT_EQ(full.exit, 1);
  EXPECT_THAT(full.msg(), HasSubstr("no address is free in 192.0.2.1-192.0.2.6"));
  EXPECT_EQ(call("STATUS", config(kFour)).code(), 51);
  EXPECT_EQ(call("DEL", config(kFour), "c3").exit, 0);
  EXPECT_EQ(call("STATUS", config(kFour)).exit, 0);
  EXPECT_EQ(address(call("ADD", config(kFour), "c8")), "192.0.2.3/29");
  EXPECT_EQ(call("DEL", config(kFour), "c2").exit, 0);
  EXPECT_EQ(call("DEL", config(kFour), "c5").exit, 0);
  EXPECT_EQ(address(call("ADD", config(kFour), "c9")), "192.0.2.5/29") << "behind the last one given";
}

TEST_F(Ipam, KeepsTheReferencesFiles) {
  EXPECT_EQ(address(call("ADD", config(kFour))), "192.0.2.2/29");
  EXPECT_EQ(file("192.0.2.2"), "c1\r\neth0");
  EXPECT_EQ(file("last_reserved_ip.0"), "192.0.2.2");
  EXPECT_EQ(
      call("CHECK", Runtime::with(config(kFour), "prevResult", json::object{{"ips", json::array()}})).exit,
      0);
  EXPECT_THAT(call("ADD", config(kFour)).msg(), HasSubstr("c1 has 192.0.2.2 already"));
  EXPECT_EQ(call("DEL", config(kFour)).exit, 0);
  EXPECT_EQ(call("DEL", config(kFour)).exit, 0);
  EXPECT_EQ(given(), 0u);
  EXPECT_NE(
      call("CHECK", Runtime::with(config(kFour), "prevResult", json::object{{"ips", json::array()}})).exit,
      0);
}

TEST_F(Ipam, TheReferenceGoesOnWithThemAndWeWithIts) {
  const std::string reference = "/usr/lib/cni";
  if (!std::filesystem::exists(reference + "/host-local"))
    GTEST_SKIP() << "no " << reference << "/host-local";
  const std::string old = Runtime::with(config(kFour), "cniVersion", "1.0.0");
  EXPECT_EQ(address(call("ADD", old, "c1")), "192.0.2.2/29");
  EXPECT_EQ(address(call("ADD", old, "c2", "", reference)), "192.0.2.3/29");
  EXPECT_EQ(address(call("ADD", old, "c3")), "192.0.2.4/29");
  EXPECT_EQ(call("DEL", old, "c1", "", reference).exit, 0);
  EXPECT_EQ(call("DEL", old, "c2").exit, 0);
  EXPECT_EQ(call("DEL", old, "c3", "", reference).exit, 0);
  EXPECT_EQ(given(), 0u);
}

TEST_F(Ipam, OneOfEachSet) {
  const std::string two =
      R"([[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.10","rangeEnd":"192.0.2.11"},)"
      R"({"subnet":"198.51.100.0/24"}],[{"subnet":"2001:db8::/64","gateway":"2001:db8::9"}]])";
  const Answer first =
      call("ADD", config(two, R"(,"routes":[{"dst":"0.0.0.0/0","mtu":1400},{"dst":"::/0"}])"));
  EXPECT_EQ(address(first, 0), "192.0.2.10/24");
  EXPECT_EQ(address(first, 1), "2001:db8::1/64");
  EXPECT_EQ(first.body.at("ips").at(1).at("gateway"), "2001:db8::9");
  EXPECT_EQ(first.body.at("routes").at(0).at("mtu"), 1400);
  EXPECT_EQ(address(call("ADD", config(two), "c2")), "192.0.2.11/24");
  EXPECT_EQ(address(call("ADD", config(two), "c3")), "198.51.100.2/24");
}

TEST_F(Ipam, GivesWhatIsAskedForOrNothing) {
  EXPECT_EQ(address(call("ADD", config(kFour), "c1", "IgnoreUnknown=1;K8S_POD_NAME=x;IP=192.0.2.5")),
            "192.0.2.5/29");
  EXPECT_EQ(address(call("ADD", config(kFour, "", R"(,"args":{"cni":{"ips":["192.0.2.6/29"]}})"), "c2")),
            "192.0.2.6/29");
  EXPECT_EQ(address(call("ADD", config(kFour, "", R"(,"runtimeConfig":{"ips":["192.0.2.4"]})"), "c3")),
            "192.0.2.4/29");
  for (const auto& [ip, why] :
       {std::pair{"192.0.2.4", "is not free"}, {"192.0.2.1", "gateway"}, {"192.0.2.99", "no range holds"}}) {
    const Answer refused =
        call("ADD", config(kFour, "", fmt::format(R"(,"runtimeConfig":{{"ips":["{}"]}})", ip)), "c4");
    EXPECT_THAT(refused.msg(), HasSubstr(why)) << ip;
  }
  EXPECT_EQ(given(), 3u) << "what was refused left something";
  EXPECT_EQ(call("ADD", config(kFour), "c4", "NOBODY=knows").code(), 4);
}

TEST_F(Ipam, ARuntimesRangesGoBeforeTheConfigurations) {
  const Answer got =
      call("ADD", config(kFour, "", R"(,"runtimeConfig":{"ipRanges":[[{"subnet":"203.0.113.0/24"}]]})"));
  EXPECT_EQ(address(got, 0), "203.0.113.2/24");
  EXPECT_EQ(address(got, 1), "192.0.2.2/29");
}

TEST_F(Ipam, BadConfigurationsNameTheField) {
  for (const auto& [ranges, part] : std::initializer_list<std::pair<std::string, std::string>>{
           {R"([[{"subnet":"192.0.2.1/24"}]])", "ipam.ranges[0][0].subnet"},
           {R"([[{"subnet":"192.0.2.0/31"}]])", "too small"},
           {R"([[{"subnet":"192.0.2.0/24","rangeStart":"192.0.3.1"}]])",
            "ipam.ranges[0][0].rangeStart: is not in 192.0.2.0/24"},
           {R"([[{"subnet":"192.0.2.0/24","rangeStart":"192.0.2.9","rangeEnd":"192.0.2.8"}]])", "rangeEnd"},
           {R"([[{"subnet":"192.0.2.0/24"}],[{"subnet":"192.0.2.128/25"}]])", "range sets 0 and 1 overlap"},
           {R"([[{"subnet":"192.0.2.0/24"},{"subnet":"2001:db8::/64"}]])", "mixes"},
           {R"([[]])", "range set 0 is empty"},
           {R"([])", "no ranges"},
           {R"(7)", "ipam.ranges"}})
    EXPECT_THAT(call("ADD", config(ranges)).msg(), HasSubstr(part)) << ranges;
  for (const char* folder : {"relative", "/var/../etc", "/var/lib/cni/..", "/tmp/a b", "/tmp/$(id)"})
    EXPECT_THAT(
        call("ADD",
             fmt::format(
                 R"({{"cniVersion":"1.1.0","name":"n","ipam":{{"dataDir":"{}","subnet":"192.0.2.0/24"}}}})",
                 folder))
            .msg(),
        HasSubstr("ipam.dataDir"))
        << folder;
}

TEST_F(Ipam, GcKeepsTheValidOnes) {
  for (const char* id : {"c1", "c2", "c3"}) call("ADD", config(kFour), id);
  const json::array valid{json::object{{"containerID", "c2"}, {"ifname", "eth0"}},
                          json::object{{"containerID", "c3"}, {"ifname", "eth1"}}};
  EXPECT_EQ(call("GC", Runtime::with(config(kFour), "cni.dev/valid-attachments", valid)).exit, 0);
  EXPECT_EQ(given(), 1u);
  EXPECT_EQ(file("192.0.2.3"), "c2\r\neth0");
}

TEST_F(Ipam, AnEmptyFileIsNobodys) {
  call("ADD", config(kFour));
  for (const char* ip : {"192.0.2.3", "192.0.2.5"})  // writers ended between open and write
    std::ofstream(folder + "/data/net/" + ip).close();
  EXPECT_EQ(address(call("ADD", config(kFour), "c2")), "192.0.2.3/29");
  EXPECT_EQ(call("DEL", config(kFour), "c2").exit, 0);
  EXPECT_EQ(given(), 1u);
}

TEST_F(Ipam, ALinkInTheFolderIsNotFollowed) {
  call("ADD", config(kFour));
  std::filesystem::create_symlink(folder + "/victim", folder + "/data/net/192.0.2.3");
  std::filesystem::remove(folder + "/data/net/last_reserved_ip.0");
  std::filesystem::create_symlink(folder + "/victim", folder + "/data/net/last_reserved_ip.0");
  EXPECT_EQ(call("ADD", config(kFour), "c2").exit, 1);
  EXPECT_FALSE(std::filesystem::exists(folder + "/victim"));
}

TEST_F(Ipam, ManyAtOnceGetDifferentOnes) {
  const std::string wide = R"([[{"subnet":"192.0.2.0/24"}]])";
  std::vector<std::string> got(100);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = t; i < got.size(); i += 4)
        got[i] =
            address(call("ADD", config(wide), fmt::format("c{}", i), "", cni_bin(), fmt::format("own{}", t)));
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(got.begin(), got.end()).size(), got.size());
  EXPECT_EQ(given(), got.size());
}

TEST_F(Ipam, ResolvConfBecomesDns) {
  std::ofstream(folder + "/resolv.conf")
      << "# c\nnameserver 192.0.2.53\nnameserver 2001:db8::53\ndomain example.org\n"
         "search a.example b.example\noptions ndots:5 rotate\nsortlist x\n";
  const auto dns =
      call("ADD", config(kFour, fmt::format(R"(,"resolvConf":"{}/resolv.conf")", folder))).body.at("dns");
  EXPECT_EQ(json::serialize(dns), R"({"nameservers":["192.0.2.53","2001:db8::53"],"domain":"example.org",)"
                                  R"("search":["a.example","b.example"],"options":["ndots:5","rotate"]})");
}

// ---- static

std::string fixed(const std::string& ipam, const std::string& top = "") {
  return R"({"cniVersion":"1.1.0","name":"net","ipam":{"type":"static")" + ipam + "}" + top + "}";
}

TEST_F(Ipam, StaticGivesWhatIsSaid) {
  plugin = "static";
  const std::string said =
      R"(,"addresses":[{"address":"192.0.2.7/24","gateway":"192.0.2.1"},{"address":"2001:db8::7/64"}],)"
      R"("routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["192.0.2.53"]})";
  const Answer got = call("ADD", fixed(said));
  EXPECT_EQ(address(got, 0), "192.0.2.7/24");
  EXPECT_EQ(got.body.at("ips").at(0).at("gateway"), "192.0.2.1");
  EXPECT_EQ(address(got, 1), "2001:db8::7/64");
  EXPECT_EQ(got.body.at("dns").at("nameservers").at(0), "192.0.2.53");
  EXPECT_EQ(address(call("ADD", fixed("", R"(,"runtimeConfig":{"ips":["192.0.2.8/24"]})"))), "192.0.2.8/24");
  const Answer env = call("ADD", fixed(""), "c1", "IP=192.0.2.9/24, 2001:db8::9/64;GATEWAY=192.0.2.2");
  EXPECT_EQ(address(env, 1), "2001:db8::9/64");
  EXPECT_EQ(env.body.at("ips").at(0).at("gateway"), "192.0.2.2");
  EXPECT_THAT(call("ADD", fixed(R"(,"addresses":[{"address":"192.0.2.7"}])")).msg(),
              HasSubstr("ipam.addresses[0].address"));
  for (const char* verb : {"DEL", "STATUS"}) EXPECT_EQ(call(verb, fixed(said)).exit, 0);
  EXPECT_EQ(call("CHECK", Runtime::with(fixed(said), "prevResult", got.body)).exit, 0);
  EXPECT_EQ(call("GC", Runtime::with(fixed(said), "cni.dev/valid-attachments", json::array())).exit, 0);
}

}  // namespace
}  // namespace thalweg
