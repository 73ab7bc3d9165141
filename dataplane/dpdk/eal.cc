#include "dataplane/dpdk/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace thalweg::dataplane::dpdk {
namespace {

constexpr unsigned kWorkerLcore = 1;

int run_job(void* job) {
  (*static_cast<std::function<void()>*>(job))();
  return 0;
}

std::vector<std::string> arguments(const EalOptions& options, const std::string& prefix) {
  std::vector<std::string> args = {"thalweg",       "--no-pci", "--no-telemetry",     "--no-shconf",
                                   "--file-prefix", prefix,     "--log-level=*:error"};
  args.push_back("--lcores");
  args.push_back(fmt::format("0@({}),{}@{}", allowed_cpus(), kWorkerLcore, options.core));
  if (options.huge_dir.empty())
    args.insert(args.end(), {"--no-huge", "-m", std::to_string(options.memory_mb)});
  else
    args.insert(args.end(), {"--huge-dir", options.huge_dir});
  for (const auto& vdev : options.vdevs) args.push_back("--vdev=" + vdev);
  return args;
}

// The last line of what DPDK logged, without its newline.
std::string last_line(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const auto newline = text.rfind('\n');
  return newline == std::string::npos ? text : text.substr(newline + 1);
}

// DPDK speaks to a FILE*; what it said while it started is kept for the error.
struct InitLog {
  InitLog() : file(open_memstream(&text, &size)) { rte_openlog_stream(file); }
  ~InitLog() {
    rte_openlog_stream(stderr);
    if (file) std::fclose(file);
    std::free(text);
  }
  std::string last() {
    std::fflush(file);
    return last_line(std::string(text, size));
  }
  char* text = nullptr;
  size_t size = 0;
  FILE* file;
};

// DPDK leaves its folder behind; the next process has another prefix and would never clean it.
void remove_runtime_folder(const std::string& prefix) {
  const char* xdg = geteuid() == 0 ? nullptr : std::getenv("XDG_RUNTIME_DIR");
  const std::string base = geteuid() == 0 ? "/var/run" : xdg ? xdg : "/tmp";
  std::error_code ignored;
  std::filesystem::remove_all(base + "/dpdk/" + prefix, ignored);
}

}  // namespace

std::string allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return "0";
  std::string list;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    int last = cpu;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) ++last;
    list += fmt::format("{}{}", list.empty() ? "" : ",",
                        cpu == last ? fmt::format("{}", cpu) : fmt::format("{}-{}", cpu, last));
    cpu = last;
  }
  return list;
}

Result<Eal> Eal::start(const EalOptions& options) {
  const std::string prefix = options.prefix.empty() ? fmt::format("thalweg-{}", getpid()) : options.prefix;
  auto args = arguments(options, prefix);
  std::vector<char*> argv;
  for (auto& arg : args) argv.push_back(arg.data());
  InitLog log;
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    const std::string said = log.last();
    remove_runtime_folder(prefix);
    return fail("start DPDK: {}", said.empty() ? rte_strerror(rte_errno) : said);
  }
  return Eal(prefix);
}

Eal::Eal(std::string prefix) : prefix_(std::move(prefix)), running_(true) {}

Eal::Eal(Eal&& other) noexcept
    : prefix_(std::move(other.prefix_)),
      job_(std::move(other.job_)),
      running_(std::exchange(other.running_, false)) {}

Eal::~Eal() {
  if (!running_) return;
  wait();
  rte_eal_cleanup();
  remove_runtime_folder(prefix_);
}

Result<> Eal::launch(std::function<void()> f) {
  wait();
  job_ = std::move(f);
  const int error = rte_eal_remote_launch(run_job, &job_, kWorkerLcore);
  if (error != 0) return fail_errno(-error, "start the worker's core");
  return {};
}

void Eal::wait() { rte_eal_wait_lcore(kWorkerLcore); }

}  // namespace thalweg::dataplane::dpdk
