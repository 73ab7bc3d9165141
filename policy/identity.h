// Identities: addresses → the classes that the selectors in use can tell apart → numbers (DESIGN §1.3).
// policy/rule_book owns one, tells it of selectors and pods, and takes rows from it.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/ip.h"
#include "bpf/abi.h"
#include "policy/numbers.h"
#include "policy/rules.h"
#include "policy/selector.h"

namespace thalweg::policy {

// Of two pods that claim one address the first of this order has it.
enum class Claim : uint8_t { Link, Pod, Terminating };

class Identities {
 public:
  Identities();

  // ---- selectors in use, counted
  SelectorId use(const Selector& selector);
  void release(const Selector& selector);

  // ---- pods; marks are taken anew on each place()
  void place(const PodFacts& pod, std::vector<Ip> ips, Claim claim);
  void remove(const kube::ObjectKey& pod);
  // Pods whose marks name one of the selectors that went out of use since the last settle().
  std::vector<kube::ObjectKey> bearers_of_released() const;

  // Computes the rows of whatever was touched. Afterwards the accessors below hold until the next change.
  void settle();
  const std::vector<Ip>& touched_addresses() const { return touched_addresses_; }
  const std::vector<Cidr>& touched_prefixes() const { return touched_prefixes_; }
  // Selectors whose set of classes changed: rule sets that use them must be expanded again.
  const std::set<SelectorId>& touched_selectors() const { return touched_selectors_; }
  void forget_touched();

  // Exact rows: pods that some selector tells from their surroundings. The rest is in the prefixes, or in no
  // class.
  const std::unordered_map<Ip, uint32_t>& addresses() const { return addresses_; }
  const std::map<Cidr, uint32_t>& prefixes() const { return prefixes_; }
  // The classes alive that bear a mark of the selector, by number.
  std::vector<ClassRef> classes_of(SelectorId selector) const;

  // ---- numbering
  Numbers<std::string>& selector_numbers() { return selector_numbers_; }
  Numbers<Class>& class_numbers() { return class_numbers_; }
  const Numbers<std::string>& selector_numbers() const { return selector_numbers_; }
  const Numbers<Class>& class_numbers() const { return class_numbers_; }

 private:
  struct Pod {
    Class marks;
    std::vector<Ip> ips;
    Claim claim;
  };
  using Claims = std::set<std::pair<Claim, kube::ObjectKey>>;

  void rebuild_prefixes();
  void touch_all_pods();
  void settle_address(const Ip& ip, std::vector<uint32_t>& released);
  Class class_of(const Ip& ip) const;
  const Class* block_marks(const Ip& ip) const;
  uint32_t retain(const Class& marks);
  void release_number(uint32_t number);

  SelectorIndex index_;
  Numbers<std::string> selector_numbers_;
  Numbers<Class> class_numbers_;
  std::map<SelectorId, kube::PolicyPeer::IpBlock> blocks_;
  bool blocks_changed_ = false;
  std::unordered_set<SelectorId> released_;

  std::map<kube::ObjectKey, Pod> pods_;
  std::unordered_map<Ip, Claims> claims_;
  std::unordered_set<Ip> dirty_;

  std::unordered_map<Ip, uint32_t> addresses_;
  std::map<Cidr, uint32_t> prefixes_;
  std::map<uint8_t, std::unordered_map<Ip, Class>, std::greater<>> block_marks_;  // by length, longest first
  std::unordered_map<SelectorId, std::set<uint32_t>> by_selector_;

  std::vector<Ip> touched_addresses_;
  std::vector<Cidr> touched_prefixes_;
  std::set<SelectorId> touched_selectors_;
};

// The partition the blocks make: every cidr and except, with the marks of the blocks that hold it.
std::map<Cidr, Class> partition(const std::map<SelectorId, kube::PolicyPeer::IpBlock>& blocks);

}  // namespace thalweg::policy
