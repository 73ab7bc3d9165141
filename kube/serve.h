// An HTTP server of the list/watch protocol over a History, on any listening socket, with or without TLS. The
// relay is one on a unix socket; the misbehaving test server is one with a Tamper.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/asio_fwd.h"
#include "base/fd.h"
#include "kube/list_watch.h"
#include "kube/relay.h"

namespace thalweg::kube {

// What a test may do to the answers. Production has none.
class Tamper {
 public:
  struct Piece {
    std::string bytes;
    uint32_t wait_ms = 0;  // before it
    bool cut = false;      // after it: the connection is closed
    bool hang = false;     // after it: nothing more is ever sent
  };
  virtual ~Tamper() = default;
  virtual std::optional<ApiRefusal> admit(std::string_view) { return std::nullopt; }  // Authorization
  virtual std::optional<ApiRefusal> refuse(const ListWatchRequest&) { return std::nullopt; }
  virtual std::string object(const ListWatchRequest&, std::string json) { return json; }
  // Parts of a body in order: events of a watch, or head, items and tail of a list.
  virtual std::vector<Piece> deliver(const ListWatchRequest&, std::vector<std::string> parts) = 0;
};

class ListWatchServer {
 public:
  // listening: a bound and listening stream socket. tls: none for plain. The server lives on the loop of io.
  ListWatchServer(asio::io_context& io, Fd listening, std::shared_ptr<asio::ssl::context> tls,
                  RelayOptions options, uint64_t first_version, std::shared_ptr<Tamper> tamper = {});
  ~ListWatchServer();
  ListWatchServer(const ListWatchServer&) = delete;
  ListWatchServer& operator=(const ListWatchServer&) = delete;

  void start();
  void stop();
  // Change history, then announce() wakes the watches and, the first time, opens the server for requests.
  History& history();
  void announce();
  void drop_clients();
  RelayStats stats() const;

 private:
  struct Core;
  std::shared_ptr<Core> core_;
};

}  // namespace thalweg::kube
