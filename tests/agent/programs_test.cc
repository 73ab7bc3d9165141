// The path's programs in the kernel: loaded, hooked to an interface, adopted by the next process, removed.
#include <bpf/bpf.h>
#include <gtest/gtest.h>

#include <list>
#include <optional>

#include "base/link.h"
#include "base/netns.h"
#include "dataplane/ebpf/program.h"
#include "tests/agent/bpf_folder.h"

namespace thalweg::dataplane {
namespace {

constexpr const char* kNetns = "twt-programs";

class ProgramsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = test::why_no_bpf(); !why.empty()) GTEST_SKIP() << why;
    if (!folder_.mounted()) GTEST_SKIP() << "cannot mount a bpffs";
    (void)delete_netns(kNetns);
    auto made = create_netns(kNetns);
    if (!made) GTEST_SKIP() << made.error().message;
    netns_.emplace(std::move(*made));
    make_link("a.b0");
  }
  void TearDown() override {
    if (netns_) (void)delete_netns(kNetns);
  }
  // A name with a dot: bpffs takes none.
  void make_link(const std::string& name) {
    const auto index = netns_->run([&]() -> Result<uint32_t> {
      nl::Socket socket = TRY(nl::Socket::open());
      TRY(nl::create_veth(socket, {.name = name, .peer_name = "peer0"}));
      return TRY(nl::link_by_name(socket, name))
      .index;
    });
    ASSERT_TRUE(index) << index.error().message;
    ifindex_ = *index;
  }
  Result<Programs> load() {
    TableSets sets = TRY(TableSets::open(folder_.path()));
    tables_.push_back(sets.take_tables());
    return Programs::load(folder_.path(), sets.own_folder(), tables_.back());
  }
  Result<> attach(Programs& programs, const std::string& program, const std::string& link) {
    return netns_->run([&] { return programs.attach(program, link, ifindex_); });
  }
  // Number of the link pinned for the program, and of the program behind it; 0: none.
  std::pair<uint32_t, uint32_t> pinned(const std::string& program) {
    const Fd link(bpf_obj_get(fmt::format("{}/links/{}/a%2Eb0", folder_.path(), program).c_str()));
    bpf_link_info info{};
    uint32_t size = sizeof info;
    if (!link || bpf_obj_get_info_by_fd(link.get(), &info, &size) != 0) return {0, 0};
    return {info.id, info.prog_id};
  }

  test::BpfFolder folder_;
  std::optional<Netns> netns_;
  std::list<EbpfDatapath> tables_;
  uint32_t ifindex_ = 0;
};

TEST_F(ProgramsTest, EveryProgramLoads) {
  const auto programs = load();
  ASSERT_TRUE(programs) << programs.error().message;
  for (const char* name :
       {"from_pod", "to_pod", "from_uplink", "to_uplink", "from_host", "at_uplink", "connect4", "connect6"})
    EXPECT_TRUE(programs->has(name)) << name;
}

TEST_F(ProgramsTest, TheNextProcessAdoptsTheLinkAndTheProgram) {
  auto first = load();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_FALSE(first->adopted());
  const auto attached = attach(*first, "from_pod", "a.b0");
  ASSERT_TRUE(attached) << attached.error().message;
  const auto before = pinned("from_pod");
  ASSERT_NE(before.first, 0u);

  auto second = load();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(second->adopted());
  ASSERT_TRUE(attach(*second, "from_pod", "a.b0"));
  EXPECT_EQ(pinned("from_pod"), before);
  ASSERT_EQ(second->attached().size(), 1u);
  EXPECT_EQ(second->attached()[0].where, "a.b0");
}

TEST_F(ProgramsTest, OtherCodeTakesThePlaceOfTheProgramBehindTheLink) {
  auto first = load();
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(attach(*first, "from_pod", "a.b0"));
  const auto before = pinned("from_pod");
  // As if the pins were another build's: under the name of other code.
  const std::filesystem::path programs =
      std::filesystem::directory_iterator(folder_.path() + "/sets")->path() / "programs";
  const std::filesystem::path code = std::filesystem::directory_iterator(programs)->path();
  std::filesystem::rename(code, programs / "other");

  auto second = load();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_FALSE(second->adopted());
  ASSERT_TRUE(attach(*second, "from_pod", "a.b0"));
  const auto after = pinned("from_pod");
  EXPECT_EQ(after.first, before.first) << "the same link: nothing was detached";
  EXPECT_NE(after.second, before.second) << "another program behind it";
  ASSERT_TRUE(second->drop_others());
  EXPECT_FALSE(std::filesystem::exists(programs / "other"));
}

TEST_F(ProgramsTest, ProgramsOfATableThatWasMadeAnewAreNotAdopted) {
  ASSERT_TRUE(load());
  const std::filesystem::path set = std::filesystem::directory_iterator(folder_.path() + "/sets")->path();
  std::filesystem::remove(set / "tables" / "services");
  auto second = load();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_FALSE(second->adopted());
}

TEST_F(ProgramsTest, AnInterfaceMadeAnewGetsALinkAnew) {
  auto programs = load();
  ASSERT_TRUE(programs) << programs.error().message;
  ASSERT_TRUE(attach(*programs, "to_pod", "a.b0"));
  const auto before = pinned("to_pod");
  const auto gone = netns_->run([&]() -> Result<> {
    nl::Socket socket = TRY(nl::Socket::open());
    return nl::delete_link(socket, "a.b0");
  });
  ASSERT_TRUE(gone);
  make_link("a.b0");
  ASSERT_TRUE(attach(*programs, "to_pod", "a.b0"));
  EXPECT_NE(pinned("to_pod").first, before.first);
}

TEST_F(ProgramsTest, TheXdpProgramIsHookedAdoptedAndTakenAway) {
  auto first = load();
  ASSERT_TRUE(first) << first.error().message;
  const auto attach_xdp = [&](Programs& programs) {
    return netns_->run([&] { return programs.attach_xdp("a.b0", ifindex_); });
  };
  ASSERT_TRUE(first->detach_xdp("a.b0")) << "absent is no error";
  const auto attached = attach_xdp(*first);
  ASSERT_TRUE(attached) << attached.error().message;
  const auto before = pinned("at_uplink");
  ASSERT_NE(before.first, 0u);

  auto second = load();
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_TRUE(attach_xdp(*second));
  EXPECT_EQ(pinned("at_uplink"), before);
  ASSERT_TRUE(second->keep_only({"a.b0"}));
  EXPECT_EQ(pinned("at_uplink"), before);
  ASSERT_TRUE(second->detach_xdp("a.b0"));
  EXPECT_EQ(pinned("at_uplink").first, 0u);
  ASSERT_TRUE(attach_xdp(*second)) << "the place is free again at once";
}

TEST_F(ProgramsTest, XdpWhereItIsNotToBeHad) {
  auto programs = load();
  ASSERT_TRUE(programs) << programs.error().message;
  const auto on_loopback = netns_->run([&] { return programs->attach_xdp("lo", 1); });
  ASSERT_FALSE(on_loopback);
  EXPECT_EQ(on_loopback.error().code, EOPNOTSUPP) << on_loopback.error().message;
  EXPECT_TRUE(programs->attached().empty());
}

TEST_F(ProgramsTest, WhatIsNotKeptIsDetachedAndCleaningLeavesNothing) {
  auto programs = load();
  ASSERT_TRUE(programs) << programs.error().message;
  ASSERT_TRUE(attach(*programs, "from_pod", "a.b0"));
  ASSERT_TRUE(programs->keep_only({"a.b0"}));
  EXPECT_NE(pinned("from_pod").first, 0u);
  ASSERT_TRUE(programs->keep_only({}));
  EXPECT_EQ(pinned("from_pod").first, 0u);
  const auto again = attach(*programs, "from_pod", "a.b0");
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE(unpin_all(folder_.path()));
  for (const char* part : {"links", "sets"})
    EXPECT_FALSE(std::filesystem::exists(folder_.path() + "/" + part)) << part;
}

}  // namespace
}  // namespace thalweg::dataplane
