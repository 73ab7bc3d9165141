#include "base/asio.h"
//
#include "relayed.h"

#include <gtest/gtest.h>

#include <thread>

#include "kube/relay.h"
#include "kube/source.h"

namespace thalweg::ingress::test {

struct Relayed::Impl {
  Impl(const std::string& manifests, const std::string& socket_path) : relay(io, socket_path) {
    auto made = kube::make_source(io, {.manifests = manifests});
    EXPECT_TRUE(made.has_value());
    source = std::move(*made);
    const auto started = relay.start();
    EXPECT_TRUE(started.has_value()) << started.error().message;
    source->start([this](const kube::Cluster& cluster, auto changed) { relay.update(cluster, changed); });
    thread = std::thread([this] { io.run(); });
  }
  ~Impl() {
    asio::post(io, [this] {
      source->stop();
      relay.stop();
      io.stop();
    });
    thread.join();
  }

  asio::io_context io{1};
  kube::Relay relay;
  std::unique_ptr<kube::Source> source;
  std::thread thread;
};

Relayed::Relayed(const std::string& manifests, const std::string& socket_path)
    : impl_(std::make_unique<Impl>(manifests, socket_path)) {}
Relayed::~Relayed() = default;

}  // namespace thalweg::ingress::test
