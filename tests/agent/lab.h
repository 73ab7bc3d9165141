// A node in a network namespace with a thalwegd of its own, pods as namespaces, and an outside host: what
// agent_test plays with. Everything is named twt-agent… and gone when the Lab goes.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/agent/bpf_folder.h"

namespace thalweg::test {

struct Ran {
  int exit = -1;
  std::string out;
};
// Runs a shell command to its end, stdout and stderr together.
Ran sh(const std::string& command);

class Lab {
 public:
  Lab();
  ~Lab();
  std::string why_not() const;  // empty: it can run here

  void write_manifest(const std::string& name, const std::string& yaml);
  void start_agent(bool source_away = false);  // away: asks an API server that is not there
  void kill_agent(int signal);
  bool agent_runs();
  bool has_cgroup() const { return !cgroup_.empty(); }
  // Polls until the agent says it is in sync, or says all of this of itself.
  bool wait_synced();
  bool wait_status(const std::vector<std::string>& parts);
  std::string agent_log() const;

  void make_pod(const std::string& name);  // its namespace
  // POST /v1/cni as thalweg-cni does; 0: no answer.
  int cni(const std::string& verb, const std::string& pod, std::string* body = nullptr);
  // First IPv4 and IPv6 address in an ADD's result.
  static std::vector<std::string> ips(const std::string& result);
  std::string get(const std::string& path);
  Ran thalweg(const std::string& arguments);
  Ran in_pod(const std::string& pod, const std::string& command);
  bool pings(const std::string& pod, const std::string& address);
  Ran on_node(const std::string& command);
  Ran cleanup();
  std::string pins() const { return bpf_.path() + "/n1"; }
  std::string pin_of(const std::string& table) const;

 private:
  std::string socket() const { return folder_ + "/run/agent.sock"; }
  std::string command(bool source_away = false) const;
  BpfFolder bpf_;
  std::string folder_;
  std::string cgroup_;  // empty: no cgroup2 here
  std::vector<std::string> pods_;
  pid_t agent_ = 0;
};

}  // namespace thalweg::test
