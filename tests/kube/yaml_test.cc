// YAML scalars as kubectl reads them, lines, and the kubeconfig written in it.
#include "base/asio.h"
//
#include "kube/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kube/api_config.h"

namespace json = boost::json;

namespace thalweg::kube {
namespace {

using testing::HasSubstr;

TEST(Yaml, ScalarsAsKubectlReadsThem) {
  const std::pair<const char*, json::value> cases[] = {
      {"80", 80},
      {"\"80\"", "80"},
      {"0x10", 16},
      {"0755", 493},
      {"-3", -3},
      {"1.5", 1.5},
      {"true", true},
      {"yes", true},
      {"off", false},
      {"'true'", "true"},
      {"~", nullptr},
      {"", nullptr},
      {"10.0.0.1", "10.0.0.1"},
      {"1e3", 1000.0},
      {"08", 8.0},
      {"n", "n"},
      {"-", "-"},
      {".", "."},
      {"2001:db8::1", "2001:db8::1"},
  };
  for (const auto& [text, value] : cases) {
    const auto documents = parse_yaml(std::string("k: ") + (std::string(text) == "-" ? "'-'" : text));
    ASSERT_TRUE(documents) << text << ": " << documents.error().what;
    EXPECT_EQ(documents->front().value.at("k"), value) << text;
  }
}

TEST(Yaml, KnowsTheLineOfEveryField) {
  const auto documents = parse_yaml("# comment\na:\n  b:\n  - c: 1\n    \"d.e\": 2\n  - {f: 3}\n");
  ASSERT_TRUE(documents);
  const auto& [value, lines] = documents->front();
  EXPECT_EQ(line_of(value, lines, "a.b[0].c"), 4);
  EXPECT_EQ(line_of(value, lines, "a.b[0][\"d.e\"]"), 5);
  EXPECT_EQ(line_of(value, lines, "a.b[1].f"), 6);
  EXPECT_EQ(line_of(value, lines, "a.b[1].missing"), 6);
  EXPECT_EQ(line_of(value, lines, "nothing"), 2);
}

constexpr const char* kKubeconfig = R"(apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: other, context: {cluster: none, user: none}}
- {name: here, context: {cluster: c, user: u}}
clusters:
- name: c
  cluster:
    server: https://[2001:db8::1]:6443/base/
    certificate-authority-data: Y2E=
users:
- name: u
  user:
    token: inline
    tokenFile: token.txt
    client-certificate: /abs/cert.pem
    client-key-data: a2V5
)";

std::string changed(const std::string& from, const std::string& to) {
  std::string text = kKubeconfig;
  text.replace(text.find(from), from.size(), to);
  return text;
}

TEST(Kubeconfig, ReadsTheCurrentContext) {
  const auto config = parse_kubeconfig(kKubeconfig, "/etc/k/config");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->host, "2001:db8::1");
  EXPECT_EQ(config->port, "6443");
  EXPECT_EQ(config->base_path, "/base");
  EXPECT_EQ(config->where(), "https://[2001:db8::1]:6443/base");
  EXPECT_EQ(config->ca.data, "ca");
  EXPECT_EQ(config->token.file, "/etc/k/token.txt") << "beside the kubeconfig, and before an inline token";
  EXPECT_EQ(config->client_certificate.file, "/abs/cert.pem");
  EXPECT_EQ(config->client_key.data, "key");
  EXPECT_TRUE(config->tls && !config->insecure);
}

TEST(Kubeconfig, RefusesWhatCannotWork) {
  const std::pair<std::string, const char*> cases[] = {
      {changed("current-context: here", "current-context: nowhere"),
       "f:5: contexts: has no context named nowhere"},
      {changed("token: inline", "exec: {command: aws}"), "f:15: users[0].user.exec: is not supported yet"},
      {changed("token: inline", "auth-provider: {name: gcp}"),
       "f:15: users[0].user.auth-provider: is not supported"},
      {changed("https://[2001:db8::1]:6443/base/", "http://192.0.2.1"),
       "f:10: clusters[0].cluster.server: is not encrypted"},
      {changed("https://[2001:db8::1]:6443/base/", "nonsense"), "expected an https:// URL, got \"nonsense\""},
      {changed("    client-key-data: a2V5\n", ""), "client-certificate and client-key belong together"},
      {changed("Y2E=", "\"!\""), "certificate-authority-data: expected base64"},
      {"a: [", "f:"},
  };
  for (const auto& [text, error] : cases) {
    const auto config = parse_kubeconfig(text, "f");
    ASSERT_FALSE(config) << text;
    EXPECT_THAT(config.error().message, HasSubstr(error));
  }
}

TEST(Kubeconfig, PlainHttpOnlyOnLoopbackOrWhenWritten) {
  EXPECT_TRUE(parse_kubeconfig(changed("https://[2001:db8::1]:6443/base/", "http://127.0.0.1:8001"), "f"));
  const auto written =
      parse_kubeconfig(changed("server: https://[2001:db8::1]:6443/base/",
                               "server: http://192.0.2.1\n    insecure-skip-tls-verify: true"),
                       "f");
  ASSERT_TRUE(written);
  EXPECT_EQ(written->port, "80");
}

TEST(ApiFlag, UnixPath) {
  EXPECT_EQ(parse_api("unix:/run/x.sock")->unix_path, "/run/x.sock");
  EXPECT_FALSE(parse_api("unix:"));
  EXPECT_FALSE(parse_api("tcp:1"));
  EXPECT_FALSE(parse_api("unix:" + std::string(200, 'x')));
}

}  // namespace
}  // namespace thalweg::kube
