#include "tests/agent/lab.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/http_call.h"
#include "dataplane/ebpf/layout.h"

namespace thalweg::test {
namespace {

namespace json = boost::json;
constexpr const char* kNode = "twt-agent-node";
constexpr const char* kOut = "twt-agent-out";

std::string binary(const std::string& name) {
  const char* folder = std::getenv("THALWEG_BIN");
  return (folder != nullptr ? std::string(folder) : "build/bin") + "/" + name;
}
std::string pod_netns(const std::string& pod) { return "twt-agent-pod-" + pod; }

void sweep() { sh("for n in $(ip netns list | grep -o '^twt-agent-[^ ]*'); do ip netns del $n; done"); }

}  // namespace

Ran sh(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen(("{ " + command + " ; } 2>&1").c_str(), "r");
  if (pipe == nullptr) return ran;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) ran.out.append(buffer, n);
  const int status = ::pclose(pipe);
  ran.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

Lab::Lab() : folder_(fmt::format("/tmp/twt-agent-{}", ::getpid())) {
  if (!why_not().empty()) return;
  sweep();
  sh("mkdir -p " + folder_ + "/manifests " + folder_ + "/state");
  const std::string mount = sh("findmnt -n -t cgroup2 -o TARGET | head -1").out;
  const std::string cgroup = fmt::format("{}/twt-agent-{}", mount.substr(0, mount.find('\n')), ::getpid());
  if (!mount.empty() && sh("mkdir " + cgroup).exit == 0) cgroup_ = cgroup;
  sh(fmt::format(
      "ip netns add {0}; ip netns add {1}; ip -n {0} link set lo up;"
      "ip link add eth0 netns {0} type veth peer name eth0 netns {1};"
      "ip -n {0} addr add 192.0.2.11/24 dev eth0; ip -n {0} addr add 2001:db8::11/64 dev eth0 nodad;"
      "ip -n {1} addr add 192.0.2.100/24 dev eth0; ip -n {1} addr add 2001:db8::100/64 dev eth0 nodad;"
      "ip -n {0} link set eth0 up; ip -n {1} link set eth0 up",
      kNode, kOut));
}

Lab::~Lab() {
  kill_agent(SIGKILL);
  if (why_not().empty()) sweep();
  if (!cgroup_.empty()) ::rmdir(cgroup_.c_str());
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string Lab::why_not() const {
  if (std::string why = why_no_bpf(); !why.empty()) return why;
  if (!bpf_.mounted()) return "cannot mount a bpffs";
  if (sh("ip netns list").exit != 0) return "needs iproute2";
  return sh("ping -V").exit == 0 ? "" : "needs ping";
}

void Lab::write_manifest(const std::string& name, const std::string& yaml) {
  const std::string path = folder_ + "/manifests/" + name;
  std::ofstream(path + ".new") << yaml;
  std::filesystem::rename(path + ".new", path);
}

std::string Lab::command(bool source_away) const {
  return fmt::format(
      "{} --node-name n1 {} --run-dir {}/run --state-dir {}/state --bpf-dir {}/n1 "
      "--service-cidr 10.96.0.0/16 --verify-ms 500{}",
      binary("thalwegd"),
      source_away ? "--api unix:" + folder_ + "/nobody.sock" : "--manifests " + folder_ + "/manifests",
      folder_, folder_, bpf_.path(), cgroup_.empty() ? "" : " --cgroup " + cgroup_);
}

void Lab::start_agent(bool source_away) {
  const std::string line =
      fmt::format("exec nsenter --net=/run/netns/{} {} >> {}/log 2>&1", kNode, command(source_away), folder_);
  agent_ = ::fork();
  if (agent_ != 0) return;
  ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
  ::_exit(127);
}

void Lab::kill_agent(int signal) {
  if (agent_ <= 0) return;
  ::kill(agent_, signal);
  ::waitpid(agent_, nullptr, 0);
  agent_ = 0;
}

bool Lab::agent_runs() { return agent_ > 0 && ::waitpid(agent_, nullptr, WNOHANG) == 0; }

bool Lab::wait_synced() { return wait_status({"\"synced\":true,\"ready\""}); }

bool Lab::wait_status(const std::vector<std::string>& parts) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  while (std::chrono::steady_clock::now() < end && agent_runs()) {
    const std::string status = get("/v1/status");
    if (std::ranges::all_of(parts, [&](const auto& part) { return status.find(part) != status.npos; }))
      return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return false;
}

std::string Lab::agent_log() const {
  std::ifstream file(folder_ + "/log");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string Lab::pin_of(const std::string& table) const {
  return fmt::format("{}/sets/{}/tables/{}", pins(), dataplane::layout_name(), table);
}

void Lab::make_pod(const std::string& name) { sh("ip netns add " + pod_netns(name)); }

int Lab::cni(const std::string& verb, const std::string& pod, std::string* body) {
  const json::object request{
      {"command", verb},
      {"containerId", "c-" + pod},
      {"netns", "/run/netns/" + pod_netns(pod)},
      {"ifname", "eth0"},
      {"args", "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=" + pod},
      {"path", "/opt/cni/bin"},
      {"config", {{"cniVersion", "1.1.0"}, {"name", "thalweg"}, {"type", "thalweg-cni"}}}};
  const auto reply = http_call(socket(), "POST", "/v1/cni", json::serialize(request), 30'000);
  if (body != nullptr) *body = reply ? reply->body : reply.error().message;
  return reply ? reply->status : 0;
}

std::vector<std::string> Lab::ips(const std::string& result) {
  std::vector<std::string> found;
  boost::system::error_code error;
  const json::value value = json::parse(result, error);
  if (error || !value.is_object() || !value.as_object().contains("ips")) return found;
  for (const json::value& one : value.at("ips").as_array()) {
    const std::string address(one.at("address").as_string());
    found.push_back(address.substr(0, address.find('/')));
  }
  return found;
}

std::string Lab::get(const std::string& path) {
  const auto reply = http_call(socket(), "GET", path, "", 5'000);
  return reply ? reply->body : "";
}

Ran Lab::thalweg(const std::string& arguments) {
  return sh(fmt::format("{} --socket {} {}", binary("thalweg"), socket(), arguments));
}
Ran Lab::in_pod(const std::string& pod, const std::string& command) {
  return sh(fmt::format("nsenter --net=/run/netns/{} {}", pod_netns(pod), command));
}
bool Lab::pings(const std::string& pod, const std::string& address) {
  return in_pod(pod, "ping -n -c 2 -i 0.2 -W 1 " + address).exit == 0;
}
Ran Lab::on_node(const std::string& command) {
  return sh(fmt::format("nsenter --net=/run/netns/{} {}", kNode, command));
}
Ran Lab::cleanup() { return on_node(command() + " --cleanup"); }

}  // namespace thalweg::test
