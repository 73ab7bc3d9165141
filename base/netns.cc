// Named namespaces are bind mounts of a thread's /proc/…/ns/net, as iproute2 keeps them.
#include "base/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/file.h"

namespace thalweg {

namespace {

constexpr const char* kFolder = "/run/netns";
constexpr int kNetnsCookie = 71;  // SO_NETNS_COOKIE, absent from Debian 12's headers of the C library

// std::thread throws when the kernel has no thread left.
Result<> run_thread(const std::function<Result<>()>& f) {
  Result<> result = fail("thread did not run");
  try {
    std::thread([&] { result = f(); }).join();
  } catch (const std::system_error& error) {
    return fail("start a thread: {}", error.what());
  }
  return result;
}

}  // namespace

Result<Netns> Netns::open(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno(errno, "open network namespace {}", path);
  struct statfs fs = {};
  struct stat file = {};
  if (::fstatfs(fd.get(), &fs) < 0 || ::fstat(fd.get(), &file) < 0) return fail_errno(errno, "stat {}", path);
  if (fs.f_type != NSFS_MAGIC) return fail_errno(EINVAL, "{} is not a namespace", path);
  return Netns(std::move(fd), file.st_ino);
}

Result<Netns> Netns::open_named(std::string_view name) {
  if (!is_netns_name(name)) return fail_errno(EINVAL, "network namespace name \"{}\"", name);
  return open(netns_path(name));
}

Result<Netns> Netns::current() { return open("/proc/thread-self/ns/net"); }

Result<uint64_t> Netns::current_cookie() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno(errno, "open a socket");
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(socket.get(), SOL_SOCKET, kNetnsCookie, &cookie, &size) != 0)
    return fail_errno(errno, "ask for the network namespace's cookie");
  return cookie;
}

Result<> Netns::run_on_thread(const std::function<void()>& f) const {
  return run_thread([&]() -> Result<> {
    if (::setns(fd_.get(), CLONE_NEWNET) < 0) return fail_errno(errno, "enter network namespace");
    f();
    return {};
  });
}

bool is_netns_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                  c == '_' || c == '-';
         });
}

std::string netns_path(std::string_view name) { return fmt::format("{}/{}", kFolder, name); }

namespace {

// Mount points under /run/netns must reach other mount namespaces (as ip-netns(8) arranges it), so the folder
// is made a shared mount once. Two programs may come here at the same time: the caller holds the lock.
Result<> share_folder() {
  for (const bool may_bind : {true, false}) {
    if (::mount("", kFolder, "none", MS_SHARED | MS_REC, nullptr) == 0) return {};
    if (errno != EINVAL || !may_bind) break;
    if (::mount(kFolder, kFolder, "none", MS_BIND | MS_REC, nullptr) < 0) break;
  }
  return fail_errno(errno, "share {}", kFolder);
}

Result<Fd> lock_folder() {
  TRY(make_dirs(kFolder));
  Fd fd(::open(kFolder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "open {}", kFolder);
  if (::flock(fd.get(), LOCK_EX) < 0) return fail_errno(errno, "lock {}", kFolder);
  return fd;
}

// A namespace comes with lo down; every user of one wants it up, but that is the user's word to say.
Result<> mount_new(const std::string& path) {
  return run_thread([&]() -> Result<> {
    if (::unshare(CLONE_NEWNET) < 0) return fail_errno(errno, "make a network namespace");
    if (::mount("/proc/thread-self/ns/net", path.c_str(), "none", MS_BIND, nullptr) < 0)
      return fail_errno(errno, "mount {}", path);
    return {};
  });
}

}  // namespace

Result<Netns> create_netns(std::string_view name) {
  if (!is_netns_name(name)) return fail_errno(EINVAL, "network namespace name \"{}\"", name);
  const Fd lock = TRY(lock_folder());
  TRY(share_folder());
  const std::string path = netns_path(name);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (!file) return fail_errno(errno, "create {}", path);
  if (auto mounted = mount_new(path); !mounted) {
    ::unlink(path.c_str());
    return std::unexpected(std::move(mounted).error());
  }
  return Netns::open(path);
}

Result<> delete_netns(std::string_view name) {
  if (!is_netns_name(name)) return fail_errno(EINVAL, "network namespace name \"{}\"", name);
  const std::string path = netns_path(name);
  if (::umount2(path.c_str(), MNT_DETACH) < 0 && errno != ENOENT && errno != EINVAL)
    return fail_errno(errno, "unmount {}", path);
  return remove_file(path);
}

Result<std::vector<std::string>> list_netns(std::string_view prefix) {
  std::vector<std::string> names;
  std::error_code code;
  std::filesystem::directory_iterator it(kFolder, code);
  if (code == std::errc::no_such_file_or_directory) return names;
  for (; !code && it != std::filesystem::directory_iterator(); it.increment(code)) {
    std::string name = it->path().filename();
    if (is_netns_name(name) && name.starts_with(prefix)) names.push_back(std::move(name));
  }
  if (code) return fail_errno(code.value(), "list {}", kFolder);
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

Result<std::string> sysctl_path(std::string_view key) {
  if (key.find("..") != key.npos || key.starts_with('/')) return fail_errno(EINVAL, "sysctl \"{}\"", key);
  return fmt::format("/proc/sys/{}", key);
}

}  // namespace

Result<> set_sysctl(std::string_view key, std::string_view value) {
  const std::string path = TRY(sysctl_path(key));
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "open {}", path);
  if (::write(fd.get(), value.data(), value.size()) < 0)
    return fail_errno(errno, "write {} to {}", value, path);
  return {};
}

Result<std::string> get_sysctl(std::string_view key) {
  std::string value = TRY(read_file(TRY(sysctl_path(key)), 4096));
  while (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

}  // namespace thalweg
