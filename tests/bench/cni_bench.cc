// What the plugins cost a pod's start and end, beside the reference's: whole processes as a runtime starts
// them, in namespaces of their own, every round on a fresh one; rounds interleaved, medians and 99th
// percentiles. Run by scripts/bench; a JSON object a line. cni_bench OURS THEIRS: the folders of the plugins.
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "base/link.h"
#include "base/netns.h"

namespace {

using namespace thalweg;
namespace json = boost::json;

constexpr int kRounds = 60;
constexpr const char* kPrefix = "twb-cni-";

struct Side {
  std::string name, folder, version, host, state;
  std::map<std::string, std::vector<double>> took;  // by what was called, ms
  double peak_mb = 0;
};

struct Done {
  int exit = -1;
  double ms = 0, peak_mb = 0;
  std::string out;
};

// fork() and not vfork(): the child's peak memory would be this process's own.
Result<Done> run(const std::string& file, const std::vector<std::string>& environment,
                 const std::string& in) {
  int to[2], from[2];
  if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
  const auto begun = std::chrono::steady_clock::now();
  const pid_t pid = ::fork();
  if (pid == 0) {
    std::vector<char*> env;
    for (const std::string& variable : environment) env.push_back(const_cast<char*>(variable.c_str()));
    env.push_back(nullptr);
    char* const arguments[] = {const_cast<char*>(file.c_str()), nullptr};
    ::dup2(to[0], STDIN_FILENO), ::dup2(from[1], STDOUT_FILENO);
    ::execve(file.c_str(), arguments, env.data());
    ::_exit(127);
  }
  ::close(to[0]), ::close(from[1]);
  (void)!::write(to[1], in.data(), in.size());
  ::close(to[1]);
  Done done;
  char chunk[8192];
  for (ssize_t n; (n = ::read(from[0], chunk, sizeof chunk)) > 0;) done.out.append(chunk, n);
  ::close(from[0]);
  rusage used{};
  int status = 0;
  ::wait4(pid, &status, 0, &used);
  done.ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
  done.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  done.peak_mb = static_cast<double>(used.ru_maxrss) / 1024;
  return done;
}

std::string pod_path() { return netns_path(fmt::format("{}pod", kPrefix)); }

// Calls a plugin and keeps what it took under `key`. Its answer.
Result<json::object> call(Side& side, const std::string& key, const std::string& verb,
                          const json::object& config) {
  json::object said = config;
  said["cniVersion"] = side.version, said["name"] = "bench";
  const std::string plugin = said.at("type").as_string().c_str();
  const Done done =
      TRY(run(side.folder + "/" + plugin,
              {"CNI_COMMAND=" + verb, "CNI_CONTAINERID=bench", "CNI_IFNAME=eth0", "CNI_NETNS=" + pod_path(),
               "CNI_PATH=" + side.folder, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
              json::serialize(said)));
  if (done.exit != 0) return fail("{} of {} ({}): {}", verb, plugin, side.name, done.out);
  side.took[key].push_back(done.ms);
  side.peak_mb = std::max(side.peak_mb, done.peak_mb);
  return done.out.empty() ? json::object() : json::parse(done.out).as_object();
}

json::object addresses(const Side& side, const char* network) {
  return {{"type", "host-local"},
          {"dataDir", side.state},
          {"ranges", json::array{json::array{json::object{{"subnet", network}}}}},
          {"routes", json::array{json::object{{"dst", "0.0.0.0/0"}}}}};
}

Result<> enter(const std::string& name) {
  const Netns netns = TRY(Netns::open_named(name));
  return ::setns(netns.fd(), CLONE_NEWNET) == 0 ? Result<>() : fail_errno(errno, "enter {}", name);
}

// One pod's life: loopback, bridge with host-local, portmap, and back.
Result<> round(Side& side) {
  // The kernel takes down the last round's namespace, and holds its lock on links meanwhile. Who waits is
  // cold.
  ::usleep(50'000);
  TRY(run("/bin/true", {}, ""));
  side.took["exec"].push_back(TRY(run("/bin/true", {}, "")).ms);
  TRY(enter(side.host));
  TRY(create_netns(fmt::format("{}pod", kPrefix)));
  const json::object bridge{{"type", "bridge"},
                            {"bridge", "bench0"},
                            {"isGateway", true},
                            {"ipam", addresses(side, "192.0.2.0/24")}};
  const json::object alone{{"type", "host-local"}, {"ipam", addresses(side, "198.51.100.0/24")}};
  json::object ports{
      {"type", "portmap"},
      {"runtimeConfig",
       json::object{{"portMappings", json::array{json::object{
                                         {"hostPort", 80}, {"containerPort", 8080}, {"protocol", "tcp"}}}}}}};
  TRY(call(side, "loopback_add", "ADD", {{"type", "loopback"}}));
  TRY(call(side, "hostlocal_add", "ADD", alone));
  TRY(call(side, "hostlocal_del", "DEL", alone));
  const json::object added = TRY(call(side, "bridge_add", "ADD", bridge));
  ports["prevResult"] = added;
  TRY(call(side, "portmap_add", "ADD", ports));
  TRY(call(side, "portmap_del", "DEL", ports));
  TRY(call(side, "bridge_del", "DEL", bridge));
  TRY(call(side, "loopback_del", "DEL", {{"type", "loopback"}}));
  return delete_netns(fmt::format("{}pod", kPrefix));
}

double percentile(std::vector<double> values, size_t of_100) {
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, values.size() * of_100 / 100)];
}

void print(const std::string& metric, const char* unit, double ours, const std::string& peer, double theirs) {
  fmt::print(
      R"({{"bench":"cni","metric":"{}","unit":"{}","ours":{:.3f},"peer":"{}","theirs":{:.3f},"ratio":{:.3f}}})"
      "\n",
      metric, unit, ours, peer, theirs, ours / theirs);
}

// Of the files, each counted once however many names it has.
double size_mb(const std::string& folder) {
  std::map<ino_t, double> sizes;
  struct stat one;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (::stat(entry.path().c_str(), &one) == 0) sizes[one.st_ino] = static_cast<double>(one.st_size) / 1e6;
  double sum = 0;
  for (const auto& [inode, size] : sizes) sum += size;
  return sum;
}

void sweep() {
  for (const std::string& name : list_netns(kPrefix).value_or(std::vector<std::string>()))
    (void)delete_netns(name);
}

Result<> measure(Side& ours, Side& theirs, const std::string& state) {
  for (Side* side : {&ours, &theirs}) {
    side->host = fmt::format("{}{}", kPrefix, side->name), side->state = state + "/" + side->name;
    TRY(create_netns(side->host));
    TRY(round(*side));  // makes the bridge, the table, the folders
    side->took.clear();
  }
  for (int i = 0; i < kRounds; ++i) {
    TRY(round(i % 2 ? theirs : ours));
    TRY(round(i % 2 ? ours : theirs));
  }
  const std::string reference = "the reference (" + theirs.folder + ")";
  for (const char* what :
       {"bridge_add", "bridge_del", "portmap_add", "portmap_del", "loopback_add", "hostlocal_add"})
    for (const auto& [name, of_100] : {std::pair{"p50", 50}, {"p99", 99}})
      print(fmt::format("{}_{}_ms", what, name), "ms", percentile(ours.took[what], of_100), reference,
            percentile(theirs.took[what], of_100));
  for (const char* what : {"loopback_add", "hostlocal_add"})
    print(fmt::format("{}_over_exec", what), "ms", percentile(ours.took[what], 50), "fork+exec of /bin/true",
          percentile(ours.took["exec"], 50));
  print("peak_rss_mb", "MB", ours.peak_mb, reference, theirs.peak_mb);
  print("suite_mb", "MB", size_mb(ours.folder), reference, size_mb(theirs.folder));
  return {};
}

}  // namespace

int main(int count, char** argv) {
  if (count != 3) return std::fputs("usage: cni_bench OURS THEIRS\n", stderr), 2;
  Side ours{.name = "ours", .folder = argv[1], .version = "1.1.0"},
      theirs{.name = "theirs", .folder = argv[2], .version = "1.0.0"};
  std::string state = "/tmp/twb-cni-XXXXXX";
  if (!::mkdtemp(state.data())) return std::perror("mkdtemp"), 1;
  sweep();
  const auto done = measure(ours, theirs, state);
  sweep();
  std::filesystem::remove_all(state);
  if (!done) return std::fprintf(stderr, "cni_bench: %s\n", done.error().message.c_str()), 1;
  return 0;
}
