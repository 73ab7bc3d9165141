// One HTTP/1.1 connection to an API server or relay: TCP or unix socket, TLS or not; a request at a time, its
// body handed out as it arrives. Include base/asio.h first. Used by kube/client only.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <variant>

#include "base/asio.h"
#include "kube/api_config.h"

namespace thalweg::kube {

struct ConnectionTimeouts {
  uint32_t connect_ms = 10'000;  // name, TCP and TLS together
  uint32_t answer_ms = 60'000;   // until the response's header
};

class Connection {
 public:
  struct Response {
    int status = 0;
    std::optional<uint32_t> retry_after_s;
  };

  Connection(asio::any_io_executor executor, const ApiConfig& config, std::string user_agent,
             ConnectionTimeouts timeouts = {});
  ~Connection();

  // Sends GET target, connecting first when there is no connection that can be used again.
  asio::awaitable<Result<Response>> get(std::string target);
  // The next part of the body, valid until the next call; empty: the end. Fails when nothing came for idle.
  asio::awaitable<Result<std::string_view>> read_body(std::chrono::milliseconds idle);
  void close();
  // Closes for good: whatever waits fails, and so does every later get().
  void stop();
  // The last read failed: the peer is gone or silent, whatever it had sent.
  bool lost() const { return lost_; }

 private:
  using Plain = boost::beast::basic_stream<asio::generic::stream_protocol>;
  using Secure = asio::ssl::stream<Plain>;
  using Parser = boost::beast::http::response_parser<boost::beast::http::buffer_body>;

  asio::awaitable<Result<>> connect();
  asio::awaitable<Result<>> dial(Plain& stream);
  asio::awaitable<Result<>> dial_name(Plain& stream);
  asio::awaitable<Result<>> secure();
  template <class Stream>
  asio::awaitable<Result<Response>> exchange(Stream& stream, std::string target);
  template <class Stream>
  asio::awaitable<Result<std::string_view>> read_some(Stream& stream);
  Plain& lowest();
  Result<std::string> authorization();

  asio::any_io_executor executor_;
  const ApiConfig& config_;
  std::string user_agent_;
  ConnectionTimeouts timeouts_;
  std::shared_ptr<asio::ssl::context> tls_;
  std::variant<std::monostate, std::unique_ptr<Plain>, std::unique_ptr<Secure>> stream_;
  std::unique_ptr<asio::ip::tcp::resolver> resolver_;
  bool reusable_ = false;
  bool stopped_ = false;
  bool lost_ = false;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  std::string last_token_;
  char chunk_[65536];
};

}  // namespace thalweg::kube
