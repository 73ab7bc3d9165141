#include "base/asio.h"
//
#include "ingress/stream.h"

#include "ingress/stream_impl.h"

namespace thalweg::ingress {

namespace {

using boost::system::error_code;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

// How long and how much finish() listens for the other end's own end.
constexpr uint64_t kLingerMs = 1000;
constexpr size_t kLingerBytes = 1 << 20;

bool is_end(const error_code& code) {
  return code == asio::error::eof || code == asio::ssl::error::stream_truncated;
}

std::array<asio::const_buffer, 4> buffers(const Stream::Pieces& pieces) {
  std::array<asio::const_buffer, 4> out;
  for (size_t i = 0; i < pieces.size(); ++i) out[i] = asio::buffer(pieces[i].data(), pieces[i].size());
  return out;
}

}  // namespace

Ip to_ip(const asio::ip::address& address) {
  if (address.is_v4()) return Ip::from_v4_bytes(address.to_v4().to_bytes().data());
  return Ip::from_v6_bytes(address.to_v6().to_bytes().data());
}

asio::ip::tcp::endpoint to_endpoint(const Endpoint& endpoint) {
  if (!endpoint.ip.is_v4()) return {asio::ip::address_v6(endpoint.ip.bytes()), endpoint.port};
  asio::ip::address_v4::bytes_type four;
  std::copy_n(endpoint.ip.v4_bytes(), 4, four.begin());
  return {asio::ip::address_v4(four), endpoint.port};
}

void Deadlines::sweep(Clock::time_point now) {
  for (Stream* stream : streams_)
    if (stream->deadline_ <= now) stream->cancel();
}

void Deadlines::cancel_all() {
  for (Stream* stream : streams_) stream->cancel();
}

Stream::Stream(Deadlines& deadlines, std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), deadlines_(deadlines) {
  place_ = deadlines_.streams_.insert(deadlines_.streams_.end(), this);
}

Stream::~Stream() { deadlines_.streams_.erase(place_); }

void Stream::expire_after(uint64_t ms) { deadline_ = Clock::now() + std::chrono::milliseconds(ms); }

void Stream::cancel() {
  error_code ignored;
  impl_->socket.cancel(ignored);
}

bool Stream::tls() const { return impl_->tls.has_value(); }
const Ip& Stream::peer() const { return impl_->peer; }

namespace {

// A cancelled operation timed out when its deadline has passed, else somebody called cancel().
Error to_error(const error_code& code, Clock::time_point deadline) {
  if (code != asio::error::operation_aborted) return {code.message(), code.value()};
  if (Clock::now() >= deadline) return {"timed out", ETIMEDOUT};
  return {"cancelled", ECANCELED};
}

}  // namespace

Task<Result<size_t>> Stream::read_some(std::span<char> into) {
  const auto buffer = asio::buffer(into.data(), into.size());
  auto [code, n] = impl_->tls ? co_await impl_->tls->async_read_some(buffer, kTuple)
                              : co_await impl_->socket.async_read_some(buffer, kTuple);
  if (is_end(code)) co_return 0;
  if (code) co_return std::unexpected(to_error(code, deadline_));
  co_return n;
}

Task<Result<>> Stream::write(Pieces pieces) {
  const auto all = buffers(pieces);
  auto [code, n] = impl_->tls ? co_await asio::async_write(*impl_->tls, all, kTuple)
                              : co_await asio::async_write(impl_->socket, all, kTuple);
  if (code) co_return std::unexpected(to_error(code, deadline_));
  co_return Result<>();
}

Task<Result<>> Stream::handshake(ssl_ctx_st* context, std::shared_ptr<const void> keep) {
  impl_->certificates = std::move(keep);
  SSL_CTX_up_ref(context);
  asio::ssl::context wrapped(context);
  impl_->tls.emplace(impl_->socket, wrapped);
  auto [code] = co_await impl_->tls->async_handshake(asio::ssl::stream_base::server, kTuple);
  if (code) co_return std::unexpected(to_error(code, deadline_));
  co_return Result<>();
}

Task<Result<>> Stream::finish() {
  expire_after(kLingerMs);
  if (impl_->tls) {
    auto [code] = co_await impl_->tls->async_shutdown(kTuple);
    if (code && !is_end(code)) co_return std::unexpected(to_error(code, deadline_));
  }
  error_code code;
  impl_->socket.shutdown(asio::ip::tcp::socket::shutdown_send, code);
  std::array<char, 4096> waste;
  for (size_t total = 0; total < kLingerBytes;) {
    auto [failed, n] = co_await impl_->socket.async_read_some(asio::buffer(waste), kTuple);
    if (failed) break;
    total += n;
  }
  co_return Result<>();
}

void Stream::abort() {
  error_code ignored;
  impl_->socket.set_option(asio::socket_base::linger(true, 0), ignored);
  impl_->socket.close(ignored);
}

bool Stream::quiet() {
  char one;
  const ssize_t n = ::recv(impl_->socket.native_handle(), &one, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace thalweg::ingress
