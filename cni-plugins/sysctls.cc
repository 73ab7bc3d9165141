#include "cni-plugins/sysctls.h"

#include <regex.h>

#include <algorithm>
#include <optional>

#include "base/file.h"

namespace thalweg::cni {

namespace {

bool is_plain(std::string_view path) {
  if (!path.starts_with("net/") || path.ends_with('/') || path.find("//") != path.npos) return false;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view part = path.substr(start, end - start);
    if (part == "." || part == "..") return false;
    start = end + 1;
  }
  return path.find('\0') == path.npos;
}

struct Pattern {
  regex_t compiled;
  ~Pattern() { ::regfree(&compiled); }
};

Result<bool> matches(const std::string& pattern, const std::string& name) {
  regex_t compiled;
  if (const int code = ::regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB); code != 0) {
    char why[128];
    ::regerror(code, &compiled, why, sizeof why);
    return fail("pattern \"{}\": {}", pattern, why);
  }
  const Pattern held{compiled};
  return ::regexec(&held.compiled, name.c_str(), 0, nullptr, 0) == 0;
}

std::string trimmed(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r"), last = line.find_last_not_of(" \t\r");
  return first == line.npos ? "" : std::string(line.substr(first, last - first + 1));
}

}  // namespace

Result<std::string> sysctl_path(std::string_view name, const std::string& ifname) {
  std::string path(name);
  std::replace(path.begin(), path.end(), '.', '/');
  if (const size_t at = path.find("IFNAME"); at != path.npos) path.replace(at, 6, ifname);
  if (!is_plain(path)) return fail("\"{}\" is no sysctl of the network", name);
  return path;
}

Result<> check_allowed(const std::string& file, const std::vector<std::string>& names) {
  std::vector<std::string> patterns;
  const auto read = read_lines(file, [&](std::string_view line) {
    if (std::string pattern = trimmed(line); !pattern.empty()) patterns.push_back(std::move(pattern));
  });
  if (!read && read.error().code == ENOENT) return {};
  TRY(read);
  for (const std::string& name : names) {
    bool allowed = false;
    for (const std::string& pattern : patterns) allowed |= TRY(context(matches(pattern, name), "{}", file));
    if (!allowed) return fail("{}: {} is not allowed on this host", file, name);
  }
  return {};
}

}  // namespace thalweg::cni
