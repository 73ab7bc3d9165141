#include "dataplane/dpdk/memory_port.h"

#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_mbuf.h>
#include <rte_ring.h>

namespace thalweg::dataplane::dpdk {
namespace {

void drain_and_free(rte_ring* ring) {
  if (!ring) return;
  void* packet = nullptr;
  while (rte_ring_dequeue(ring, &packet) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
  rte_ring_free(ring);
}

}  // namespace

Result<MemoryPort> MemoryPort::create(const std::string& name, const Pool& pool, uint32_t slots) {
  constexpr unsigned kOneEach = RING_F_SP_ENQ | RING_F_SC_DEQ;
  rte_ring* in = rte_ring_create((name + "-in").c_str(), slots, SOCKET_ID_ANY, kOneEach);
  rte_ring* out = rte_ring_create((name + "-out").c_str(), slots, SOCKET_ID_ANY, kOneEach);
  const int id = in && out ? rte_eth_from_rings(name.c_str(), &in, 1, &out, 1, 0) : -1;
  auto port = id < 0 ? Result<Port>(fail("memory port {}: {}", name, rte_strerror(rte_errno)))
                     : Port::open(static_cast<uint16_t>(id), pool, {});
  if (!port) {
    drain_and_free(in);
    drain_and_free(out);
    return std::unexpected(std::move(port).error());
  }
  return MemoryPort(std::move(*port), in, out);
}

MemoryPort::MemoryPort(MemoryPort&& other) noexcept
    : port_(std::move(other.port_)),
      in_(std::exchange(other.in_, nullptr)),
      out_(std::exchange(other.out_, nullptr)) {}

MemoryPort::~MemoryPort() {
  drain_and_free(in_);
  drain_and_free(out_);
}

uint32_t MemoryPort::put(rte_mbuf** packets, uint32_t count) {
  return rte_ring_enqueue_burst(in_, reinterpret_cast<void**>(packets), count, nullptr);
}

uint32_t MemoryPort::take(rte_mbuf** packets, uint32_t most) {
  return rte_ring_dequeue_burst(out_, reinterpret_cast<void**>(packets), most, nullptr);
}

}  // namespace thalweg::dataplane::dpdk
