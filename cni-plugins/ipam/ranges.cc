#include "cni-plugins/ipam/ranges.h"

namespace thalweg::cni {

namespace {

Ip last_of(const Cidr& subnet) {
  auto bytes = subnet.ip().bytes();
  for (size_t bit = subnet.length(); bit < 128; ++bit)
    bytes[bit / 8] |= static_cast<uint8_t>(0x80 >> bit % 8);
  if (subnet.is_v4()) --bytes[15];  // the broadcast address
  return Ip(bytes);
}

bool overlap(const Range& a, const Range& b) {
  return a.first.is_v4() == b.first.is_v4() && a.first <= b.last && b.first <= a.last;
}

bool overlap(const RangeSet& a, const RangeSet& b) {
  for (const Range& one : a.ranges)
    for (const Range& other : b.ranges)
      if (overlap(one, other)) return true;
  return false;
}

}  // namespace

const Range* RangeSet::find(const Ip& ip) const {
  for (const Range& range : ranges)
    if (range.contains(ip)) return &range;
  return nullptr;
}

std::string RangeSet::str() const {
  std::string out;
  for (const Range& range : ranges)
    out += fmt::format("{}{}-{}", out.empty() ? "" : ",", range.first, range.last);
  return out;
}

Range read_range(Fields& fields) {
  Range out{fields.subnet("subnet"), fields.ip("rangeStart"), fields.ip("rangeEnd"), fields.ip("gateway")};
  if (!fields.has("subnet")) return fields.refuse("subnet", "is required"), out;
  if (out.subnet.length() > 126) return fields.refuse("subnet", "is too small to give addresses out of"), out;
  if (out.gateway.is_none()) out.gateway = out.subnet.ip().plus(1);
  if (out.first.is_none()) out.first = out.subnet.ip().plus(1);
  if (out.last.is_none()) out.last = last_of(out.subnet);
  if (!out.subnet.contains(out.first)) fields.refuse("rangeStart", fmt::format("is not in {}", out.subnet));
  if (!out.subnet.contains(out.last)) fields.refuse("rangeEnd", fmt::format("is not in {}", out.subnet));
  if (out.last < out.first) fields.refuse("rangeEnd", "is before rangeStart");
  return out;
}

std::string fault_in(const std::vector<RangeSet>& sets) {
  for (size_t i = 0; i < sets.size(); ++i) {
    const auto& ranges = sets[i].ranges;
    if (ranges.empty()) return fmt::format("range set {} is empty", i);
    for (size_t a = 0; a < ranges.size(); ++a) {
      if (ranges[a].first.is_v4() != ranges[0].first.is_v4())
        return fmt::format("range set {} mixes IPv4 and IPv6", i);
      for (size_t b = 0; b < a; ++b)
        if (overlap(ranges[a], ranges[b]))
          return fmt::format("range set {}: ranges {} and {} overlap", i, b, a);
    }
    for (size_t other = 0; other < i; ++other)
      if (overlap(sets[i], sets[other])) return fmt::format("range sets {} and {} overlap", other, i);
  }
  return "";
}

Result<std::optional<Ip>> walk(const RangeSet& set, std::optional<Ip> last,
                               const std::function<Result<bool>(const Ip&)>& take) {
  size_t at = 0;
  while (last && at < set.ranges.size() && !set.ranges[at].contains(*last)) ++at;
  if (!last || at == set.ranges.size()) at = 0, last.reset();
  // From behind `last` to the end of its range, the other ranges, and its own from the start to `last`.
  for (size_t i = 0; i <= set.ranges.size(); ++i) {
    const Range& range = set.ranges[(at + i) % set.ranges.size()];
    const bool first = i == 0 && last, again = i == set.ranges.size();
    if (again && !last) break;
    const Ip end = again ? *last : range.last;
    for (Ip ip = first ? last->plus(1) : range.first; ip <= end; ip = ip.plus(1)) {
      if (ip != range.gateway && TRY(take(ip))) return ip;
      if (ip == end) break;  // plus() wraps
    }
  }
  return std::nullopt;
}

}  // namespace thalweg::cni
