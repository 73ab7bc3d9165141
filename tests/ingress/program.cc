#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

extern char** environ;

namespace thalweg::ingress::test {

namespace {

constexpr auto kPatience = std::chrono::seconds(30);  // a busy machine is no failure

pid_t spawn(const std::vector<std::string>& command, int out, bool both) {
  std::vector<char*> argv;
  for (const auto& one : command) argv.push_back(const_cast<char*>(one.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (both) posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
  pid_t pid = -1;
  if (::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid = -1;
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

}  // namespace

Folder::Folder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "thalweg-ingress-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

Folder::~Folder() { std::filesystem::remove_all(path_); }

void Folder::write(const std::string& name, const std::string& text) const {
  const std::string draft = path("." + name);
  std::ofstream(draft) << text;
  std::filesystem::rename(draft, path(name));
}

Program::Program(std::vector<std::string> args) {
  const char* folder = std::getenv("THALWEG_BIN");
  args.insert(args.begin(), std::string(folder == nullptr ? "." : folder) + "/thalweg-ingress");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  pid_ = spawn(args, ends[1], false);
  ::close(ends[1]);
  reader_ = std::thread([this, fd = ends[0]] { read(fd); });
  ready_ = !logged(" ready").empty();
}

Program::~Program() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
  if (reader_.joinable()) reader_.join();
}

void Program::read(int fd) {
  FILE* file = ::fdopen(fd, "r");
  char* line = nullptr;
  size_t size = 0;
  while (::getline(&line, &size, file) > 0) {
    const std::lock_guard lock(mutex_);
    lines_.emplace_back(line);
    changed_.notify_all();
  }
  ::free(line);
  ::fclose(file);
  const std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

std::string Program::logged(const std::string& text, size_t from) {
  std::unique_lock lock(mutex_);
  std::string found;
  changed_.wait_for(lock, kPatience, [&] {
    for (size_t i = from; i < lines_.size(); ++i)
      if (lines_[i].find(text) != std::string::npos) found = lines_[i];
    return !found.empty() || ended_;
  });
  return found;
}

size_t Program::lines() {
  const std::lock_guard lock(mutex_);
  return lines_.size();
}

std::string Program::log() {
  const std::lock_guard lock(mutex_);
  std::string all;
  for (const auto& line : lines_) all += line;
  return all;
}

uint16_t Program::port(const std::string& protocol) const {
  const std::string line = const_cast<Program*>(this)->logged("bound protocol=" + protocol + " ");
  const auto colon = line.rfind(':');
  return colon == line.npos ? 0 : static_cast<uint16_t>(std::atoi(line.c_str() + colon + 1));
}

void Program::terminate() { ::kill(pid_, SIGTERM); }

int Program::wait() {
  int status = 0;
  if (pid_ > 0) ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Program::proc_status(const std::string& key) const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":")) return line.substr(line.find_first_not_of(" \t", key.size() + 1));
  return "";
}

Outcome run(const std::vector<std::string>& command) {
  int ends[2];
  Outcome result;
  if (::pipe2(ends, O_CLOEXEC) != 0) return result;
  const pid_t pid = spawn(command, ends[1], true);
  ::close(ends[1]);
  char chunk[65536];
  for (ssize_t n; (n = ::read(ends[0], chunk, sizeof chunk)) > 0;)
    result.out.append(chunk, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  if (pid > 0 && ::waitpid(pid, &status, 0) == pid && WIFEXITED(status)) result.code = WEXITSTATUS(status);
  return result;
}

bool has_curl() { return run({"curl", "--version"}).code == 0; }

}  // namespace thalweg::ingress::test
