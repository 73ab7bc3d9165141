// Plain POSIX; every short read, short write and EINTR is met here once.
#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

namespace thalweg {

Result<std::string> read_file(const std::string& path, size_t max_bytes) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "open {}", path);
  std::string content;
  for (char chunk[16384];;) {
    const ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "read {}", path);
    if (n == 0) return content;
    if (content.size() + n > max_bytes)
      return fail_errno(EFBIG, "read {}: more than {} bytes", path, max_bytes);
    content.append(chunk, n);
  }
}

namespace {

Result<> write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "write {}", path);
    content.remove_prefix(n);
  }
  return {};
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<> sync_folder(const std::string& folder) {
  const Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "open {}", folder);
  if (::fsync(fd.get()) < 0) return fail_errno(errno, "fsync {}", folder);
  return {};
}

}  // namespace

Result<> read_lines(const std::string& path, const std::function<void(std::string_view)>& on_line) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_errno(errno, "open {}", path);
  std::string rest;
  std::vector<char> chunk(1 << 16);
  for (;;) {
    const ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno(errno, "read {}", path);
    if (n == 0) break;
    rest.append(chunk.data(), n);
    size_t begin = 0;
    for (size_t end; (end = rest.find('\n', begin)) != rest.npos; begin = end + 1)
      on_line(std::string_view(rest).substr(begin, end - begin));
    rest.erase(0, begin);
  }
  if (!rest.empty()) on_line(rest);
  return {};
}

// A name of its own per thread, so a crash leaves at most one stray file and two writers never share one.
Result<AtomicFile> AtomicFile::create(const std::string& path, mode_t mode) {
  AtomicFile file;
  file.path_ = path;
  file.temporary_ = fmt::format("{}.{}.tmp", path, ::gettid());
  ::unlink(file.temporary_.c_str());
  file.fd_.reset(::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file.fd_) return fail_errno(errno, "create {}", file.temporary_);
  if (::fchmod(file.fd_.get(), mode) < 0)  // whatever the umask
    return fail_errno(errno, "chmod {}", file.temporary_);
  return file;
}

AtomicFile::~AtomicFile() {
  if (fd_) ::unlink(temporary_.c_str());
}

Result<> AtomicFile::append(std::string_view content) { return write_all(fd_.get(), content, temporary_); }

Result<> AtomicFile::commit() {
  if (::fsync(fd_.get()) < 0) return fail_errno(errno, "fsync {}", temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) < 0)
    return fail_errno(errno, "rename {} to {}", temporary_, path_);
  fd_.reset();
  return sync_folder(folder_of(path_));
}

Result<> write_atomically(const std::string& path, std::string_view content, mode_t mode) {
  AtomicFile file = TRY(AtomicFile::create(path, mode));
  TRY(file.append(content));
  return file.commit();
}

Result<> make_dirs(const std::string& path, mode_t mode) {
  for (size_t end = 0; end != path.npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), mode) < 0 && errno != EEXIST) return fail_errno(errno, "mkdir {}", part);
  }
  std::error_code unused;
  if (!std::filesystem::is_directory(path, unused)) return fail_errno(ENOTDIR, "mkdir {}", path);
  return {};
}

Result<> remove_file(const std::string& path) {
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return fail_errno(errno, "remove {}", path);
  return {};
}

}  // namespace thalweg
