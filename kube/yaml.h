// YAML text as JSON documents that remember their lines, within bounds a hostile file cannot pass.
// Called by kube/manifests and the kubeconfig reader.
#pragma once

#include <boost/json.hpp>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace thalweg::kube {

// The line of each value, shaped as the document: children in the order of members or elements.
struct Lines {
  int line = 0;  // from 1
  std::vector<Lines> children;
};

struct YamlDocument {
  boost::json::value value;
  Lines lines;
};

struct YamlLimits {
  size_t values = 4 << 20;   // aliases expanded
  size_t bytes = 256 << 20;  // of memory, about, aliases expanded
  size_t depth = 64;
};

struct YamlError {
  int line = 0;
  std::string what;
};

// YAML 1.1 scalars as kubectl reads them (yes/no/on/off are booleans, y and n are not, 0755 is octal). Merge
// keys and tags are refused; so is a key that stands twice in one map.
std::expected<std::vector<YamlDocument>, YamlError> parse_yaml(std::string_view text, const YamlLimits& = {});

// The line of the value at path ("spec.ports[0].port"), or of the nearest that exists on the way there.
int line_of(const boost::json::value& value, const Lines& lines, std::string_view path);

}  // namespace thalweg::kube
