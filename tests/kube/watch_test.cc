// The list/watch state machine, told what a transport might see, without any transport.
#include "kube/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thalweg::kube {
namespace {

using namespace watch_input;
using namespace watch_next;
using Phase = WatchState::Phase;
using testing::ElementsAre;
using testing::IsEmpty;

Object pod(const std::string& name, const std::string& version) {
  auto pod = std::make_shared<Pod>();
  pod->meta.key = {"ns", name};
  pod->meta.resource_version = version;
  return std::shared_ptr<const Pod>(pod);
}

// "+a@5" for an object, "-a" for a deletion.
std::vector<std::string> told(const WatchOutput& out) {
  std::vector<std::string> lines;
  for (const auto& change : out.changes) {
    lines.push_back(change.object ? "+" + change.key.name + "@" + meta_of(*change.object).resource_version
                                  : "-" + change.key.name);
  }
  return lines;
}

class Machine : public testing::Test {
 protected:
  WatchOutput give(WatchInput input) { return step(state, std::move(input)); }
  // A list of one page with these names, all at version 10.
  WatchOutput list(const std::vector<std::string>& names, const std::string& version = "10") {
    for (const auto& name : names) give(Item{pod(name, version)});
    return give(PageEnd{version, ""});
  }
  void watch(const std::vector<std::string>& names) {
    give(Start{});
    list(names);
    give(Opened{});
  }
  template <class T>
  static T as(const WatchOutput& out) {
    const auto* next = std::get_if<T>(&out.next);
    EXPECT_TRUE(next) << "another next step: " << out.next.index();
    return next ? *next : T();
  }

  WatchState state{{.page_size = 2, .backoff_first_ms = 100, .backoff_max_ms = 1000, .watch_timeout_s = 300}};
};

TEST_F(Machine, WalksFromEmptyToWatching) {
  EXPECT_EQ(state.phase, Phase::Empty);
  EXPECT_EQ(as<List>(give(Start{})), (List{"", 2}));
  EXPECT_EQ(state.phase, Phase::InitPage);
  EXPECT_THAT(told(give(Item{pod("a", "3")})), IsEmpty()) << "nothing before the list is whole";
  EXPECT_EQ(as<List>(give(PageEnd{"10", "more"})), (List{"more", 2}));
  give(Item{pod("b", "4")});
  const auto listed = give(PageEnd{"10", ""});
  EXPECT_TRUE(listed.listed);
  EXPECT_THAT(told(listed), ElementsAre("+a@3", "+b@4"));
  EXPECT_EQ(as<Watch>(listed).resource_version, "10");
  EXPECT_GE(as<Watch>(listed).timeout_s, 300U);
  EXPECT_LE(as<Watch>(listed).timeout_s, 600U);
  EXPECT_EQ(state.phase, Phase::InitListed);
  give(Opened{});
  EXPECT_EQ(state.phase, Phase::Watching);
}

TEST_F(Machine, EventsTellAndMoveTheVersion) {
  watch({"a"});
  EXPECT_THAT(told(give(Event{EventType::Added, pod("b", "11")})), ElementsAre("+b@11"));
  EXPECT_THAT(told(give(Event{EventType::Modified, pod("a", "12")})), ElementsAre("+a@12"));
  EXPECT_THAT(told(give(Event{EventType::Deleted, pod("a", "13")})), ElementsAre("-a"));
  give(Bookmark{"50"});
  EXPECT_EQ(as<Watch>(give(Closed{5})).resource_version, "50");
}

TEST_F(Machine, DuplicatesAndLateEventsAreHarmless) {
  watch({"a"});
  give(Event{EventType::Modified, pod("a", "12")});
  EXPECT_THAT(told(give(Event{EventType::Modified, pod("a", "12")})), IsEmpty()) << "twice";
  EXPECT_THAT(told(give(Event{EventType::Modified, pod("a", "11")})), IsEmpty()) << "late";
  EXPECT_THAT(told(give(Event{EventType::Deleted, pod("a", "11")})), IsEmpty())
      << "deleted before it came again";
  EXPECT_THAT(told(give(Event{EventType::Deleted, pod("a", "14")})), ElementsAre("-a"));
  EXPECT_THAT(told(give(Event{EventType::Modified, pod("a", "13")})), IsEmpty())
      << "must not come back to life";
  EXPECT_THAT(told(give(Event{EventType::Deleted, pod("a", "14")})), IsEmpty());
  EXPECT_THAT(told(give(Event{EventType::Added, pod("a", "15")})), ElementsAre("+a@15"));
  EXPECT_THAT(told(give(Event{EventType::Added, pod("late", "11")})), ElementsAre("+late@11"))
      << "another object";
  EXPECT_EQ(as<Watch>(give(Closed{5})).resource_version, "15") << "the newest seen, not the last";
}

TEST_F(Machine, ARelistReplacesConsistently) {
  watch({"a", "b"});
  EXPECT_EQ(as<List>(give(Failed{410, {}})), (List{"", 2})) << "at once, the first time";
  EXPECT_THAT(told(give(Item{pod("c", "20")})), IsEmpty());
  give(Item{pod("b", "21")});
  const auto out = give(PageEnd{"25", ""});
  EXPECT_THAT(told(out), ElementsAre("-a", "+b@21", "+c@20"));
  EXPECT_EQ(as<Watch>(out).resource_version, "25");
}

TEST_F(Machine, AVersionTooOldAgainAndAgainBacksOff) {
  watch({"a"});
  as<List>(give(Failed{410, {}}));
  list({"a"});
  give(Opened{});
  EXPECT_GE(as<Wait>(give(Failed{410, {}})).ms, 50U);
  EXPECT_EQ(as<List>(give(Timer{})), (List{"", 2}));
}

TEST_F(Machine, AnExpiredContinueTokenListsAllInOneAnswer) {
  give(Start{});
  give(Item{pod("a", "1")});
  give(PageEnd{"10", "token"});
  EXPECT_EQ(as<List>(give(Failed{410, {}})), (List{"", 0}));
  EXPECT_THAT(told(list({"b"})), ElementsAre("+b@10")) << "nothing of the list given up";
}

TEST_F(Machine, APageThatFailsIsAskedForAgain) {
  give(Start{});
  give(Item{pod("a", "1")});
  give(PageEnd{"10", "token"});
  give(Item{pod("b", "1")});
  as<Wait>(give(Failed{0, {}}));
  EXPECT_EQ(as<List>(give(Timer{})), (List{"token", 2}));
  give(Item{pod("b", "1")});
  EXPECT_THAT(told(give(PageEnd{"10", ""})), ElementsAre("+a@1", "+b@1"));
}

TEST_F(Machine, BackoffDoublesIsJitteredAndBounded) {
  give(Start{});
  uint32_t most = 100;
  for (int failure = 1; failure < 40; ++failure) {
    const uint32_t ms = as<Wait>(give(Failed{500, {}})).ms;
    EXPECT_GE(ms, most / 2);
    EXPECT_LE(ms, most);
    most = std::min(most * 2, 1000U);
    as<List>(give(Timer{}));
  }
  list({"a"});
  EXPECT_EQ(state.list_failures, 0U);
}

TEST_F(Machine, RetryAfterIsKeptAndBounded) {
  give(Start{});
  EXPECT_GE(as<Wait>(give(Failed{429, 7})).ms, 7000U);
  give(Timer{});
  EXPECT_LE(as<Wait>(give(Failed{503, 4'000'000'000})).ms, 121'000U);
}

TEST_F(Machine, AWatchThatKeepsFailingListsAgain) {
  watch({"a"});
  for (int failure = 1; failure < 5; ++failure) {
    as<Wait>(give(Failed{500, {}}));
    EXPECT_EQ(as<Watch>(give(Timer{})).resource_version, "10");
  }
  as<Wait>(give(Failed{500, {}}));
  as<List>(give(Timer{}));
  EXPECT_THAT(told(list({})), ElementsAre("-a"));
}

TEST_F(Machine, AWatchThatClosesAtOnceIsNoHotLoop) {
  watch({"a"});
  as<Wait>(give(Closed{3}));
  as<Watch>(give(Timer{}));
  give(Opened{});
  as<Watch>(give(Closed{5000}));
}

TEST_F(Machine, WhatCannotBeDecodedKeepsItsLastGoodVersion) {
  watch({"a", "b"});
  EXPECT_THAT(told(give(BadEvent{EventType::Modified, {"ns", "a"}, "11"})), IsEmpty());
  give(Failed{410, {}});
  give(BadItem{{"ns", "a"}});
  give(BadItem{{"ns", "new"}});
  EXPECT_THAT(told(give(PageEnd{"20", ""})), ElementsAre("-b")) << "a is still listed";
  give(Opened{});
  EXPECT_THAT(told(give(BadEvent{EventType::Deleted, {"ns", "a"}, "21"})), ElementsAre("-a"))
      << "a deletion needs only the name";
}

TEST_F(Machine, TombstonesAreBounded) {
  state.options.max_tombstones = 8;
  watch({});
  for (int i = 0; i < 1000; ++i) give(Event{EventType::Deleted, pod("p" + std::to_string(i), "11")});
  EXPECT_LE(state.tombstones.size(), 8U);
}

TEST(Versions, CompareAsNumbers) {
  EXPECT_TRUE(is_newer("10", "9"));
  EXPECT_FALSE(is_newer("9", "10"));
  EXPECT_FALSE(is_newer("10", "10"));
  EXPECT_TRUE(is_newer("18446744073709551617", "18446744073709551616"));
  EXPECT_TRUE(is_newer("opaque", "10"));
}

}  // namespace
}  // namespace thalweg::kube
