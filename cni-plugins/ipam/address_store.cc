#include "cni-plugins/ipam/address_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <memory>

#include "base/file.h"

namespace thalweg::cni {

namespace {

constexpr std::string_view kLineBreak = "\r\n";
constexpr size_t kMaxRecord = 1024;
constexpr const char* kNew = "/.new";  // one name, under the lock: the next removes what a killed one left

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
  return first == text.npos ? "" : std::string(text.substr(first, last - first + 1));
}

Result<> write_new(const std::string& path, std::string_view content) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno(errno, "open {}", path);
  for (std::string_view rest = content; !rest.empty();) {
    const ssize_t n = ::write(file.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "write {}", path);
    rest.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

// Nobody waits longer than a runtime does: flock(2) is asked again until then.
Result<> take_lock(int fd, const std::string& path) {
  while (::flock(fd, LOCK_EX) != 0)
    if (errno != EINTR) return fail_errno(errno, "lock {}", path);
  return {};
}

}  // namespace

bool owns(const Attachment& owner, const Attachment& asking) {
  return owner.container_id == asking.container_id && (owner.ifname.empty() || owner.ifname == asking.ifname);
}

Result<AddressStore> AddressStore::lock(std::string folder) {
  const std::string path = folder + "/lock";
  Fd fd(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_errno(errno, "open {}", path);
  TRY(take_lock(fd.get(), path));
  TRY(remove_file(folder + kNew));
  return AddressStore(std::move(folder), std::move(fd));
}

Result<AddressStore> AddressStore::open(const std::string& data_dir, const std::string& network) {
  std::string folder = data_dir + "/" + network;
  TRY(make_dirs(folder));
  return lock(std::move(folder));
}

Result<std::optional<AddressStore>> AddressStore::open_existing(const std::string& data_dir,
                                                                const std::string& network) {
  std::string folder = data_dir + "/" + network;
  if (::access(folder.c_str(), F_OK) != 0 && errno == ENOENT) return std::nullopt;
  return TRY(lock(std::move(folder)));
}

Result<bool> AddressStore::reserve(const Ip& ip, const Attachment& owner) {
  const std::string path = folder_ + "/" + ip.str(), fresh = folder_ + kNew;
  const auto there = read_file(path, kMaxRecord);
  if (there ? !trimmed(*there).empty() : there.error().code != ENOENT) return false;
  TRY(write_new(fresh, fmt::format("{}{}{}", owner.container_id, kLineBreak, owner.ifname)));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_errno(errno, "rename to {}", path);
  return true;
}

Result<> AddressStore::remember_last(size_t range_set, const Ip& ip) {
  const std::string fresh = folder_ + kNew, path = fmt::format("{}/last_reserved_ip.{}", folder_, range_set);
  TRY(write_new(fresh, ip.str()));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_errno(errno, "rename to {}", path);
  return {};
}

std::optional<Ip> AddressStore::last(size_t range_set) const {
  const auto text = read_file(fmt::format("{}/last_reserved_ip.{}", folder_, range_set), kMaxRecord);
  const auto ip = text ? Ip::parse(trimmed(*text)) : Result<Ip>(fail("none"));
  return ip ? std::optional(*ip) : std::nullopt;
}

Result<std::vector<AddressStore::Given>> AddressStore::given() const {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(folder_.c_str()), ::closedir);
  if (!folder) return fail_errno(errno, "open {}", folder_);
  std::vector<Given> out;
  while (const dirent* entry = ::readdir(folder.get())) {
    const auto ip = Ip::parse(entry->d_name);
    if (!ip) continue;  // the lock, the last ones, and what is none of ours
    const auto text = read_file(fmt::format("{}/{}", folder_, entry->d_name), kMaxRecord);
    if (!text) return std::unexpected(text.error());
    const std::string record = trimmed(*text);
    if (record.empty()) continue;
    const size_t line = record.find(kLineBreak);
    out.push_back({*ip, {record.substr(0, line), line == record.npos ? "" : record.substr(line + 2)}});
  }
  return out;
}

Result<> AddressStore::release(const Ip& ip) { return remove_file(folder_ + "/" + ip.str()); }

}  // namespace thalweg::cni
