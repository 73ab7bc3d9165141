#include "policy/numbers.h"

#include <gmock/gmock.h>

#include "policy/numbering.h"

namespace thalweg::policy {
namespace {

using Words = Numbers<std::string>;

TEST(NumbersTest, AContentKeepsItsNumberWhileItIsInUse) {
  Words numbers(1, 100);
  const uint32_t a = numbers.retain("a");
  EXPECT_EQ(numbers.retain("a"), a);
  EXPECT_FALSE(numbers.release(a));
  EXPECT_EQ(numbers.find("a"), a);
  EXPECT_TRUE(numbers.release(a));
  EXPECT_EQ(numbers.find("a"), 0u);
}

TEST(NumbersTest, AFreedNumberComesBackLast) {
  Words numbers(1, 3);
  const uint32_t a = numbers.retain("a");
  numbers.release(a);
  EXPECT_NE(numbers.retain("b"), a);
  EXPECT_NE(numbers.retain("c"), a);
  EXPECT_EQ(numbers.retain("d"), a);
}

TEST(NumbersTest, SaysWhenAllAreTaken) {
  Words numbers(1, 2);
  numbers.retain("a");
  const uint32_t b = numbers.retain("b");
  EXPECT_EQ(numbers.retain("c"), 0u);
  EXPECT_EQ(numbers.find("c"), 0u);
  numbers.release(b);
  EXPECT_EQ(numbers.retain("c"), b);
}

TEST(NumbersTest, RestoredContentsGetTheirNumbersAndAvoidedOnesWait) {
  Words numbers(1, 4);
  numbers.restore("b", 1);
  numbers.avoid(2);
  EXPECT_EQ(numbers.retain("a"), 3u);
  EXPECT_EQ(numbers.retain("b"), 1u);
  EXPECT_EQ(numbers.retain("c"), 4u);
  EXPECT_EQ(numbers.retain("d"), 0u);
  numbers.settle();
  EXPECT_EQ(numbers.retain("d"), 2u);
}

TEST(NumbersTest, TheVersionChangesWithTheNumbers) {
  Words numbers(1, 10);
  const auto start = numbers.version();
  const uint32_t a = numbers.retain("a");
  const auto one = numbers.version();
  EXPECT_NE(one, start);
  numbers.retain("a");
  EXPECT_EQ(numbers.version(), one);
  numbers.release(a);
  EXPECT_EQ(numbers.version(), one);
  numbers.release(a);
  EXPECT_NE(numbers.version(), one);
}

struct Four {
  Words selectors{1, 100};
  Numbers<Class> classes{1, 100};
  Words rule_sets{1, 100};
  Words rules{1, 100};
  Numbering all() { return {selectors, classes, rule_sets, rules}; }
};

TEST(NumberingTest, TextAndBack) {
  Four one;
  one.selectors.retain("gone");
  one.selectors.release(1);
  one.selectors.retain("pods {app=(web)} of namespace a");
  one.classes.retain({{2, 0}, {5, 8080}});
  one.rule_sets.retain("a/p;http/6=80|81");
  one.rules.retain("NetworkPolicy a/p ingress[0]");
  const auto text = encode(one.all());

  Four other;
  ASSERT_TRUE(decode(text, other.all()));
  EXPECT_EQ(other.rules.retain("NetworkPolicy a/p ingress[0]"), 1u);
  EXPECT_EQ(other.rule_sets.retain("a/p;http/6=80|81"), 1u);
  EXPECT_EQ(other.classes.retain({{2, 0}, {5, 8080}}), 1u);
  EXPECT_EQ(other.selectors.retain("something new"), 3u);
  EXPECT_EQ(other.selectors.retain("pods {app=(web)} of namespace a"), 2u);
}

TEST(NumberingTest, ABrokenLineIsNamedAndNothingIsRestored) {
  const std::string good = "thalweg-numbering 1\nnext rule 1\nrule 7 NetworkPolicy a/p ingress[0]\n";
  for (const auto* bad : {"rule", "rule x y", "rule 3", "identity 3 7", "identity 3 x=1",
                          "identity 3 7=70000", "next what 3", "next rule x", "colour 3 blue", ""}) {
    Four four;
    const auto done = decode(good + bad + "\n", four.all());
    ASSERT_FALSE(done) << bad;
    EXPECT_THAT(done.error().message, testing::HasSubstr("line 4")) << bad;
    EXPECT_EQ(four.rules.retain("NetworkPolicy a/p ingress[0]"), 1u);
  }
  Four four;
  EXPECT_FALSE(decode("something else\n", four.all()));
}

}  // namespace
}  // namespace thalweg::policy
