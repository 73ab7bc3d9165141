// A plugin's process ended at its k-th system call (ptrace(2)). For tests of what is left then.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

namespace thalweg {

struct Killed {
  bool killed = false;  // otherwise it ended by itself before its k-th call
  int exit = -1;
};

class Tracer {
 public:
  // Counted from the first read of standard input: what the loader does before changes nothing.
  Killed run(const std::string& file, const std::vector<std::string>& environment, const std::string& in,
             int k) {
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0 || ::write(pipe[1], in.data(), in.size()) < 0) return {};
    ::close(pipe[1]);
    pid_ = ::fork();
    if (pid_ == 0) exec(file, environment, pipe[0]);
    ::close(pipe[0]);
    Killed out;
    int status = 0;
    ::waitpid(pid_, &status, 0);  // stopped at execve
    ::ptrace(PTRACE_SETOPTIONS, pid_, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL);
    ::ptrace(PTRACE_SYSCALL, pid_, 0, 0);
    for (left_ = k, counting_ = false, inside_.clear();;) {
      const pid_t who = ::waitpid(-1, &status, __WALL);
      if (who < 0 && errno == EINTR) continue;
      if (who < 0) return out;
      if (WIFEXITED(status) || WIFSIGNALED(status)) {
        if (who != pid_) continue;
        out.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return out;
      }
      if (!out.killed && is_the_call(who, status)) out.killed = true, ::kill(pid_, SIGKILL);
      const int signal = WSTOPSIG(status);
      const bool ours = signal == (SIGTRAP | 0x80) || signal == SIGTRAP || signal == SIGSTOP;
      ::ptrace(PTRACE_SYSCALL, who, 0, ours ? 0 : signal);
    }
  }

 private:
  [[noreturn]] static void exec(const std::string& file, const std::vector<std::string>& environment,
                                int in) {
    std::vector<char*> env;
    for (const std::string& variable : environment) env.push_back(const_cast<char*>(variable.c_str()));
    env.push_back(nullptr);
    char* const arguments[] = {const_cast<char*>(file.c_str()), nullptr};
    ::dup2(in, STDIN_FILENO), ::dup2(::open("/dev/null", O_WRONLY), STDOUT_FILENO);
    ::ptrace(PTRACE_TRACEME, 0, 0, 0);
    ::execve(file.c_str(), arguments, env.data());
    ::_exit(127);
  }

  // True at the entry of the k-th.
  bool is_the_call(pid_t who, int status) {
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) return false;
    if (inside_.erase(who) != 0) return false;  // its end
    inside_.insert(who);
    user_regs_struct registers{};
    ::ptrace(PTRACE_GETREGS, who, 0, &registers);
    if (registers.orig_rax == SYS_read && registers.rdi == STDIN_FILENO) counting_ = true;
    return counting_ && --left_ == 0;
  }

  pid_t pid_ = -1;
  int left_ = 0;
  bool counting_ = false;
  std::set<pid_t> inside_;
};

}  // namespace thalweg
