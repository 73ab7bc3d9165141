#include "base/asio.h"
//
#include "kube/source.h"

#include <sys/stat.h>

#include <algorithm>

#include "kube/client.h"
#include "kube/manifests.h"

namespace thalweg::kube {

namespace {

std::vector<Kind> every_kind_but_secret() {
  std::vector<Kind> kinds;
  for (const auto& kind : kKinds) {
    if (kind.kind != Kind::Secret) kinds.push_back(kind.kind);
  }
  return kinds;
}

Result<std::unique_ptr<Source>> manifest_source(asio::io_context& io, SourceOptions options) {
  struct stat st {};
  if (::stat(options.manifests.c_str(), &st) < 0)
    return fail_errno(errno, "--manifests {}", options.manifests);
  return make_manifest_source(io, {.path = options.manifests,
                                   .kinds = std::move(options.kinds),
                                   .on_error = std::move(options.on_error)});
}

}  // namespace

Result<> check(const SourceOptions& options) {
  const int given = !options.manifests.empty() + !options.kubeconfig.empty() + !options.api.empty();
  if (given > 1)
    return fail("only one of --manifests, --kubeconfig and --api can say where objects come from");
  if (!options.api.empty() && options.api != "in-cluster") TRY(parse_api(options.api));
  return {};
}

Result<std::unique_ptr<Source>> make_source(asio::io_context& io, SourceOptions options) {
  TRY(check(options));
  if (options.kinds.empty()) options.kinds = every_kind_but_secret();
  if (!options.on_error)
    options.on_error = [](const std::string& text) { log::warn("objects", {{"error", text}}); };
  if (!options.manifests.empty()) return manifest_source(io, std::move(options));
  const auto config = !options.kubeconfig.empty() ? api_from_kubeconfig(options.kubeconfig)
                      : !options.api.empty()      ? parse_api(options.api)
                                                  : api_in_cluster();
  if (!config) return std::unexpected(config.error());
  const std::string where = config->where();
  return make_api_source(
      io, {.api = *config,
           .kinds = std::move(options.kinds),
           .user_agent = std::move(options.user_agent),
           .on_error = std::move(options.on_error),
           .on_away =
               [where](const std::string& why) {
                 log::warn("objects away, the last ones stay", {{"where", where}, {"error", why}});
               },
           .on_back =
               [where] {
                 log::info("objects back", {{"where", where}});
               }});
}

}  // namespace thalweg::kube
