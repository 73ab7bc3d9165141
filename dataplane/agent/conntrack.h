// Sweeps the flow table, a bounded step at a time: flows nobody uses any more, and UDP flows to a backend
// that is no longer its service's (a TCP peer would be told by its own connection; a UDP one never is). On
// the agent's thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/result.h"
#include "dataplane/ebpf/flow_table.h"
#include "dataplane/ebpf/maps.h"
#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

// Idle for so long, a flow is over. TCP: RFC 5382 §5 asks at least 2 h 4 min; UDP: RFC 4787 §4.3 asks 5 min.
inline constexpr uint64_t kTcpIdleNs = 7'500ull * 1'000'000'000;
inline constexpr uint64_t kUdpIdleNs = 300ull * 1'000'000'000;
inline constexpr uint64_t kOtherIdleNs = 60ull * 1'000'000'000;

struct SweepStats {
  uint64_t flows = 0;         // met by the last whole round
  uint64_t expired = 0;       // removed since the start
  uint64_t backend_gone = 0;  // ditto
};

// The backends of every UDP service, for one round: only such flows outlive their backend unnoticed.
class Backends {
 public:
  explicit Backends(const Intent& intent);
  bool is_service(const service_key& service) const { return services_.contains(service); }
  bool has(const service_key& service, const addr& address, uint16_t port) const;

 private:
  // Rows are hashed byte by byte: only the structs of bpf/abi.h have no padding between theirs.
  std::unordered_map<service_key, std::unordered_set<backend, RowHash, RowEqual>, RowHash, RowEqual>
      services_;
};

enum class FlowEnd : uint8_t { None, Expired, BackendGone };
// Pure: why this flow should go, if it should.
FlowEnd flow_end(const flow_key& key, const flow& value, const Backends& backends, uint64_t now_ns);
// The key under which the other direction of a rewritten flow is kept (abi.h, struct flow).
flow_key twin_key(const flow& value, uint8_t protocol);

class FlowSweeper {
 public:
  explicit FlowSweeper(FlowTable table) : table_(std::move(table)) {}
  static Result<FlowSweeper> of(const EbpfDatapath& datapath);
  // One step of at most some thousand rows. True: the round is complete.
  Result<bool> step(const Intent& intent);
  const SweepStats& stats() const { return stats_; }

 private:
  void look(uint32_t number, const std::string& bytes, uint64_t now_ns);

  FlowTable table_;
  uint32_t next_set_ = 0;
  std::unique_ptr<Backends> backends_;
  uint64_t met_ = 0;
  SweepStats stats_;
};

}  // namespace thalweg::dataplane
