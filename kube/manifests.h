// Objects from ordinary Kubernetes YAML (or JSON) in a folder or a file, watched for changes: the source that
// needs no cluster. Made by kube/source; the pure half is used by tests that write their objects as YAML.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/asio_fwd.h"
#include "base/result.h"
#include "kube/cluster.h"

namespace thalweg::kube {

// Bounds on what one file may ask for; beyond them the file is refused and its last good objects stay.
struct ManifestLimits {
  size_t file_bytes = 32 << 20;
  size_t values = 4 << 20;  // scalars, maps and lists of one file, aliases expanded
  size_t depth = 64;
  size_t files = 10'000;
};

// One file's objects and what was wrong with the rest of it.
struct ManifestFile {
  std::vector<Object> objects;
  std::vector<int> lines;           // of each object, from 1
  std::vector<ObjectRef> refused;   // objects with an error of their own
  std::vector<std::string> errors;  // "FILE:LINE: Service default/web: spec.ports[0].port: …"
  bool broken = false;              // not readable as YAML or JSON at all
};

// Reads one multi-document text; `kind: List` is opened up, unknown kinds are left out.
ManifestFile read_manifest(std::string_view file_name, std::string_view text, const ManifestLimits& = {},
                           bool with_secrets = true);

// A whole Cluster from one text, EndpointSlices derived; fails on the first error. For tests and tools.
Result<Cluster> cluster_from_yaml(std::string_view yaml);

struct ManifestOptions {
  std::string path;         // a folder (read recursively: *.yaml *.yml *.json) or a file
  std::vector<Kind> kinds;  // others are ignored
  ManifestLimits limits;
  uint32_t debounce_ms = 50;
  std::function<void(const std::string&)> on_error;
};
std::unique_ptr<Source> make_manifest_source(asio::io_context& io, ManifestOptions options);

}  // namespace thalweg::kube
