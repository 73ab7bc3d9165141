// How the rows of one layout become rows of another: member by member, by name, as the BTF that lies with
// every table tells. Pure; used by sets.cc and object.cc when a build with another bpf/abi.h takes over.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

struct btf;

namespace thalweg::dataplane {

struct FreeBtf {
  void operator()(btf* types) const;
};
using BtfPtr = std::unique_ptr<btf, FreeBtf>;

// A C type: a number in its BTF. Borrowed.
struct TypeRef {
  const btf* types = nullptr;
  uint32_t id = 0;
};

// What a pinned table says of its own key and value.
struct MapTypes {
  BtfPtr types;
  uint32_t key = 0, value = 0;
  TypeRef key_ref() const { return {types.get(), key}; }
  TypeRef value_ref() const { return {types.get(), value}; }
};
Result<MapTypes> types_of_map(int map);

struct Move {
  uint32_t from = 0, to = 0, bytes = 0;
  bool operator==(const Move&) const = default;
};

// Where the bytes of `to` are found in `from`; what `from` does not have is left out, and so starts as
// zeroes. A member that changes its meaning has to change its name. An integer may grow. An error says which
// member cannot be carried over: an integer that shrank, a union of another size.
Result<std::vector<Move>> moves(TypeRef from, TypeRef to);

// A member of a struct, by name; an error: it has none such.
struct Member {
  TypeRef type;
  uint32_t at = 0, bytes = 0;
};
Result<Member> member_of(TypeRef type, std::string_view name);

// The two are byte for byte the same, by every member's name and place.
bool is_same_type(TypeRef one, TypeRef other);

// A row of `size` bytes, from one of the other layout.
std::string moved(const std::vector<Move>& moves, const char* row, size_t size);

// The text of bpf/abi.h and maps.def without comments, as a hash: the name of the folder of a set of tables.
std::string layout_name();

}  // namespace thalweg::dataplane
