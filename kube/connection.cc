#include "kube/connection.h"

#include <netinet/tcp.h>

#include <charconv>

#include "base/ip.h"

namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace thalweg::kube {

namespace {

auto into(boost::system::error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

// A peer that is gone without a word is noticed within half a minute, not after a watch's timeout.
void set_tcp_options(int socket) {
  const auto set = [&](int level, int name, int value) {
    ::setsockopt(socket, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 30'000);
}

std::optional<uint32_t> parse_retry_after(std::string_view text) {
  uint32_t seconds = 0;  // the HTTP-date form is not used by API servers
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return seconds;
}

// OpenSSL's reason for a refused certificate is in the queue, not in the error code.
std::string tls_reason(const boost::system::error_code& error, SSL* ssl) {
  const long verified = SSL_get_verify_result(ssl);
  if (verified != X509_V_OK)
    return std::string("certificate refused: ") + X509_verify_cert_error_string(verified);
  return error.message();
}

}  // namespace

Connection::Connection(asio::any_io_executor executor, const ApiConfig& config, std::string user_agent,
                       ConnectionTimeouts timeouts)
    : executor_(std::move(executor)),
      config_(config),
      user_agent_(std::move(user_agent)),
      timeouts_(timeouts) {}
Connection::~Connection() = default;

void Connection::close() {
  reusable_ = false;
  if (resolver_) resolver_->cancel();
  if (stream_.index() != 0) lowest().close();
}

void Connection::stop() {
  stopped_ = true;
  close();
}

Connection::Plain& Connection::lowest() {
  if (auto* plain = std::get_if<std::unique_ptr<Plain>>(&stream_)) return **plain;
  return std::get<std::unique_ptr<Secure>>(stream_)->next_layer();
}

Result<std::string> Connection::authorization() {
  if (!config_.token.given()) return std::string();
  auto token = config_.token.read();
  if (token) {
    while (!token->empty() && (token->back() == '\n' || token->back() == '\r' || token->back() == ' '))
      token->pop_back();
    if (!token->empty()) last_token_ = std::move(*token);
  }
  // A file being replaced at this moment must not cost the connection.
  if (last_token_.empty()) return context(std::move(token), "token");
  return "Bearer " + last_token_;
}

asio::awaitable<Result<>> Connection::dial(Plain& stream) {
  boost::system::error_code error;
  if (config_.unix_path.empty()) {
    auto dialled = co_await dial_name(stream);
    co_return dialled;
  }
  const asio::generic::stream_protocol::endpoint endpoint{
      asio::local::stream_protocol::endpoint(config_.unix_path)};
  co_await stream.async_connect(endpoint, into(error));
  if (error) co_return fail("connect {}: {}", config_.where(), error.message());
  co_return Result<>();
}

asio::awaitable<Result<>> Connection::dial_name(Plain& stream) {
  boost::system::error_code error;
  resolver_ = std::make_unique<asio::ip::tcp::resolver>(executor_);
  const auto found = co_await resolver_->async_resolve(config_.host, config_.port, into(error));
  if (error) co_return fail("resolve {}: {}", config_.host, error.message());
  for (const auto& entry : found) {
    const asio::generic::stream_protocol::endpoint endpoint(entry.endpoint());
    co_await stream.async_connect(endpoint, into(error));
    if (!error) break;
    stream.socket().close();
  }
  if (error) co_return fail("connect {}: {}", config_.where(), error.message());
  set_tcp_options(stream.socket().native_handle());
  co_return Result<>();
}

asio::awaitable<Result<>> Connection::secure() {
  Secure& stream = *std::get<std::unique_ptr<Secure>>(stream_);
  boost::system::error_code error;
  // No SNI for addresses (RFC 6066 §3).
  if (!Ip::parse(config_.server_name))
    SSL_set_tlsext_host_name(stream.native_handle(), config_.server_name.c_str());
  co_await stream.async_handshake(asio::ssl::stream_base::client, into(error));
  if (error) co_return fail("TLS with {}: {}", config_.where(), tls_reason(error, stream.native_handle()));
  co_return Result<>();
}

asio::awaitable<Result<>> Connection::connect() {
  buffer_.clear();
  parser_.reset();
  if (config_.tls) {
    auto tls = make_tls(config_);
    if (!tls) co_return std::unexpected(tls.error());
    tls_ = *tls;
    stream_ = std::make_unique<Secure>(Plain(executor_), *tls_);
  } else {
    stream_ = std::make_unique<Plain>(executor_);
  }
  lowest().expires_after(std::chrono::milliseconds(timeouts_.connect_ms));
  auto dialled = co_await dial(lowest());
  if (!dialled || !config_.tls) co_return dialled;
  auto secured = co_await secure();
  co_return secured;
}

template <class Stream>
asio::awaitable<Result<Connection::Response>> Connection::exchange(Stream& stream, std::string target) {
  boost::system::error_code error;
  http::request<http::empty_body> request(http::verb::get, target, 11);
  request.set(http::field::host, config_.host.empty() ? "localhost" : config_.host);
  request.set(http::field::user_agent, user_agent_);
  request.set(http::field::accept, "application/json");
  auto bearer = authorization();
  if (!bearer) co_return std::unexpected(bearer.error());
  if (!bearer->empty()) request.set(http::field::authorization, *bearer);
  lowest().expires_after(std::chrono::milliseconds(timeouts_.answer_ms));
  co_await http::async_write(stream, request, into(error));
  if (error) co_return fail("send to {}: {}", config_.where(), error.message());
  parser_.emplace();
  parser_->body_limit(boost::none);
  parser_->header_limit(65536);
  co_await http::async_read_header(stream, buffer_, *parser_, into(error));
  if (error) co_return fail("read from {}: {}", config_.where(), error.message());
  const auto& header = parser_->get();
  co_return Response{static_cast<int>(header.result_int()),
                     parse_retry_after(header[http::field::retry_after])};
}

asio::awaitable<Result<Connection::Response>> Connection::get(std::string target) {
  if (stopped_) co_return fail("stopped");
  const bool again = reusable_;
  if (!again) {
    auto connected = co_await connect();
    if (!connected) {
      close();
      co_return std::unexpected(connected.error());
    }
  }
  reusable_ = false;
  Result<Response> response;
  if (auto* plain = std::get_if<std::unique_ptr<Plain>>(&stream_)) {
    response = co_await exchange(**plain, target);
  } else {
    response = co_await exchange(*std::get<std::unique_ptr<Secure>>(stream_), target);
  }
  if (response) co_return response;
  close();
  // The server may have closed a kept connection just now: that is no failure of this request.
  if (again) response = co_await get(target);
  co_return response;
}

template <class Stream>
asio::awaitable<Result<std::string_view>> Connection::read_some(Stream& stream) {
  boost::system::error_code error;
  while (!parser_->is_done()) {
    auto& body = parser_->get().body();
    body.data = chunk_;
    body.size = sizeof chunk_;
    body.more = true;
    co_await http::async_read_some(stream, buffer_, *parser_, into(error));
    if (error == http::error::need_buffer) error = {};
    const size_t got = sizeof chunk_ - parser_->get().body().size;
    if (got > 0 && !error) co_return std::string_view(chunk_, got);
    if (error) co_return fail("read from {}: {}", config_.where(), error.message());
  }
  co_return std::string_view();
}

asio::awaitable<Result<std::string_view>> Connection::read_body(std::chrono::milliseconds idle) {
  lowest().expires_after(idle);
  Result<std::string_view> got;
  if (auto* plain = std::get_if<std::unique_ptr<Plain>>(&stream_)) {
    got = co_await read_some(**plain);
  } else {
    got = co_await read_some(*std::get<std::unique_ptr<Secure>>(stream_));
  }
  lost_ = !got;
  if (!got) close();
  if (got && got->empty()) reusable_ = parser_->keep_alive();
  co_return got;
}

}  // namespace thalweg::kube
