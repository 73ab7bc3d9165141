// StuckSockets: UDP sockets of this node's own processes that are connected to a backend the socket hooks
// chose (bpf/socket.bpf.c) and that serves no more. Nothing they send passes a hook again, and nothing would
// ever tell them: they are closed, so that the process gets ECONNABORTED and connects anew. Used by the agent
// after every change of endpoints. Pods have none: their UDP is left to the packet path, which moves it.
#pragma once

#include "base/netlink.h"
#include "base/result.h"
#include "dataplane/ebpf/maps.h"
#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

class StuckSockets {
 public:
  // Looks at this network namespace's connected UDP sockets if endpoints have moved (`moves`, a count) since
  // the last time that succeeded; the first call always looks. Needs CAP_NET_ADMIN and INET_DIAG_DESTROY
  // (Linux 4.9); an error says what failed, and the next call looks again.
  Result<> close_after(uint64_t moves, const EbpfDatapath& datapath, const Intent& applied);
  uint64_t closed() const { return closed_; }

 private:
  Result<> close_all(const EbpfDatapath& datapath, const Intent& applied);

  std::optional<uint64_t> seen_moves_;
  uint64_t closed_ = 0;
};

}  // namespace thalweg::dataplane
