// Random clusters with random histories: the compiled rows answer every question as the oracle does, and are
// those a compilation from scratch gives.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/policy/builders.h"
#include "tests/policy/oracle.h"
#include "tests/policy/random_cluster.h"

namespace thalweg {
namespace {

using namespace test;

void expect_as_the_oracle(const kube::Cluster& cluster, const policy::Subjects& subjects,
                          const policy::RuleBook& book, Dice& dice) {
  const auto tables = tables_of(book);
  for (const auto& [subject, ips] : subjects) {
    if (!cluster.pods.contains(subject)) continue;
    for (int n = 0; n < 20; ++n) {
      const auto peer = random_address(dice);
      const auto protocol = dice.of(std::vector<uint8_t>{IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP});
      const uint16_t port = protocol == IPPROTO_ICMP ? 0 : random_port(dice);
      const Packet packet{subject, dice.one_in(2) ? INGRESS : EGRESS, peer, protocol, port};
      ASSERT_EQ(answer_of(tables, book.rule_set_of(subject), packet).allowed,
                allowed_by_policies(cluster, packet))
          << subject.str() << (packet.way == INGRESS ? " from " : " to ") << peer.str() << " protocol "
          << int{protocol} << " port " << port;
    }
  }
}

class RandomPolicyTest : public testing::TestWithParam<uint32_t> {};

TEST_P(RandomPolicyTest, RowsAnswerAsTheOracleDoesAfterAnyHistory) {
  Dice dice(GetParam());
  kube::Cluster cluster;
  policy::Subjects subjects;
  policy::RuleBook book;
  for (int step = 0; step < 60; ++step) {
    const auto changed = random_changes(cluster, dice, 1 + dice.below(step == 0 ? 60 : 4));
    std::vector<kube::ObjectKey> changed_subjects = random_subjects(cluster, subjects, dice);
    book.compile(cluster, changed, subjects, changed_subjects);
    expect_as_the_oracle(cluster, subjects, book, dice);
    if (HasFatalFailure()) FAIL() << "step " << step << " of seed " << GetParam();
  }
}

TEST_P(RandomPolicyTest, RowsAreThoseOfACompilationFromScratchWithTheSameNumbering) {
  Dice dice(GetParam() + 1000);
  kube::Cluster cluster;
  policy::Subjects subjects;
  policy::RuleBook book;
  for (int step = 0; step < 40; ++step) {
    const auto changed = random_changes(cluster, dice, 1 + dice.below(4));
    const auto changed_subjects = random_subjects(cluster, subjects, dice);
    book.compile(cluster, changed, subjects, changed_subjects);

    policy::RuleBook fresh;
    ASSERT_TRUE(fresh.restore(book.numbering()));
    std::vector<kube::ObjectKey> all;
    for (const auto& [key, ips] : subjects) all.push_back(key);
    fresh.compile(cluster, kube::refs(cluster), subjects, all);
    const auto ours = tables_of(book), theirs = tables_of(fresh);
    ASSERT_EQ(ours.identities, theirs.identities) << "step " << step;
    ASSERT_EQ(ours.prefixes, theirs.prefixes) << "step " << step;
    ASSERT_EQ(ours.rules.size(), theirs.rules.size()) << "step " << step;
    ASSERT_EQ(ours.rule_sets.size(), theirs.rule_sets.size()) << "step " << step;
    for (const auto& [number, row] : ours.rule_sets) ASSERT_EQ(row.epoch, theirs.rule_sets.at(number).epoch);
    ASSERT_EQ(book.numbering(), fresh.numbering()) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomPolicyTest, testing::Range(1u, 25u));

}  // namespace
}  // namespace thalweg
