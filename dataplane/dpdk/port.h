// Port: one ethdev with one queue each way, offloads off, started. Pool: where its packets live. A port is a
// vdev the EAL was asked for (net_af_packet on an interface), or a pair of rings in memory (memory_port.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/link.h"
#include "base/result.h"

struct rte_mempool;

namespace thalweg::dataplane::dpdk {

using nl::Mac;

class Pool {
 public:
  // data_bytes: the largest frame, without the headroom the path pushes headers into.
  static Result<Pool> create(const std::string& name, uint32_t packets, uint16_t data_bytes = 2048);
  rte_mempool* get() const { return pool_.get(); }
  uint32_t available() const;

 private:
  struct Free {
    void operator()(rte_mempool* pool) const;
  };
  std::unique_ptr<rte_mempool, Free> pool_;
};

struct PortStats {
  uint64_t rx_packets, rx_bytes, rx_missed, rx_no_buffer, tx_packets, tx_bytes;
};

class Port {
 public:
  struct Options {
    uint16_t mtu = 0;            // 0: the device's own
    std::optional<Mac> mac;      // another than the device's: the port turns promiscuous
    uint16_t descriptors = 512;  // each way
  };
  // device: its name, "net_af_packet0".
  static Result<Port> open(const std::string& device, const Pool& pool, const Options& options);
  static Result<Port> open(uint16_t id, const Pool& pool, const Options& options);
  Port(Port&& other) noexcept;
  Port& operator=(Port&&) = delete;
  ~Port();  // stops and closes it

  uint16_t id() const { return id_; }
  uint16_t mtu() const { return mtu_; }
  const Mac& mac() const { return mac_; }
  PortStats stats() const;

 private:
  Port(uint16_t id, uint16_t mtu, const Mac& mac) : id_(id), mtu_(mtu), mac_(mac) {}
  uint16_t id_;
  uint16_t mtu_;
  Mac mac_;
  bool open_ = true;
};

// The EAL's argument for a port on a network interface of this namespace, with frames for this MTU.
std::string af_packet_vdev(const std::string& iface, uint16_t mtu);
// Bytes a Pool's packets need for that port.
uint16_t af_packet_frame_bytes(uint16_t mtu);
inline constexpr const char* kAfPacketDevice = "net_af_packet0";

}  // namespace thalweg::dataplane::dpdk
