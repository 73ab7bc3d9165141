// What every program here shares: one EAL, one pool, memory ports, frames in and out of them.
#pragma once

#include <rte_mbuf.h>

#include <cstring>
#include <string>

#include "dataplane/dpdk/eal.h"
#include "dataplane/dpdk/memory_port.h"
#include "dataplane/dpdk/worker.h"

namespace thalweg::dataplane::dpdk {

// The process's EAL and pool, started by the first test that asks. An error (with the reason) where DPDK
// cannot run.
inline Result<Eal>& shared_eal() {
  static auto eal = Eal::start({.memory_mb = 256});
  return eal;
}
inline Result<Pool*> shared_pool() {
  if (auto& eal = shared_eal(); !eal) return std::unexpected(eal.error());
  static auto pool = Pool::create("test", 8191);
  if (!pool) return std::unexpected(pool.error());
  return &*pool;
}

inline rte_mbuf* to_mbuf(const Pool& pool, std::string_view bytes, uint32_t headroom = RTE_PKTMBUF_HEADROOM) {
  rte_mbuf* packet = rte_pktmbuf_alloc(pool.get());
  packet->data_off = static_cast<uint16_t>(headroom);
  packet->data_len = static_cast<uint16_t>(bytes.size());
  packet->pkt_len = static_cast<uint32_t>(bytes.size());
  std::memcpy(rte_pktmbuf_mtod(packet, char*), bytes.data(), bytes.size());
  return packet;
}

// The bytes of a packet, which is freed.
inline std::string take_bytes(rte_mbuf* packet) {
  std::string bytes(rte_pktmbuf_mtod(packet, const char*), rte_pktmbuf_data_len(packet));
  rte_pktmbuf_free(packet);
  return bytes;
}

}  // namespace thalweg::dataplane::dpdk
