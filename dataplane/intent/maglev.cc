#include "dataplane/intent/maglev.h"

#include <algorithm>
#include <cmath>

namespace thalweg::dataplane {

namespace {

constexpr uint32_t kSizes[] = {251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521};
constexpr uint16_t kFree = 0xffff;

// splitmix64's finalizer (Stafford's mix 13).
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t word_at(const Ip& ip, size_t at) {
  uint64_t out = 0;
  for (size_t i = 0; i < 8; ++i) out = out << 8 | ip.bytes()[at + i];
  return out;
}

uint64_t hash(const Target& target, uint64_t seed) {
  uint64_t out = mix(seed ^ word_at(target.ip, 0));
  out = mix(out ^ word_at(target.ip, 8));
  return mix(out ^ target.port);
}

// The positions a backend would take, in the order it prefers them.
class Preferences {
 public:
  Preferences(const Target& target, uint32_t size)
      : at_(static_cast<uint32_t>(hash(target, 0x6f66667365742d31) % size)),
        skip_(static_cast<uint32_t>(hash(target, 0x736b69702d2d2d31) % (size - 1) + 1)),
        size_(size) {}
  uint32_t next() {
    const uint32_t out = at_;
    at_ += skip_;
    if (at_ >= size_) at_ -= size_;
    return out;
  }

 private:
  uint32_t at_, skip_, size_;
};

// Fills the table: in turn k every backend asks for the position it likes k-th best, and has it if it is
// free. So a position goes to the backend that likes it best of those still short of positions. (The paper's
// turns last until something free is found; then one backend's leaving disturbs what many others have.) Every
// backend ends within 1 % of an even share.
class Filling {
 public:
  Filling(std::span<const Target> backends, uint32_t size) : positions_(size, kFree), free_(size) {
    const double even = static_cast<double>(size) / static_cast<double>(backends.size());
    most_ = std::max(static_cast<uint32_t>(even * 1.01), static_cast<uint32_t>(std::ceil(even)));
    least_ = std::min(static_cast<uint32_t>(std::ceil(even * 0.99)), static_cast<uint32_t>(even));
    owed_ = least_ * static_cast<uint32_t>(backends.size());
    for (const auto& target : backends)
      asking_.push_back({Preferences(target, size), 0, static_cast<uint16_t>(asking_.size())});
  }

  std::vector<uint16_t> fill() {
    while (free_) {
      size_t still = 0;
      for (auto& one : asking_)
        if (ask(one)) asking_[still++] = one;
      asking_.erase(asking_.begin() + static_cast<ptrdiff_t>(still), asking_.end());
    }
    return std::move(positions_);
  }

 private:
  struct Asking {
    Preferences preferences;
    uint32_t has;
    uint16_t index;
  };

  // False: it has all it may have. What is free but owed to others is not for those who have the least.
  bool ask(Asking& one) {
    if (one.has == most_ || (one.has >= least_ && free_ == owed_)) return false;
    uint16_t& position = positions_[one.preferences.next()];
    if (position != kFree) return true;
    position = one.index;
    if (one.has++ < least_) --owed_;
    --free_;
    return true;
  }

  std::vector<uint16_t> positions_;
  std::vector<Asking> asking_;
  uint32_t free_;
  uint32_t owed_;  // to those who have less than the least
  uint32_t most_, least_;
};

}  // namespace

uint32_t maglev_size(size_t backends, uint32_t share) {
  const size_t needed = backends * share * std::max<size_t>(25, backends) / 25;
  const auto* found = std::ranges::lower_bound(kSizes, needed);
  return found == std::end(kSizes) ? *std::rbegin(kSizes) : *found;
}

std::vector<uint16_t> maglev_table(std::span<const Target> backends, uint32_t size) {
  return Filling(backends.first(std::min<size_t>(backends.size(), size)), size).fill();
}

}  // namespace thalweg::dataplane
