// Whole files: bounded reads and durable writes, for configuration and for state that must survive a crash.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace thalweg {

inline constexpr size_t kMaxFileBytes = 16u << 20;

// The whole file; an error naming the path when it is larger than max_bytes or not readable. Also reads
// files whose size the kernel does not tell (/proc, a pipe).
Result<std::string> read_file(const std::string& path, size_t max_bytes = kMaxFileBytes);

// Calls on_line for each line, without its end, as they are read: the file is never in memory whole.
Result<> read_lines(const std::string& path, const std::function<void(std::string_view line)>& on_line);

// Temporary file beside it, fsync, rename, fsync of the folder: after a crash at any moment the path holds
// the old content or the new one, whole.
Result<> write_atomically(const std::string& path, std::string_view content, mode_t mode = 0644);

// The same in parts: the path holds the new content once commit() has succeeded, and the old one until then.
// Not committed, it leaves nothing behind.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path, mode_t mode = 0644);
  AtomicFile(AtomicFile&&) = default;
  ~AtomicFile();
  Result<> append(std::string_view content);
  Result<> commit();

 private:
  AtomicFile() = default;
  std::string path_, temporary_;
  Fd fd_;
};

// mkdir -p. Existing folders are left as they are.
Result<> make_dirs(const std::string& path, mode_t mode = 0755);

// Absent is no error.
Result<> remove_file(const std::string& path);

}  // namespace thalweg
