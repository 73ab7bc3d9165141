// A hundred pods at once: every plugin of a usual chain, a process each, started together; and the same for
// DEL.
#include <algorithm>
#include <set>
#include <thread>

#include "tests/cni-plugins/runtime.h"

namespace thalweg {
namespace {

namespace json = boost::json;

constexpr size_t kPods = 100;

struct ParallelTest : ::testing::Test {
  void SetUp() override {
    NEED_PLUGINS();
    runtime = std::make_unique<Runtime>("cnipl");
    for (size_t i = 0; i < kPods; ++i) {
      pods.push_back(std::make_unique<ScratchNetns>(fmt::format("cnipl{}", i)));
      folders.push_back(fmt::format("{}/{}", runtime->folder, i));
      std::filesystem::create_directories(folders.back());
    }
  }
  std::string bridge() {
    return R"({"cniVersion":"1.1.0","name":"net","type":"bridge","bridge":"br0","isDefaultGateway":true,"ipMasq":true,)"
           R"("ipam":{"type":"host-local","dataDir":")" +
           runtime->folder +
           R"(/data","ranges":[[{"subnet":"192.0.2.0/24"}],[{"subnet":"2001:db8::/64"}]]}})";
  }
  std::string portmap(size_t pod, const Answer& added) {
    return Runtime::with(
        fmt::format(
            R"({{"cniVersion":"1.1.0","name":"net","type":"portmap","runtimeConfig":{{"portMappings":)"
            R"([{{"hostPort":{},"containerPort":80}}]}}}})",
            1000 + pod),
        "prevResult", added.body);
  }
  // All at once, each in a process of its own.
  std::vector<Answer> all(const std::string& command, const std::function<std::string(size_t)>& config) {
    std::vector<Answer> answers(kPods);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < kPods; ++i)
      threads.emplace_back([&, i] {
        const std::string text = config(i), type = json::parse(text).at("type").as_string().c_str();
        answers[i] = runtime->host.netns()
                         .run([&]() -> Result<Answer> {
                           return call_plugin(runtime->path + "/" + type, runtime->path,
                                              {.command = command,
                                               .config = text,
                                               .id = fmt::format("c{}", i),
                                               .netns = pods[i]->path()},
                                              folders[i]);
                         })
                         .value();
      });
    for (std::thread& thread : threads) thread.join();
    for (size_t i = 0; i < kPods; ++i)
      EXPECT_EQ(answers[i].exit, 0) << command << " of pod " << i << ": " << answers[i].out;
    return answers;
  }

  std::unique_ptr<Runtime> runtime;
  std::vector<std::unique_ptr<ScratchNetns>> pods;
  std::vector<std::string> folders;
};

TEST_F(ParallelTest, AHundredPods) {
  const auto added = all("ADD", [&](size_t) { return bridge(); });
  if (HasFailure()) return;
  std::set<std::string> addresses;
  for (const Answer& each : added)
    for (const auto& ip : each.body.at("ips").as_array())
      addresses.insert(std::string(ip.at("address").as_string()));
  EXPECT_EQ(addresses.size(), 2 * kPods) << "an address was given twice";
  all("ADD", [&](size_t pod) { return portmap(pod, added[pod]); });
  all("CHECK", [&](size_t pod) { return Runtime::with(bridge(), "prevResult", added[pod].body); });
  all("CHECK", [&](size_t pod) { return portmap(pod, added[pod]); });
  all("DEL", [&](size_t pod) { return portmap(pod, added[pod]); });
  all("DEL", [&](size_t) { return bridge(); });
  EXPECT_EQ(nl::links(runtime->host.socket())->size(), 2u) << "more than lo and the bridge is left";
  EXPECT_EQ(run_in(runtime->host, "sh -c 'nft list table inet thalweg-cni | grep -q comment.\\\"net'"), 1)
      << "a rule is left";
  for (const auto& entry : std::filesystem::directory_iterator(runtime->folder + "/data/net"))
    EXPECT_FALSE(Ip::parse(entry.path().filename().string())) << entry.path() << " is left";
}

}  // namespace
}  // namespace thalweg
