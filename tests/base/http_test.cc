// The local endpoint, its client, and the loop's pieces. The server runs on a loop in a thread of its own.
#include "base/asio.h"
// (the precompiled header must come first)
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <filesystem>
#include <thread>

#include "base/fd.h"
#include "base/file.h"
#include "base/http.h"
#include "base/http_call.h"
#include "base/loop.h"

namespace thalweg::http {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr uint64_t kLongMs = 20'000;

struct HttpTest : ::testing::Test {
  HttpTest() {
    std::string pattern = ::testing::TempDir() + "thalweg-http-XXXXXX";
    folder = ::mkdtemp(pattern.data());
    path = folder + "/s.sock";
  }
  void serve(const Limits& limits = {}) {
    server = std::make_unique<Server>(io, limits);
    server->route("GET", "/hello", [](const Request& r) {
      return Response{200, "text/plain", "hi " + r.query};
    });
    server->route("POST", "/echo", [](const Request& r) { return Response{200, "text/plain", r.body}; });
    server->route("GET", "/throws", [](const Request&) -> Response { throw std::runtime_error("x"); });
    server->route_async("GET", "/dropped", [](const Request&, const Respond&) {});
    server->route_async("GET", "/later", [this](const Request&, const Respond& respond) {
      auto timer = std::make_shared<Timer>(io);
      timer->after(1, [respond, timer] { respond({200, "text/plain", "late"}); });
    });
    const auto listening = server->listen_unix(path);
    ASSERT_TRUE(listening) << listening.error().message;
    thread = std::thread([this] { run_loop(io); });
  }
  ~HttpTest() override {
    if (thread.joinable()) {
      asio::post(io, [this] { server->stop(), io.stop(); });
      thread.join();
    }
    std::filesystem::remove_all(folder);
  }
  Result<HttpReply> call(std::string_view method, std::string_view target, std::string_view body = "") {
    return http_call(path, method, target, body, kLongMs);
  }
  Fd connect() {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {.sun_family = AF_UNIX};
    path.copy(address.sun_path, path.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  // Sends bytes as they are; returns all that comes until the server closes.
  std::string raw(std::string_view bytes) {
    const Fd fd = connect();
    EXPECT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    std::string all;
    char chunk[4096];
    for (ssize_t n; (n = ::recv(fd.get(), chunk, sizeof chunk, 0)) > 0;) all.append(chunk, n);
    return all;
  }
  std::string folder, path;
  asio::io_context io{1};
  std::unique_ptr<Server> server;
  std::thread thread;
};

TEST_F(HttpTest, RoutesAndAnswers) {
  serve();
  const auto hello = call("GET", "/hello?a=b");
  ASSERT_TRUE(hello) << hello.error().message;
  EXPECT_EQ(hello->status, 200);
  EXPECT_EQ(hello->content_type, "text/plain");
  EXPECT_EQ(hello->body, "hi a=b");
  EXPECT_EQ(call("POST", "/echo", std::string(500'000, 'x'))->body.size(), 500'000u);
  EXPECT_EQ(call("GET", "/later")->body, "late");
  EXPECT_EQ(call("HEAD", "/hello")->status, 200);
  EXPECT_EQ(call("GET", "/nope")->status, 404);
  EXPECT_EQ(call("POST", "/hello")->status, 405);
  EXPECT_EQ(call("GET", "/throws")->status, 500);
  EXPECT_FALSE(call("GET", "/dropped"));
  EXPECT_EQ(call("GET", "/hello")->status, 200);
}

TEST_F(HttpTest, TheRestIsForWhatNoRouteIsForAndHeadersGoOut) {
  serve();
  server->route_rest([](const Request& r) {
    return Response{.status = 503, .body = r.method + r.path, .headers = {{"X-Weight", "0"}}};
  });
  EXPECT_EQ(call("GET", "/hello")->status, 200);
  EXPECT_EQ(call("POST", "/hello")->status, 405);
  EXPECT_EQ(call("POST", "/any/thing")->body, "POST/any/thing");
  const std::string got = raw("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(got, HasSubstr("X-Weight: 0\r\n"));
}

TEST_F(HttpTest, KeepsAliveAndAnswersInOrder) {
  serve();
  const std::string got =
      raw("GET /hello?1 HTTP/1.1\r\nHost: x\r\n\r\nGET /hello?2 HTTP/1.1\r\nHost: x\r\nConnection: "
          "close\r\n\r\n");
  EXPECT_THAT(got, HasSubstr("hi 1"));
  EXPECT_LT(got.find("hi 1"), got.find("hi 2"));
}

TEST_F(HttpTest, GarbageAndExcessGetOneAnswerAndAreClosed) {
  serve({.max_header_bytes = 1024, .max_body_bytes = 1000});
  EXPECT_THAT(raw("\x16\x03\x01 what is this\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(raw("GET /hello HTTP/1.1\r\nX: " + std::string(4000, 'x') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(raw("POST /echo HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), StartsWith("HTTP/1.1 413"));
  EXPECT_EQ(call("POST", "/echo", std::string(1001, 'x'))->status, 413);
  EXPECT_EQ(call("POST", "/echo", std::string(1000, 'x'))->status, 200);
}

TEST_F(HttpTest, ASlowClientIsCutOff) {
  serve({.read_timeout_ms = 20, .idle_timeout_ms = 20});
  EXPECT_EQ(raw("GET /hello HTT"), "");
  EXPECT_EQ(raw(""), "");
}

TEST_F(HttpTest, ConnectionsAreBounded) {
  serve({.max_connections = 2});
  const Fd one = connect(), two = connect();
  const auto refused = call("GET", "/hello");
  ASSERT_TRUE(refused) << refused.error().message;
  EXPECT_EQ(refused->status, 503);
  std::promise<uint64_t> count;
  asio::post(io, [&] { count.set_value(server->refused_connections()); });
  EXPECT_EQ(count.get_future().get(), 1u);
}

TEST_F(HttpTest, SocketFileIsPrivateAndGoneAfterStop) {
  serve();
  struct stat file = {};
  ASSERT_EQ(::stat(path.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
  std::promise<void> stopped;
  asio::post(io, [&] { server->stop(), stopped.set_value(); });
  stopped.get_future().get();
  EXPECT_EQ(call("GET", "/hello").error().code, ENOENT);
}

TEST_F(HttpTest, AStaleSocketFileIsReplacedALivingOneIsNot) {
  const pid_t child = ::fork();
  if (child == 0) {  // a server that dies without a word
    asio::io_context mine;
    Server dying(mine);
    ::_exit(dying.listen_unix(path) ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(call("GET", "/hello").error().code, ECONNREFUSED);
  serve();
  EXPECT_EQ(call("GET", "/hello")->status, 200);
  asio::io_context other;
  Server second(other);
  EXPECT_EQ(second.listen_unix(path).error().code, EADDRINUSE);
  EXPECT_EQ(call("GET", "/hello")->status, 200);
}

TEST_F(HttpTest, ClientErrors) {
  EXPECT_EQ(call("GET", "/x").error().code, ENOENT);
  EXPECT_THAT(call("GET", "/x").error().message, HasSubstr(path));
  EXPECT_EQ(http_call(std::string(300, 'x'), "GET", "/", "", 100).error().code, ENAMETOOLONG);
  EXPECT_EQ(http_call(path, "GET", "/a b", "", 100).error().code, EINVAL);
  serve();
  EXPECT_EQ(http_call(path, "GET", "/hello", "", 0).error().code, ETIMEDOUT);
}

TEST(HttpTcp, ListensOnAPortItPicks) {
  asio::io_context io;
  Server server(io);
  const auto port = server.listen_tcp(Ip::v4(127, 0, 0, 1), 0);
  ASSERT_TRUE(port) << port.error().message;
  EXPECT_GT(*port, 0);
  Server second(io);
  EXPECT_EQ(second.listen_tcp(Ip::v4(127, 0, 0, 1), *port).error().code, EADDRINUSE);
}

// ---- the loop's pieces: ordered by events, never by the clock

TEST(LoopPieces, TimersFireInOrderAndStop) {
  asio::io_context io;
  std::string order;
  Timer late(io), early(io), stopped(io), repeated(io);
  late.after(20, [&] { order += 'l', repeated.stop(); });
  early.after(1, [&] { order += 'e'; });
  stopped.after(1, [&] { order += 'x'; });
  int rounds = 0;
  repeated.every(1, [&] { ++rounds == 3 ? repeated.stop() : void(); });
  stopped.stop();
  io.run();
  EXPECT_EQ(order, "el");
  EXPECT_GE(rounds, 1);
  EXPECT_LE(rounds, 3);
}

TEST(LoopPieces, ATimerMayReplaceOrDestroyItself) {
  asio::io_context io;
  std::string order;
  auto timer = std::make_unique<Timer>(io);
  timer->every(1, [&] {
    order += 'a';
    timer->after(1, [&] { order += 'b', timer.reset(); });
  });
  io.run();
  EXPECT_EQ(order, "ab");
}

TEST(LoopPieces, DebounceCallsOnceForManyPokes) {
  asio::io_context io;
  int calls = 0;
  Debounce debounce(io, 5, 1000, [&] { ++calls; });
  for (int i = 0; i < 100; ++i) debounce.poke();
  io.run();
  EXPECT_EQ(calls, 1);
  debounce.poke();
  io.restart();
  io.run();
  EXPECT_EQ(calls, 2);
  debounce.poke();
  debounce.stop();
  debounce.poke();
  io.restart();
  io.run();
  EXPECT_EQ(calls, 2);
}

TEST(LoopPieces, DebounceIsNotPutOffForEver) {
  asio::io_context io;
  bool called = false;
  Debounce debounce(io, 1'000'000, 30, [&] { called = true, io.stop(); });
  Timer poker(io);
  poker.every(1, [&] { debounce.poke(); });
  debounce.poke();
  io.run();
  EXPECT_TRUE(called);
}

TEST(LoopPieces, StopSignalComesOnce) {
  asio::io_context io;
  int got = 0;
  StopSignals signals(io, [&](int signal) { got = signal; });
  asio::post(io, [] { ::raise(SIGTERM); });
  io.run();
  EXPECT_EQ(got, SIGTERM);
}

TEST(LoopPieces, AnExceptionDoesNotEndTheLoop) {
  asio::io_context io;
  bool reached = false;
  asio::post(io, [] { throw std::runtime_error("x"); });
  asio::post(io, [&] { reached = true; });
  run_loop(io);
  EXPECT_TRUE(reached);
}

}  // namespace
}  // namespace thalweg::http
