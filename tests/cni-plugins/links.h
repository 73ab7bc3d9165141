// What the tests of the plugins with one link in the container share: their configurations, and what all of
// them do alike.
#pragma once

#include <algorithm>

#include "base/link_kinds.h"
#include "tests/cni-plugins/runtime.h"

namespace thalweg {

struct LinksTest : ::testing::Test {
  void SetUp() override {
    NEED_PLUGINS();
    runtime = std::make_unique<Runtime>("cniln");
  }
  // `more`: its own fields; with the addresses of host-local.
  std::string config(const std::string& type, const std::string& more = "") {
    return bare(type, more + R"(,"ipam":{"type":"host-local","dataDir":")" + runtime->folder +
                          R"(/data","ranges":[[{"subnet":"192.0.2.0/24"}],[{"subnet":"2001:db8::/64"}]],)"
                          R"("routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]})");
  }
  static std::string bare(const std::string& type, const std::string& more = "") {
    return R"({"cniVersion":"1.1.0","name":"net","type":")" + type + "\"" + more + "}";
  }
  static bool has_address(ScratchNetns& ns, const std::string& link, const std::string& ip) {
    const auto all = nl::addresses(ns.socket(), nl::link_by_name(ns.socket(), link)->index).value();
    return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.ip.str() == ip; });
  }
  static bool has_link(ScratchNetns& ns, const std::string& name) {
    return nl::link_by_name(ns.socket(), name).has_value();
  }
  static size_t links(ScratchNetns& ns) { return nl::links(ns.socket())->size(); }
  size_t given() {
    size_t count = 0;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(runtime->folder + "/data/net", none))
      count += Ip::parse(entry.path().filename().string()).has_value();
    return count;
  }
  void check_finds(const std::string& text, const Answer& added, const std::string& word) {
    const Answer checked = runtime->check(text, added);
    EXPECT_EQ(checked.exit, 1);
    EXPECT_THAT(checked.msg(), ::testing::HasSubstr(word));
  }
  // What all plugins do with a name that is taken, with a DEL again, and with namespaces that are gone.
  void repeats_and_ends(const std::string& text, const Answer& added) {
    EXPECT_EQ(runtime->check(text, added).exit, 0) << runtime->check(text, added).out;
    const size_t here = links(runtime->host), there = links(runtime->pod), had = given();
    EXPECT_THAT(runtime->add(text).msg(), ::testing::HasSubstr("eth0 exists"));
    EXPECT_EQ(links(runtime->host), here);
    EXPECT_EQ(links(runtime->pod), there);
    EXPECT_EQ(given(), had) << "the failed ADD gave an address away, or took the first one's";
    EXPECT_EQ(runtime->call({.command = "STATUS", .config = text}).exit, 0);
    const std::string valid = Runtime::with(text, "cni.dev/valid-attachments",
                                            boost::json::array{{{"containerID", "c1"}, {"ifname", "eth0"}}});
    EXPECT_EQ(runtime->call({.command = "GC", .config = valid}).exit, 0);
    EXPECT_EQ(given(), had);
    EXPECT_EQ(runtime->del(text).exit, 0);
    EXPECT_EQ(runtime->del(text).exit, 0);
    EXPECT_EQ(given(), 0u);
    EXPECT_EQ(links(runtime->pod), there - 1);
    EXPECT_NE(runtime->check(text, added).exit, 0);
    EXPECT_EQ(runtime->call({.command = "DEL", .config = text, .netns = "/run/netns/twt-base-absent"}).exit,
              0);
    EXPECT_EQ(runtime->call({.command = "ADD", .config = text, .netns = "/run/netns/twt-base-absent"}).code(),
              3);
  }
  void refuses(const std::string& text, const char* field) {
    const Answer refused = runtime->add(text);
    EXPECT_EQ(refused.exit, 1) << text;
    EXPECT_THAT(refused.msg(), ::testing::HasSubstr(field)) << text;
    EXPECT_EQ(links(runtime->pod), 1u) << text;
    EXPECT_EQ(given(), 0u) << text;
  }
  // The kernel's own word where it lacks that kind of link; "" where it has it.
  std::string lacks(const nl::NewLink& link, nl::Message request) {
    const auto made = nl::create_link(runtime->pod.socket(), link, std::move(request));
    (void)nl::delete_link(runtime->pod.socket(), link.name);
    return made || made.error().code != EOPNOTSUPP ? "" : made.error().message;
  }
  std::unique_ptr<Runtime> runtime;
};

// With a master: a link of the host's with somebody at its other end.
struct MasterTest : LinksTest {
  void SetUp() override {
    LinksTest::SetUp();
    if (IsSkipped()) return;
    wire = std::make_unique<ScratchNetns>("cnilw");
    auto& host = runtime->host.socket();
    ASSERT_TRUE(nl::create_veth(
        host, {.name = "up0", .peer_name = "eth0", .peer_netns = &wire->netns(), .mtu = 1450}));
    const uint32_t up0 = nl::link_by_name(host, "up0")->index,
                   far = nl::link_by_name(wire->socket(), "eth0")->index;
    ASSERT_TRUE(nl::set_up(host, up0));
    ASSERT_TRUE(nl::set_up(wire->socket(), far));
    ASSERT_TRUE(nl::set_address(wire->socket(), {.ip = Ip::v4(192, 0, 2, 1), .length = 120, .link = far}));
  }
  nl::Link eth0() { return nl::link_by_name(runtime->pod.socket(), "eth0").value(); }
  std::unique_ptr<ScratchNetns> wire;
};

}  // namespace thalweg
