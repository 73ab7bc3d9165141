// Where the API server is and what proves who we are: from a kubeconfig, the in-cluster service account, or a
// unix socket (a relay). Read by kube/source, used by kube/client.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/asio_fwd.h"
#include "base/result.h"

namespace thalweg::kube {

// Bytes given inline or in a file; files are read anew at each connection, so that rotated ones count.
struct Material {
  std::string data;
  std::string file;
  bool given() const { return !data.empty() || !file.empty(); }
  Result<std::string> read() const;
};

struct ApiConfig {
  std::string unix_path;  // or:
  std::string host;
  std::string port;
  bool tls = true;
  std::string base_path;    // of the server's URL, without a slash at the end
  std::string server_name;  // what the certificate must say
  bool insecure = false;    // insecure-skip-tls-verify was written
  Material ca;              // none: the system's roots
  Material client_certificate;
  Material client_key;
  Material token;
  std::string where() const;  // for status and errors
};

// The current-context of a kubeconfig. Fails on what cannot work: no context, exec and auth-provider (not
// done here yet), http:// elsewhere than loopback without insecure-skip-tls-verify.
// https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
Result<ApiConfig> api_from_kubeconfig(const std::string& path);
Result<ApiConfig> parse_kubeconfig(std::string_view text, const std::string& path);

inline constexpr const char* kServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

// KUBERNETES_SERVICE_HOST/PORT and the service account mounted at that folder.
Result<ApiConfig> api_in_cluster(const std::string& folder = kServiceAccount);

// "unix:PATH" or "in-cluster".
Result<ApiConfig> parse_api(std::string_view text);

// A TLS context as config says, or the file that is wrong.
Result<std::shared_ptr<asio::ssl::context>> make_tls(const ApiConfig& config);

}  // namespace thalweg::kube
