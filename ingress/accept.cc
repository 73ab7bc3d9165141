// A Proxy's own life: it accepts connections into sessions, ticks, drains and stops.
#include "base/asio.h"
//
#include "ingress/session.h"
#include "ingress/stream_impl.h"

namespace thalweg::ingress {

namespace {

using boost::system::error_code;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr auto kTick = std::chrono::milliseconds(100);

Task<> serve(Proxy::Impl& proxy, std::unique_ptr<Stream> stream, bool tls) {
  Session session(proxy, std::move(stream), tls);
  co_await session.run();
}

}  // namespace

void Proxy::Impl::open(asio::ip::tcp::socket socket, bool tls) {
  error_code code;
  const auto peer = socket.remote_endpoint(code);
  if (code) return;
  socket.set_option(asio::ip::tcp::no_delay(true), code);
  auto impl = std::make_unique<Stream::Impl>(std::move(socket));
  impl->peer = to_ip(peer.address());
  asio::co_spawn(io, serve(*this, std::make_unique<Stream>(deadlines, std::move(impl)), tls),
                 [](std::exception_ptr thrown) {
                   if (thrown) log::error("a connection ended by an exception of a library");
                 });
}

Task<> Proxy::Impl::accept(asio::ip::tcp::acceptor& acceptor, bool tls) {
  asio::steady_timer pause(io);
  while (acceptor.is_open()) {
    auto [code, socket] = co_await acceptor.async_accept(kTuple);
    if (code == asio::error::operation_aborted) co_return;
    if (code) {  // out of descriptors, say: what is open goes on, and closing some of it helps
      counters.accept_errors.add();
      pause.expires_after(kTick);
      co_await pause.async_wait(kTuple);
    } else if (sessions.size() >= limits.max_connections) {
      counters.refused_connections.add();
    } else {
      counters.accepted.add();
      open(std::move(socket), tls);
    }
  }
}

void Proxy::Impl::arm_tick() {
  tick.expires_after(kTick);
  tick.async_wait([this](error_code code) {
    if (code || (draining && sessions.empty())) return;
    if (stopping) deadlines.cancel_all();
    const auto now = Clock::now();
    deadlines.sweep(now);
    upstream.sweep(now);
    if (const auto routes = routing.get()->routes; routes != pruned) {
      upstream.prune(*routes);
      pruned = routes;
    }
    arm_tick();
  });
}

Proxy::Proxy(asio::io_context& io, const Snapshot<Routing>& routing, const ProxyLimits& limits,
             const Counters& counters)
    : impl_(std::make_unique<Impl>(io, routing, limits, counters)) {
  impl_->arm_tick();
}

Proxy::~Proxy() = default;

void Proxy::listen(Fd socket, bool tls) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size);
  const auto protocol = address.ss_family == AF_INET6 ? asio::ip::tcp::v6() : asio::ip::tcp::v4();
  auto& acceptor = impl_->acceptors.emplace_back(impl_->io, protocol, socket.release());
  asio::co_spawn(impl_->io, impl_->accept(acceptor, tls), asio::detached);
}

void Proxy::drain() {
  impl_->draining = true;
  error_code ignored;
  for (auto& acceptor : impl_->acceptors) acceptor.close(ignored);
  for (Session* session : impl_->sessions) session->end_if_idle();
}

void Proxy::stop() {
  drain();
  impl_->stopping = true;
  impl_->upstream.clear();
  impl_->deadlines.cancel_all();
}

size_t Proxy::connections() const { return impl_->sessions.size(); }

}  // namespace thalweg::ingress
