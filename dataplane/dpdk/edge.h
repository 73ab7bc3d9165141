// Edge: the control plane of thalweg-edge. Objects → the compiler of every node (as an edge) → Reconciler →
// DpdkDatapath; and the local socket that tells of it. Called by main.cc, on one loop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/asio_fwd.h"
#include "base/result.h"
#include "dataplane/dpdk/datapath.h"
#include "dataplane/dpdk/port.h"
#include "dataplane/intent/compile.h"
#include "kube/source.h"

namespace thalweg::dataplane::dpdk {

class Edge {
 public:
  struct Options {
    Config config;  // edge = true
    std::string socket;
    kube::SourceOptions objects;
  };
  // The worker must be running.
  Edge(asio::io_context& io, const Options& options, DpdkDatapath& datapath, const Port& port);
  ~Edge();
  // Opens the socket and starts to follow the objects.
  Result<> start();
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::dataplane::dpdk
