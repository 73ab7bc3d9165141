// The API client against the test API server, well-behaved and not: whatever the server and the network do,
// the client's Cluster comes to be the server's.
#include "base/asio.h"
//
#include "kube/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "base/fd.h"
#include "kube/manifests.h"
#include "tests/support/api_server.h"

namespace thalweg::kube {
namespace {

using test::ApiServer;
using test::Misbehaviour;
using test::Transport;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Object pod(const std::string& name, int version = 0) {
  auto pod = std::make_shared<Pod>();
  pod->meta.key = {"default", name};
  pod->meta.labels["version"] = std::to_string(version);
  return std::shared_ptr<const Pod>(pod);
}

Object node(const std::string& name) {
  auto node = std::make_shared<Node>();
  node->meta.key.name = name;
  return std::shared_ptr<const Node>(node);
}

// Name and version label of every pod: what the two ends are compared by.
std::map<std::string, std::string> pods_of(const Cluster& cluster) {
  std::map<std::string, std::string> pods;
  for (const auto& [key, pod] : cluster.pods) pods[key.str()] = pod->meta.labels.at("version");
  return pods;
}

// A client on a loop, and what it has told so far.
class Client {
 public:
  Client(asio::io_context& io, ApiConfig api, std::vector<Kind> kinds = {Kind::Node, Kind::Pod}) : io_(io) {
    options.api = std::move(api);
    options.kinds = std::move(kinds);
    options.seed = 1;
    options.watch.backoff_first_ms = 2;
    options.watch.backoff_max_ms = 20;
    options.watch.page_size = 7;
    options.on_error = [this](const std::string& text) { errors.push_back(text); };
  }
  ~Client() {
    if (source) source->stop();
  }

  void start() {
    source = make_api_source(io_, options);
    source->start([this](const Cluster& now, std::span<const ObjectRef> changed) {
      cluster = now;
      changes.emplace_back(changed.begin(), changed.end());
    });
  }

  // The deadline only ends a test that has already failed.
  void until(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!holds()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline)
          << "nothing came of it; last error: " << (errors.empty() ? "none" : errors.back());
      io_.run_one_for(std::chrono::milliseconds(20));
    }
  }
  void until_synced() {
    until([this] { return !changes.empty(); });
  }

  ApiSourceOptions options;
  std::unique_ptr<Source> source;
  Cluster cluster;
  std::vector<std::vector<ObjectRef>> changes;
  std::vector<std::string> errors;

 private:
  asio::io_context& io_;
};

class EveryTransport : public testing::TestWithParam<Transport> {};
INSTANTIATE_TEST_SUITE_P(Api, EveryTransport,
                         testing::Values(Transport::Tls, Transport::Tcp, Transport::Unix,
                                         Transport::MutualTls));

TEST_P(EveryTransport, ListsPagesAndWatches) {
  asio::io_context io;
  ApiServer server(io, GetParam());
  for (int i = 0; i < 20; ++i) server.put(pod(fmt::format("p{}", i)));
  server.put(node("n1"));
  Client client(io, server.config());
  client.start();
  client.until_synced();
  EXPECT_THAT(client.changes, ElementsAre(SizeIs(21))) << "one batch, when every kind is there";
  EXPECT_EQ(server.requests("list"), 4U) << "three pages of pods, one of nodes";
  server.put(pod("p1", 5));
  server.erase({Kind::Pod, {"default", "p2"}});
  client.until([&] { return pods_of(client.cluster) == pods_of(server.cluster()); });
  EXPECT_TRUE(client.source->status().synced);
  EXPECT_THAT(client.errors, IsEmpty());
}

TEST(Client, AnUnchangedObjectWakesNobody) {
  asio::io_context io;
  ApiServer server(io);
  server.put(pod("a", 1));
  Client client(io, server.config());
  client.start();
  client.until_synced();
  server.put(pod("a", 1));  // a new version, the same content
  server.put(pod("b", 1));
  client.until([&] { return client.changes.size() == 2; });
  EXPECT_THAT(client.changes.back(), ElementsAre(ObjectRef{Kind::Pod, {"default", "b"}}));
}

TEST(Client, ResumesAfterACutWithoutListingAgain) {
  asio::io_context io;
  ApiServer server(io);
  server.put(pod("a"));
  Client client(io, server.config());
  client.start();
  client.until_synced();
  client.until([&] { return server.stats().watches == 2; });
  const size_t lists = server.requests("list");
  server.drop_clients();
  server.put(pod("b"));
  client.until([&] { return pods_of(client.cluster).size() == 2; });
  EXPECT_EQ(server.requests("list"), lists);
}

TEST(Client, ListsAgainWhenItsVersionIsTooOldAndFindsTheDeletions) {
  asio::io_context io;
  ApiServer server(io);
  server.put(pod("a"));
  server.put(pod("b"));
  Client client(io, server.config());
  client.start();
  client.until_synced();
  client.until([&] { return server.stats().watches == 2; });
  server.drop_clients();
  server.erase({Kind::Pod, {"default", "a"}});
  server.put(pod("c"));
  server.forget_history();
  client.until([&] { return client.changes.size() == 2; });
  EXPECT_EQ(pods_of(client.cluster), pods_of(server.cluster()));
  EXPECT_THAT(client.changes.back(), testing::UnorderedElementsAre(ObjectRef{Kind::Pod, {"default", "a"}},
                                                                   ObjectRef{Kind::Pod, {"default", "c"}}))
      << "one consistent batch";
}

TEST(Client, AMalformedObjectIsNamedOnceAndItsLastGoodVersionStays) {
  asio::io_context io;
  ApiServer server(io);
  server.put(pod("a", 1));
  Client client(io, server.config(), {Kind::Pod});
  client.start();
  client.until_synced();
  server.misbehave({.wrong_type = 100}, 1);
  server.put(pod("a", 2));
  client.until([&] { return !client.errors.empty(); });
  EXPECT_THAT(client.errors,
              ElementsAre("Pod default/a: metadata.labels: expected an object, got a string; its "
                          "last good version stays"));
  server.behave();
  server.put(pod("b", 1));
  client.until([&] { return pods_of(client.cluster).size() == 2; });
  EXPECT_EQ(pods_of(client.cluster).at("default/a"), "1");
}

TEST(Client, AHugeObjectIsNamedAndSkipped) {
  asio::io_context io;
  ApiServer server(io);
  server.put(pod("a", 1));
  server.misbehave({.huge = 100}, 1);
  Client client(io, server.config(), {Kind::Pod});
  client.options.limits.piece_bytes = 100'000;
  client.start();
  client.until_synced();
  EXPECT_THAT(client.cluster.pods, IsEmpty());
  EXPECT_THAT(client.errors, ElementsAre(HasSubstr("Pod default/a: larger than 100000 bytes")));
}

TEST(Client, NothingIsToldUntilEveryKindIsListed) {
  asio::io_context io;
  ApiServer server(io);
  server.misbehave({.refuse_500 = 100}, 1);
  server.put(pod("a"));
  Client client(io, server.config());
  client.start();
  client.until([&] { return client.source->status().errors >= 2; });
  EXPECT_THAT(client.changes, IsEmpty());
  EXPECT_THAT(client.errors, Contains(HasSubstr("answered 500 told to fail")));
  server.behave();
  client.until_synced();
}

TEST(Client, AStrangersCertificateIsRefusedWithItsReason) {
  asio::io_context io;
  ApiServer server(io, Transport::Tls);
  ApiServer stranger(io, Transport::Tls);
  auto config = server.config();
  config.ca = stranger.config().ca;
  Client client(io, config, {Kind::Pod});
  client.start();
  client.until([&] { return !client.errors.empty(); });
  EXPECT_THAT(client.errors.front(), HasSubstr("certificate refused"));
}

TEST(Client, ACertificateForAnotherNameIsRefused) {
  asio::io_context io;
  ApiServer server(io, Transport::Tls);
  auto config = server.config();
  config.server_name = "elsewhere.example";
  Client client(io, config, {Kind::Pod});
  client.start();
  client.until([&] { return !client.errors.empty(); });
  EXPECT_THAT(client.errors.front(), HasSubstr("TLS with"));
  EXPECT_THAT(client.changes, IsEmpty());
}

TEST(Client, ASilentWatchIsGivenUp) {
  asio::io_context io;
  ApiServer server(io);
  server.put(pod("a"));
  Client client(io, server.config(), {Kind::Pod});
  client.options.watch_idle_ms = 50;
  client.start();
  client.until_synced();
  server.misbehave({.hang = 100}, 1);
  server.put(pod("b"));
  client.until([&] { return pods_of(client.cluster).size() == 2; });
  server.behave();
  server.put(pod("c"));
  client.until([&] { return pods_of(client.cluster).size() == 3; });
}

TEST(Client, StopsAtOnceAndTellsNothingAfterwards) {
  asio::io_context io;
  ApiServer server(io);
  server.put(pod("a"));
  Client client(io, server.config());
  client.start();
  client.until_synced();
  client.source->stop();
  server.put(pod("b"));
  client.until([&] { return server.stats().clients == 0; });
  EXPECT_THAT(client.changes, SizeIs(1));
  client.source.reset();
}

TEST(Client, WithoutItsCertificateItIsSentAway) {
  asio::io_context io;
  ApiServer server(io, Transport::MutualTls);
  ApiServer stranger(io, Transport::MutualTls);
  for (const bool with_a_strangers : {false, true}) {
    auto config = server.config();
    config.client_certificate = with_a_strangers ? stranger.config().client_certificate : Material{};
    config.client_key = with_a_strangers ? stranger.config().client_key : Material{};
    Client client(io, config, {Kind::Pod});
    client.start();
    client.until([&] { return !client.errors.empty(); });
    EXPECT_THAT(client.changes, IsEmpty());
  }
  EXPECT_EQ(server.requests("list"), 0U);
}

void write_file(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

struct ScratchFolder {
  ScratchFolder() { path = ::mkdtemp(path.data()); }
  ~ScratchFolder() { std::filesystem::remove_all(path); }
  std::string path = "/tmp/thalweg-client-XXXXXX";
};

TEST(Client, AReplacedTokenFileIsReadWithTheNextRequest) {
  asio::io_context io;
  ScratchFolder folder;
  ApiServer server(io, Transport::Tls);
  server.put(pod("a"));
  server.demand_token("old");
  auto config = server.config();
  config.token.file = folder.path + "/token";
  write_file(config.token.file, "old\n");
  Client client(io, config, {Kind::Pod});
  client.start();
  client.until_synced();
  server.demand_token("new");
  server.drop_clients();
  client.until([&] { return server.requests("unauthorized") > 0; });
  client.until([&] { return testing::Value(client.errors, Contains(HasSubstr("answered 401"))); });
  write_file(config.token.file, "new\n");
  server.put(pod("b"));
  client.until([&] { return pods_of(client.cluster).size() == 2; });
}

TEST(Client, InAClusterTheMountedServiceAccountIsUsed) {
  asio::io_context io;
  ScratchFolder folder;
  ApiServer server(io, Transport::Tls);
  server.put(pod("a"));
  server.demand_token("mounted");
  ::setenv("KUBERNETES_SERVICE_HOST", server.config().host.c_str(), 1);
  ::setenv("KUBERNETES_SERVICE_PORT", server.config().port.c_str(), 1);
  EXPECT_THAT(api_in_cluster(folder.path).error().message, HasSubstr(folder.path + "/ca.crt"));
  write_file(folder.path + "/ca.crt", server.ca_pem());
  write_file(folder.path + "/token", "mounted");
  const auto config = api_in_cluster(folder.path);
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ASSERT_TRUE(config) << config.error().message;
  Client client(io, *config, {Kind::Pod});
  client.start();
  client.until_synced();
  EXPECT_THAT(client.errors, IsEmpty());
  EXPECT_FALSE(api_in_cluster(folder.path)) << "without the environment";
}

TEST(Client, AnOutageAndItsEndAreOneLineEachForAllKinds) {
  asio::io_context io;
  auto server = std::make_unique<ApiServer>(io, Transport::Unix);
  server->put(pod("a"));
  auto config = server->config();
  Client client(io, config, {Kind::Node, Kind::Pod, Kind::Service});
  std::vector<std::string> lines;
  client.options.on_away = [&](const std::string& why) { lines.push_back("away " + why); };
  client.options.on_back = [&] { lines.emplace_back("back"); };
  client.start();
  client.until_synced();
  client.until([&] { return server->stats().watches == 3; });
  server->drop_clients();
  server->stop();
  client.until([&] { return client.source->status().errors >= 3; });
  EXPECT_THAT(lines, ElementsAre(HasSubstr("away ")));
  ApiServer again(io, Transport::Unix);
  for (const char* name : {"x", "y", "b"}) again.put(pod(name));
  ASSERT_EQ(::symlink(again.config().unix_path.c_str(), config.unix_path.c_str()), 0);
  client.until([&] { return lines.size() >= 2 && pods_of(client.cluster).contains("default/b"); });
  EXPECT_THAT(lines, ElementsAre(HasSubstr("away "), "back"));
  EXPECT_THAT(client.errors, IsEmpty());
  ::unlink(config.unix_path.c_str());
}

// A listening socket nobody accepts on: how often somebody dialled stands in its backlog.
struct Dialled {
  explicit Dialled(ApiConfig& config) {
    sockaddr_in any{
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t length = sizeof any;
    ::bind(socket.get(), reinterpret_cast<sockaddr*>(&any), length);
    ::listen(socket.get(), 16);
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&any), &length);
    config.host = "127.0.0.1";
    config.port = std::to_string(ntohs(any.sin_port));
  }
  Fd take() { return Fd(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  Fd socket{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
};

TEST(Client, StoppedWhileReconnectingItDialsNoMore) {
  for (const bool within_the_handshake : {true, false}) {
    asio::io_context io;
    ApiConfig config;
    Dialled dialled(config);
    Client client(io, config, {Kind::Pod});
    client.options.watch.backoff_first_ms = client.options.watch.backoff_max_ms = 5000;
    client.start();
    Fd first;
    client.until([&] { return (first = dialled.take()).get() >= 0; });
    if (!within_the_handshake) {  // then between two tries
      first = Fd();
      client.until([&] { return !client.errors.empty(); });
    }
    client.source->stop();
    io.restart();
    io.run();  // ends: nothing waits any more
    EXPECT_LT(dialled.take().get(), 0);
    EXPECT_THAT(client.changes, IsEmpty());
  }
}

TEST(Client, AListOfTwentyThousandIsOneRequest) {
  asio::io_context io;
  ApiServer server(io, Transport::Unix);
  for (int i = 0; i < 20'000; ++i) server.put(pod(fmt::format("p{}", i)));
  Client client(io, server.config(), {Kind::Pod});
  client.options.watch.page_size = 30'000;
  client.start();
  client.until_synced();
  EXPECT_EQ(server.requests("list"), 1U);
  EXPECT_EQ(pods_of(client.cluster), pods_of(server.cluster()));
}

// Random changes under random misbehaviour: in the end the two are the same.
class Converges : public testing::TestWithParam<uint32_t> {
 protected:
  // How much goes wrong in one run is a matter of timing; over all of them it must be plenty.
  static void TearDownTestSuite() { EXPECT_GE(misdeeds, runs); }
  inline static size_t misdeeds = 0;
  inline static size_t runs = 0;
};
INSTANTIATE_TEST_SUITE_P(Seeds, Converges, testing::Range(1U, 25U));

TEST_P(Converges, UnderRandomMisbehaviour) {
  asio::io_context io;
  std::mt19937 random(GetParam());
  ApiServer server(io, static_cast<Transport>(random() % 3), {.history = 40});
  Client client(io, server.config());
  client.options.limits.piece_bytes = 100'000;
  client.options.watch_idle_ms = 100;
  client.options.seed = GetParam();
  const bool spoils_objects = GetParam() % 2;
  const auto chance = [&](int most) { return static_cast<int>(random() % 3 ? 0 : random() % most); };
  client.start();
  for (int round = 0; round < 8; ++round) {
    Misbehaviour how{.refuse_410 = chance(40),
                     .refuse_429 = chance(40),
                     .refuse_500 = chance(40),
                     .cut = chance(50),
                     .duplicate = chance(50),
                     .reorder = chance(50),
                     .dribble = chance(50),
                     .garbage = chance(40),
                     .error_410 = chance(40),
                     .hang = chance(30)};
    if (spoils_objects) how.wrong_type = chance(30), how.huge = chance(10);
    server.misbehave(how, static_cast<uint32_t>(random()));
    for (int i = 0; i < 40; ++i) {
      const std::string name = fmt::format("p{}", random() % 30);
      if (random() % 3) {
        server.put(pod(name, static_cast<int>(random() % 1000)));
      } else {
        server.erase({Kind::Pod, {"default", name}});
      }
      if (random() % 3 == 0) io.run_for(std::chrono::milliseconds(2));
      if (random() % 40 == 0) server.drop_clients();
      if (random() % 40 == 0) server.forget_history();
    }
  }
  misdeeds += server.misdeeds();
  ++runs;
  server.behave();
  if (spoils_objects) {  // what was malformed on its way has to be said again
    for (const auto& [key, one] : Cluster(server.cluster()).pods) {
      auto copy = std::make_shared<Pod>(*one);
      copy->meta.labels["final"] = "yes";
      server.put(std::shared_ptr<const Pod>(copy));
    }
  }
  client.until_synced();
  client.until([&] { return pods_of(client.cluster) == pods_of(server.cluster()); });
  EXPECT_EQ(pods_of(client.cluster), pods_of(server.cluster()));
}

}  // namespace
}  // namespace thalweg::kube
