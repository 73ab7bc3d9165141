#include "base/folder.h"

#include <dirent.h>

#include <memory>
#include <string_view>

namespace thalweg {

Result<std::vector<std::string>> list_files(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), ::closedir);
  if (!open && errno == ENOENT) return std::vector<std::string>();
  if (!open) return fail_errno(errno, "open {}", folder);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(open.get()))
    if (const std::string_view name = entry->d_name; name != "." && name != "..") names.emplace_back(name);
  return names;
}

}  // namespace thalweg
