// Plugins called as a container runtime calls them: built binaries by name, environment and stdin, in a
// network namespace that stands for the host, for a container in another. Tests of the plugins use it.
#pragma once

#include <gmock/gmock.h>
#include <sys/wait.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "tests/base/scratch_netns.h"

namespace thalweg {

struct Answer {
  int exit = -1;
  std::string out;
  boost::json::object body;  // what was printed, if that was an object
  int64_t code() const { return body.contains("code") ? body.at("code").as_int64() : 0; }
  std::string msg() const { return body.contains("msg") ? std::string(body.at("msg").as_string()) : ""; }
};

// Where build/cni-bin is; "" without a build.
inline std::string cni_bin() {
  const char* bin = std::getenv("THALWEG_BIN");
  const std::string folder = bin ? std::string(bin) + "/../cni-bin" : "";
  return std::filesystem::exists(folder + "/thalweg-cni") ? folder : "";
}

struct Call {
  std::string command, config;
  std::string id = "c1", ifname = "eth0", netns = "", args = "";
};

inline Answer call_plugin(const std::string& file, const std::string& path, const Call& call,
                          const std::string& folder) {
  const std::string in = folder + "/in";
  EXPECT_TRUE(write_atomically(in, call.config));
  FILE* pipe = ::popen(fmt::format("env -i CNI_COMMAND={} CNI_CONTAINERID={} CNI_NETNS='{}' CNI_IFNAME={} "
                                   "CNI_PATH={} CNI_ARGS='{}' {} <{}",
                                   call.command, call.id, call.netns, call.ifname, path, call.args, file, in)
                           .c_str(),
                       "r");
  Answer answer;
  char chunk[4096];
  for (size_t n; (n = ::fread(chunk, 1, sizeof chunk, pipe)) > 0;) answer.out.append(chunk, n);
  const int status = ::pclose(pipe);
  answer.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  boost::system::error_code code;
  const auto value = boost::json::parse(answer.out, code);
  if (!code && value.is_object()) answer.body = value.get_object();
  return answer;
}

class Runtime {
 public:
  explicit Runtime(std::string_view part) : host(fmt::format("{}h", part)), pod(fmt::format("{}p", part)) {
    std::string pattern = ::testing::TempDir() + "thalweg-cni-XXXXXX";
    folder = ::mkdtemp(pattern.data());
    path = cni_bin();
  }
  ~Runtime() { std::filesystem::remove_all(folder); }

  // The plugin is the configuration's "type", or the one named. No namespace said: the pod's.
  Answer call(Call call, std::string plugin = "") {
    if (plugin.empty()) plugin = boost::json::parse(call.config).at("type").as_string().c_str();
    if (call.netns.empty()) call.netns = pod.path();
    return host.netns()
        .run([&]() -> Result<Answer> { return call_plugin(path + "/" + plugin, path, call, folder); })
        .value();
  }
  Answer add(const std::string& config, const std::string& id = "c1") {
    return call({.command = "ADD", .config = config, .id = id});
  }
  Answer del(const std::string& config, const std::string& id = "c1") {
    return call({.command = "DEL", .config = config, .id = id});
  }
  // With the result of an ADD.
  Answer check(const std::string& config, const Answer& added) {
    return call({.command = "CHECK", .config = with(config, "prevResult", added.body)});
  }

  static std::string with(const std::string& config, std::string_view key, boost::json::value value) {
    auto object = boost::json::parse(config).as_object();
    object[key] = std::move(value);
    return boost::json::serialize(object);
  }

  std::string folder, path;
  ScratchNetns host, pod;
};

// A third place, behind the host: it knows the host at 203.0.113.1 and no way to the pods.
class World {
 public:
  explicit World(Runtime& runtime, std::string_view part) : ns(part) {
    auto& host = runtime.host.socket();
    EXPECT_TRUE(nl::create_veth(host, {.name = "uplink", .peer_name = "eth0", .peer_netns = &ns.netns()}));
    put_on(runtime.host, "uplink", {Ip::v4(203, 0, 113, 1), Ip::parse("2001:db8:ffff::1").value()});
    put_on(ns, "eth0", {Ip::v4(203, 0, 113, 2), Ip::parse("2001:db8:ffff::2").value()});
  }
  ScratchNetns ns;

 private:
  static void put_on(ScratchNetns& ns, const std::string& name, const std::vector<Ip>& ips) {
    auto& socket = ns.socket();
    EXPECT_TRUE(ns.netns().run([&] { return set_sysctl("net/ipv6/conf/" + name + "/accept_dad", "0"); }));
    const uint32_t link = nl::link_by_name(socket, name)->index;
    EXPECT_TRUE(nl::set_up(socket, link));
    for (const Ip& ip : ips)
      EXPECT_TRUE(nl::set_address(
          socket, {.ip = ip, .length = static_cast<uint8_t>(ip.is_v4() ? 120 : 64), .link = link}));
  }
};

// A command's exit code, run in that namespace.
inline int run_in(const ScratchNetns& ns, const std::string& command) {
  const int status = ::system(fmt::format("nsenter --net={} {} >/dev/null 2>&1", ns.path(), command).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define NEED_PLUGINS() \
  NEED_NETNS();        \
  if (cni_bin().empty()) GTEST_SKIP() << "THALWEG_BIN: no built plugin there"

}  // namespace thalweg
