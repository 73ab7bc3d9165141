#include "base/asio.h"
//
#include "kube/api_config.h"

#include <filesystem>
#include <fstream>

#include "kube/decode_kinds.h"
#include "kube/field.h"
#include "kube/yaml.h"

namespace json = boost::json;

namespace thalweg::kube {

namespace {

constexpr size_t kMaxFile = 4 << 20;

Result<std::string> read_small_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail_errno(errno, "{}", path);
  std::string text(kMaxFile + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFile) return fail("{}: larger than {} bytes", path, kMaxFile);
  return text;
}

// One kubeconfig being read; errors name file, line and field.
class Kubeconfig {
 public:
  Kubeconfig(const YamlDocument& document, const std::string& path)
      : document_(document), path_(path), error_(document.value), root_(error_, document.value) {}

  Result<ApiConfig> read() {
    const std::string context = root_["current-context"].required_string();
    const Field pair = named(root_["contexts"], context, "context")["context"];
    ApiConfig config;
    read_cluster(named(root_["clusters"], pair["cluster"].required_string(), "cluster")["cluster"], config);
    const std::string user = pair["user"].string();
    if (!user.empty()) read_user(named(root_["users"], user, "user")["user"], config);
    if (error_.failed()) {
      const int line = line_of(document_.value, document_.lines, error_.path());
      return fail("{}:{}: {}: {}", path_, line, error_.path(), error_.what());
    }
    return config;
  }

 private:
  Field named(const Field& list, const std::string& name, const char* what) {
    Field found = list;
    bool any = false;
    list.each([&](const Field& one) {
      if (!any && one["name"].string() == name) found = one, any = true;
    });
    if (!any) list.fail(fmt::format("has no {} named {}", what, name));
    return any ? found : root_;
  }

  void read_cluster(const Field& cluster, ApiConfig& config) {
    config.insecure = cluster["insecure-skip-tls-verify"].boolean(false);
    read_server(cluster["server"], config);
    config.server_name = cluster["tls-server-name"].string(config.host);
    config.ca = material(cluster, "certificate-authority");
    if (cluster["proxy-url"].present()) cluster["proxy-url"].fail("is not supported");
  }

  void read_server(const Field& field, ApiConfig& config) {
    const std::string url = field.required_string();
    if (field.failed()) return;
    std::string_view rest(url);
    config.tls = rest.starts_with("https://");
    if (!config.tls && !rest.starts_with("http://")) return field.fail_value("an https:// URL");
    rest.remove_prefix(config.tls ? 8 : 7);
    const auto slash = std::min(rest.find('/'), rest.size());
    config.base_path = rest.substr(slash);
    while (config.base_path.ends_with("/")) config.base_path.pop_back();
    split_authority(rest.substr(0, slash), config);
    if (config.host.empty()) return field.fail_value("an https:// URL");
    const auto ip = Ip::parse(config.host);
    const bool loopback = config.host == "localhost" || (ip && ip->is_loopback());
    if (!config.tls && !loopback && !config.insecure)
      field.fail("is not encrypted; write insecure-skip-tls-verify: true to allow that");
  }

  static void split_authority(std::string_view authority, ApiConfig& config) {
    const auto bracket = authority.starts_with("[") ? authority.find(']') : std::string_view::npos;
    const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
    config.host =
        bracket == std::string_view::npos ? authority.substr(0, colon) : authority.substr(1, bracket - 1);
    config.port = colon == std::string_view::npos ? (config.tls ? "443" : "80") : authority.substr(colon + 1);
  }

  void read_user(const Field& user, ApiConfig& config) {
    for (const char* key : {"exec", "auth-provider", "username"}) {
      if (user[key].present()) user[key].fail("is not supported yet; use a token or a client certificate");
    }
    config.token = {user["token"].string(), file(user["tokenFile"])};
    if (!config.token.file.empty()) config.token.data.clear();  // the file wins, as in client-go
    config.client_certificate = material(user, "client-certificate");
    config.client_key = material(user, "client-key");
    if (config.client_certificate.given() != config.client_key.given())
      user.fail("client-certificate and client-key belong together");
  }

  // KEY-data (base64) or KEY (a file).
  Material material(const Field& field, const std::string& key) {
    Material out;
    const Field data = field[key + "-data"];
    if (data.present() && !data.string().empty()) {
      auto bytes = decode_base64(data.string());
      if (!bytes) data.fail("expected base64");
      out.data = bytes.value_or(std::string());
    } else {
      out.file = file(field[key]);
    }
    return out;
  }

  std::string file(const Field& field) const {
    const std::string name = field.string();
    if (name.empty() || name.starts_with("/")) return name;
    return (std::filesystem::path(path_).parent_path() / name).string();
  }

  const YamlDocument& document_;
  const std::string& path_;
  FieldError error_;
  Field root_;
};

Result<> use(boost::system::error_code error, const Material& material, const char* what) {
  if (error) return fail("{} {}: {}", what, material.file, error.message());
  return {};
}

Result<> use_client_certificate(const ApiConfig& config, asio::ssl::context& context) {
  if (!config.client_certificate.given()) return {};
  boost::system::error_code error;
  const std::string certificate = TRY(config.client_certificate.read());
  const std::string key = TRY(config.client_key.read());
  context.use_certificate_chain(asio::buffer(certificate), error);
  TRY(use(error, config.client_certificate, "client certificate"));
  context.use_private_key(asio::buffer(key), asio::ssl::context::pem, error);
  return use(error, config.client_key, "client key");
}

}  // namespace

Result<std::string> Material::read() const {
  if (file.empty()) return data;
  return read_small_file(file);
}

std::string ApiConfig::where() const {
  if (!unix_path.empty()) return fmt::format("unix:{}", unix_path);
  const bool v6 = host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}{}", tls ? "https" : "http", v6 ? "[" : "", host, v6 ? "]" : "", port,
                     base_path);
}

Result<ApiConfig> parse_kubeconfig(std::string_view text, const std::string& path) {
  const auto documents = parse_yaml(text);
  if (!documents) return fail("{}:{}: {}", path, documents.error().line, documents.error().what);
  if (documents->size() != 1) return fail("{}: expected one YAML document", path);
  return Kubeconfig(documents->front(), path).read();
}

Result<ApiConfig> api_from_kubeconfig(const std::string& path) {
  return parse_kubeconfig(TRY(read_small_file(path)), path);
}

Result<ApiConfig> api_in_cluster(const std::string& folder) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (!host || !port) return fail("not in a cluster: KUBERNETES_SERVICE_HOST and _PORT are not set");
  ApiConfig config;
  config.host = config.server_name = host;
  config.port = port;
  config.ca.file = folder + "/ca.crt";
  config.token.file = folder + "/token";
  TRY(config.ca.read());
  TRY(config.token.read());
  return config;
}

Result<ApiConfig> parse_api(std::string_view text) {
  if (text == "in-cluster") return api_in_cluster();
  if (!text.starts_with("unix:") || text.size() == 5)
    return fail("--api {}: expected unix:PATH or in-cluster", text);
  ApiConfig config;
  config.unix_path = text.substr(5);
  config.tls = false;
  if (config.unix_path.size() > 107)
    return fail("--api {}: longer than a socket's path may be (107 bytes)", text);
  return config;
}

Result<std::shared_ptr<asio::ssl::context>> make_tls(const ApiConfig& config) {
  boost::system::error_code error;
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  context->set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
  if (config.insecure) {
    context->set_verify_mode(asio::ssl::verify_none, error);
  } else {
    context->set_verify_mode(asio::ssl::verify_peer, error);
    context->set_verify_callback(asio::ssl::host_name_verification(config.server_name), error);
  }
  if (config.ca.given()) {
    const std::string pem = TRY(config.ca.read());
    context->add_certificate_authority(asio::buffer(pem), error);
    TRY(use(error, config.ca, "certificate authority"));
  } else {
    context->set_default_verify_paths(error);
  }
  TRY(use_client_certificate(config, *context));
  return context;
}

}  // namespace thalweg::kube
