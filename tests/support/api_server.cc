#include "base/asio.h"
//
#include "tests/support/api_server.h"

#include <openssl/x509v3.h>
#include <sys/un.h>

#include <random>

#include "kube/serve.h"

namespace json = boost::json;

namespace thalweg::kube::test {

namespace {

// A certificate for localhost that is its own authority, and its key; both PEM.
struct SelfSigned {
  std::string certificate;
  std::string key;
};

std::string pem_of(const std::function<int(BIO*)>& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free_all)> bio(BIO_new(BIO_s_mem()), BIO_free_all);
  write(bio.get());
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(length)};
}

void add_extension(X509* certificate, int id, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, id, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

SelfSigned make_self_signed() {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 86400);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("thalweg test"),
                             -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate.get(), NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  return {pem_of([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate.get()); }), pem_of([&](BIO* bio) {
            return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

// client: whose certificate is demanded; none: nobody's is.
std::shared_ptr<asio::ssl::context> server_tls(const SelfSigned& own, const std::string& client) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  context->use_certificate_chain(asio::buffer(own.certificate));
  context->use_private_key(asio::buffer(own.key), asio::ssl::context::pem);
  if (client.empty()) return context;
  context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  context->add_certificate_authority(asio::buffer(client));
  return context;
}

class Mischief : public Tamper {
 public:
  Misbehaviour how;
  std::mt19937 random;
  std::map<std::string, size_t> requests;
  size_t count = 0;
  std::string token;  // demanded; empty: none is

  std::optional<ApiRefusal> admit(std::string_view authorization) override {
    if (token.empty() || authorization == "Bearer " + token) return std::nullopt;
    ++requests["unauthorized"];
    return ApiRefusal{401, "Unauthorized", "Unauthorized", {}};
  }

  std::optional<ApiRefusal> refuse(const ListWatchRequest& request) override {
    ++requests[request.watch ? "watch" : "list"];
    if (roll(how.refuse_410) && (request.watch || request.continue_version)) return expired(0);
    if (roll(how.refuse_429)) return ApiRefusal{429, "TooManyRequests", "slow down", 0};
    if (roll(how.refuse_500)) return ApiRefusal{500, "InternalError", "told to fail", {}};
    return std::nullopt;
  }

  std::string object(const ListWatchRequest&, std::string text) override {
    if (roll(how.wrong_type)) return alter(text, [](json::object& meta) { meta["labels"] = "no object"; });
    if (roll(how.huge))
      return alter(text, [](json::object& meta) {
        meta["annotations"] = {{"big", std::string(300'000, 'x')}};
      });
    return text;
  }

  std::vector<Piece> deliver(const ListWatchRequest& request, std::vector<std::string> parts) override {
    // Two changed places and then cut between them would be a lost event: a server that does that has no
    // protocol left to follow.
    const bool shuffled = request.watch && shuffle(parts);
    if (request.watch && roll(how.error_410)) parts.push_back(event_json("ERROR", expired(0).json()));
    std::string all;
    for (const auto& part : parts) all += part;
    if (!shuffled && roll(how.cut)) return {{all.substr(0, below(all.size())), 0, true, false}};
    if (!shuffled && roll(how.garbage))
      return {{all.substr(0, below(all.size())) + "}\x01garbage", 0, true, false}};
    std::vector<Piece> pieces;
    if (!shuffled && roll(how.dribble)) {
      const size_t step = 1 + all.size() / 40;
      for (size_t at = 0; at < all.size(); at += step) pieces.push_back({all.substr(at, step)});
    } else {
      pieces.push_back({all});
    }
    pieces.back().hang = request.watch && roll(how.hang);
    return pieces;
  }

 private:
  bool roll(int percent) {
    const bool does = percent > 0 && static_cast<int>(random() % 100) < percent;
    count += does;
    return does;
  }
  size_t below(size_t most) { return most ? random() % most : 0; }

  static std::string alter(const std::string& text, const std::function<void(json::object&)>& change) {
    json::value object = json::parse(text);
    change(object.at("metadata").as_object());
    return json::serialize(object);
  }

  bool shuffle(std::vector<std::string>& events) {
    bool changed = false;
    for (size_t i = 0; i < events.size(); ++i) {
      if (roll(how.duplicate)) events.insert(events.begin() + static_cast<ptrdiff_t>(i), events[i]);
      if (i + 1 < events.size() && roll(how.reorder)) {
        std::swap(events[i], events[i + 1]);
        changed = true;
      }
    }
    return changed;
  }
};

Fd listen_socket(Transport transport, ApiConfig& config) {
  if (transport == Transport::Unix) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    static int count = 0;
    config.unix_path = fmt::format("/tmp/thalweg-api-{}-{}.sock", ::getpid(), count++);
    config.unix_path.copy(address.sun_path, sizeof address.sun_path - 1);
    ::unlink(config.unix_path.c_str());
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(socket.get(), 128);
    return socket;
  }
  sockaddr_in address{
      .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  ::listen(socket.get(), 128);
  socklen_t length = sizeof address;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length);
  config.host = "127.0.0.1";
  config.server_name = "localhost";
  config.port = std::to_string(ntohs(address.sin_port));
  return socket;
}

}  // namespace

struct ApiServer::Impl {
  ApiConfig config;
  SelfSigned own;
  std::shared_ptr<Mischief> mischief = std::make_shared<Mischief>();
  Cluster cluster;
  std::unique_ptr<ListWatchServer> server;
};

ApiServer::ApiServer(asio::io_context& io, Transport transport, RelayOptions options)
    : impl_(std::make_unique<Impl>()) {
  Fd socket = listen_socket(transport, impl_->config);
  impl_->config.tls = transport == Transport::Tls || transport == Transport::MutualTls;
  std::shared_ptr<asio::ssl::context> tls;
  if (impl_->config.tls) {
    impl_->own = make_self_signed();
    impl_->config.ca.data = impl_->own.certificate;
    if (transport == Transport::MutualTls) {
      const SelfSigned client = make_self_signed();
      impl_->config.client_certificate.data = client.certificate;
      impl_->config.client_key.data = client.key;
    }
    tls = server_tls(impl_->own, impl_->config.client_certificate.data);
  }
  impl_->server =
      std::make_unique<ListWatchServer>(io, std::move(socket), tls, options, 1000, impl_->mischief);
  impl_->server->start();
  impl_->server->announce();
}

ApiServer::~ApiServer() { stop(); }

void ApiServer::put(Object object) {
  kube::put(impl_->cluster, object);
  impl_->server->history().put(object);
  impl_->server->announce();
}

void ApiServer::erase(const ObjectRef& ref) {
  kube::erase(impl_->cluster, ref);
  impl_->server->history().erase(ref);
  impl_->server->announce();
}

const Cluster& ApiServer::cluster() const { return impl_->cluster; }

void ApiServer::misbehave(const Misbehaviour& how, uint32_t seed) {
  impl_->mischief->how = how;
  impl_->mischief->random.seed(seed);
}

void ApiServer::demand_token(const std::string& token) { impl_->mischief->token = token; }

void ApiServer::forget_history() {
  impl_->server->history().forget();
  impl_->server->announce();
}

void ApiServer::drop_clients() { impl_->server->drop_clients(); }
ApiConfig ApiServer::config() const { return impl_->config; }
const std::string& ApiServer::ca_pem() const { return impl_->own.certificate; }
RelayStats ApiServer::stats() const { return impl_->server->stats(); }
size_t ApiServer::requests(const std::string& what) const { return impl_->mischief->requests[what]; }

size_t ApiServer::misdeeds() const { return impl_->mischief->count; }

void ApiServer::stop() {
  impl_->server->stop();
  if (!impl_->config.unix_path.empty()) ::unlink(impl_->config.unix_path.c_str());
}

}  // namespace thalweg::kube::test
