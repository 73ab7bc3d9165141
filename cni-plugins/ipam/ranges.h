// Ranges of addresses as host-local's configuration writes them, and the order they are tried in.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "cni-plugins/fields.h"

namespace thalweg::cni {

struct Range {
  Cidr subnet;
  Ip first, last;  // inclusive
  Ip gateway;      // never given out
  bool contains(const Ip& ip) const { return ip.is_v4() == first.is_v4() && first <= ip && ip <= last; }
};

// One address is given out of each set.
struct RangeSet {
  std::vector<Range> ranges;
  const Range* find(const Ip& ip) const;
  std::string str() const;
};

// "subnet", "rangeStart", "rangeEnd", "gateway"; what is not said is filled in (gateway: the first address;
// the end of an IPv4 subnet: the one before its broadcast).
Range read_range(Fields& fields);
// What is wrong with sets as a whole: mixed families, overlaps. Empty: nothing.
std::string fault_in(const std::vector<RangeSet>& sets);

// Every address of the set, once, beginning behind `last`, until `take` says true or fails.
Result<std::optional<Ip>> walk(const RangeSet& set, std::optional<Ip> last,
                               const std::function<Result<bool>(const Ip&)>& take);

}  // namespace thalweg::cni
