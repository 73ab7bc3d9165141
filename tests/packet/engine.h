// Engine: one way of running the packet path. The native function, the kernel and the DPDK worker are each
// one; every packet case runs on all of them, and they must agree on verdict, reason, hop and bytes.
#pragma once

#include <string>

#include "base/result.h"
#include "bpf/abi.h"

namespace thalweg::packet {

using Bytes = std::string;

// What an engine made of a packet.
struct Seen {
  verdict said = CONTINUE;
  drop_reason reason = DROP_NONE;
  hop_kind hop = HOP_NONE;  // meaningful for REDIRECT
  Bytes bytes;              // the packet as it left; meaningless after DROP
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string name() const = 0;
  // Puts a row, raw bytes as in bpf/abi.h; without a value: takes it away.
  virtual Result<> put(table_id table, const Bytes& key, const Bytes& value) = 0;
  // Empties every table, flows too.
  virtual Result<> clear() = 0;
  // Runs a fresh packet that came in on interface 1 (the loopback device of the kernel's BPF_PROG_TEST_RUN).
  // `headroom` is what the buffer has in front; engines that cannot choose it ignore it.
  virtual Result<Seen> run(origin from, const Bytes& packet, uint32_t headroom) = 0;
  // Lets time pass without packets. Only where the clock is the engine's own: see can_wait().
  virtual Result<> advance(uint32_t) { return fail("not supported: the clock of {} is not ours", name()); }
  virtual bool can_wait() const { return false; }
  virtual bool can_stop_time() const { return false; }
  // A row of the table counters.
  virtual uint64_t counted(uint32_t) const { return 0; }
  // Whether what it chooses by chance after clear() is the same each time.
  virtual bool repeats() const { return false; }
  // From now on packets come in on another interface than 1. Only where it need not exist: see
  // can_choose_interface().
  virtual void come_in_by(uint32_t) {}
  virtual bool can_choose_interface() const { return false; }
  // False for what this engine cannot be given (BPF_PROG_TEST_RUN refuses frames without a whole IP header).
  virtual bool can_take(const Bytes&) const { return true; }
  // False where this engine cannot come to that drop (the kernel always finds headroom).
  virtual bool can_drop_for(drop_reason) const { return true; }
};

template <class T>
Bytes raw(const T& value) {
  return Bytes(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace thalweg::packet
