// Zone: everything the cluster's names answer, immutable. Built by a pure function from the Cluster off the
// answering thread; answer() reads it. Positive answers are stored as the very bytes that follow the question
// in a reply.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dns/message.h"
#include "kube/cluster.h"

namespace thalweg::dns {

// How <a-b-c-d>.<namespace>.pod is answered (Kubernetes DNS specification 1.1.0 leaves it to the server).
enum class PodNames : uint8_t { Disabled, Insecure, Verified };

struct ZoneConfig {
  Name apex;           // cluster.local
  uint32_t ttl_s = 5;  // of every record, and of negative answers
  PodNames pods = PodNames::Disabled;
  std::vector<Ip> name_servers;  // addresses of ns.dns.<apex>; the ones this server listens on
  uint32_t serial = 1;
  uint64_t hash_seed = 0;  // random in a server, so that no tenant can choose names that collide
};

// The prepared answer to (name, type).
struct Answers {
  uint16_t type = 0;
  uint16_t records = 0;     // in the answer section
  uint16_t additional = 0;  // addresses of SRV targets
  uint16_t rotate_by = 0;   // size of one record when any order will do (A, AAAA), else 0
  uint32_t offset = 0;      // in the zone's bytes; answer section, then additional section
  uint32_t answer_size = 0;
  uint32_t total_size = 0;
};

struct Node {
  uint32_t name = 0;  // offset of the lower-case wire name
  uint32_t first = 0;
  uint8_t name_size = 0;
  uint8_t count = 0;     // 0: the name exists, with nothing at it (an empty non-terminal)
  bool reverse = false;  // in in-addr.arpa or ip6.arpa: a zone of its own, one name large
};

class Zone {
 public:
  // The zone before the cluster is known: every name that could be ours is answered SERVFAIL.
  static std::shared_ptr<const Zone> unsynced(const ZoneConfig& config);

  bool synced() const { return synced_; }
  const ZoneConfig& config() const { return config_; }
  const Name& apex() const { return config_.apex; }
  const Node* find(Bytes lower_name) const;
  std::span<const Answers> answers(const Node& node) const {
    return {answers_.data() + node.first, node.count};
  }
  const Answers* find(const Node& node, uint16_t type) const;
  Bytes prepared(const Answers& answers) const {
    return Bytes(bytes_).subspan(answers.offset, answers.total_size);
  }
  // SOA of the apex as a record whose first two bytes, a pointer to the owner, are still to be set.
  Bytes soa() const { return soa_; }
  size_t names() const { return nodes_.size(); }
  size_t bytes() const;
  // Names left out because they are no DNS names, and records beyond a message's 64 KiB.
  size_t skipped() const { return skipped_; }
  Name name(const Node& node) const;
  std::span<const Node> nodes() const { return nodes_; }

 private:
  friend class ZoneWriter;
  uint64_t hash(Bytes lower_name) const { return hash_bytes(lower_name, config_.hash_seed); }

  ZoneConfig config_;
  bool synced_ = false;
  std::vector<uint8_t> bytes_;
  std::vector<Node> nodes_;
  std::vector<Answers> answers_;
  std::vector<uint32_t> slots_;  // open addressing: index into nodes_ plus one; a power of two
  std::vector<uint8_t> soa_;
  size_t skipped_ = 0;
};

// The names below `apex` that pod names live under, or under which Services do.
Name pods_name(const Name& apex);
Name services_name(const Name& apex);

// Pure: the same Cluster and config give the same bytes.
std::shared_ptr<const Zone> build_zone(const kube::Cluster& cluster, const ZoneConfig& config);

// The zone in zone-file text (RFC 1035 §5), sorted; for tests, comparison with other servers, and people.
std::string zone_text(const Zone& zone);

// 192.0.2.1 → 1.2.0.192.in-addr.arpa; RFC 3596 §2.5 for IPv6.
Name reverse_name(const Ip& ip);
// 10-1-2-3 and 2001-db8--1 for pod and endpoint names; a label may not begin or end with a dash, so "::1" is
// 0--1.
std::string dashed(const Ip& ip);
// The inverse, for pod names.
std::optional<Ip> from_dashed(std::string_view label);

}  // namespace thalweg::dns
