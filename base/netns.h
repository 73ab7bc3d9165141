// Network namespaces: open one, run a function inside it, create and delete named ones (/run/netns, as
// iproute2 keeps them). The calling thread never changes its namespace.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace thalweg {

class Netns {
 public:
  // path of a namespace file: /run/netns/x, /proc/42/ns/net. ENOENT in code when absent; EINVAL when the file
  // is no network namespace.
  static Result<Netns> open(const std::string& path);
  static Result<Netns> open_named(std::string_view name);
  static Result<Netns> current();

  // Of the calling thread's namespace: the number BPF programs know it by (SO_NETNS_COOKIE, Linux 5.14).
  // Never 0.
  static Result<uint64_t> current_cookie();

  int fd() const { return fd_.get(); }
  uint64_t inode() const { return inode_; }  // equal for the same namespace

  // Runs f (returning Result<T>) on a thread of its own inside the namespace; the thread ends with it. Needs
  // CAP_SYS_ADMIN. Sockets f opens stay in the namespace.
  template <class F>
  std::invoke_result_t<F> run(F f) const {
    std::invoke_result_t<F> result = fail("not run");
    TRY(run_on_thread([&] { result = f(); }));
    return result;
  }

 private:
  Netns(Fd fd, uint64_t inode) : fd_(std::move(fd)), inode_(inode) {}
  Result<> run_on_thread(const std::function<void()>& f) const;
  Fd fd_;
  uint64_t inode_ = 0;
};

// [A-Za-z0-9._-]{1,64}, no leading dot.
bool is_netns_name(std::string_view name);
std::string netns_path(std::string_view name);
// EEXIST in code when there already.
Result<Netns> create_netns(std::string_view name);
// Absent is no error.
Result<> delete_netns(std::string_view name);
Result<std::vector<std::string>> list_netns(std::string_view prefix = "");

// Writes /proc/sys/KEY as the calling thread's namespace has it ("net/ipv6/conf/eth0/accept_ra", not dots:
// interface names may hold them). Use inside run().
Result<> set_sysctl(std::string_view key, std::string_view value);
Result<std::string> get_sysctl(std::string_view key);

}  // namespace thalweg
