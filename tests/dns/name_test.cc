#include "dns/name.h"

#include <gtest/gtest.h>

namespace thalweg::dns {
namespace {

TEST(Name, TextRoundTrip) {
  for (const char* text :
       {".", "a.", "web.default.svc.cluster.local.", "_http._tcp.web.", "a\\.b.c.", "\\000\\255.x."})
    EXPECT_EQ(Name::parse(text)->str(), text);
  EXPECT_EQ(Name::parse("a.b")->str(), "a.b.");
}

TEST(Name, RefusesWhatIsNoName) {
  const std::string label(64, 'a');
  std::string longest;
  for (int i = 0; i < 127; ++i) longest += "a.";
  EXPECT_TRUE(Name::parse(longest));
  for (const std::string& text :
       {std::string(), std::string("a..b"), std::string(".a"), label, "b." + longest, std::string("a\\"),
        std::string("\\25"), std::string("\\256")})
    EXPECT_FALSE(Name::parse(text)) << text;
}

TEST(Name, ComparesWithoutCaseAndKnowsItsAncestors) {
  const Name name = *Name::parse("Web.Default.SVC.cluster.local");
  EXPECT_EQ(name, *Name::parse("web.default.svc.CLUSTER.local"));
  EXPECT_EQ(name.str(), "Web.Default.SVC.cluster.local.");
  EXPECT_TRUE(name.within(*Name::parse("cluster.LOCAL")));
  EXPECT_TRUE(name.within(name));
  EXPECT_TRUE(name.within(Name()));
  EXPECT_FALSE(name.within(*Name::parse("ter.local")));
  EXPECT_FALSE(Name::parse("local")->within(*Name::parse("cluster.local")));
  EXPECT_EQ(name.labels(), 5u);
  EXPECT_EQ(name.parent(3).str(), "cluster.local.");
  EXPECT_EQ(name.label(1), "Default");
}

// A label's bytes that look like the suffix's wire form are not the suffix.
TEST(Name, LabelBoundariesDecide) {
  Name inside = *Name::parse("x\\005local");
  EXPECT_FALSE(inside.within(*Name::parse("local")));
}

// Offsets, those in pointers too, count from the header's end.
std::optional<std::string> read_at(std::vector<uint8_t> message, size_t at, size_t* end = nullptr) {
  message.insert(message.begin(), kHeaderSize, 0);
  at += kHeaderSize;
  Name name;
  if (!name.read(message, at)) return std::nullopt;
  if (end != nullptr) *end = at - kHeaderSize;
  return name.str();
}

TEST(Name, FollowsPointersBackwardsOnly) {
  size_t end = 0;
  EXPECT_EQ(read_at({1, 'a', 0, 1, 'b', 0xc0, 12}, 3, &end), "b.a.");
  EXPECT_EQ(end, 7u);
  EXPECT_FALSE(read_at({0xc0, 12}, 0));                     // itself
  EXPECT_FALSE(read_at({1, 'a', 0xc0, 12}, 0));             // into its own segment
  EXPECT_FALSE(read_at({0xc0, 14, 0xc0, 12}, 2));           // two that lead to each other
  EXPECT_FALSE(read_at({1, 'a', 0xc0, 16, 1, 'b', 0}, 0));  // forwards
  EXPECT_FALSE(read_at({3, 'a', 0xc0, 12, 0}, 2));          // to a label that runs over the pointer
  EXPECT_FALSE(read_at({0xc0, 3}, 0));                      // into the header
  EXPECT_FALSE(read_at({1, 'a'}, 0));                       // no end
  EXPECT_FALSE(read_at({5, 'a', 0}, 0));                    // label beyond the end
  EXPECT_FALSE(read_at({0xc0}, 0));                         // half a pointer
  EXPECT_FALSE(read_at({0x41, 'a', 0}, 0));                 // a reserved label type
}

TEST(Name, LongNamesEndAt255Bytes) {
  std::vector<uint8_t> message;
  for (int i = 0; i < 4; ++i) {
    message.push_back(63);
    message.insert(message.end(), 63, 'a');
  }
  message.push_back(0);
  EXPECT_FALSE(read_at(message, 0));
  EXPECT_TRUE(read_at(message, 64));
}

TEST(Name, HashDependsOnSeedAndEveryByte) {
  const std::vector<uint8_t> data = {3, 'w', 'e', 'b', 7, 'd', 'e', 'f', 'a', 'u', 'l', 't', 0};
  EXPECT_NE(hash_bytes(data, 1), hash_bytes(data, 2));
  for (size_t i = 0; i < data.size(); ++i) {
    auto other = data;
    other[i] ^= 1;
    EXPECT_NE(hash_bytes(data), hash_bytes(other)) << i;
  }
}

}  // namespace
}  // namespace thalweg::dns
