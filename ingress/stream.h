// Stream: one TCP connection, plain or TLS, with a deadline; and Deadlines, which ends what outlived its own.
// All of it belongs to one loop.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string_view>

#include "base/asio_fwd.h"
#include "base/ip.h"
#include "base/result.h"
#include "ingress/routes.h"

namespace boost::asio {
class any_io_executor;
template <class T, class Executor>
class awaitable;
}  // namespace boost::asio
struct ssl_ctx_st;

namespace thalweg::ingress {

template <class T = void>
using Task = asio::awaitable<T, asio::any_io_executor>;
using Clock = std::chrono::steady_clock;

class Stream;

// One coarse sweep a loop (the proxy's tick) in place of a timer for every read and write.
class Deadlines {
 public:
  void sweep(Clock::time_point now);
  void cancel_all();

 private:
  friend class Stream;
  std::list<Stream*> streams_;
};

class Stream {
 public:
  struct Impl;
  Stream(Deadlines& deadlines, std::unique_ptr<Impl> impl);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // What waits past this moment fails with ETIMEDOUT (a sweep's period late at most); so does whatever is
  // begun after it, until the next expire_after().
  void expire_after(uint64_t ms);
  // Ends what waits now, with ECANCELED; the stream stays open.
  void cancel();

  // 0: the other end has finished. One read and one write may be under way at the same time.
  Task<Result<size_t>> read_some(std::span<char> into);
  // All of the pieces, in order. They must live until it returns.
  using Pieces = std::array<std::string_view, 4>;
  Task<Result<>> write(Pieces pieces);

  // The server's side of TLS. The SSL_CTX's servername callback may choose another certificate; `keep` is
  // held for as long as that may happen.
  Task<Result<>> handshake(ssl_ctx_st* context, std::shared_ptr<const void> keep);
  bool tls() const;

  // Says that nothing more comes, and gives the other end a moment to say the same, so that a reset does not
  // overtake the last response.
  Task<Result<>> finish();
  // Closes with a reset: what was sent must not pass for whole.
  void abort();
  // False when the other end has closed, or sent what nobody asked for. Does not wait.
  bool quiet();
  const Ip& peer() const;

 private:
  friend class Deadlines;
  std::unique_ptr<Impl> impl_;
  Deadlines& deadlines_;
  std::list<Stream*>::iterator place_;
  Clock::time_point deadline_ = Clock::time_point::max();
};

}  // namespace thalweg::ingress
