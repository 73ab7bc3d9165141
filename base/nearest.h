// What somebody probably meant who typed something else: for errors about flags and commands (base/flags,
// thalweg-cni).
#pragma once

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace thalweg {

// How many letters to add, leave out, change or swap with the next.
inline size_t typos_between(std::string_view one, std::string_view other) {
  std::vector<size_t> before_last, last(other.size() + 1), row(other.size() + 1);
  for (size_t i = 0; i < last.size(); ++i) last[i] = i;
  for (size_t i = 1; i <= one.size(); ++i) {
    row[0] = i;
    for (size_t k = 1; k <= other.size(); ++k) {
      row[k] = std::min({last[k] + 1, row[k - 1] + 1, last[k - 1] + (one[i - 1] != other[k - 1])});
      if (i > 1 && k > 1 && one[i - 1] == other[k - 2] && one[i - 2] == other[k - 1])
        row[k] = std::min(row[k], before_last[k - 2] + 1);
    }
    before_last = std::exchange(last, row);
  }
  return last[other.size()];
}

// The word that is meant by its beginning, or is a third of its letters away at most; empty: none is near.
inline std::string_view nearest(std::string_view given, std::span<const std::string_view> words) {
  std::string_view best;
  size_t fewest = std::max<size_t>(given.size() / 3, 1) + 1;
  for (const std::string_view word : words) {
    const bool begins = given.size() > 3 && word.starts_with(given);
    const size_t typos = begins ? 1 : typos_between(given, word);
    if (typos < fewest) best = word, fewest = typos;
  }
  return best;
}

}  // namespace thalweg
