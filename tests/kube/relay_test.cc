// The relay: the protocol's pure half by tables, and the socket by raw HTTP, curl and our own client.
#include "base/asio.h"
//
#include "kube/relay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <fstream>

#include "kube/client.h"
#include "kube/list_watch.h"

namespace json = boost::json;

namespace thalweg::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Object pod(const std::string& name, const std::string& ns = "default") {
  auto pod = std::make_shared<Pod>();
  pod->meta.key = {ns, name};
  return std::shared_ptr<const Pod>(pod);
}
Object secret(const std::string& name) {
  auto secret = std::make_shared<Secret>();
  secret->meta.key = {"default", name};
  secret->tls_key = "top secret";
  return std::shared_ptr<const Secret>(secret);
}

std::vector<std::string> names(const History::Page& page) {
  std::vector<std::string> names;
  for (const auto& item : page.items) names.push_back(meta_of(item.object).key.name);
  return names;
}

TEST(History, ListsAsItWasAtAnOlderVersion) {
  History history(100, 0);
  for (const char* name : {"a", "c", "e"}) history.put(pod(name));
  const uint64_t then = history.version();
  history.put(pod("b"));
  history.erase({Kind::Pod, {"default", "c"}});
  history.put(pod("a"));
  EXPECT_THAT(names(history.list(Kind::Pod, then, {}, 0, "")), ElementsAre("a", "c", "e"));
  EXPECT_THAT(names(history.list(Kind::Pod, history.version(), {}, 0, "")), ElementsAre("a", "b", "e"));
  const auto page = history.list(Kind::Pod, then, {}, 2, "");
  EXPECT_THAT(names(page), ElementsAre("a", "c"));
  EXPECT_FALSE(page.complete);
  EXPECT_THAT(names(history.list(Kind::Pod, then, {"default", "c"}, 2, "")), ElementsAre("e"));
  EXPECT_TRUE(history.list(Kind::Pod, then, {}, 3, "").complete);
}

TEST(History, AnObjectListedAgainIsNoChange) {
  History history(100, 0);
  history.put(pod("a"));
  const uint64_t then = history.version();
  auto again = std::make_shared<Pod>(*std::get<std::shared_ptr<const Pod>>(pod("a")));
  again->meta.resource_version = "17";
  history.put(std::shared_ptr<const Pod>(again));
  EXPECT_EQ(history.version(), then);
  again = std::make_shared<Pod>(*again);
  again->ready = !again->ready;
  history.put(std::shared_ptr<const Pod>(again));
  EXPECT_THAT(history.since(Kind::Pod, then, 10), SizeIs(1));
}

TEST(History, IsBoundedAndSaysWhatItForgot) {
  History history(3, 100);
  for (int i = 0; i < 5; ++i) history.put(pod("p" + std::to_string(i)));
  EXPECT_FALSE(history.reaches(Kind::Pod, 101));
  EXPECT_TRUE(history.reaches(Kind::Pod, 102));
  EXPECT_FALSE(history.reaches(Kind::Pod, 106)) << "the future is another server's past";
  EXPECT_FALSE(history.reaches(Kind::Pod, 99)) << "of an earlier process";
  EXPECT_THAT(history.since(Kind::Pod, 102, 10), SizeIs(3));
  EXPECT_THAT(history.since(Kind::Node, 102, 10), IsEmpty());
}

TEST(Protocol, RequestsAndRefusals) {
  const auto code = [](const char* method, const char* target) {
    const auto request = parse_list_watch(method, target);
    return request ? 200 : request.error().code;
  };
  EXPECT_EQ(code("GET", "/api/v1/pods"), 200);
  EXPECT_EQ(code("GET", "/api/v1/namespaces/x/pods?limit=5"), 200);
  EXPECT_EQ(code("GET", "/api/v1/namespaces/x/pods/p"), 200);
  EXPECT_EQ(code("GET", "/api/v1/namespaces/x"), 200);
  EXPECT_EQ(code("GET", "/apis/networking.k8s.io/v1/networkpolicies?watch=1&resourceVersion=5"), 200);
  EXPECT_EQ(code("POST", "/api/v1/pods"), 405);
  EXPECT_EQ(code("DELETE", "/api/v1/namespaces/x/pods/p"), 405);
  EXPECT_EQ(code("GET", "/api/v1/secrets"), 403);
  EXPECT_EQ(code("GET", "/api/v1/namespaces/x/secrets/s"), 403);
  EXPECT_EQ(code("GET", "/api/v1/pods/p"), 404);
  EXPECT_EQ(code("GET", "/api/v1/namespaces/x/nodes"), 404);
  EXPECT_EQ(code("GET", "/api/v1/namespaces/x/pods/p/status"), 404);
  EXPECT_EQ(code("GET", "/apis/apps/v1/deployments"), 404);
  EXPECT_EQ(code("GET", "/"), 404);
  EXPECT_EQ(code("GET", ""), 404);
  EXPECT_EQ(code("GET", "/api/v1/pods?limit=x"), 400);
  EXPECT_EQ(code("GET", "/api/v1/pods?limit=-1"), 400);
  EXPECT_EQ(code("GET", "/api/v1/pods?resourceVersion=abc"), 400);
  EXPECT_EQ(code("GET", "/api/v1/pods?continue=%25%25"), 400);
  EXPECT_EQ(code("GET", "/api/v1/pods?labelSelector=a%3Db"), 400);
}

class RelaySocket : public testing::Test {
 protected:
  RelaySocket() : path_(fmt::format("/tmp/thalweg-relay-{}.sock", ::getpid())) {}

  void start(RelayOptions options = {}) {
    relay_ = std::make_unique<Relay>(io_, path_, options);
    const auto started = relay_->start();
    ASSERT_TRUE(started) << started.error().message;
  }
  void tell(std::vector<Object> objects) {
    std::vector<ObjectRef> changed;
    for (const auto& object : objects) {
      put(cluster_, object);
      changed.push_back(ref_of(object));
    }
    relay_->update(cluster_, changed);
  }
  void forget(const ObjectRef& ref) {
    erase(cluster_, ref);
    relay_->update(cluster_, std::vector{ref});
  }
  void until(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!holds()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "nothing came of it";
      io_.run_one_for(std::chrono::milliseconds(20));
    }
  }
  asio::local::stream_protocol::socket dial() {
    asio::local::stream_protocol::socket socket(io_);
    socket.connect({path_});
    socket.non_blocking(true);
    return socket;
  }
  // What has come in by now.
  static std::string received(asio::local::stream_protocol::socket& socket) {
    std::string text(1 << 20, '\0');
    boost::system::error_code error;
    text.resize(socket.read_some(asio::buffer(text), error));
    return text;
  }
  // The whole answer to one request on a connection of its own.
  std::string ask(const std::string& line) {
    auto socket = dial();
    asio::write(socket, asio::buffer(line + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    std::string text;
    until([&] {
      char part[65536];
      boost::system::error_code error;
      const size_t got = socket.read_some(asio::buffer(part), error);
      text.append(part, got);
      return error && error != asio::error::would_block;
    });
    return text;
  }

  std::string path_;
  asio::io_context io_;
  std::unique_ptr<Relay> relay_;
  Cluster cluster_;
};

TEST_F(RelaySocket, SaysSoUntilTheObjectsAreHere) {
  start();
  EXPECT_THAT(ask("GET /api/v1/pods"), testing::AllOf(HasSubstr("503"), HasSubstr("Retry-After: 1")));
  relay_->update(cluster_, {});
  EXPECT_THAT(ask("GET /api/v1/pods"), HasSubstr("200 OK"));
}

TEST_F(RelaySocket, AnswersCurl) {
  start();
  tell({pod("a"), pod("b"), pod("c", "other")});
  const std::string out = path_ + ".out";
  const std::string command = fmt::format(
      "curl -sS --max-time 20 --unix-socket {} 'http://x/api/v1/namespaces/default/pods' > {}; echo done >> "
      "{}.end",
      path_, out, out);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr), ::_exit(127);
  struct stat st {};
  until([&] { return ::stat((out + ".end").c_str(), &st) == 0; });
  ::waitpid(child, nullptr, 0);
  std::ifstream file(out);
  const json::value list = json::parse(std::string(std::istreambuf_iterator<char>(file), {}));
  ::unlink(out.c_str());
  ::unlink((out + ".end").c_str());
  EXPECT_EQ(list.at("kind"), "PodList");
  EXPECT_EQ(list.at("apiVersion"), "v1");
  EXPECT_EQ(list.at("items").as_array().size(), 2U);
  EXPECT_EQ(list.at("items").at(0).at("metadata").at("name"), "a");
}

TEST_F(RelaySocket, RefusalsAreStatusObjects) {
  start();
  tell({pod("a"), secret("s")});
  EXPECT_THAT(ask("POST /api/v1/pods"), testing::AllOf(HasSubstr("405"), HasSubstr("Allow: GET"),
                                                       HasSubstr("\"reason\":\"MethodNotAllowed\"")));
  EXPECT_THAT(ask("GET /api/v1/secrets"),
              testing::AllOf(HasSubstr("403"), testing::Not(HasSubstr("top secret"))));
  EXPECT_THAT(ask("GET /api/v1/pods?watch=1&resourceVersion=5"), HasSubstr("\"reason\":\"Expired\""));
  EXPECT_THAT(ask("GET /api/v1/namespaces/default/pods/a"), HasSubstr("\"kind\":\"Pod\""));
  EXPECT_THAT(ask("GET /api/v1/namespaces/default/pods/z"), HasSubstr("404"));
  EXPECT_THAT(ask("GET /api/v1/pods?watch=1&timeoutSeconds=0"), HasSubstr("\"type\":\"ADDED\""));
}

TEST_F(RelaySocket, FeedsOurOwnClientAndSurvivesItsRestart) {
  start();
  tell({pod("a"), pod("b"), secret("s")});
  ApiSourceOptions options{.api = *parse_api("unix:" + path_), .kinds = {Kind::Pod, Kind::Node}};
  options.watch = {.page_size = 1, .backoff_first_ms = 2, .backoff_max_ms = 20};
  const auto source = make_api_source(io_, options);
  Cluster seen;
  int batches = 0;
  source->start([&](const Cluster& now, std::span<const ObjectRef>) { seen = now, ++batches; });
  until([&] { return batches == 1; });
  EXPECT_THAT(seen.pods, SizeIs(2));
  forget({Kind::Pod, {"default", "a"}});
  until([&] { return seen.pods.size() == 1; });
  relay_->stop();  // another process takes over: the client lists again and finds what is gone
  erase(cluster_, {Kind::Pod, {"default", "b"}});
  start();
  tell({pod("c")});
  until([&] { return seen.pods.size() == 1 && seen.pods.begin()->first.name == "c"; });
  source->stop();
}

TEST_F(RelaySocket, ClientsAreBounded) {
  start({.max_clients = 2});
  tell({});
  auto one = dial();
  auto two = dial();
  until([&] { return relay_->stats().clients == 2; });
  EXPECT_THAT(ask("GET /api/v1/pods"), HasSubstr("503"));
  EXPECT_EQ(relay_->stats().refused_clients, 1U);
  one.close();
  until([&] { return relay_->stats().clients == 1; });
  EXPECT_THAT(ask("GET /api/v1/pods"), HasSubstr("200 OK"));
}

TEST_F(RelaySocket, AClientThatTakesNothingIsCut) {
  start({.write_timeout_ms = 20});
  std::vector<Object> many;
  for (int i = 0; i < 5000; ++i) many.push_back(pod(fmt::format("pod-with-a-long-name-{}", i)));
  tell(many);
  auto socket = dial();
  asio::write(socket, asio::buffer(std::string("GET /api/v1/pods HTTP/1.1\r\nHost: x\r\n\r\n")));
  until([&] { return relay_->stats().slow_clients == 1; });
  until([&] { return relay_->stats().clients == 0; });
}

TEST_F(RelaySocket, AWatcherTooFarBehindIsTold) {
  start({.history = 4, .write_timeout_ms = 20'000});
  tell({pod("a")});
  auto socket = dial();
  asio::write(socket, asio::buffer(std::string("GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")));
  std::string text;
  until([&] {
    text += received(socket);
    return text.find("\"a\"") != std::string::npos;
  });
  for (int i = 0; i < 20; ++i) tell({pod(fmt::format("p{}", i))});  // before the watcher's next turn
  until([&] {
    text += received(socket);
    return text.find("\"ERROR\"") != std::string::npos;
  });
  EXPECT_THAT(text, HasSubstr("\"code\":410"));
}

TEST_F(RelaySocket, AWatchersHangupIsNoticed) {
  start();
  tell({});
  auto socket = dial();
  asio::write(socket, asio::buffer(std::string("GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")));
  until([&] { return relay_->stats().watches == 1; });
  socket.close();
  until([&] { return relay_->stats().watches == 0 && relay_->stats().clients == 0; });
}

TEST_F(RelaySocket, GarbageIsAnsweredByClosing) {
  start();
  tell({});
  for (const std::string& text : {std::string("\x16\x03\x01garbage\r\n\r\n"), std::string(20'000, 'x'),
                                  "GET / HTTP/1.1\r\n" + std::string(20'000, 'h') + ": x\r\n\r\n"}) {
    auto socket = dial();
    boost::system::error_code ignored;
    asio::write(socket, asio::buffer(text), ignored);
    until([&] { return relay_->stats().clients == 1; });
    until([&] { return relay_->stats().clients == 0; });
  }
}

TEST_F(RelaySocket, TheSocketIsTheGroupsAndNotStolen) {
  start();
  struct stat st {};
  ASSERT_EQ(::stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0660U);
  Relay second(io_, path_);
  const auto started = second.start();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr("another process serves there"));
}

}  // namespace
}  // namespace thalweg::kube
