// A small HTTP/1.1 server for a program's own local endpoint (agent socket, metrics, health). Everything a
// client can fill is bounded. Library target: base_http.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/asio_fwd.h"
#include "base/ip.h"
#include "base/result.h"

namespace thalweg::http {

struct Request {
  std::string method;
  std::string path;   // without the query
  std::string query;  // after '?', undecoded
  std::string body;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};  // further ones
};

// Runs on the loop's thread.
using Handler = std::function<Response(const Request&)>;
// For answers that must wait: call `respond` once, on the loop's thread, now or later. Dropping it uncalled
// closes the connection. It is safe to call after the client or the server has gone.
using Respond = std::function<void(Response)>;
using AsyncHandler = std::function<void(Request, Respond)>;

struct Limits {
  size_t max_connections = 64;  // further ones get 503 and are closed
  size_t max_header_bytes = 8 << 10;
  size_t max_body_bytes = 1 << 20;     // beyond: 413
  uint64_t read_timeout_ms = 10'000;   // for a whole request, from its first byte
  uint64_t idle_timeout_ms = 60'000;   // between requests
  uint64_t write_timeout_ms = 10'000;  // for a whole response
};

class Server {
 public:
  explicit Server(asio::io_context& io, const Limits& limits = {});
  ~Server();

  // Exact paths. A known path with another method answers 405, an unknown one 404. HEAD is served by GET's.
  void route(std::string_view method, std::string_view path, Handler handler);
  void route_async(std::string_view method, std::string_view path, AsyncHandler handler);
  // For every request no route is for, whatever its path and method, instead of 404.
  void route_rest(Handler handler);

  // A socket file nobody listens on any more is replaced; one that is alive is EADDRINUSE. The file appears
  // under its name only once it accepts, with this mode.
  Result<> listen_unix(const std::string& path, mode_t mode = 0600);
  // Port 0 picks one; returns the port.
  Result<uint16_t> listen_tcp(const Ip& ip, uint16_t port);

  // Closes listeners (and removes the socket file) and connections. Idempotent; done by the destructor.
  void stop();

  uint64_t refused_connections() const;

  struct Impl;  // in http.cc

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace thalweg::http
