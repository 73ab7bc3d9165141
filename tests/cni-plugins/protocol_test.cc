// The protocol with environment, stdin and the plugin injected: no process, no network.
#include <gmock/gmock.h>

#include <boost/json.hpp>
#include <map>

#include "base/netns.h"
#include "cni-plugins/cni.h"

namespace thalweg::cni {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

using Env = std::map<std::string, std::string>;

Env env_of(const std::string& command) {
  return {{"CNI_COMMAND", command}, {"CNI_CONTAINERID", "c1"},        {"CNI_NETNS", "/run/netns/absent"},
          {"CNI_IFNAME", "eth0"},   {"CNI_ARGS", "K8S_POD_NAME=web"}, {"CNI_PATH", "/opt/cni/bin"}};
}

// A plugin that remembers what it was asked.
struct Fake {
  std::optional<Request> seen;
  Plugin plugin() {
    const auto note = [this](const Request& request) -> Outcome<> { return seen = request, Outcome<>(); };
    return {
        "fake",
        [this](const Request& request) -> Outcome<CniResult> {
          seen = request;
          CniResult result;
          result.interfaces = {
              {.name = "tw0", .mac = "02:00:00:00:00:01", .mtu = 1450},
              {.name = "eth0", .mac = "02:00:00:00:00:02", .mtu = 1450, .sandbox = request.netns}};
          result.ips = {
              {.ip = Ip::v4(192, 0, 2, 7), .length = 32, .gateway = Ip::v4(169, 254, 1, 1), .interface = 1},
              {.ip = Ip::parse("2001:db8::7").value(), .length = 128, .interface = 1}};
          result.routes = {{.to = Cidr(Ip::v4(0, 0, 0, 0), 96), .gateway = Ip::v4(169, 254, 1, 1)}};
          return result;
        },
        note,
        note,
        note,
        note};
  }
};

struct Answer {
  int exit;
  std::string text;
  json::object body;
  int64_t code() const { return body.contains("code") ? body.at("code").as_int64() : 0; }
  std::string msg() const { return body.contains("msg") ? body.at("msg").as_string().c_str() : ""; }
};

Answer ask(Fake& fake, const Env& env, const std::string& in) {
  const Output out = run(fake.plugin(), {[&](const char* name) {
                                           const auto it = env.find(name);
                                           return it == env.end() ? "" : it->second;
                                         },
                                         in});
  return {out.exit, out.out, out.out.empty() ? json::object() : json::parse(out.out).as_object()};
}

const std::string kConfig = R"({"cniVersion":"1.1.0","name":"net","type":"thalweg-cni"})";
const std::string kPrevious =
    R"(,"prevResult":{"cniVersion":"1.1.0","ips":[{"address":"192.0.2.7/32"}],"interfaces":[]})";
std::string config(const std::string& version, const std::string& more = "") {
  return R"({"cniVersion":")" + version + R"(","name":"net","type":"thalweg-cni")" + more + "}";
}

TEST(Verbs, ReachThePluginWithWhatWasGiven) {
  for (const char* command : {"ADD", "DEL", "CHECK", "GC", "STATUS"}) {
    Fake fake;
    const Answer answer =
        ask(fake, env_of(command),
            config("1.1.0",
                   kPrevious + R"(,"cni.dev/valid-attachments":[{"containerID":"c9","ifname":"eth1"}])"));
    EXPECT_EQ(answer.exit, 0) << answer.text;
    ASSERT_TRUE(fake.seen) << command;
    EXPECT_EQ(fake.seen->command, command);
    EXPECT_EQ(fake.seen->container_id, "c1");
    EXPECT_EQ(fake.seen->args, "K8S_POD_NAME=web");
    EXPECT_EQ(fake.seen->network, "net");
    const bool previous = command == std::string("ADD") || command == std::string("CHECK");
    ASSERT_EQ(fake.seen->previous.has_value(), previous) << command;
    if (previous) {
      EXPECT_EQ(fake.seen->previous->ips.at(0).ip.str(), "192.0.2.7");
    }
    EXPECT_EQ(answer.text.empty(), command != std::string("ADD"));
    if (command == std::string("GC")) {
      EXPECT_EQ(fake.seen->valid_attachments.at(0).container_id, "c9");
      EXPECT_EQ(fake.seen->valid_attachments.at(0).ifname, "eth1");
    }
  }
}

TEST(Verbs, VersionEchoesAndListsAll) {
  Fake fake;
  const json::array all = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
  for (const auto& [in, version] : {std::pair{R"({"cniVersion":"0.4.0"})", "0.4.0"},
                                    {"", "1.1.0"},
                                    {R"({"cniVersion":"9.9.9"})", "9.9.9"}}) {
    const Answer answer = ask(fake, {{"CNI_COMMAND", "VERSION"}}, in);
    EXPECT_EQ(answer.exit, 0);
    EXPECT_EQ(answer.body.at("cniVersion"), version);
    EXPECT_EQ(answer.body.at("supportedVersions"), json::value(all));
  }
  EXPECT_EQ(ask(fake, {{"CNI_COMMAND", "VERSION"}}, "{").code(), kDecodingFailure);
  EXPECT_FALSE(fake.seen);
}

TEST(Versions, EachGetsItsOwnForm) {
  for (const std::string_view version : supported_versions()) {
    Fake fake;
    const Answer answer = ask(fake, env_of("ADD"), config(std::string(version)));
    ASSERT_EQ(answer.exit, 0) << answer.text;
    EXPECT_EQ(answer.body.at("cniVersion"), json::value(version));
    const json::object& ip = answer.body.at("ips").as_array().at(0).as_object();
    EXPECT_EQ(ip.at("address"), "192.0.2.7/32");
    EXPECT_EQ(ip.at("gateway"), "169.254.1.1");
    EXPECT_EQ(ip.contains("version"), version.starts_with("0.")) << version;
    EXPECT_EQ(answer.body.at("interfaces").as_array().at(1).as_object().contains("mtu"), version == "1.1.0");
    EXPECT_EQ(answer.body.at("routes").as_array().at(0).at("dst"), "0.0.0.0/0");
    // What we write we can read.
    const auto again = parse_result(answer.body);
    ASSERT_TRUE(again);
    EXPECT_EQ(to_json(*again, version), answer.body);
  }
}

TEST(Versions, VerbsThatAVersionDoesNotHave) {
  for (const auto& [command, version, code] : {std::tuple{"CHECK", "0.3.1", 1},
                                               {"CHECK", "0.4.0", 0},
                                               {"GC", "1.0.0", 1},
                                               {"STATUS", "1.0.0", 1},
                                               {"STATUS", "1.1.0", 0},
                                               {"ADD", "0.2.0", 1},
                                               {"ADD", "2.0.0", 1},
                                               {"DEL", "", 1}}) {
    Fake fake;
    const Answer answer = ask(fake, env_of(command), config(version, kPrevious));
    EXPECT_EQ(answer.code(), code) << command << " " << version << answer.text;
    EXPECT_EQ(fake.seen.has_value(), code == 0);
    if (code) {
      EXPECT_THAT(answer.msg(), HasSubstr("cniVersion"));
    }
  }
}

// ---- the error table of the spec

struct BadCase {
  const char* name;
  std::string command;
  Env change;
  std::string in;
  uint32_t code;
  const char* named;  // what the message must name
};

const std::string kText300(300, 'a');
const std::vector<BadCase> kBad = {
    {"no command", "", {}, kConfig, kInvalidEnvironment, "CNI_COMMAND"},
    {"unknown command", "UPDATE", {}, kConfig, kInvalidEnvironment, "UPDATE"},
    {"no container", "ADD", {{"CNI_CONTAINERID", ""}}, kConfig, kInvalidEnvironment, "CNI_CONTAINERID"},
    {"container with a path",
     "ADD",
     {{"CNI_CONTAINERID", "../x"}},
     kConfig,
     kInvalidEnvironment,
     "CNI_CONTAINERID"},
    {"container with a line break",
     "ADD",
     {{"CNI_CONTAINERID", "a\nb"}},
     kConfig,
     kInvalidEnvironment,
     "CNI_CONTAINERID"},
    {"long container",
     "ADD",
     {{"CNI_CONTAINERID", kText300}},
     kConfig,
     kInvalidEnvironment,
     "CNI_CONTAINERID"},
    {"no interface", "DEL", {{"CNI_IFNAME", ""}}, kConfig, kInvalidEnvironment, "CNI_IFNAME"},
    {"long interface",
     "ADD",
     {{"CNI_IFNAME", "1234567890123456"}},
     kConfig,
     kInvalidEnvironment,
     "CNI_IFNAME"},
    {"interface ..", "ADD", {{"CNI_IFNAME", ".."}}, kConfig, kInvalidEnvironment, "CNI_IFNAME"},
    {"interface with a slash", "ADD", {{"CNI_IFNAME", "a/b"}}, kConfig, kInvalidEnvironment, "CNI_IFNAME"},
    {"interface with a colon", "ADD", {{"CNI_IFNAME", "a:b"}}, kConfig, kInvalidEnvironment, "CNI_IFNAME"},
    {"no netns", "ADD", {{"CNI_NETNS", ""}}, kConfig, kInvalidEnvironment, "CNI_NETNS"},
    {"relative netns", "CHECK", {{"CNI_NETNS", "netns/x"}}, kConfig, kInvalidEnvironment, "CNI_NETNS"},
    {"own netns", "ADD", {{"CNI_NETNS", "/proc/self/ns/net"}}, kConfig, kInvalidEnvironment, "CNI_NETNS"},
    {"not JSON", "ADD", {}, "{\"cniVersion\":", kDecodingFailure, "stdin"},
    {"empty", "ADD", {}, "", kDecodingFailure, "stdin"},
    {"an array", "ADD", {}, "[]", kDecodingFailure, "object"},
    {"deep", "ADD", {}, std::string(100000, '['), kDecodingFailure, "stdin"},
    {"too large", "ADD", {}, std::string(kMaxConfigBytes + 1, ' '), kDecodingFailure, "larger"},
    {"version no text", "ADD", {}, R"({"cniVersion":1})", kDecodingFailure, "cniVersion"},
    {"no name", "ADD", {}, R"({"cniVersion":"1.1.0"})", kInvalidConfig, "name"},
    {"name no text", "ADD", {}, R"({"cniVersion":"1.1.0","name":{}})", kDecodingFailure, "name"},
    {"name with a path", "ADD", {}, R"({"cniVersion":"1.1.0","name":"../../etc"})", kInvalidConfig, "name"},
    {"name with a space", "DEL", {}, R"({"cniVersion":"1.1.0","name":"a b"})", kInvalidConfig, "name"},
    {"prevResult no object",
     "ADD",
     {},
     config("1.1.0", R"(,"prevResult":[])"),
     kDecodingFailure,
     "prevResult"},
    {"prevResult address",
     "CHECK",
     {},
     config("1.1.0", R"(,"prevResult":{"ips":[{"address":"1.2.3.4/99"}]})"),
     kDecodingFailure,
     "1.2.3.4/99"},
    {"prevResult interface",
     "CHECK",
     {},
     config("1.1.0", R"(,"prevResult":{"ips":[{"address":"1.2.3.4/24","interface":3}]})"),
     kDecodingFailure,
     "interface 3"},
    {"CHECK without prevResult", "CHECK", {}, kConfig, kInvalidConfig, "prevResult"},
    {"GC without the list", "GC", {}, kConfig, kInvalidConfig, "cni.dev/valid-attachments"},
    {"GC with a bad list",
     "GC",
     {},
     config("1.1.0", R"(,"cni.dev/valid-attachments":{})"),
     kDecodingFailure,
     "valid-attachments"},
    {"GC with a bad row",
     "GC",
     {},
     config("1.1.0",
            R"(,"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"e"},{"containerID":"/"}])"),
     kInvalidConfig,
     "[1]"},
};

TEST(Errors, OneObjectWithTheCodeOfTheSpec) {
  for (const BadCase& bad : kBad) {
    Fake fake;
    Env env = env_of(bad.command);
    for (const auto& [key, value] : bad.change) env[key] = value;
    const Answer answer = ask(fake, env, bad.in);
    EXPECT_EQ(answer.exit, 1) << bad.name;
    EXPECT_EQ(answer.code(), bad.code) << bad.name << ": " << answer.text;
    EXPECT_THAT(answer.msg(), HasSubstr(bad.named)) << bad.name;
    EXPECT_TRUE(answer.body.contains("cniVersion")) << bad.name;
    EXPECT_EQ(std::count(answer.text.begin(), answer.text.end(), '\n'), 1) << bad.name;
    EXPECT_FALSE(fake.seen) << bad.name;
  }
}

TEST(Errors, WhatIsNotNeededMayBeMissing) {
  Env env = env_of("DEL");
  env["CNI_NETNS"] = "";
  Fake fake;
  EXPECT_EQ(ask(fake, env, kConfig).exit, 0);
  EXPECT_EQ(ask(fake, env, config("1.1.0", R"(,"prevResult":[])")).exit, 0);
  EXPECT_EQ(ask(fake, {{"CNI_COMMAND", "STATUS"}}, kConfig).exit, 0);
  EXPECT_EQ(ask(fake, {{"CNI_COMMAND", "GC"}}, config("1.1.0", R"(,"cni.dev/valid-attachments":[])")).exit,
            0);
  EXPECT_EQ(ask(fake, {{"CNI_COMMAND", "GC"}}, config("1.1.0", R"(,"cni.dev/attachments":[])")).exit, 0);
}

TEST(Errors, ThePluginsOwnAreInTheVersionAsked) {
  Fake fake;
  Plugin plugin = fake.plugin();
  plugin.add = [](const Request&) -> Outcome<CniResult> { return refuse(kTryAgainLater, "later", "why"); };
  const Env env = env_of("ADD");
  const Output out = run(
      plugin, {[&](const char* name) { return env.contains(name) ? env.at(name) : ""; }, config("0.4.0")});
  EXPECT_EQ(out.exit, 1);
  EXPECT_EQ(json::parse(out.out),
            json::value({{"cniVersion", "0.4.0"}, {"code", 11}, {"msg", "later"}, {"details", "why"}}));
}

}  // namespace
}  // namespace thalweg::cni
