// Every packet case on the native path (ASan, UBSan, exact-size buffers) and in this kernel, compared byte by
// byte.
#include <gtest/gtest.h>

#include <set>

#include "tests/packet/case.h"
#include "tests/packet/frame.h"
#include "tests/packet/kernel_engine.h"
#include "tests/packet/native_engine.h"

namespace thalweg::packet {

class PacketCase : public testing::TestWithParam<size_t> {};

TEST_P(PacketCase, NativeDoesAsExpected) {
  const Case& one = cases()[GetParam()];
  EXPECT_EQ(run_case(*native_engine(), one, nullptr), "") << one.name;
}

TEST_P(PacketCase, KernelDoesTheSame) {
  static const auto kernel = kernel_engine();
  if (!kernel) GTEST_SKIP() << kernel.error().message;
  const Case& one = cases()[GetParam()];
  if (const std::string why = why_not(**kernel, one); !why.empty()) GTEST_SKIP() << why << ": " << one.name;
  std::vector<Seen> theirs, ours;
  ASSERT_EQ(run_case(**kernel, one, &theirs), "") << one.name;
  run_case(*native_engine(), one, &ours);
  for (size_t i = 0; i < std::min(ours.size(), theirs.size()); ++i)
    if (theirs[i].said != DROP) {
      EXPECT_EQ(ours[i].bytes, theirs[i].bytes) << one.name << ", packet " << i + 1;
    }
}

// What the cases hold the path's checksums against (RFC 3720 §B.4 has the vector of zeros).
TEST(Frames, Crc32c) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aa);
}

INSTANTIATE_TEST_SUITE_P(All, PacketCase, testing::Range<size_t>(0, cases().size()));

TEST(PacketCases, CoverEveryDropReason) {
  std::set<drop_reason> covered = {DROP_NONE};
  for (const Case& one : cases())
    for (const Step& step : one.steps) covered.insert(step.expected.reason);
  const char* names[] = {
#define REASON(name, text) #name,
      THALWEG_DROP_REASONS(REASON)
#undef REASON
  };
  for (int reason = 0; reason < DROP_REASONS; ++reason)
    EXPECT_TRUE(covered.contains(static_cast<drop_reason>(reason))) << "no case drops for " << names[reason];
}

// Ceilings, recorded: the path grows knowingly. Raise one in the commit that needs it and say why there.
TEST(Programs, StayUnderTheirCeilings) {
  const auto sizes = program_sizes();
  if (!sizes) GTEST_SKIP() << sizes.error().message;
  constexpr uint32_t kMostInstructions = 9000;
  ASSERT_FALSE(sizes->empty());
  for (const ProgramSize& size : *sizes) {
    RecordProperty(size.name + "_instructions", static_cast<int>(size.instructions));
    EXPECT_LE(size.instructions, kMostInstructions) << size.name;
  }
}

}  // namespace thalweg::packet
