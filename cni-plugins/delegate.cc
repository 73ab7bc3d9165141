#include "cni-plugins/delegate.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <optional>

#include "base/fd.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace json = boost::json;

namespace {

constexpr auto kTimeout = std::chrono::seconds(240);  // as long as the kubelet waits for a sandbox

Outcome<std::string> find_in_path(const std::string& path, const std::string& type) {
  if (!is_plugin_type(type))
    return refuse(kInvalidConfig, fmt::format("type: \"{}\" is no plugin's name", type));
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::string folder = path.substr(start, end - start), file = folder + "/" + type;
    if (folder.starts_with('/') && ::access(file.c_str(), X_OK) == 0) return file;
    start = end + 1;
  }
  return refuse(kInvalidConfig, fmt::format("plugin {} is not in CNI_PATH \"{}\"", type, path));
}

// A hard link to this program, or this program by another way.
const Plugin* as_one_of_ours(const std::string& file, const std::string& type) {
  struct stat there, here;
  if (::stat(file.c_str(), &there) != 0 || ::stat("/proc/self/exe", &here) != 0) return nullptr;
  return there.st_dev == here.st_dev && there.st_ino == here.st_ino ? find_plugin(type) : nullptr;
}

std::vector<std::string> environment(const Request& request, std::string_view command) {
  std::vector<std::string> out;
  for (char** variable = environ; *variable; ++variable)
    if (!std::string_view(*variable).starts_with("CNI_")) out.emplace_back(*variable);
  const auto add = [&](const char* name, std::string_view value) {
    if (!value.empty()) out.push_back(fmt::format("{}={}", name, value));
  };
  add("CNI_COMMAND", command);
  add("CNI_CONTAINERID", request.container_id);
  add("CNI_NETNS", request.netns);
  add("CNI_IFNAME", request.ifname);
  add("CNI_ARGS", request.args);
  add("CNI_PATH", request.path);
  return out;
}

struct Child {
  pid_t pid = -1;
  Fd in, out;  // our ends
};

Result<Child> start(const std::string& file, const std::vector<std::string>& environment) {
  int in[2], out[2];
  if (::pipe2(in, O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
  Fd child_in(in[0]), our_out(in[1]);
  if (::pipe2(out, O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
  Fd our_in(out[0]), child_out(out[1]);
  std::vector<char*> env;
  for (const std::string& variable : environment) env.push_back(const_cast<char*>(variable.c_str()));
  env.push_back(nullptr);
  char* const arguments[] = {const_cast<char*>(file.c_str()), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, child_in.get(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, child_out.get(), STDOUT_FILENO);
  Child child{.in = std::move(our_out), .out = std::move(our_in)};
  const int code = ::posix_spawn(&child.pid, file.c_str(), &actions, nullptr, arguments, env.data());
  posix_spawn_file_actions_destroy(&actions);
  if (code != 0) return fail_errno(code, "run {}", file);
  return child;
}

// Its input and output at once, so that neither waits for the other. Its output, once it has closed it.
Result<std::string> converse(Child& child, std::string_view in) {
  const auto end = std::chrono::steady_clock::now() + kTimeout;
  std::string out;
  (void)::fcntl(child.in.get(), F_SETFL, O_NONBLOCK);
  for (char chunk[16384];;) {
    if (in.empty()) child.in = Fd();
    pollfd waiting[] = {{child.out.get(), POLLIN, 0}, {child.in.get(), POLLOUT, 0}};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    const int ready = ::poll(waiting, in.empty() ? 1 : 2, std::max<int>(0, static_cast<int>(left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return fail("it did not end within {} s", kTimeout.count());
    if (!in.empty() && waiting[1].revents) {
      const ssize_t n = ::write(child.in.get(), in.data(), in.size());
      in.remove_prefix(n > 0 ? n : errno == EAGAIN ? 0 : in.size());  // it need not read all
    }
    if (!waiting[0].revents) continue;
    const ssize_t n = ::read(child.out.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return out;
    out.append(chunk, n);
    if (out.size() > kMaxConfigBytes) return fail("it printed over {} bytes", kMaxConfigBytes);
  }
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

CniError error_of(const std::string& type, const json::object& body, int status) {
  CniError error(kPluginFailure, WIFSIGNALED(status)
                                     ? fmt::format("{} was ended by signal {}", type, WTERMSIG(status))
                                     : fmt::format("{} ended with {}", type, WEXITSTATUS(status)));
  if (const auto* code = body.if_contains("code"); code && code->is_int64() && code->get_int64() > 0)
    error.code = static_cast<uint32_t>(code->get_int64());
  if (const auto* msg = body.if_contains("msg"); msg && msg->is_string())
    error.msg = fmt::format("{}: {}", type, std::string_view(msg->get_string()));
  if (const auto* details = body.if_contains("details"); details && details->is_string())
    error.details = std::string(details->get_string());
  return error;
}

// What it printed; nothing is an object without fields.
Outcome<json::object> run_file(const Request& request, std::string_view command, const std::string& type,
                               const std::string& file) {
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  Child child = TRY(start(file, environment(request, command)));
  auto out = converse(child, json::serialize(request.config));
  if (!out) ::kill(child.pid, SIGKILL);
  const int status = wait_for(child.pid);
  ::sigaction(SIGPIPE, &before, nullptr);
  if (!out) return refuse(kTryAgainLater, fmt::format("{}: {}", type, out.error().message));
  boost::system::error_code code;
  const bool empty = out->find_first_not_of(" \t\r\n") == out->npos;
  json::value body = empty ? json::value(json::object()) : json::parse(*out, code);
  const bool object = !code && body.is_object();
  if (status != 0)
    return std::unexpected(error_of(type, object ? body.get_object() : json::object(), status));
  if (!object) return refuse(kDecodingFailure, fmt::format("{} did not answer a JSON object", type));
  return std::move(body.get_object());
}

constexpr std::string_view command_of(Verb verb) {
  switch (verb) {
    case Verb::Add: return "ADD";
    case Verb::Del: return "DEL";
    case Verb::Check: return "CHECK";
    case Verb::Gc: return "GC";
    case Verb::Status: return "STATUS";
    case Verb::Version: break;
  }
  return "VERSION";
}

Outcome<> call(const Plugin& plugin, Verb verb, const Request& request) {
  switch (verb) {
    case Verb::Del: return plugin.del(request);
    case Verb::Check: return plugin.check(request);
    case Verb::Gc: return plugin.gc(request);
    case Verb::Status: return plugin.status(request);
    default: return {};
  }
}

Request with_verb(const Request& request, Verb verb) {
  Request out = request;
  out.verb = verb;
  out.command = command_of(verb);
  return out;
}

}  // namespace

bool is_plugin_type(std::string_view type) {
  return !type.empty() && type.size() <= 64 && type.front() != '.' &&
         std::all_of(type.begin(), type.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                  c == '_' || c == '-';
         });
}

Outcome<CniResult> delegate_add(const Request& request, const std::string& type) {
  const std::string file = TRY(find_in_path(request.path, type));
  if (const Plugin* plugin = as_one_of_ours(file, type)) return plugin->add(with_verb(request, Verb::Add));
  return parse_result(TRY(run_file(request, command_of(Verb::Add), type, file)));
}

Outcome<> delegate(Verb verb, const Request& request, const std::string& type) {
  const std::string file = TRY(find_in_path(request.path, type));
  if (const Plugin* plugin = as_one_of_ours(file, type)) return call(*plugin, verb, with_verb(request, verb));
  TRY(run_file(request, command_of(verb), type, file));
  return {};
}

}  // namespace thalweg::cni
