// What Maglev promises: even shares, little disturbance, one table for one set of backends.
#include "dataplane/intent/maglev.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

#include "tests/policy/builders.h"

namespace thalweg::dataplane {
namespace {

// Addresses as pods have them: runs of a few nodes' ranges.
std::vector<Target> backends(size_t count, uint32_t seed) {
  std::mt19937 dice(seed);
  std::vector<Target> out;
  while (out.size() < count) {
    const auto node = static_cast<uint8_t>(dice() % 64), pod = static_cast<uint8_t>(dice() % 250 + 2);
    out.push_back({Ip::v4(10, 244, node, pod), static_cast<uint16_t>(dice() % 2 ? 8080 : 443)});
    std::ranges::sort(out);
    out.erase(std::ranges::unique(out).begin(), out.end());
  }
  return out;
}

std::vector<Target> owners(const std::vector<Target>& of) {
  std::vector<Target> out;
  for (const uint16_t index : maglev_table(of, maglev_size(of.size()))) out.push_back(of.at(index));
  return out;
}

TEST(Maglev, SizesAreThePrimesThatGiveEachBackendAHundredPositionsOrMore) {
  EXPECT_EQ(maglev_size(1), 251u);
  EXPECT_EQ(maglev_size(2), 251u);
  EXPECT_EQ(maglev_size(3), 509u);
  EXPECT_EQ(maglev_size(25), 4093u);
  EXPECT_EQ(maglev_size(50), 16381u);
  EXPECT_EQ(maglev_size(100), 65521u);
  EXPECT_EQ(maglev_size(655), 65521u);
  EXPECT_EQ(maglev_size(100'000), 65521u);
  EXPECT_EQ(maglev_size(100, 10), 4093u);
}

class MaglevTest : public testing::TestWithParam<uint32_t> {};

TEST_P(MaglevTest, SharesDifferByOnePercentAtMost) {
  for (const size_t count : {1, 2, 3, 7, 24, 100, 333, 655}) {
    const auto of = backends(count, GetParam());
    std::vector<uint32_t> shares(count);
    for (const uint16_t index : maglev_table(of, maglev_size(count))) ++shares.at(index);
    const double even = static_cast<double>(maglev_size(count)) / static_cast<double>(count);
    for (const uint32_t share : shares) {
      EXPECT_LE(share, even * 1.01) << count;
      EXPECT_GE(share, even * 0.99) << count;
    }
  }
}

// Ideal: only what the one had changes hands.
double disturbance(const std::vector<Target>& before, size_t gone) {
  auto after = before;
  after.erase(after.begin() + static_cast<ptrdiff_t>(gone));
  EXPECT_EQ(maglev_size(after.size()), maglev_size(before.size()));
  const auto had = owners(before), has = owners(after);
  size_t moved = 0;
  for (size_t at = 0; at < had.size(); ++at) moved += had[at] != has[at];
  return static_cast<double>(moved) / static_cast<double>(std::ranges::count(had, before[gone]));
}

TEST_P(MaglevTest, WhenOneLeavesFewOthersMove) {
  for (const size_t count : {5, 10, 20, 40, 90, 100, 110})
    for (size_t gone = 0; gone < count; gone += 1 + count / 5) {
      const double moved = disturbance(backends(count, GetParam()), gone);
      EXPECT_GE(moved, 1);
      EXPECT_LE(moved, 1.5) << "number " << gone << " of " << count;
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, MaglevTest, testing::Range(1u, 6u));

// Nodes agree across machines and releases: a table of then is a table of now.
TEST(Maglev, TheTableOfASetOfBackendsIsFixed) {
  const std::vector<Target> of = {
      {test::ip("10.1.0.2"), 80}, {test::ip("10.1.0.3"), 80}, {test::ip("2001:db8::3"), 80}};
  const auto table = maglev_table(of, maglev_size(of.size()));
  uint64_t sum = 0xcbf29ce484222325;
  for (const uint16_t index : table) sum = (sum ^ index) * 0x100000001b3;
  EXPECT_EQ(sum, 3032208155608928487u);
}

TEST(Maglev, MoreBackendsThanPositionsIsNoError) {
  std::vector<Target> of;
  for (uint32_t n = 0; n < 300; ++n) of.push_back({Ip::v4(10, 0, 0, 0).plus(n), 80});
  const auto table = maglev_table(of, 251);
  EXPECT_EQ(table.size(), 251u);
  EXPECT_TRUE(std::ranges::all_of(table, [](uint16_t index) { return index < 251; }));
}

}  // namespace
}  // namespace thalweg::dataplane
