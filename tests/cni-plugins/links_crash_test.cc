// The plugins with one link killed at every system call of ADD and of DEL, one run for each: the DEL that
// follows leaves nothing, and a device of the host is the host's again.
#include "tests/cni-plugins/killed.h"
#include "tests/cni-plugins/links.h"

namespace thalweg {
namespace {

struct LinksCrashTest : MasterTest {
  Killed killed(const std::string& command, const std::string& config, int k) {
    const std::string type = boost::json::parse(config).at("type").as_string().c_str();
    return runtime->host.netns()
        .run([&]() -> Result<Killed> {
          return Tracer().run(runtime->path + "/" + type,
                              {"CNI_COMMAND=" + command, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0",
                               "CNI_NETNS=" + runtime->pod.path(), "CNI_PATH=" + runtime->path},
                              config, k);
        })
        .value();
  }
  void expect_nothing(const std::string& when) {
    EXPECT_EQ(links(runtime->pod), 1u) << when;
    EXPECT_EQ(links(runtime->host), 2u) << when;
    EXPECT_TRUE(has_link(runtime->host, "up0")) << when;
    EXPECT_EQ(given(), 0u) << when;
  }
  void at_every_call(const std::string& command, const std::string& config) {
    for (int k = 1; k < 2000 && !HasFailure(); ++k) {
      const std::string when = fmt::format("{} killed at call {}", command, k);
      if (command == "DEL") {
        EXPECT_EQ(runtime->add(config).exit, 0) << when;
      }
      const Killed got = killed(command, config, k);
      const Answer gone = runtime->del(config);
      EXPECT_EQ(gone.exit, 0) << when << ": " << gone.out;
      expect_nothing(when);
      if (!got.killed) {
        EXPECT_EQ(got.exit, 0) << when;
        EXPECT_GE(k, 20) << command << " was not looked at";
        fmt::print("{}: {} points\n", command, k - 1);
        return;
      }
    }
  }
  void at_every_call(const std::string& config) {
    for (const char* command : {"ADD", "DEL"}) at_every_call(command, config);
  }
};

TEST_F(LinksCrashTest, Ptp) { at_every_call(config("ptp")); }
TEST_F(LinksCrashTest, Macvlan) { at_every_call(config("macvlan", R"(,"master":"up0")")); }
TEST_F(LinksCrashTest, HostDevice) { at_every_call(config("host-device", R"(,"device":"up0")")); }
TEST_F(LinksCrashTest, Tap) {
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/net/tun";
  at_every_call(config("tap"));
}

}  // namespace
}  // namespace thalweg
