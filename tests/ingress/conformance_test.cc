// thalweg-ingress as clients meet it: curl, and sockets where curl is too polite. Loopback only.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "fixture.h"
#include "ingress/tls.h"
#include "relayed.h"

namespace thalweg::ingress::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Tests that need curl.
class Curl : public Scene {
 protected:
  void SetUp() override {
    if (!has_curl()) GTEST_SKIP() << "curl is not installed";
  }
  std::string status(const std::string& url, std::vector<std::string> more = {}) {
    more.insert(more.end(), {"-o", "/dev/null", "-w", "%{http_code}"});
    return curl(url, more).out;
  }
};

TEST_F(Curl, RoutesByHostAndPath) {
  start();
  EXPECT_THAT(curl(http("a.example") + "/x?y=1").out, StartsWith("GET /x?y=1 HTTP/1.1\r\n"));
  EXPECT_EQ(status(http("path.example") + "/app/x"), "200");
  EXPECT_EQ(status(http("path.example") + "/apple"), "404");
  EXPECT_EQ(status(http("unknown.example") + "/"), "404");
  EXPECT_EQ(status(http("gone.example") + "/"), "503");
  EXPECT_EQ(status(http("empty.example") + "/"), "503");
  EXPECT_EQ(status(http("down.example") + "/"), "502");
  EXPECT_THAT(program->log(), HasSubstr("Service default/gone does not exist"));
}

TEST_F(Curl, HttpsByServerName) {
  const auto a = make_self_signed("a.example").value(), wild = make_self_signed("*.wild.example").value();
  secrets.write("tls.yaml",
                secret("cert-a", a.certificate, a.key) + secret("cert-wild", wild.certificate, wild.key));
  secrets.write("a.pem.txt", a.certificate);
  secrets.write("wild.pem.txt", wild.certificate);
  start();
  const std::vector<std::string> trust_a = {"--cacert", secrets.path("a.pem.txt")};
  const Outcome good = curl(https("a.example") + "/", trust_a);
  EXPECT_EQ(good.code, 0) << good.out;
  EXPECT_THAT(good.out, HasSubstr("X-Forwarded-Proto: https"));
  EXPECT_EQ(curl(https("x.wild.example") + "/", {"--cacert", secrets.path("wild.pem.txt")}).code, 0);
  EXPECT_NE(curl(https("other.example") + "/", trust_a).code, 0)
      << "the fallback certificate is trusted by nobody";
  EXPECT_EQ(status(https("other.example") + "/", {"-k"}), "404");
  EXPECT_EQ(status(https("a.example") + "/", {"-k", "--tls-max", "1.2"}), "200");
  EXPECT_NE(curl(https("a.example") + "/", {"-k", "--tls-max", "1.1"}).code, 0);
  EXPECT_EQ(curl(https("a.example") + "/", {"-k", "--http2", "-o", "/dev/null", "-w", "%{http_version}"}).out,
            "1.1");
}

TEST_F(Curl, CertificateSwappedWhileAConnectionGoesOn) {
  const auto first = make_self_signed("a.example").value(), second = make_self_signed("a.example").value();
  secrets.write("tls.yaml", secret("cert-a", first.certificate, first.key));
  secrets.write("second.pem.txt", second.certificate);
  start();
  const size_t before = program->lines();
  secrets.write("tls.yaml", secret("cert-a", second.certificate, second.key));
  ASSERT_NE(program->logged("routes routes=", before), "");
  EXPECT_EQ(curl(https("a.example") + "/", {"--cacert", secrets.path("second.pem.txt")}).code, 0);
  const size_t broken = program->lines();
  secrets.write("tls.yaml", secret("cert-a", second.certificate, first.key));
  const std::string line = program->logged("cert-a", broken);
  EXPECT_THAT(line, HasSubstr("Secret default/cert-a: tls.key is not the key of tls.crt: the last good"));
  EXPECT_EQ(curl(https("a.example") + "/", {"--cacert", secrets.path("second.pem.txt")}).code, 0);
  EXPECT_THAT(program->log(), Not(HasSubstr("PRIVATE KEY")));
}

TEST_F(Curl, KeepAliveOnBothSides) {
  start();
  const Outcome twice = curl(http() + "/status/204",
                             {http() + "/", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} "});
  EXPECT_EQ(twice.out, "1 0 ");
  EXPECT_EQ(status(http() + "/"), "200");
  EXPECT_EQ(one.requests(), 3u);
  EXPECT_EQ(one.connections(), 1u);
}

TEST_F(Curl, LargeBodiesBothWaysInLittleMemory) {
  start();
  constexpr size_t kBytes = 64 << 20;
  std::ofstream(objects.path("big.bin")) << std::string(kBytes, 'x');
  const std::string expected = fmt::format("{} {}", kBytes, kBytes), file = "@" + objects.path("big.bin");
  EXPECT_EQ(curl(http() + "/count", {"--data-binary", file}).out, expected);
  EXPECT_EQ(curl(http() + "/count", {"--data-binary", file, "-H", "Transfer-Encoding: chunked"}).out,
            expected);
  EXPECT_EQ(curl(https("a.example") + "/count", {"-k", "--data-binary", file}).out, expected);
  const std::string size = fmt::format("200 {}", kBytes);
  for (const auto& url : {http(), https("a.example")})
    EXPECT_EQ(curl(fmt::format("{}/big/{}", url, kBytes),
                   {"-k", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"})
                  .out,
              size);
  EXPECT_LT(std::stoul(program->proc_status("VmHWM")), 60'000u) << "kB: bodies are streamed, never held";
}

TEST_F(Curl, ChunkedAndUntilCloseResponses) {
  start();
  EXPECT_EQ(curl(http() + "/chunked").out, "five,four");
  EXPECT_EQ(curl(http() + "/close").out, "until the end");
  EXPECT_EQ(curl(http() + "/chunked", {"--http1.0"}).out, "five,four");
  EXPECT_EQ(curl(http() + "/close", {"--http1.0"}).out, "until the end");
  EXPECT_THAT(curl(http() + "/close", {"-i"}).out, HasSubstr("Transfer-Encoding: chunked"));
}

TEST_F(Curl, ResponsesWithoutBody) {
  start();
  EXPECT_THAT(curl(http() + "/x", {"-I"}).out, HasSubstr("Content-Length: "));
  for (const char* code : {"204", "304"}) EXPECT_EQ(status(http() + "/status/" + code), code);
  EXPECT_EQ(curl(http() + "/echo", {"-d", "", "-w", "%{http_code}"}).out, "200");
}

TEST_F(Curl, CutResponseIsNotTakenForWhole) {
  start();
  EXPECT_THAT(curl(http() + "/cut").code, AnyOf(18, 56));
  EXPECT_THAT(curl(http() + "/cut-chunk").code, AnyOf(18, 56));
  EXPECT_NE(program->logged("reason=upstream_cut"), "");
}

TEST_F(Curl, EarlyAnswerToALargeUpload) {
  start();
  std::ofstream(objects.path("big.bin")) << std::string(8 << 20, 'x');
  EXPECT_EQ(curl(http() + "/early", {"--data-binary", "@" + objects.path("big.bin"), "-o", "/dev/null", "-H",
                                     "Expect:", "-w", "%{http_code}"})
                .out.substr(0, 3),
            "413");
}

TEST_F(Curl, EveryEndpointHasItsTurn) {
  start();
  std::map<std::string, int> turns;
  for (int i = 0; i < 10; ++i)
    ++turns[curl(http("web.example") + "/", {"-o", "/dev/null", "-w", "%header{x-served-by}"}).out];
  EXPECT_EQ(turns["one"], 5);
  EXPECT_EQ(turns["two"], 5);
}

TEST_F(Curl, ADeadEndpointIsPassedOver) {
  start();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(status(http("dead.example") + "/echo", {"-d", "body"}), "200");
}

TEST_F(Curl, RoutesChangeWhileRunningAndABrokenFileLeavesTheLastGood) {
  start();
  const auto wire = connect();
  wire->send(kGet + "\r\n");
  EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  size_t before = program->lines();
  objects.write("more.yaml", ingress("new", "new.example", "/", "web"));
  ASSERT_NE(program->logged("routes routes=", before), "");
  EXPECT_EQ(status(http("new.example") + "/"), "200");
  before = program->lines();
  objects.write("more.yaml", "kind: Ingress\napiVersion: [broken");
  ASSERT_NE(program->logged("more.yaml", before), "");
  EXPECT_EQ(status(http("new.example") + "/"), "200");
}

TEST_F(Curl, ObjectsFromARelayAndOnWithoutIt) {
  auto relayed = std::make_unique<Relayed>(objects.path(), secrets.path("api.sock"));
  start_on({"--api", "unix:" + secrets.path("api.sock")});
  EXPECT_EQ(status(http() + "/"), "200");
  const size_t before = program->lines();
  objects.write("more.yaml", ingress("new", "new.example", "/", "web"));
  ASSERT_NE(program->logged("routes routes=", before), "");
  EXPECT_EQ(status(http("new.example") + "/"), "200");
  relayed.reset();
  EXPECT_EQ(status(http("new.example") + "/"), "200");
}

TEST_F(Curl, MetricsAndHealth) {
  start();
  status(http() + "/");
  status(http("unknown.example") + "/");
  const std::string base = fmt::format("http://127.0.0.1:{}", program->port("metrics"));
  EXPECT_EQ(run({"curl", "-s", base + "/healthz"}).out, "ok\n");
  const std::string text = run({"curl", "-s", base + "/metrics"}).out;
  EXPECT_THAT(text, HasSubstr("thalweg_ingress_responses_total{class=\"2xx\"} 1"));
  EXPECT_THAT(text, HasSubstr("thalweg_ingress_refusals_total{reason=\"no_route\"} 1"));
}

TEST_F(Curl, TwoLoopsShareTheAddress) {
  start({"--threads", "2"});
  for (int i = 0; i < 8; ++i) EXPECT_EQ(status(http("web.example") + "/"), "200");
}

// Tests that speak for themselves.
using Raw = Scene;

TEST_F(Raw, ForwardedAndHopByHopFields) {
  start();
  const auto wire = connect();
  wire->send(kGet +
             "X-Forwarded-For: 10.9.8.7\r\nConnection: X-Secret\r\nX-Secret: 1\r\nTE: trailers\r\n\r\n");
  const std::string head = wire->until("\r\n\r\n"), seen = wire->until("\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(seen, HasSubstr("Host: a.example\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Forwarded-For: 127.0.0.1\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Forwarded-Proto: http\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Forwarded-Host: a.example\r\n"));
  for (const char* gone : {"10.9.8.7", "X-Secret", "TE:", "Connection:"})
    EXPECT_THAT(seen, Not(HasSubstr(gone)));
  wire->send("GET /hop HTTP/1.1\r\nHost: a.example\r\n\r\n");
  const std::string hop = wire->until("\r\n\r\n");
  for (const char* gone : {"X-Private", "Keep-Alive", "Upgrade", "Connection"})
    EXPECT_THAT(hop, Not(HasSubstr(gone)));
}

TEST_F(Raw, PipelinedRequestsAreAnsweredInOrder) {
  start();
  std::string many;
  for (int i = 0; i < 5; ++i)
    many += fmt::format("POST /echo HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\n{}!", i);
  const auto wire = connect();
  wire->send(many);
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
    EXPECT_EQ(wire->exactly(2), fmt::format("{}!", i));
  }
}

struct Hostile {
  const char* name;
  std::string bytes;
  std::string status;
};

class Smuggling : public Scene, public testing::WithParamInterface<Hostile> {};

TEST_P(Smuggling, IsRefusedAndNothingOfItPassedOn) {
  start();
  EXPECT_THAT(raw(GetParam().bytes), StartsWith("HTTP/1.1 " + GetParam().status));
  EXPECT_EQ(one.requests() + two.requests(), 0u);
}

const std::string kPost = "POST / HTTP/1.1\r\nHost: a.example\r\n";
const std::string kHidden = "GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n";
INSTANTIATE_TEST_SUITE_P(
    Table, Smuggling,
    testing::Values(
        Hostile{"both", kPost + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + kHidden,
                "400"},
        Hostile{"both_turned",
                kPost + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + kHidden, "400"},
        Hostile{"two_lengths", kPost + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + kHidden, "400"},
        Hostile{"same_lengths", kPost + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400"},
        Hostile{"space_before_colon", kPost + "Content-Length : 5\r\n\r\nhello", "400"},
        Hostile{"xchunked", kPost + "Transfer-Encoding: xchunked\r\n\r\n", "501"},
        Hostile{"tab_chunked", kPost + "Transfer-Encoding: identity, chunked\r\n\r\n", "501"},
        Hostile{"fold", kPost + "Transfer-Encoding:\r\n chunked\r\n\r\n", "400"},
        Hostile{"two_hosts", kGet + "Host: b.example\r\n\r\n", "400"},
        Hostile{"no_host", "GET / HTTP/1.1\r\n\r\n", "400"},
        Hostile{"bare_lf", "GET / HTTP/1.1\nHost: a.example\r\n\r\n", "400"},
        Hostile{"nul", kGet + std::string("X: a\0b\r\n\r\n", 10), "400"},
        Hostile{"version", "GET / HTTP/2.0\r\nHost: a.example\r\n\r\n", "505"},
        Hostile{"connect", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n\r\n", "501"},
        Hostile{"garbage", std::string(64, '\xff') + "\r\n\r\n", "400"},
        Hostile{"large_head", kGet + "X: " + std::string(20'000, 'x') + "\r\n\r\n", "431"},
        Hostile{"many_fields",
                kGet +
                    [] {
                      std::string all;
                      for (int i = 0; i < 3000; ++i) all += "X: y\r\n";
                      return all;
                    }() +
                    "\r\n",
                "431"}),
    [](const auto& row) { return row.param.name; });

TEST_F(Raw, BadChunksEndTheRequest) {
  start();
  EXPECT_THAT(raw(kPost + "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(raw(kPost + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"),
              StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(raw(kPost + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx"),
              StartsWith("HTTP/1.1 400"));
}

TEST_F(Raw, AbsoluteFormCountsBeforeHost) {
  start();
  const auto wire = connect();
  wire->send("GET http://a.example/x HTTP/1.1\r\nHost: unknown.example\r\n\r\n");
  EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(wire->until("\r\n\r\n"),
              testing::AllOf(StartsWith("GET /x HTTP/1.1"), HasSubstr("Host: a.example\r\n")));
}

TEST_F(Raw, ContinueAndOtherInterimResponsesArePassedOn) {
  start();
  const auto wire = connect();
  wire->send(
      "POST /continue HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 103 Early Hints"));
  EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 100 Continue"));
  wire->send("hello");
  EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  EXPECT_EQ(wire->exactly(5), "hello");
}

TEST_F(Raw, UpgradeBecomesATunnel) {
  start();
  const auto wire = connect();
  wire->send(
      "GET /upgrade HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly;");
  const std::string head = wire->until("\r\n\r\n");
  EXPECT_THAT(head, testing::AllOf(StartsWith("HTTP/1.1 101"), HasSubstr("Upgrade: echo"),
                                   HasSubstr("Connection: Upgrade")));
  EXPECT_EQ(wire->until(";"), "first;");
  EXPECT_EQ(wire->until(";"), "echo early;");
  wire->send("later;");
  EXPECT_EQ(wire->until(";"), "echo later;");
  wire->end_sending();
  EXPECT_TRUE(wire->closed());
  EXPECT_NE(program->logged("status=101"), "");
}

TEST_F(Raw, BadResponsesAre502) {
  start();
  for (const char* path : {"/garbage", "/both", "/fold"}) {
    const auto wire = connect();
    wire->send(fmt::format("GET {} HTTP/1.1\r\nHost: a.example\r\n\r\n", path));
    EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 502")) << path;
  }
}

TEST_F(Raw, AKeptConnectionThatDiedIsReplaced) {
  start();
  const auto wire = connect();
  for (int i = 0; i < 5; ++i) {
    wire->send("GET /silent-close HTTP/1.1\r\nHost: a.example\r\n\r\n");
    EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
    EXPECT_EQ(wire->exactly(15), "gone after this");
  }
}

TEST_F(Raw, TimeoutsHaveTheirStatus) {
  start({"--head-timeout-ms", "300", "--idle-timeout-ms", "300", "--response-timeout-ms", "300",
         "--body-timeout-ms", "300"});
  EXPECT_THAT(raw("GET / HTTP/1.1\r\nHost: a.exa"), StartsWith("HTTP/1.1 408")) << "a slow head";
  EXPECT_THAT(raw("GET /never HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 504"));
  EXPECT_THAT(raw(kPost + "Content-Length: 5\r\n\r\nhel"), StartsWith("HTTP/1.1 408")) << "a slow body";
  EXPECT_EQ(raw(""), "") << "an idle connection is closed without a word";
  Wire silent(connect_to(program->port("https")));
  EXPECT_TRUE(silent.closed()) << "a handshake that does not come";
}

TEST_F(Raw, ConnectionsAreBounded) {
  start({"--max-connections", "2"});
  const auto first = connect(), second = connect();
  for (Wire* wire : {first.get(), second.get()}) {
    wire->send(kGet + "\r\n");
    EXPECT_THAT(wire->until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  }
  EXPECT_TRUE(connect()->closed());
  first->send(kGet + "\r\n");
  EXPECT_THAT(first->until("HTTP/1.1 200"), HasSubstr("HTTP/1.1 200")) << "the others are not disturbed";
}

TEST_F(Raw, StopsAfterTheResponsesUnderWay) {
  start();
  constexpr uint64_t kBytes = 32 << 20;
  const auto busy = connect(), idle = connect();
  busy->send(fmt::format("GET /big/{} HTTP/1.1\r\nHost: a.example\r\n\r\n", kBytes));
  EXPECT_THAT(busy->until("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  idle->send(kGet + "\r\n");
  idle->until("\r\n\r\n");
  idle->until("\r\n\r\n");
  program->terminate();
  ASSERT_NE(program->logged("draining"), "");
  EXPECT_TRUE(idle->closed());
  EXPECT_EQ(busy->rest().size(), kBytes);
  EXPECT_EQ(connect_to(program->port("http")), -1);
  EXPECT_EQ(program->wait(), 0);
}

TEST_F(Raw, KeepsNoRights) {
  start();
  EXPECT_EQ(program->proc_status("CapEff"), "0000000000000000");
  EXPECT_EQ(program->proc_status("CapPrm"), "0000000000000000");
  EXPECT_EQ(program->proc_status("NoNewPrivs"), "1");
}

TEST_F(Raw, TheAccessLogIsOneLineWithoutSecrets) {
  start();
  const auto wire = connect();
  wire->send(
      "GET /x%0aforged=1?token=s3cret HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer s3cret\r\n\r\n");
  wire->until("\r\n\r\n");
  const std::string line = program->logged(" request ");
  EXPECT_THAT(line,
              HasSubstr("host=a.example path=\"/x%0aforged=1\" status=200 reason=none route=default/a"));
  EXPECT_THAT(program->log(), Not(HasSubstr("s3cret")));
}

}  // namespace
}  // namespace thalweg::ingress::test
