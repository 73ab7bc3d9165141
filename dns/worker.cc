#include "base/asio.h"
// Asio first: it is precompiled.
#include <thread>

#include "base/loop.h"
#include "dns/udp.h"
#include "dns/worker.h"

namespace thalweg::dns {

struct Worker::Impl {
  asio::io_context io{1};
  Stats stats;
  std::unique_ptr<Resolver> resolver;
  std::vector<std::unique_ptr<UdpServer>> udp;
  std::vector<std::unique_ptr<TcpServer>> tcp;
  std::thread thread;

  void stop_servers() {
    for (const auto& each : udp) each->stop();
    for (const auto& each : tcp) each->stop();
    resolver->stop();
  }
};

Result<std::unique_ptr<Worker>> Worker::make(std::vector<ListenSockets> sockets, const Snapshot<Zone>& zone,
                                             const WorkerConfig& config) {
  auto impl = std::make_unique<Impl>();
  impl->resolver = TRY(Resolver::make(impl->io, zone, config.upstream, config.cache, impl->stats));
  for (ListenSockets& each : sockets) {
    const bool v6 = !each.at.v4;
    impl->udp.push_back(std::make_unique<UdpServer>(impl->io, std::move(each.udp), v6, *impl->resolver));
    impl->tcp.push_back(
        std::make_unique<TcpServer>(impl->io, std::move(each.tcp), v6, *impl->resolver, config.tcp));
  }
  return std::unique_ptr<Worker>(new Worker(std::move(impl)));
}

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() { stop(); }
const Stats& Worker::stats() const { return impl_->stats; }

void Worker::start() {
  for (const auto& each : impl_->udp) each->start();
  for (const auto& each : impl_->tcp) each->start();
  impl_->thread = std::thread([this] { run_loop(impl_->io); });
}

void Worker::stop() {
  if (!impl_->thread.joinable()) return;
  asio::post(impl_->io, [this] {
    impl_->stop_servers();
    impl_->io.stop();
  });
  impl_->thread.join();
}

}  // namespace thalweg::dns
