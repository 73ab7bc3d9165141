// Plain POSIX; every short read, short write and EINTR is met here once.
#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/fd.h"

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

// A name of its own per process, so a crash leaves at most one stray file and two writers never share one.
Result<> write_temporary(const std::string& path, std::string_view content, mode_t mode) {
  ::unlink(path.c_str());
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return fail_errno(errno, "create {}", path);
  if (::fchmod(fd.get(), mode) < 0) return fail_errno(errno, "chmod {}", path);  // whatever the umask
  TRY(write_all(fd.get(), content, path));
  if (::fsync(fd.get()) < 0) return fail_errno(errno, "fsync {}", path);
  return {};
}

}  // namespace

Result<> write_atomically(const std::string& path, std::string_view content, mode_t mode) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, ::gettid());
  auto written = write_temporary(temporary, content, mode);
  if (written && ::rename(temporary.c_str(), path.c_str()) < 0)
    written = fail_errno(errno, "rename {} to {}", temporary, path);
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  return sync_folder(folder_of(path));
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
