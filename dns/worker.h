// Worker: one thread with its own loop, sockets, cache and upstream sockets; the zone is all it shares, and
// that is immutable. main starts as many as it is told.
#pragma once

#include <memory>

#include "dns/sockets.h"
#include "dns/tcp.h"

namespace thalweg::dns {

struct WorkerConfig {
  UpstreamConfig upstream;
  CacheLimits cache;
  TcpLimits tcp;
};

class Worker {
 public:
  static Result<std::unique_ptr<Worker>> make(std::vector<ListenSockets> sockets, const Snapshot<Zone>& zone,
                                              const WorkerConfig& config);
  ~Worker();
  void start();  // the thread inherits the caller's rights
  void stop();   // joins it
  const Stats& stats() const;

 private:
  struct Impl;
  explicit Worker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::dns
