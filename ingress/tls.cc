#include "ingress/tls.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <set>

namespace thalweg::ingress {

namespace {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Freed<X509_free>>;
using Context = Certificates::Context;

constexpr size_t kMaxChain = 16;

// A callback in place of OpenSSL's own, which would ask the terminal for a passphrase.
int no_passphrase(char*, int, int, void*) { return -1; }

// OpenSSL's last reason, without the file names and without any of the input.
std::string reason() {
  const char* text = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return text == nullptr ? "malformed" : text;
}

Bio memory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<std::vector<Cert>> read_chain(const std::string& pem) {
  std::vector<Cert> chain;
  const Bio bio = memory(pem);
  while (chain.size() < kMaxChain) {
    Cert cert(PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr));
    if (cert == nullptr) break;
    chain.push_back(std::move(cert));
  }
  if (chain.empty()) return fail("tls.crt: not a PEM certificate: {}", reason());
  ERR_clear_error();  // the end of the file is an "error" too
  return chain;
}

Result<Key> read_key(const std::string& pem) {
  const Bio bio = memory(pem);
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (key == nullptr) return fail("tls.key: not a PEM private key without passphrase: {}", reason());
  return key;
}

int select_alpn(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in,
                unsigned in_size, void*) {
  static constexpr unsigned char kOffered[] = "\x08http/1.1";
  auto* chosen = const_cast<unsigned char**>(out);
  const int found = SSL_select_next_proto(chosen, out_size, kOffered, sizeof kOffered - 1, in, in_size);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

Result<Context> new_context() {
  Context context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (context == nullptr) return fail("TLS: {}", reason());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                         SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_cipher_list(context.get(), "ECDHE+AESGCM:ECDHE+CHACHA20");
  SSL_CTX_set_alpn_select_cb(context.get(), select_alpn, nullptr);
  static constexpr unsigned char kSession[] = "thalweg-ingress";
  SSL_CTX_set_session_id_context(context.get(), kSession, sizeof kSession - 1);
  return context;
}

Result<Context> make_context(const std::vector<Cert>& chain, EVP_PKEY* key) {
  auto context = TRY(new_context());
  if (SSL_CTX_use_certificate(context.get(), chain.front().get()) != 1) return fail("tls.crt: {}", reason());
  if (SSL_CTX_use_PrivateKey(context.get(), key) != 1 || SSL_CTX_check_private_key(context.get()) != 1) {
    ERR_clear_error();
    return fail("tls.key is not the key of tls.crt");
  }
  for (size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context.get(), chain[i].get());
  return context;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::vector<std::string> dns_names(X509* cert) {
  std::vector<std::string> names;
  auto* all = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(cert, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    const auto* name = sk_GENERAL_NAME_value(all, i);
    if (name->type != GEN_DNS) continue;
    const auto* text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName));
    names.push_back(lower({text, static_cast<size_t>(ASN1_STRING_length(name->d.dNSName))}));
  }
  GENERAL_NAMES_free(all);
  return names;
}

Result<Certificates::Entry> make_entry(const KeyPair& pair) {
  const auto chain = TRY(read_chain(pair.certificate));
  const auto key = TRY(read_key(pair.key));
  return Certificates::Entry {
    pair, TRY(make_context(chain, key.get()))
    , dns_names(chain.front().get())
  };
}

int choose_certificate(SSL* ssl, int*, void* certificates) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_NOACK;
  if (auto* found = static_cast<const Certificates*>(certificates)->find(lower(name)))
    SSL_set_SSL_CTX(ssl, found);
  return SSL_TLSEXT_ERR_OK;
}

std::string to_pem(const auto& write) {
  const Bio bio(BIO_new(BIO_s_mem()));
  write(bio.get());
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<size_t>(size)};
}

}  // namespace

Result<KeyPair> make_self_signed(const std::string& common_name) {
  const Key key(EVP_EC_gen("P-256"));
  const Cert cert(X509_new());
  if (key == nullptr || cert == nullptr) return fail("self-signed certificate: {}", reason());
  X509_set_version(cert.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), 365L * 24 * 3600);
  X509_set_pubkey(cert.get(), key.get());
  X509_NAME* name = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const uint8_t*>(common_name.data()),
                             static_cast<int>(common_name.size()), -1, 0);
  X509_set_issuer_name(cert.get(), name);
  X509_EXTENSION* san =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, ("DNS:" + common_name).c_str());
  if (san != nullptr) X509_add_ext(cert.get(), san, -1);
  X509_EXTENSION_free(san);
  if (X509_sign(cert.get(), key.get(), EVP_sha256()) == 0)
    return fail("self-signed certificate: {}", reason());
  return KeyPair{to_pem([&](BIO* bio) { PEM_write_bio_X509(bio, cert.get()); }), to_pem([&](BIO* bio) {
                   PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
                 })};
}

ssl_ctx_st* Certificates::find(std::string_view name) const {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (const auto exact = by_name_.find(name); exact != by_name_.end()) return exact->second.get();
  const auto dot = name.find('.');
  if (dot == name.npos || dot == 0) return nullptr;
  const auto wild = by_name_.find(std::string("*").append(name.substr(dot)));
  return wild == by_name_.end() ? nullptr : wild->second.get();
}

class CertificateBuilder {
 public:
  CertificateBuilder(const kube::Store<kube::Secret>& secrets, const Certificates* before)
      : secrets_(secrets), before_(before) {}

  BuiltCertificates build(const kube::Store<kube::Ingress>& ingresses, const BuildOptions& options,
                          const KeyPair& fallback) {
    if (auto entry = make_entry(fallback)) {
      made_->fallback_ = entry->context;
      SSL_CTX_set_tlsext_servername_callback(made_->fallback_.get(), choose_certificate);
      SSL_CTX_set_tlsext_servername_arg(made_->fallback_.get(), made_.get());
    } else {
      error("the certificate for unknown names: {}", entry.error().message);
    }
    for (const auto& [key, ingress] : ingresses)
      if (serves(*ingress, options))
        for (const auto& tls : ingress->tls) add(key, tls);
    return {made_, std::move(errors_)};
  }

 private:
  void add(const kube::ObjectKey& ingress, const kube::IngressTls& tls) {
    if (tls.secret.empty()) return;
    const Certificates::Entry* entry = find_secret(ingress, {ingress.ns, tls.secret});
    if (entry == nullptr) return;
    for (const auto& host : tls.hosts.empty() ? entry->names : tls.hosts) {
      const auto [place, added] = made_->by_name_.try_emplace(lower(host), entry->context);
      if (!added && place->second != entry->context)
        error(
            "Ingress {}: spec.tls: host '{}' has the certificate of another Secret already: {} left out for "
            "it",
            ingress.str(), host, tls.secret);
    }
  }

  const Certificates::Entry* find_secret(const kube::ObjectKey& ingress, const kube::ObjectKey& key) {
    if (const auto done = made_->secrets_.find(key); done != made_->secrets_.end()) return &done->second;
    if (failed_.contains(key)) return nullptr;
    const auto secret = secrets_.find(key);
    if (secret == secrets_.end()) {
      error("Ingress {}: spec.tls: Secret {} does not exist", ingress.str(), key.str());
      failed_.insert(key);
      return nullptr;
    }
    auto entry = load(key, *secret->second);
    if (entry) return &made_->secrets_.emplace(key, std::move(*entry)).first->second;
    failed_.insert(key);
    return nullptr;
  }

  // The entry of before when nothing changed, or when what is there now is broken.
  std::optional<Certificates::Entry> load(const kube::ObjectKey& key, const kube::Secret& secret) {
    const KeyPair pair{secret.tls_crt, secret.tls_key};
    const Certificates::Entry* last = nullptr;
    if (before_ != nullptr)
      if (const auto found = before_->secrets_.find(key); found != before_->secrets_.end())
        last = &found->second;
    if (last != nullptr && last->pair == pair) return *last;
    auto entry = make_entry(pair);
    if (entry) return std::move(*entry);
    error("Secret {}: {}: {}", key.str(), entry.error().message,
          last == nullptr ? "not served" : "the last good certificate stays");
    return last == nullptr ? std::nullopt : std::optional(*last);
  }

  template <class... Args>
  void error(fmt::format_string<Args...> format, Args&&... args) {
    errors_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  const kube::Store<kube::Secret>& secrets_;
  const Certificates* before_;
  std::shared_ptr<Certificates> made_ = std::make_shared<Certificates>();
  std::set<kube::ObjectKey> failed_;
  std::vector<std::string> errors_;
};

BuiltCertificates build_certificates(const kube::Store<kube::Ingress>& ingresses,
                                     const kube::Store<kube::Secret>& secrets, const BuildOptions& options,
                                     const KeyPair& fallback, const Certificates* before) {
  return CertificateBuilder(secrets, before).build(ingresses, options, fallback);
}

}  // namespace thalweg::ingress
