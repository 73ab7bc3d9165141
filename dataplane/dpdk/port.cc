#include "dataplane/dpdk/port.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <bit>
#include <cstring>

namespace thalweg::dataplane::dpdk {
namespace {

constexpr unsigned kPoolCache = 256;
constexpr uint16_t kFrameOverhead = 128;  // TPACKET_V2's header, Ethernet, VLAN

Result<> start_queues(uint16_t id, const Pool& pool, uint16_t descriptors) {
  rte_eth_conf conf{};
  if (int error = rte_eth_dev_configure(id, 1, 1, &conf); error != 0)
    return fail_errno(-error, "port {}: configure", id);
  uint16_t rx = descriptors, tx = descriptors;
  if (int error = rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx, &tx); error != 0 && error != -ENOTSUP)
    return fail_errno(-error, "port {}: descriptors", id);
  if (int error = rte_eth_rx_queue_setup(id, 0, rx, SOCKET_ID_ANY, nullptr, pool.get()); error != 0)
    return fail_errno(-error, "port {}: receive queue", id);
  if (int error = rte_eth_tx_queue_setup(id, 0, tx, SOCKET_ID_ANY, nullptr); error != 0)
    return fail_errno(-error, "port {}: transmit queue", id);
  return {};
}

Result<uint16_t> choose_mtu(uint16_t id, uint16_t wanted) {
  if (wanted != 0) {
    const int error = rte_eth_dev_set_mtu(id, wanted);
    if (error != 0 && error != -ENOTSUP) return fail_errno(-error, "port {}: MTU {}", id, wanted);
    if (error == 0) return wanted;
  }
  uint16_t mtu = RTE_ETHER_MTU;
  rte_eth_dev_get_mtu(id, &mtu);
  return wanted == 0 ? mtu : wanted;
}

// Promiscuous mode lets frames for a MAC of our own choice in; the worker drops those for others.
Result<Mac> choose_mac(uint16_t id, const std::optional<Mac>& wanted) {
  rte_ether_addr real{};
  if (int error = rte_eth_macaddr_get(id, &real); error != 0) return fail_errno(-error, "port {}: MAC", id);
  Mac mac;
  std::memcpy(mac.data(), real.addr_bytes, mac.size());
  if (wanted && *wanted != mac) {
    if (int error = rte_eth_promiscuous_enable(id); error != 0 && error != -ENOTSUP)
      return fail_errno(-error, "port {}: promiscuous mode", id);
    return *wanted;
  }
  return mac;
}

}  // namespace

Result<Pool> Pool::create(const std::string& name, uint32_t packets, uint16_t data_bytes) {
  Pool pool;
  pool.pool_.reset(rte_pktmbuf_pool_create(name.c_str(), packets, kPoolCache, 0,
                                           static_cast<uint16_t>(data_bytes + RTE_PKTMBUF_HEADROOM),
                                           SOCKET_ID_ANY));
  if (!pool.pool_) return fail("{} packets of {} bytes: {}", packets, data_bytes, rte_strerror(rte_errno));
  return pool;
}

void Pool::Free::operator()(rte_mempool* pool) const { rte_mempool_free(pool); }

uint32_t Pool::available() const { return rte_mempool_avail_count(pool_.get()); }

Result<Port> Port::open(const std::string& device, const Pool& pool, const Options& options) {
  uint16_t id = 0;
  if (rte_eth_dev_get_port_by_name(device.c_str(), &id) != 0) return fail("port {}: no such device", device);
  return context(open(id, pool, options), "{}", device);
}

Result<Port> Port::open(uint16_t id, const Pool& pool, const Options& options) {
  TRY(start_queues(id, pool, options.descriptors));
  const uint16_t mtu = TRY(choose_mtu(id, options.mtu));
  if (int error = rte_eth_dev_start(id); error != 0) return fail_errno(-error, "port {}: start", id);
  const Mac mac = TRY(choose_mac(id, options.mac));
  return Port(id, mtu, mac);
}

Port::Port(Port&& other) noexcept
    : id_(other.id_), mtu_(other.mtu_), mac_(other.mac_), open_(std::exchange(other.open_, false)) {}

Port::~Port() {
  if (!open_) return;
  rte_eth_dev_stop(id_);
  rte_eth_dev_close(id_);
}

PortStats Port::stats() const {
  rte_eth_stats stats{};
  rte_eth_stats_get(id_, &stats);
  return {stats.ipackets, stats.ibytes, stats.imissed, stats.rx_nombuf, stats.opackets, stats.obytes};
}

uint16_t af_packet_frame_bytes(uint16_t mtu) {
  return static_cast<uint16_t>(std::bit_ceil(static_cast<uint32_t>(mtu) + kFrameOverhead));
}

std::string af_packet_vdev(const std::string& iface, uint16_t mtu) {
  const uint32_t frame = af_packet_frame_bytes(mtu);
  const uint32_t block = std::max(frame, 4096u);
  return fmt::format("{},iface={},qdisc_bypass=1,blocksz={},framesz={},framecnt={}", kAfPacketDevice, iface,
                     block, frame, 1024);
}

}  // namespace thalweg::dataplane::dpdk
