// An API server for tests, built on the relay's own server: over TCP with TLS (certificates made on the
// spot), plain TCP or a unix socket; it can be told to misbehave in every way a network and a server can.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/asio_fwd.h"
#include "kube/api_config.h"
#include "kube/cluster.h"
#include "kube/relay.h"

namespace thalweg::kube::test {

// Chances in percent, each rolled a request, a body or an object.
struct Misbehaviour {
  int refuse_410 = 0;  // a request is answered 410
  int refuse_429 = 0;  // with Retry-After: 0
  int refuse_500 = 0;
  int cut = 0;         // a body ends within some part of it
  int duplicate = 0;   // an event is told twice
  int reorder = 0;     // two neighbouring events change places
  int dribble = 0;     // a body comes in a few bytes at a time
  int garbage = 0;     // a body holds what is no JSON
  int error_410 = 0;   // a watch tells an ERROR event of 410
  int wrong_type = 0;  // one object has a string where an object should be
  int huge = 0;        // one object is larger than any limit
  int hang = 0;        // a watch goes silent for ever
};

enum class Transport { Tls, Tcp, Unix, MutualTls };  // MutualTls: config() has the client's certificate

class ApiServer {
 public:
  explicit ApiServer(asio::io_context& io, Transport transport = Transport::Tcp, RelayOptions options = {});
  ~ApiServer();

  void put(Object object);
  void erase(const ObjectRef& ref);
  const Cluster& cluster() const;

  void misbehave(const Misbehaviour& how, uint32_t seed);
  // From now on every request must carry this bearer token; others are answered 401.
  void demand_token(const std::string& token);
  void behave() { misbehave({}, 0); }
  // Every version handed out so far is too old from now on.
  void forget_history();
  // Every connection is cut.
  void drop_clients();
  ApiConfig config() const;  // how to reach it
  const std::string& ca_pem() const;
  RelayStats stats() const;
  // How often a request of that kind came: "list", "watch", "unauthorized".
  size_t requests(const std::string& what) const;
  size_t misdeeds() const;  // how often it did misbehave
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::kube::test
