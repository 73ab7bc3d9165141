// What a hostile head is refused for, and what of an honest one is passed on.
#include "ingress/sanitize.h"

#include <gtest/gtest.h>

namespace thalweg::ingress {
namespace {

struct TextCase {
  const char* text;
  Refusal refusal;
};

class HeadText : public testing::TestWithParam<TextCase> {};

TEST_P(HeadText, IsJudged) {
  EXPECT_EQ(describe(check_head_text(GetParam().text)).label, describe(GetParam().refusal).label)
      << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Smuggling, HeadText,
    testing::Values(TextCase{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::None},
                    TextCase{"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \xc3\xa9\r\n\r\n", Refusal::None},
                    TextCase{"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Refusal::BadFolding},
                    TextCase{"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", Refusal::BadFolding},
                    TextCase{"GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BadSyntax},
                    TextCase{"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Refusal::BadSyntax},
                    TextCase{"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refusal::BadSyntax},
                    TextCase{"GET / HTTP/1.1\r\nno colon\r\n\r\n", Refusal::BadSyntax},
                    TextCase{"GET / HTTP/1.1\r\n: empty\r\n\r\n", Refusal::BadSyntax},
                    TextCase{"GET / HTTP/1.1\r\nX: a\x01"
                             "b\r\n\r\n",
                             Refusal::BadSyntax},
                    TextCase{"GET / HTTP/1.1\r\nX: a\x7f\r\n\r\n", Refusal::BadSyntax},
                    TextCase{"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BadSyntax},
                    TextCase{"GET / HTTP/1.1\r\nHost: a\r\n", Refusal::BadSyntax}));

RequestHead request(std::vector<Headers::Field> fields, std::string target = "/", std::string method = "GET",
                    int version = 11) {
  RequestHead head{.method = std::move(method), .target = std::move(target), .version = version};
  for (const auto& field : fields) head.headers.add(field.name, field.value);
  return head;
}

struct HeadCase {
  const char* what;
  RequestHead head;
  Refusal refusal;
};

class RequestHeads : public testing::TestWithParam<HeadCase> {};

TEST_P(RequestHeads, AreJudged) {
  RequestHead head = GetParam().head;
  EXPECT_EQ(describe(sanitize(head, {"192.0.2.1"})).label, describe(GetParam().refusal).label);
}

std::string case_name(const testing::TestParamInfo<HeadCase>& row) { return row.param.what; }

const Headers::Field kHost{"Host", "a.example"};
INSTANTIATE_TEST_SUITE_P(
    Table, RequestHeads,
    testing::Values(
        HeadCase{"plain", request({kHost}), Refusal::None}, HeadCase{"no_host", request({}), Refusal::NoHost},
        HeadCase{"old_without_host", request({}, "/", "GET", 10), Refusal::None},
        HeadCase{"two_hosts", request({kHost, {"host", "b"}}), Refusal::BadHost},
        HeadCase{"same_host_twice", request({kHost, kHost}), Refusal::BadHost},
        HeadCase{"empty_host", request({{"Host", ""}}), Refusal::BadHost},
        HeadCase{"host_with_path", request({{"Host", "a/b"}}), Refusal::BadHost},
        HeadCase{"host_with_user", request({{"Host", "u@a"}}), Refusal::BadHost},
        HeadCase{"host_list", request({{"Host", "a, b"}}), Refusal::BadHost},
        HeadCase{"host_port", request({{"Host", "a:8080"}}), Refusal::None},
        HeadCase{"host_bad_port", request({{"Host", "a:80x"}}), Refusal::BadHost},
        HeadCase{"host_v6", request({{"Host", "[2001:db8::1]:80"}}), Refusal::None},
        HeadCase{"host_half_v6", request({{"Host", "[2001:db8::1"}}), Refusal::BadHost},
        HeadCase{"length", request({kHost, {"Content-Length", "3"}}), Refusal::None},
        HeadCase{"two_lengths", request({kHost, {"Content-Length", "3"}, {"content-length", "4"}}),
                 Refusal::AmbiguousLength},
        HeadCase{"same_length_twice", request({kHost, {"Content-Length", "3"}, {"Content-Length", "3"}}),
                 Refusal::AmbiguousLength},
        HeadCase{"length_list", request({kHost, {"Content-Length", "3, 3"}}), Refusal::AmbiguousLength},
        HeadCase{"length_sign", request({kHost, {"Content-Length", "+3"}}), Refusal::AmbiguousLength},
        HeadCase{"length_negative", request({kHost, {"Content-Length", "-3"}}), Refusal::AmbiguousLength},
        HeadCase{"length_hex", request({kHost, {"Content-Length", "0x3"}}), Refusal::AmbiguousLength},
        HeadCase{"length_too_big", request({kHost, {"Content-Length", "99999999999999999999"}}),
                 Refusal::AmbiguousLength},
        HeadCase{"length_empty", request({kHost, {"Content-Length", ""}}), Refusal::AmbiguousLength},
        HeadCase{"chunked", request({kHost, {"Transfer-Encoding", "Chunked"}}), Refusal::None},
        HeadCase{"both", request({kHost, {"Content-Length", "3"}, {"Transfer-Encoding", "chunked"}}),
                 Refusal::AmbiguousLength},
        HeadCase{"chunked_twice",
                 request({kHost, {"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}}),
                 Refusal::AmbiguousLength},
        HeadCase{"chunked_list", request({kHost, {"Transfer-Encoding", "chunked, chunked"}}),
                 Refusal::BadTransferCoding},
        HeadCase{"gzip", request({kHost, {"Transfer-Encoding", "gzip, chunked"}}),
                 Refusal::BadTransferCoding},
        HeadCase{"xchunked", request({kHost, {"Transfer-Encoding", "xchunked"}}), Refusal::BadTransferCoding},
        HeadCase{"chunked_in_1_0", request({kHost, {"Transfer-Encoding", "chunked"}}, "/", "POST", 10),
                 Refusal::AmbiguousLength},
        HeadCase{"version_2", request({kHost}, "/", "GET", 20), Refusal::BadVersion},
        HeadCase{"connect", request({kHost}, "a:443", "CONNECT"), Refusal::BadMethod},
        HeadCase{"trace", request({kHost}, "/", "TRACE"), Refusal::BadMethod},
        HeadCase{"star", request({kHost}, "*", "OPTIONS"), Refusal::BadTarget},
        HeadCase{"no_slash", request({kHost}, "index.html"), Refusal::BadTarget},
        HeadCase{"fragment", request({kHost}, "/a#b"), Refusal::BadTarget},
        HeadCase{"nul", request({kHost}, "/a%00"), Refusal::BadTarget},
        HeadCase{"half_percent", request({kHost}, "/a%2"), Refusal::BadTarget},
        HeadCase{"expect", request({kHost, {"Expect", "100-Continue"}}), Refusal::None},
        HeadCase{"expect_more", request({kHost, {"Expect", "tea"}}), Refusal::BadExpectation}),
    case_name);

TEST(Sanitize, AbsoluteFormIsMadeOriginFormAndItsAuthorityCounts) {
  RequestHead head = request({{"Host", "other.example"}}, "http://A.Example:81/x?y=http://z");
  ASSERT_EQ(sanitize(head, {"192.0.2.1"}), Refusal::None);
  EXPECT_EQ(head.target, "/x?y=http://z");
  EXPECT_EQ(head.host, "a.example");
  EXPECT_EQ(*head.headers.find("Host"), "A.Example:81");
  RequestHead bare = request({{"Host", "a"}}, "HTTP://a.example");
  ASSERT_EQ(sanitize(bare, {"192.0.2.1"}), Refusal::None);
  EXPECT_EQ(bare.target, "/");
}

TEST(Sanitize, HostIsKeptAsWrittenAndLookedUpNormalised) {
  RequestHead head = request({{"Host", "WWW.Example.:8443"}});
  ASSERT_EQ(sanitize(head, {"192.0.2.1"}), Refusal::None);
  EXPECT_EQ(head.host, "www.example");
  EXPECT_EQ(*head.headers.find("Host"), "WWW.Example.:8443");
}

TEST(Sanitize, HopByHopFieldsStayHere) {
  RequestHead head = request({kHost,
                              {"Connection", "close, X-Mine, Host, , Cookie"},
                              {"X-Mine", "1"},
                              {"Cookie", "c"},
                              {"Keep-Alive", "5"},
                              {"TE", "trailers"},
                              {"Trailer", "X"},
                              {"Proxy-Connection", "x"},
                              {"Proxy-Authorization", "x"},
                              {"Upgrade", "websocket"},
                              {"Accept", "*/*"}});
  ASSERT_EQ(sanitize(head, {"192.0.2.1"}), Refusal::None);
  EXPECT_FALSE(head.keep_alive);
  EXPECT_EQ(head.upgrade, "") << "Connection does not list it";
  for (const char* gone : {"Connection", "X-Mine", "Keep-Alive", "TE", "Trailer", "Proxy-Connection",
                           "Proxy-Authorization", "Upgrade"})
    EXPECT_EQ(head.headers.find(gone), nullptr) << gone;
  for (const char* kept : {"Host", "Cookie", "Accept"}) EXPECT_NE(head.headers.find(kept), nullptr) << kept;
}

TEST(Sanitize, ForwardedFieldsAreOursAlone) {
  RequestHead head = request({kHost,
                              {"X-Forwarded-For", "10.0.0.1"},
                              {"x_forwarded_for", "10.0.0.2"},
                              {"X-Forwarded-Host", "evil"},
                              {"Forwarded", "for=1"},
                              {"X-Real-IP", "10.0.0.3"},
                              {"Connection", "X-Forwarded-For"}});
  ASSERT_EQ(sanitize(head, {"2001:db8::1", true}), Refusal::None);
  EXPECT_EQ(head.headers.count("X-Forwarded-For"), 1u);
  EXPECT_EQ(*head.headers.find("X-Forwarded-For"), "2001:db8::1");
  EXPECT_EQ(*head.headers.find("X-Forwarded-Proto"), "https");
  EXPECT_EQ(*head.headers.find("X-Forwarded-Host"), "a.example");
  for (const char* gone : {"x_forwarded_for", "Forwarded", "X-Real-IP"})
    EXPECT_EQ(head.headers.find(gone), nullptr) << gone;
}

TEST(Sanitize, UpgradeIsPassedOnOnlyWhenAskedProperly) {
  RequestHead head = request({kHost, {"Connection", "keep-alive, Upgrade"}, {"Upgrade", "websocket"}});
  ASSERT_EQ(sanitize(head, {"192.0.2.1"}), Refusal::None);
  EXPECT_EQ(head.upgrade, "websocket");
  EXPECT_EQ(*head.headers.find("Connection"), "Upgrade");
  RequestHead body = request(
      {kHost, {"Connection", "Upgrade"}, {"Upgrade", "websocket"}, {"Content-Length", "1"}}, "/", "POST");
  ASSERT_EQ(sanitize(body, {"192.0.2.1"}), Refusal::None);
  EXPECT_EQ(body.upgrade, "");
  RequestHead h2c = request({kHost, {"Connection", "Upgrade, HTTP2-Settings"}, {"Upgrade", "h2c"}});
  ASSERT_EQ(sanitize(h2c, {"192.0.2.1"}), Refusal::None);
  EXPECT_EQ(h2c.upgrade, "");
}

TEST(Sanitize, Paths) {
  const std::pair<const char*, const char*> rows[] = {{"/", "/"},
                                                      {"/a/./b", "/a/b"},
                                                      {"/a/../b", "/b"},
                                                      {"/../../x", "/x"},
                                                      {"/a/..", "/"},
                                                      {"/a/b/..", "/a/"},
                                                      {"/a/.", "/a/"},
                                                      {"/%2e%2e/x", "/x"},
                                                      {"/a/%2E./b", "/b"},
                                                      {"/%61dmin", "/admin"},
                                                      {"/a%2fb", "/a%2fb"},
                                                      {"/a//b", "/a//b"},
                                                      {"/a/.../b", "/a/.../b"},
                                                      {"/.well-known/x", "/.well-known/x"},
                                                      {"/a%20b", "/a%20b"}};
  for (const auto& [in, out] : rows) {
    std::string path = in;
    EXPECT_TRUE(normalize_path(path)) << in;
    EXPECT_EQ(path, out) << in;
  }
}

ResponseHead response(int status, std::vector<Headers::Field> fields, int version = 11) {
  ResponseHead head{.status = status, .version = version};
  for (const auto& field : fields) head.headers.add(field.name, field.value);
  return head;
}

TEST(SanitizeResponse, Framing) {
  const RequestHead get = request({}), head_request = request({}, "/", "HEAD");
  auto length = response(200, {{"Content-Length", "3"}, {"Connection", "close"}});
  ASSERT_EQ(sanitize(length, get), Refusal::None);
  EXPECT_EQ(length.framing, Framing::Length);
  EXPECT_FALSE(length.keep_alive);
  auto to_head = response(200, {{"Content-Length", "3"}});
  ASSERT_EQ(sanitize(to_head, head_request), Refusal::None);
  EXPECT_EQ(to_head.framing, Framing::None);
  EXPECT_EQ(*to_head.headers.find("Content-Length"), "3");
  auto until_close = response(200, {});
  ASSERT_EQ(sanitize(until_close, get), Refusal::None);
  EXPECT_EQ(until_close.framing, Framing::UntilClose);
  EXPECT_FALSE(until_close.keep_alive);
  auto empty = response(204, {});
  ASSERT_EQ(sanitize(empty, get), Refusal::None);
  EXPECT_EQ(empty.framing, Framing::None);
  EXPECT_TRUE(empty.keep_alive);
}

TEST(SanitizeResponse, RefusesWhatIsAmbiguous) {
  const RequestHead get = request({});
  auto both = response(200, {{"Content-Length", "3"}, {"Transfer-Encoding", "chunked"}});
  EXPECT_EQ(sanitize(both, get), Refusal::BadResponse);
  auto twice = response(200, {{"Content-Length", "3"}, {"Content-Length", "4"}});
  EXPECT_EQ(sanitize(twice, get), Refusal::BadResponse);
  auto coding = response(200, {{"Transfer-Encoding", "gzip"}});
  EXPECT_EQ(sanitize(coding, get), Refusal::BadResponse);
  auto switched = response(101, {{"Upgrade", "websocket"}});
  EXPECT_EQ(sanitize(switched, get), Refusal::BadResponse) << "nobody asked for it";
}

}  // namespace
}  // namespace thalweg::ingress
