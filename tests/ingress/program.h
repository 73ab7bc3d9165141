// The program under test as a process: thalweg-ingress on a folder of manifests, with what it logged.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace thalweg::ingress::test {

// A temporary folder, removed with everything in it.
class Folder {
 public:
  Folder();
  ~Folder();
  // As editors and kubelets do: written beside, then renamed.
  void write(const std::string& name, const std::string& text) const;
  std::string path(const std::string& name = "") const { return name.empty() ? path_ : path_ + "/" + name; }

 private:
  std::string path_;
};

class Program {
 public:
  // Starts `$THALWEG_BIN/thalweg-ingress ARGS` and waits until it logs "ready" (or ends).
  explicit Program(std::vector<std::string> args);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  bool ready() const { return ready_; }
  uint16_t port(const std::string& protocol) const;  // http, https, metrics
  // Waits (30 s) for a log line that has the text; "" if none comes. Lines before `from` do not count.
  std::string logged(const std::string& text, size_t from = 0);
  size_t lines();
  std::string log();
  void terminate();
  int wait();  // its exit code
  pid_t pid() const { return pid_; }
  std::string proc_status(const std::string& key) const;  // a value of /proc/PID/status

 private:
  void read(int fd);
  pid_t pid_ = -1;
  bool ready_ = false;
  bool ended_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  std::thread reader_;
};

struct Outcome {
  int code = -1;
  std::string out;
};
// Runs a command found in PATH; standard output and error together.
Outcome run(const std::vector<std::string>& command);
bool has_curl();

}  // namespace thalweg::ingress::test
