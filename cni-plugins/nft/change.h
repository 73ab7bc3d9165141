// A change of one table of nf_tables, done whole or not at all; and the rules that are there. Nothing is
// spawned: this is the netlink protocol nft(8) speaks. Used by host_rules.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/netlink.h"
#include "base/result.h"
#include "cni-plugins/nft/expressions.h"

namespace thalweg::nft {

enum class Family : uint8_t { Inet, Bridge, V4, V6 };

// Where a base chain stands: netfilter's hook and the priority within it (lower is earlier).
struct Hook {
  const char* type;  // "filter" or "nat"
  uint32_t hook;     // NF_INET_PRE_ROUTING, …
  int32_t priority;
};

struct Placed {
  std::string chain;
  uint64_t handle = 0;
  std::string comment;
};

class Change {
 public:
  Change(Family family, std::string table);

  // What is there already stays as it is.
  void add_table();
  void add_chain(const std::string& name);
  void add_chain(const std::string& name, const Hook& hook);
  void flush(const std::string& chain);  // its rules; the chain must be there, or be added before
  void add_rule(const std::string& chain, const std::string& comment,
                const std::function<void(Expressions&)>& say);
  // Before all that are there.
  void insert_rule(const std::string& chain, const std::string& comment,
                   const std::function<void(Expressions&)>& say);
  void remove(const Placed& rule);

  bool empty() const { return requests_.empty(); }
  // Fails as the first request refused; then nothing has changed.
  Result<> commit(nl::Socket& netfilter);

 private:
  nl::Message& request(uint16_t type, uint16_t flags);
  void put_rule(uint16_t flags, const std::string& chain, const std::string& comment,
                const std::function<void(Expressions&)>& say);
  Family family_;
  std::string table_;
  std::vector<nl::Message> requests_;
};

// A socket for the two.
Result<nl::Socket> open_netfilter();
// Of the chain, or of all for "". No such table or chain: no rules.
Result<std::vector<Placed>> rules(nl::Socket& netfilter, Family family, const std::string& table,
                                  const std::string& chain = "");

// Those of the chains whose comments are unwanted, at once. Somebody else may remove one between our look and
// our change: then we look again.
Result<> remove_rules(nl::Socket& netfilter, Family family, const std::string& table,
                      const std::vector<std::string>& chains,
                      const std::function<bool(const std::string& comment)>& unwanted);

inline constexpr size_t kMaxComment = 253;  // bytes

}  // namespace thalweg::nft
