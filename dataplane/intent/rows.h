// Rows: one table in memory, key → value, both plain structs of bpf/abi.h. They lie end to end, with an index
// of four bytes each beside them: an agent holds a quarter of a million rows, twice. Part of an Intent.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace thalweg::dataplane {

struct RowHash {
  template <class K>
  size_t operator()(const K& key) const {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(&key), sizeof key});
  }
};
struct RowEqual {
  template <class K>
  bool operator()(const K& a, const K& b) const {
    return std::memcmp(&a, &b, sizeof a) == 0;
  }
};

// Used as a std::unordered_map is; adding and erasing invalidate every iterator and reference.
template <class K, class V>
class Rows {
  static_assert(std::is_trivially_copyable_v<K> && std::is_trivially_copyable_v<V>);

 public:
  using key_type = K;
  using mapped_type = V;
  using value_type = std::pair<K, V>;
  using iterator = typename std::vector<value_type>::iterator;
  using const_iterator = typename std::vector<value_type>::const_iterator;

  iterator begin() { return rows_.begin(); }
  iterator end() { return rows_.end(); }
  const_iterator begin() const { return rows_.begin(); }
  const_iterator end() const { return rows_.end(); }
  size_t size() const { return rows_.size(); }
  bool empty() const { return rows_.empty(); }
  void clear() { *this = {}; }

  iterator find(const K& key) { return begin() + static_cast<ptrdiff_t>(row_of(key)); }
  const_iterator find(const K& key) const { return begin() + static_cast<ptrdiff_t>(row_of(key)); }
  bool contains(const K& key) const { return row_of(key) < size(); }
  const V& at(const K& key) const {
    const auto found = find(key);
    if (found == end()) throw std::out_of_range("no such row");
    return found->second;
  }

  V& operator[](const K& key) {
    if (rows_.size() * 2 >= index_.size()) grow();
    uint32_t& place = index_[place_of(key)];
    if (place == kFree) {
      // By a quarter: a table that was doubled would be half empty.
      if (rows_.size() == rows_.capacity()) rows_.reserve(rows_.size() + rows_.size() / 4 + 8);
      rows_.emplace_back(key, V{});
      place = static_cast<uint32_t>(rows_.size());
    }
    return rows_[place - 1].second;
  }

  size_t erase(const K& key) {
    if (!contains(key)) return 0;
    const size_t place = place_of(key);
    const uint32_t gone = index_[place];
    close_gap(place);
    if (gone < rows_.size()) {  // the last row takes its place
      index_[place_of(rows_.back().first)] = gone;
      rows_[gone - 1] = rows_.back();
    }
    rows_.pop_back();
    return 1;
  }

 private:
  static constexpr uint32_t kFree = 0;  // else: the row's number, from 1

  size_t home_of(const K& key) const { return RowHash()(key) & (index_.size() - 1); }
  size_t after(size_t place) const { return (place + 1) & (index_.size() - 1); }

  // Where the index names the key's row, or where it would. Linear probing; at least half of the index is
  // free.
  size_t place_of(const K& key) const {
    size_t place = home_of(key);
    while (index_[place] != kFree && !RowEqual()(rows_[index_[place] - 1].first, key)) place = after(place);
    return place;
  }

  // size(): there is none.
  size_t row_of(const K& key) const {
    if (rows_.empty()) return 0;
    const uint32_t number = index_[place_of(key)];
    return number == kFree ? rows_.size() : number - 1;
  }

  // No free place may stand between a row's home and its place: those behind the gap move into it if they
  // can.
  void close_gap(size_t gap) {
    for (size_t place = after(gap); index_[place] != kFree; place = after(place)) {
      const size_t home = home_of(rows_[index_[place] - 1].first);
      const size_t mask = index_.size() - 1;
      if (((place - home) & mask) < ((place - gap) & mask)) continue;
      index_[gap] = index_[place];
      gap = place;
    }
    index_[gap] = kFree;
  }

  void grow() {
    index_.assign(std::max<size_t>(16, index_.size() * 2), kFree);
    for (uint32_t number = 1; number <= rows_.size(); ++number)
      index_[place_of(rows_[number - 1].first)] = number;
  }

  std::vector<value_type> rows_;
  std::vector<uint32_t> index_;  // a power of two
};

}  // namespace thalweg::dataplane
