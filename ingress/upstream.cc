#include "base/asio.h"
//
#include "ingress/upstream.h"

#include <algorithm>
#include <random>
#include <set>

#include "ingress/stream_impl.h"

namespace thalweg::ingress {

Upstream::Upstream(asio::io_context& io, Deadlines& deadlines, const UpstreamLimits& limits)
    : io_(io), deadlines_(deadlines), limits_(limits) {}

std::optional<Endpoint> Upstream::choose(const Backend& backend, const std::vector<Endpoint>& tried) {
  // The first turn is random, so that many loops and many restarts do not all begin with the same endpoint.
  const auto [turn, fresh] = turns_.try_emplace(backend.name, 0);
  if (fresh) turn->second = std::random_device()();
  for (size_t i = 0; i < backend.endpoints.size(); ++i) {
    const Endpoint& one = backend.endpoints[turn->second++ % backend.endpoints.size()];
    if (std::ranges::find(tried, one) == tried.end()) return one;
  }
  return std::nullopt;
}

std::unique_ptr<Connection> Upstream::reuse(const Endpoint& endpoint) {
  const auto found = idle_.find(endpoint);
  while (found != idle_.end() && !found->second.empty()) {
    auto connection = std::move(found->second.back());
    found->second.pop_back();
    --idle_total_;
    if (!connection->stream->quiet()) continue;
    connection->reused = true;
    return connection;
  }
  return nullptr;
}

Task<Result<std::unique_ptr<Connection>>> Upstream::connect(Endpoint endpoint) {
  const auto target = to_endpoint(endpoint);
  asio::ip::tcp::socket socket(io_);
  boost::system::error_code code;
  socket.open(target.protocol(), code);
  if (code) co_return fail_errno(code.value(), "socket for {}", endpoint.str());
  socket.set_option(asio::ip::tcp::no_delay(true), code);
  auto impl = std::make_unique<Stream::Impl>(std::move(socket));
  auto& opened = impl->socket;
  auto stream = std::make_unique<Stream>(deadlines_, std::move(impl));
  stream->expire_after(limits_.connect_timeout_ms);
  auto [failed] = co_await opened.async_connect(target, asio::as_tuple(asio::use_awaitable));
  if (failed == asio::error::operation_aborted)
    co_return std::unexpected(Error{fmt::format("connect {}: timed out", endpoint.str()), ETIMEDOUT});
  if (failed) co_return fail_errno(failed.value(), "connect {}", endpoint.str());
  co_return std::make_unique<Connection>(endpoint, std::move(stream), limits_.max_head_bytes);
}

void Upstream::keep(std::unique_ptr<Connection> connection) {
  auto& kept = idle_[connection->endpoint];
  if (kept.size() >= limits_.idle_per_endpoint || idle_total_ >= limits_.idle_total) return;
  connection->idle_since = Clock::now();
  connection->stream->expire_after(limits_.idle_ms);
  kept.push_back(std::move(connection));
  ++idle_total_;
}

void Upstream::sweep(Clock::time_point now) {
  const auto oldest = now - std::chrono::milliseconds(limits_.idle_ms);
  for (auto entry = idle_.begin(); entry != idle_.end();) {
    idle_total_ -= std::erase_if(entry->second, [&](const auto& one) { return one->idle_since < oldest; });
    entry = entry->second.empty() ? idle_.erase(entry) : std::next(entry);
  }
}

void Upstream::prune(const RouteTable& routes) {
  std::set<Endpoint> wanted;
  std::set<std::string_view> names;
  for (const auto& backend : routes.backends()) {
    wanted.insert(backend.endpoints.begin(), backend.endpoints.end());
    names.insert(backend.name);
  }
  std::erase_if(idle_, [&](const auto& entry) {
    if (wanted.contains(entry.first)) return false;
    idle_total_ -= entry.second.size();
    return true;
  });
  std::erase_if(turns_, [&](const auto& entry) { return !names.contains(entry.first); });
}

void Upstream::clear() {
  idle_.clear();
  idle_total_ = 0;
}

}  // namespace thalweg::ingress
