// The one way a program gets its objects: flags in, a Source out. Called by thalwegd, thalweg-dns,
// thalweg-ingress and thalweg-edge.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/asio_fwd.h"
#include "base/result.h"
#include "kube/cluster.h"

namespace thalweg::kube {

// Exactly one of manifests, kubeconfig, api; none of them: the in-cluster service account.
struct SourceOptions {
  std::string manifests;    // a folder or a file
  std::string kubeconfig;   // a file; its current-context is used
  std::string api;          // "unix:PATH" of a relay, or "in-cluster"
  std::vector<Kind> kinds;  // empty: every kind but Secret
  std::string user_agent = "thalweg";
  std::function<void(const std::string&)> on_error;  // none: logged as a warning
};

// What the flags alone can tell: no two of them say where objects come from, and --api is one of its forms.
Result<> check(const SourceOptions& options);

// Fails on flags, a kubeconfig or credentials that cannot work; an API server that is away is no failure.
Result<std::unique_ptr<Source>> make_source(asio::io_context& io, SourceOptions options);

}  // namespace thalweg::kube
