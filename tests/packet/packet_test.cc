// Every packet case on the native path (ASan, UBSan, exact-size buffers) and in this kernel, compared byte by
// byte.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "tests/packet/case.h"
#include "tests/packet/frame.h"
#include "tests/packet/kernel_engine.h"
#include "tests/packet/native_engine.h"
#include "tests/packet/program_figures.h"

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

// BPF_PROG_TEST_RUN takes no such frames and makes room for any tunnel; the neighbour's interface does not
// exist; time goes on between answers whose rate is told.
TEST(PacketCases, KernelRunsAllButThese) {
  const auto kernel = kernel_engine();
  if (!kernel) GTEST_SKIP() << kernel.error().message;
  EXPECT_EQ(left_out(**kernel),
            (std::set<std::string>{"a frame shorter than Ethernet's header", "an IPv4 header cut short",
                                   "answers have a rate", "no room for the tunnel's header",
                                   "a pod's flow goes on from its neighbour's interface"}));
  EXPECT_EQ(left_out(*native_engine()), std::set<std::string>{});
}

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

// The file `ceilings`, by program.
std::map<std::string, ProgramFigures> ceilings() {
  std::map<std::string, ProgramFigures> all;
  std::ifstream file(std::string(std::getenv("THALWEG_SOURCE")) + "/tests/packet/ceilings");
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    ProgramFigures one;
    std::istringstream(line) >> one.name >> one.instructions >> one.looked_at >> one.stack;
    all[one.name] = one;
  }
  return all;
}

void expect_under(uint32_t figure, uint32_t ceiling, const std::string& what) {
  EXPECT_LE(figure, ceiling) << what << ": raise it in tests/packet/ceilings knowingly, or do with less";
  EXPECT_GE(figure, ceiling / 2) << what << ": the ceiling is far above; lower it in tests/packet/ceilings";
}

TEST(Programs, StayUnderTheirCeilings) {
  if (!std::getenv("THALWEG_SOURCE")) GTEST_SKIP() << "THALWEG_SOURCE does not say where the ceilings are";
  if (const auto kernel = kernel_engine(); !kernel) GTEST_SKIP() << kernel.error().message;
  const auto figures = program_figures();
  ASSERT_TRUE(figures) << figures.error().message;
  auto recorded = ceilings();
  for (const ProgramFigures& one : *figures) {
    std::printf("%-22s %6u %7u %4u\n", one.name.c_str(), one.instructions, one.looked_at, one.stack);
    EXPECT_TRUE(recorded.contains(one.name)) << one.name << " has no ceiling in tests/packet/ceilings";
    expect_under(one.instructions, recorded[one.name].instructions, one.name + ", instructions");
    expect_under(one.looked_at, recorded[one.name].looked_at, one.name + ", looked at");
    expect_under(one.stack, recorded[one.name].stack, one.name + ", stack");
  }
  EXPECT_EQ(recorded.size(), figures->size()) << "tests/packet/ceilings names programs that are no more";
}

}  // namespace thalweg::packet
