// Certificates: which TLS certificate a server name gets. Immutable; built whole on every change, swapped
// while connections made under the old ones go on.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ingress/build.h"
#include "kube/cluster.h"

struct ssl_ctx_st;

namespace thalweg::ingress {

// A certificate chain and its key, in PEM. The key is never logged.
struct KeyPair {
  std::string certificate;
  std::string key;
  bool operator==(const KeyPair&) const = default;
};

// ECDSA P-256, valid for a year: what a client sees that asks for a name nobody has a certificate for.
Result<KeyPair> make_self_signed(const std::string& common_name);

class Certificates {
 public:
  // TLS 1.2 and 1.3, forward secrecy only, ALPN http/1.1.
  using Context = std::shared_ptr<ssl_ctx_st>;
  struct Entry {
    KeyPair pair;
    Context context;
    std::vector<std::string> names;  // of the certificate itself, lower case
  };

  // For Stream::handshake: its servername callback chooses among these certificates while this object lives.
  ssl_ctx_st* context() const { return fallback_.get(); }
  // By exact name, else by "*.parent"; null: the fallback. The name in lower case.
  ssl_ctx_st* find(std::string_view server_name) const;
  size_t size() const { return by_name_.size(); }

 private:
  friend class CertificateBuilder;
  Context fallback_;
  std::map<std::string, Context, std::less<>> by_name_;
  std::map<kube::ObjectKey, Entry> secrets_;  // kept, so that a broken Secret leaves its last good one
};

struct BuiltCertificates {
  std::shared_ptr<const Certificates> certificates;
  std::vector<std::string> errors;  // one line each, naming the Secret, never its content
};

// spec.tls of the Ingresses we serve, their Secrets, and what was there before: a Secret that is broken now
// keeps its last good certificate; one that is gone is gone. Hosts of spec.tls decide the names; without
// hosts, the certificate's own do.
BuiltCertificates build_certificates(const kube::Store<kube::Ingress>& ingresses,
                                     const kube::Store<kube::Secret>& secrets, const BuildOptions& options,
                                     const KeyPair& fallback, const Certificates* before);

}  // namespace thalweg::ingress
