// The plugins for kinds of links that not every kernel has: for real where it has them, skipped with its own
// word where it does not. What they ask of it is in tests/base/link_kinds_test.cc.
#include "tests/cni-plugins/links.h"

namespace thalweg {
namespace {

using ::testing::HasSubstr;

struct LinkKindsTest : LinksTest {
  nl::Link eth0() { return nl::link_by_name(runtime->pod.socket(), "eth0").value(); }
};

#define NEED_KIND(...) \
  if (const std::string word = lacks(__VA_ARGS__); !word.empty()) GTEST_SKIP() << "this kernel: " << word

TEST_F(LinkKindsTest, Dummy) {
  NEED_KIND({.name = "probe"}, nl::dummy_request({.name = "probe"}));
  const Answer added = runtime->add(config("dummy"));
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(eth0().kind, "dummy");
  EXPECT_TRUE(eth0().up);
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "192.0.2.2"));
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "2001:db8::2"));
  repeats_and_ends(config("dummy"), added);
}

TEST_F(LinkKindsTest, DummyRefuses) {
  refuses(bare("dummy"), "ipam: is missing");
  refuses(bare("dummy", R"(,"ipam":{"type":5})"), "ipam.type");
}

}  // namespace
}  // namespace thalweg
