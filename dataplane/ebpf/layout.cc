#include "dataplane/ebpf/layout.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "bpf/layout.h"

namespace thalweg::dataplane {
namespace {

constexpr int kMostDepth = 16;

struct Pair {
  TypeRef from, to;
  uint32_t from_at = 0, to_at = 0;
  std::string where;
};

const btf_type* type_at(TypeRef ref) { return btf__type_by_id(ref.types, ref.id); }

TypeRef resolved(TypeRef ref) {
  const int id = btf__resolve_type(ref.types, ref.id);
  return {ref.types, id < 0 ? 0 : static_cast<uint32_t>(id)};
}

uint32_t size_of(TypeRef ref) {
  const int64_t size = btf__resolve_size(ref.types, ref.id);
  return size < 0 ? 0 : static_cast<uint32_t>(size);
}

std::string_view name_of(TypeRef ref, uint32_t offset) {
  const char* name = btf__name_by_offset(ref.types, offset);
  return name == nullptr ? "" : name;
}

// The member of the name; the anonymous ones are told apart by their number.
const btf_member* find_member(TypeRef ref, std::string_view name, int anonymous) {
  const btf_type* type = type_at(ref);
  const btf_member* members = btf_members(type);
  for (int i = 0; i < btf_vlen(type); ++i)
    if (name_of(ref, members[i].name_off) == name && (!name.empty() || anonymous-- == 0)) return &members[i];
  return nullptr;
}

class Mover {
 public:
  Result<> visit(const Pair& pair, int depth);
  std::vector<Move> take() { return std::move(moves_); }

 private:
  Result<> visit_struct(const Pair& pair, int depth);
  Result<> visit_array(const Pair& pair, int depth);
  void add(uint32_t from, uint32_t to, uint32_t bytes);
  std::vector<Move> moves_;
};

void Mover::add(uint32_t from, uint32_t to, uint32_t bytes) {
  if (!moves_.empty()) {
    Move& last = moves_.back();
    if (last.from + last.bytes == from && last.to + last.bytes == to) {
      last.bytes += bytes;
      return;
    }
  }
  moves_.push_back({from, to, bytes});
}

Result<> Mover::visit(const Pair& given, int depth) {
  Pair pair = given;
  pair.from = resolved(given.from);
  pair.to = resolved(given.to);
  if (depth > kMostDepth || pair.from.id == 0 || pair.to.id == 0) return fail("{}: no such type", pair.where);
  const btf_type *from = type_at(pair.from), *to = type_at(pair.to);
  const uint32_t from_size = size_of(pair.from), to_size = size_of(pair.to);
  if (btf_is_struct(from) && btf_is_struct(to)) return visit_struct(pair, depth);
  if (btf_is_array(from) && btf_is_array(to)) return visit_array(pair, depth);
  const bool whole = btf_kind(from) == btf_kind(to) && from_size == to_size;
  const bool grown = btf_is_int(from) && btf_is_int(to) && from_size < to_size;  // little endian
  if (!whole && !grown) return fail("{} was {} bytes and is {}", pair.where, from_size, to_size);
  add(pair.from_at, pair.to_at, from_size);
  return {};
}

Result<> Mover::visit_struct(const Pair& pair, int depth) {
  const btf_type *from = type_at(pair.from), *to = type_at(pair.to);
  if (btf_kflag(from) || btf_kflag(to)) return fail("{} has bit fields", pair.where);
  int anonymous = 0;
  for (int i = 0; i < btf_vlen(to); ++i) {
    const btf_member& member = btf_members(to)[i];
    const std::string_view name = name_of(pair.to, member.name_off);
    const btf_member* before = find_member(pair.from, name, anonymous);
    if (name.empty()) ++anonymous;
    if (before == nullptr) continue;
    TRY(visit({.from = {pair.from.types, before->type},
               .to = {pair.to.types, member.type},
               .from_at = pair.from_at + before->offset / 8,
               .to_at = pair.to_at + member.offset / 8,
               .where = pair.where + "." + std::string(name)},
              depth + 1));
  }
  return {};
}

Result<> Mover::visit_array(const Pair& pair, int depth) {
  const auto* from = btf_array(type_at(pair.from));
  const auto* to = btf_array(type_at(pair.to));
  const TypeRef from_one{pair.from.types, from->type}, to_one{pair.to.types, to->type};
  for (uint32_t i = 0; i < std::min(from->nelems, to->nelems); ++i)
    TRY(visit({.from = from_one,
               .to = to_one,
               .from_at = pair.from_at + i * size_of(from_one),
               .to_at = pair.to_at + i * size_of(to_one),
               .where = pair.where + "[]"},
              depth + 1));
  return {};
}

}  // namespace

void FreeBtf::operator()(btf* types) const { btf__free(types); }

Result<MapTypes> types_of_map(int map) {
  bpf_map_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(map, &info, &size) != 0) return fail_errno(errno, "ask about a table");
  if (info.btf_id == 0) return fail("the table does not say what it is made of");
  MapTypes found{.types = {}, .key = info.btf_key_type_id, .value = info.btf_value_type_id};
  found.types.reset(btf__load_from_kernel_by_id(info.btf_id));
  if (!found.types) return fail_errno(errno, "read the types of a table");
  return found;
}

Result<std::vector<Move>> moves(TypeRef from, TypeRef to) {
  Mover mover;
  TRY(mover.visit({.from = from, .to = to, .where = {}}, 0));
  return mover.take();
}

Result<Member> member_of(TypeRef type, std::string_view name) {
  const btf_member* found = btf_is_struct(type_at(type)) ? find_member(type, name, 0) : nullptr;
  if (found == nullptr) return fail("no member {}", name);
  const TypeRef of_member{type.types, found->type};
  return Member{of_member, found->offset / 8, size_of(of_member)};
}

bool is_same_type(TypeRef one, TypeRef other) {
  const uint32_t size = size_of(one);
  if (size == 0 || size_of(other) != size) return false;
  const std::vector<Move> whole = {{0, 0, size}};
  const auto there = moves(one, other), back = moves(other, one);
  return there && back && *there == whole && *back == whole;
}

std::string moved(const std::vector<Move>& moves, const char* row, size_t size) {
  std::string out(size, '\0');
  for (const Move& move : moves) std::memcpy(out.data() + move.to, row + move.from, move.bytes);
  return out;
}

std::string layout_name() { return THALWEG_LAYOUT; }

}  // namespace thalweg::dataplane
