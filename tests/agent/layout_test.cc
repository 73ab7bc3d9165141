// Rows of one layout become rows of another by the names of their members.
#include "dataplane/ebpf/layout.h"

#include <bpf/btf.h>
#include <gtest/gtest.h>

namespace thalweg::dataplane {
namespace {

struct Member {
  const char* name;
  int type;
  uint32_t at;  // bytes
};

// Types as a compiler would write them down.
class Types {
 public:
  Types() : btf_(btf__new_empty()) {}
  int integer(const char* name, uint32_t bytes) { return btf__add_int(btf_.get(), name, bytes, 0); }
  int array(int of, uint32_t count) { return btf__add_array(btf_.get(), 1, of, count); }
  int alias(const char* name, int of) { return btf__add_typedef(btf_.get(), name, of); }
  int structure(const char* name, uint32_t bytes, const std::vector<Member>& members) {
    return with_members(btf__add_struct(btf_.get(), name, bytes), members);
  }
  int either(uint32_t bytes, const std::vector<Member>& members) {
    return with_members(btf__add_union(btf_.get(), nullptr, bytes), members);
  }
  TypeRef ref(int id) const { return {btf_.get(), static_cast<uint32_t>(id)}; }

 private:
  int with_members(int id, const std::vector<Member>& members) {
    for (const Member& member : members)
      btf__add_field(btf_.get(), member.name, member.type, member.at * 8, 0);
    return id;
  }
  BtfPtr btf_;
};

struct World {
  Types types;
  int u16 = types.integer("u16", 2), u32 = types.integer("u32", 4), u64 = types.integer("u64", 8);
};

TEST(Layout, MembersAreFoundByNameWhereverTheyLie) {
  World a, b;
  const int before = a.types.structure("s", 12, {{"seen", a.u64, 0}, {"flags", a.u32, 8}});
  const int after = b.types.structure(
      "s", 24, {{"new", b.u64, 0}, {"flags", b.u32, 8}, {"pad", b.u32, 12}, {"seen", b.u64, 16}});
  const auto found = moves(a.types.ref(before), b.types.ref(after));
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, (std::vector<Move>{{8, 8, 4}, {0, 16, 8}}));
  const std::string row = moved(*found, "ABCDEFGH1234", 24);
  EXPECT_EQ(row, std::string(8, '\0') + "1234" + std::string(4, '\0') + "ABCDEFGH");
}

TEST(Layout, ArraysOfStructsMoveElementByElement) {
  World a, b;
  const int small = a.types.structure("hop", 4, {{"kind", a.u32, 0}});
  const int large = b.types.structure("hop", 8, {{"new", b.u32, 0}, {"kind", b.u32, 4}});
  const int before = a.types.structure("s", 8, {{"hops", a.types.array(small, 2), 0}});
  const int after = b.types.structure("s", 16, {{"hops", b.types.array(large, 2), 0}});
  const auto found = moves(a.types.ref(before), b.types.ref(after));
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, (std::vector<Move>{{0, 4, 4}, {4, 12, 4}}));
}

TEST(Layout, AnIntegerMayGrowButNotShrink) {
  World a, b;
  const int narrow = a.types.structure("s", 2, {{"n", a.u16, 0}});
  const int wide = b.types.structure("s", 4, {{"n", b.u32, 0}});
  const auto grown = moves(a.types.ref(narrow), b.types.ref(wide));
  ASSERT_TRUE(grown);
  EXPECT_EQ(moved(*grown, "\x34\x12", 4), std::string("\x34\x12\0\0", 4));
  const auto shrunk = moves(b.types.ref(wide), a.types.ref(narrow));
  ASSERT_FALSE(shrunk);
  EXPECT_NE(shrunk.error().message.find(".n"), std::string::npos);
}

TEST(Layout, UnionsMoveWholeOrNotAtAll) {
  World a, b;
  const int four = a.types.either(4, {{"word", a.u32, 0}}), eight = b.types.either(8, {{"half", b.u64, 0}});
  const int before = a.types.structure("s", 4, {{"", four, 0}}),
            same = b.types.structure("s", 8, {{"", eight, 0}});
  EXPECT_FALSE(moves(a.types.ref(before), b.types.ref(same)));
  EXPECT_TRUE(is_same_type(a.types.ref(before), a.types.ref(before)));
}

TEST(Layout, SameMeansEveryNameAndPlace) {
  World a, b;
  const int one = a.types.structure("s", 8, {{"x", a.u32, 0}, {"y", a.types.alias("port", a.u32), 4}});
  const int same = b.types.structure("s", 8, {{"x", b.u32, 0}, {"y", b.u32, 4}});
  const int renamed = b.types.structure("s", 8, {{"x", b.u32, 0}, {"z", b.u32, 4}});
  const int swapped = b.types.structure("s", 8, {{"y", b.u32, 0}, {"x", b.u32, 4}});
  EXPECT_TRUE(is_same_type(a.types.ref(one), b.types.ref(same)));
  EXPECT_FALSE(is_same_type(a.types.ref(one), b.types.ref(renamed)));
  EXPECT_FALSE(is_same_type(a.types.ref(one), b.types.ref(swapped)));
}

}  // namespace
}  // namespace thalweg::dataplane
