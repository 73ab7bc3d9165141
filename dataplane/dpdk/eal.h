// Eal: DPDK's environment, started once a process: no PCI, no huge pages unless asked, its own file prefix,
// one core for the worker. main.cc, the tests and the bench start it; everything else of dpdk/ needs it
// running.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace thalweg::dataplane::dpdk {

struct EalOptions {
  uint32_t core = 0;               // the CPU the worker runs on
  uint32_t memory_mb = 512;        // without huge pages
  std::string huge_dir;            // empty: no huge pages
  std::string prefix;              // of DPDK's runtime files; empty: made of the process id
  std::vector<std::string> vdevs;  // "net_af_packet0,iface=eth0"
};

class Eal {
 public:
  // Once a process. The calling thread keeps its CPUs. An error quotes DPDK's own last line.
  static Result<Eal> start(const EalOptions& options);
  Eal(Eal&& other) noexcept;
  Eal& operator=(Eal&&) = delete;
  ~Eal();

  // Runs f on the worker's core until it returns; wait() (or the destructor) joins it. One at a time.
  Result<> launch(std::function<void()> f);
  void wait();

 private:
  explicit Eal(std::string prefix);
  std::string prefix_;
  std::function<void()> job_;
  bool running_ = false;  // DPDK itself
};

// The CPUs this process may run on, as an EAL list: "0-1,3".
std::string allowed_cpus();

}  // namespace thalweg::dataplane::dpdk
