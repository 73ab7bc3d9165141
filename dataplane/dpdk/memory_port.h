// MemoryPort: an ethdev whose wire is two rings of this process; tests and the bench put packets on one end
// and take them off the other.
#pragma once

#include "dataplane/dpdk/port.h"

struct rte_mbuf;
struct rte_ring;

namespace thalweg::dataplane::dpdk {

class MemoryPort {
 public:
  // slots: a power of two, each way.
  static Result<MemoryPort> create(const std::string& name, const Pool& pool, uint32_t slots);
  MemoryPort(MemoryPort&& other) noexcept;
  MemoryPort& operator=(MemoryPort&&) = delete;
  ~MemoryPort();  // frees what is still on the wire

  uint16_t id() const { return port_.id(); }
  // The far end: put() hands packets to the port's receive side; take() gets what it sent. Both return how
  // many.
  uint32_t put(rte_mbuf** packets, uint32_t count);
  uint32_t take(rte_mbuf** packets, uint32_t most);

 private:
  MemoryPort(Port port, rte_ring* in, rte_ring* out) : port_(std::move(port)), in_(in), out_(out) {}
  Port port_;
  rte_ring* in_;
  rte_ring* out_;
};

}  // namespace thalweg::dataplane::dpdk
