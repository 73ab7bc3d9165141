// Addresses of this node's pods, out of its podCIDRs. What was handed out is on disk before it is answered,
// so no address is ever given twice across a crash. Called by the agent's CNI server, on its one thread.
#pragma once

#include <compare>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace thalweg::dataplane {

// What CNI calls an attachment (spec 1.1.0, GC): one interface of one container.
struct Attachment {
  std::string container_id;
  std::string ifname;
  auto operator<=>(const Attachment&) const = default;
};

struct Lease {
  Attachment attachment;
  std::string owner;    // whose it is, for people: "namespace/pod"
  std::vector<Ip> ips;  // one of each family that had a range: IPv4 first
};

class Ipam {
 public:
  // Reads the journal at path (made if absent). A last line cut short by a crash was never answered and is
  // dropped; anything else unreadable is an error naming file and line, and nothing is handed out.
  static Result<Ipam> open(const std::string& path);
  Ipam(Ipam&&) noexcept;
  Ipam& operator=(Ipam&&) noexcept;
  ~Ipam();

  // The node's podCIDRs: at most one range of each family is used, the first. Leases outside a new range stay
  // as they are until released.
  Result<> set_ranges(const std::vector<Cidr>& pod_cidrs);

  // The address the pods' gateway would have in a range: its first. Never handed out, nor are the network's
  // own and, for IPv4, the broadcast address. Ranges of one or two addresses have nothing to hand out.
  static Ip gateway(const Cidr& range);

  // The lease of the attachment, made if there is none; on disk when this returns. Addresses come round
  // robin, so one just released is the last to come again. Errors: no range (EAGAIN), all in use (ENOSPC),
  // disk.
  Result<Lease> acquire(const Attachment& attachment, const std::string& owner = "");
  // Absent is no error.
  Result<> release(const Attachment& attachment);
  // CNI GC: releases what is not in `valid` and returns it.
  Result<std::vector<Lease>> keep_only(const std::set<Attachment>& valid);

  std::optional<Lease> find(const Attachment& attachment) const;
  std::vector<Lease> leases() const;
  uint64_t free_addresses(bool v6) const;  // at most 2^32 - 1

 private:
  struct Impl;
  explicit Ipam(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::dataplane
