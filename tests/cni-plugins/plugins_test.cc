// The installed binary, as a runtime calls it: by name, environment and stdin; a server in the agent's place.
#include "base/asio.h"
// (the precompiled header must come first)
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "base/http.h"
#include "base/loop.h"
#include "tests/base/scratch_netns.h"

namespace thalweg {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

struct Ran {
  int exit = -1;
  std::string out;
  json::object body() const { return out.empty() ? json::object() : json::parse(out).as_object(); }
  int64_t code() const { return body().contains("code") ? body().at("code").as_int64() : 0; }
};

struct PluginsTest : ::testing::Test {
  PluginsTest() {
    std::string pattern = ::testing::TempDir() + "thalweg-cni-XXXXXX";
    folder = ::mkdtemp(pattern.data());
    socket = folder + "/agent.sock";
    const char* bin = std::getenv("THALWEG_BIN");
    if (bin) bin_folder = std::string(bin) + "/../cni-bin";
  }
  void SetUp() override {
    if (!std::filesystem::exists(bin_folder + "/thalweg-cni"))
      GTEST_SKIP() << "THALWEG_BIN: no built plugin there";
  }
  ~PluginsTest() override {
    if (thread.joinable()) {
      asio::post(io, [this] { server->stop(), io.stop(); });
      thread.join();
    }
    std::filesystem::remove_all(folder);
  }

  // The agent: answers every request with this, and keeps what it was asked.
  void agent(int status, const std::string& body) {
    server = std::make_unique<http::Server>(io);
    server->route("POST", "/v1/cni", [this, status, body](const http::Request& request) {
      asked = json::parse(request.body).as_object();
      return http::Response{status, "application/json", body};
    });
    ASSERT_TRUE(server->listen_unix(socket));
    thread = std::thread([this] { run_loop(io); });
  }

  std::string config(const std::string& version = "1.1.0", const std::string& more = "") {
    return R"({"cniVersion":")" + version + R"(","name":"net","type":"thalweg-cni","agentSocket":")" +
           socket + "\"" + more + "}";
  }

  Ran call(const std::string& plugin, const std::string& command, const std::string& netns,
           const std::string& in) {
    const std::string file = folder + "/in";
    EXPECT_TRUE(write_atomically(file, in));
    FILE* pipe =
        ::popen(fmt::format("env -i CNI_COMMAND={} CNI_CONTAINERID=c1 CNI_NETNS={} CNI_IFNAME=eth0 "
                            "CNI_PATH={} CNI_ARGS='K8S_POD_NAMESPACE=default;K8S_POD_NAME=web' {}/{} <{}",
                            command, netns, bin_folder, bin_folder, plugin, file)
                    .c_str(),
                "r");
    Ran ran;
    char chunk[4096];
    for (size_t n; (n = ::fread(chunk, 1, sizeof chunk, pipe)) > 0;) ran.out.append(chunk, n);
    const int status = ::pclose(pipe);
    ran.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return ran;
  }

  std::string folder, socket, bin_folder;
  asio::io_context io{1};
  std::unique_ptr<http::Server> server;
  std::thread thread;
  json::object asked;  // read only after the call has answered
};

constexpr const char* kResult =
    R"({"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:02","mtu":1400,"sandbox":"/run/netns/x"}],)"
    R"("ips":[{"address":"192.0.2.7/32","gateway":"169.254.1.1","interface":0}],"dns":{"nameservers":["192.0.2.10"]}})";
const std::string kPrevious = R"(,"prevResult":{"ips":[]})";
const std::string kValid = R"(,"cni.dev/valid-attachments":[])";

TEST_F(PluginsTest, AddAsksTheAgentAndAnswersInTheVersionAsked) {
  agent(200, kResult);
  const Ran ran = call("thalweg-cni", "ADD", "/run/netns/x", config("0.4.0"));
  EXPECT_EQ(ran.exit, 0) << ran.out;
  EXPECT_EQ(ran.body().at("cniVersion"), "0.4.0");
  EXPECT_EQ(ran.body().at("ips").at(0).at("version"), "4");
  EXPECT_EQ(ran.body().at("dns").at("nameservers").at(0), "192.0.2.10");
  EXPECT_EQ(asked.at("command"), "ADD");
  EXPECT_EQ(asked.at("containerId"), "c1");
  EXPECT_EQ(asked.at("netns"), "/run/netns/x");
  EXPECT_EQ(asked.at("ifname"), "eth0");
  EXPECT_EQ(asked.at("args"), "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web");
  EXPECT_EQ(asked.at("config").at("name"), "net");
}

TEST_F(PluginsTest, TheOtherVerbsAnswerNothing) {
  agent(200, "{}");
  for (const char* command : {"DEL", "CHECK", "GC", "STATUS"}) {
    const Ran ran = call("thalweg-cni", command, "/run/netns/x", config("1.1.0", kPrevious + kValid));
    EXPECT_EQ(ran.exit, 0) << command << ran.out;
    EXPECT_EQ(ran.out, "") << command;
    EXPECT_EQ(asked.at("command"), command);
  }
  EXPECT_EQ(call("thalweg-cni", "DEL", "''", config()).exit, 0);  // the namespace is gone: fine
}

TEST_F(PluginsTest, WithoutAnAgentTheRuntimeIsToldToComeAgain) {
  for (const auto& [command, code] :
       {std::pair{"ADD", 11}, {"DEL", 11}, {"CHECK", 11}, {"GC", 11}, {"STATUS", 50}}) {
    const Ran ran = call("thalweg-cni", command, "/run/netns/x", config("1.1.0", kPrevious + kValid));
    EXPECT_EQ(ran.exit, 1);
    EXPECT_EQ(ran.code(), code) << command << ran.out;
    EXPECT_THAT(ran.out, HasSubstr("agent.sock"));
  }
  EXPECT_EQ(call("thalweg-cni", "VERSION", "''", R"({"cniVersion":"1.0.0"})").exit, 0);
}

TEST_F(PluginsTest, TheAgentsErrorsArePassedOn) {
  agent(500, R"({"code":11,"msg":"no free address in 192.0.2.0/24","details":"all 253 are in use"})");
  const Ran ran = call("thalweg-cni", "ADD", "/run/netns/x", config());
  EXPECT_EQ(ran.exit, 1);
  EXPECT_EQ(ran.code(), 11);
  EXPECT_EQ(ran.body().at("msg"), "no free address in 192.0.2.0/24");
  EXPECT_EQ(ran.body().at("details"), "all 253 are in use");
}

TEST_F(PluginsTest, AnAgentThatTalksNonsense) {
  agent(200, R"({"ips":[{"address":"nowhere"}]})");
  EXPECT_EQ(call("thalweg-cni", "ADD", "/run/netns/x", config()).code(), 6);
}

TEST_F(PluginsTest, BadAgentSocketNamesTheField) {
  for (const char* value : {"7", "\"relative\""}) {
    const Ran ran = call("thalweg-cni", "ADD", "/run/netns/x",
                         std::string(R"({"cniVersion":"1.1.0","name":"net","agentSocket":)") + value + "}");
    EXPECT_EQ(ran.code(), 7);
    EXPECT_THAT(ran.out, HasSubstr("agentSocket"));
  }
}

TEST_F(PluginsTest, AnUnknownNameIsAnError) {
  const std::string strange = folder + "/strange";
  std::filesystem::copy_file(bin_folder + "/thalweg-cni", strange);
  EXPECT_EQ(::system((strange + " >/dev/null </dev/null").c_str()), 1 << 8);
}

TEST_F(PluginsTest, LoopbackBringsLoUpAndDown) {
  NEED_NETNS();
  ScratchNetns pod("lo");
  ASSERT_TRUE(nl::set_up(pod.socket(), 1, false));
  const std::string plain = R"({"cniVersion":"1.0.0","name":"lo","type":"loopback"})";
  const std::string checked =
      R"({"cniVersion":"1.0.0","name":"lo","type":"loopback","prevResult":{"ips":[]}})";
  EXPECT_NE(call("loopback", "CHECK", pod.path(), checked).exit, 0);
  const Ran added = call("loopback", "ADD", pod.path(), plain);
  EXPECT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(added.body().at("interfaces").at(0).at("name"), "lo");
  EXPECT_EQ(added.body().at("ips").at(1).at("address"), "::1/128");
  EXPECT_TRUE(nl::link_by_index(pod.socket(), 1)->up);
  EXPECT_EQ(call("loopback", "CHECK", pod.path(), checked).exit, 0);
  EXPECT_EQ(call("loopback", "DEL", pod.path(), plain).exit, 0);
  EXPECT_FALSE(nl::link_by_index(pod.socket(), 1)->up);
  EXPECT_EQ(call("loopback", "DEL", "/run/netns/twt-base-absent", plain).exit, 0);
  EXPECT_EQ(call("loopback", "DEL", "/proc/self/ns/net", plain).exit, 0);
  auto own = nl::Socket::open().value();
  EXPECT_TRUE(nl::link_by_index(own, 1)->up) << "the test's own lo was taken down";
  EXPECT_EQ(call("loopback", "ADD", "/run/netns/twt-base-absent", plain).code(), 3);
}

}  // namespace
}  // namespace thalweg
