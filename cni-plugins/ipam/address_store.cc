#include "cni-plugins/ipam/address_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"

namespace thalweg::cni {

namespace {

constexpr std::string_view kLineBreak = "\r\n";
constexpr size_t kMaxRecord = 1024;

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n"), last = text.find_last_not_of(" \t\r\n");
  return first == text.npos ? "" : std::string(text.substr(first, last - first + 1));
}

Result<> write_whole(const Fd& file, const std::string& path, std::string_view content) {
  for (std::string_view rest = content; !rest.empty();) {
    const ssize_t n = ::write(file.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "write {}", path);
    rest.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

// exclusive: 0, or O_EXCL for a file that must not be there yet. The end is cut after and not before: ext4
// writes a file that was cut to nothing to the disk when it is closed, a third of a millisecond.
Result<> write_to(const std::string& path, int exclusive, std::string_view content) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | exclusive, 0600));
  if (!file) return fail_errno(errno, "open {}", path);
  auto written = write_whole(file, path, content);
  if (written && ::ftruncate(file.get(), static_cast<off_t>(content.size())) != 0)
    written = fail_errno(errno, "write {}", path);
  if (!written) ::unlink(path.c_str());
  return written;
}

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
  return AddressStore(std::move(folder), std::move(fd));
}

Result<AddressStore> AddressStore::open(const std::string& data_dir, const std::string& network) {
  const std::string folder = data_dir + "/" + network;
  auto store = lock(folder);
  if (store || store.error().code != ENOENT) return store;
  TRY(make_dirs(folder));
  return lock(folder);
}

Result<std::optional<AddressStore>> AddressStore::open_existing(const std::string& data_dir,
                                                                const std::string& network) {
  std::string folder = data_dir + "/" + network;
  if (::access(folder.c_str(), F_OK) != 0 && errno == ENOENT) return std::nullopt;
  return TRY(lock(std::move(folder)));
}

Result<bool> AddressStore::reserve(const Ip& ip, const Attachment& owner) {
  const std::string path = folder_ + "/" + ip.str(),
                    record = fmt::format("{}{}{}", owner.container_id, kLineBreak, owner.ifname);
  const auto made = write_to(path, O_EXCL, record);
  if (made) return true;
  if (made.error().code != EEXIST) return std::unexpected(made.error());
  const auto there = read_file(path, kMaxRecord);
  if (!there || !trimmed(*there).empty()) return false;
  TRY(write_to(path, 0, record));
  return true;
}

// A hint: a writer that is ended in the middle leaves none, and the next begins from the start.
Result<> AddressStore::remember_last(size_t range_set, const Ip& ip) {
  return write_to(fmt::format("{}/last_reserved_ip.{}", folder_, range_set), 0, ip.str());
}

std::optional<Ip> AddressStore::last(size_t range_set) const {
  const auto text = read_file(fmt::format("{}/last_reserved_ip.{}", folder_, range_set), kMaxRecord);
  const auto ip = text ? Ip::parse(trimmed(*text)) : Result<Ip>(fail("none"));
  return ip ? std::optional(*ip) : std::nullopt;
}

Result<std::vector<AddressStore::Given>> AddressStore::given() {
  std::vector<Given> out;
  for (const std::string& name : TRY(list_files(folder_))) {
    const auto ip = Ip::parse(name);
    if (!ip) continue;  // the lock, the last ones, and what is none of ours
    const auto text = read_file(fmt::format("{}/{}", folder_, name), kMaxRecord);
    if (!text) return std::unexpected(text.error());
    const std::string record = trimmed(*text);
    if (record.empty()) {
      TRY(release(*ip));
      continue;
    }
    const size_t line = record.find(kLineBreak);
    out.push_back({*ip, {record.substr(0, line), line == record.npos ? "" : record.substr(line + 2)}});
  }
  return out;
}

Result<> AddressStore::release(const Ip& ip) { return remove_file(folder_ + "/" + ip.str()); }

}  // namespace thalweg::cni
