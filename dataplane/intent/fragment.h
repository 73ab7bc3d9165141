// Fragment: what one object contributes to the Intent; and Sum, which adds fragments up and settles who has
// what when two claim the same. dataplane/intent/compile owns the one Sum.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "dataplane/intent/intent.h"
#include "kube/object.h"

namespace thalweg::dataplane {

struct FragmentRow {
  table_id table;
  Bytes key;
  Bytes value;
};

// The rows of one claim, end to end: a service may have thousands.
class ClaimRows {
 public:
  ClaimRows() = default;
  ClaimRows(std::initializer_list<FragmentRow> rows) {
    for (const auto& row : rows) push_back(row);
  }
  // Keys and values have the sizes of their table.
  void push_back(const FragmentRow& row) {
    bytes_.push_back(static_cast<char>(row.table));
    bytes_.append(row.key).append(row.value);
  }
  // f(table, key, value), the last two as std::string_view.
  template <class F>
  void each(F&& f) const {
    for (std::string_view rest = bytes_; !rest.empty();) {
      const auto table = static_cast<table_id>(rest.front());
      const auto& sizes = info(table);
      f(table, rest.substr(1, sizes.key_size), rest.substr(1 + sizes.key_size, sizes.value_size));
      rest.remove_prefix(1 + sizes.key_size + sizes.value_size);
    }
  }
  void shrink_to_fit() { bytes_.shrink_to_fit(); }
  bool operator==(const ClaimRows&) const = default;

 private:
  Bytes bytes_;
};

// Rows that go together: of those who claim the same `of`, one has all of its rows in, the others none.
struct Claim {
  Bytes of;          // table and key
  uint8_t rank = 0;  // the smaller wins, then the smaller object
  std::string
      what;  // "ClusterIP 192.0.2.1 port 80/TCP", for the loser's complaint; empty: sharing is no fault
  ClaimRows rows;
  bool operator==(const Claim&) const = default;
};

struct Fragment {
  std::vector<Claim> claims;
  std::vector<std::string> complaints;
  bool operator==(const Fragment&) const = default;
};

// A claim of one row.
template <class K, class V>
Claim claim_row(table_id table, const K& key, const V& value, std::string what = {}, uint8_t rank = 0) {
  return {Bytes(1, static_cast<char>(table)) + to_bytes(key),
          rank,
          std::move(what),
          {{table, to_bytes(key), to_bytes(value)}}};
}

class Sum {
 public:
  explicit Sum(Intent& intent) : intent_(intent) {}
  // The object contributes this now (an empty fragment: nothing any more). Appends the rows that may differ.
  void set(const kube::ObjectRef& object, Fragment fragment, Touched& touched);
  std::vector<kube::ObjectRef> objects() const;
  // Complaints of the fragments, and of those who lost what they claimed.
  std::vector<std::pair<std::string, std::string>> complaints() const;

 private:
  struct Candidate {
    uint8_t rank;
    kube::ObjectRef object;
    auto operator<=>(const Candidate&) const = default;
  };
  // Nodes of the map stay where they are, so the claims can be pointed at.
  using Candidates = std::map<Candidate, const Claim*>;

  void show(const Claim& claim, Touched& touched);
  void hide(const Claim& claim, Touched& touched);

  Intent& intent_;
  std::map<kube::ObjectRef, Fragment> fragments_;
  std::unordered_map<Bytes, Candidates> claims_;
  std::unordered_set<Bytes> contested_;
};

}  // namespace thalweg::dataplane
