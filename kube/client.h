// Objects from an API server or a relay: one list/watch a kind (kube/watch), decoded as it streams in, into
// one Cluster. Made by kube/source.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/asio_fwd.h"
#include "kube/api_config.h"
#include "kube/cluster.h"
#include "kube/json_stream.h"
#include "kube/watch.h"

namespace thalweg::kube {

struct ApiSourceOptions {
  ApiConfig api;
  std::vector<Kind> kinds;
  std::string user_agent = "thalweg";
  WatchOptions watch;
  JsonStreamLimits limits;
  uint32_t list_idle_ms = 30'000;
  uint32_t watch_idle_ms = 150'000;  // bookmarks come about every minute
  uint32_t connect_ms = 10'000;
  uint32_t answer_ms = 60'000;
  uint32_t seed = 0;  // of the jitter; 0: a random one
  std::function<void(const std::string&)> on_error;
  // Once an outage, however many kinds and tries it takes: when the first kind has lost the server, and when
  // the last has it back. None: on_error is told of the first.
  std::function<void(const std::string& why)> on_away;
  std::function<void()> on_back;
};

std::unique_ptr<Source> make_api_source(asio::io_context& io, ApiSourceOptions options);

}  // namespace thalweg::kube
