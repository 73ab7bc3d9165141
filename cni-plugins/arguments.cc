#include "cni-plugins/arguments.h"

#include <algorithm>

namespace thalweg::cni {

namespace {

// strconv.ParseBool of Go, as the reference reads it.
bool is_true(std::string_view text) {
  constexpr std::string_view kTrue[] = {"1", "t", "T", "true", "TRUE", "True"};
  return std::find(std::begin(kTrue), std::end(kTrue), text) != std::end(kTrue);
}

}  // namespace

Outcome<std::map<std::string, std::string>> read_arguments(std::string_view args,
                                                           std::initializer_list<std::string_view> known) {
  std::map<std::string, std::string> all;
  while (!args.empty()) {
    const std::string_view pair = args.substr(0, args.find(';'));
    args.remove_prefix(std::min(args.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (equals == pair.npos || equals == 0)
      return refuse(kInvalidEnvironment, fmt::format("CNI_ARGS: \"{}\" is not KEY=value", pair));
    all[std::string(pair.substr(0, equals))] = pair.substr(equals + 1);
  }
  const auto ignore = all.extract("IgnoreUnknown");
  const bool ignored = ignore && is_true(ignore.mapped());
  for (auto it = all.begin(); it != all.end();) {
    if (std::find(known.begin(), known.end(), it->first) != known.end()) {
      ++it;
    } else if (ignored) {
      it = all.erase(it);
    } else {
      return refuse(kInvalidEnvironment, fmt::format("CNI_ARGS: {} is not known here", it->first));
    }
  }
  return all;
}

}  // namespace thalweg::cni
