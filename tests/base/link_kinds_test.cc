// The requests for links of further kinds, byte for byte as linux/if_link.h has them: a kernel that lacks the
// kind cannot tell. Where it has it, the tests of the CNI plugins make one for real.
#include "base/link_kinds.h"

#include <gtest/gtest.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <cstring>

#include "base/link_move.h"

namespace thalweg::nl {
namespace {

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}
std::string text(const char* value) { return std::string(value, std::strlen(value) + 1); }
// An attribute: its length without the padding, its type, what is in it, and zeros up to four bytes.
std::string attribute(uint16_t type, const std::string& in) {
  std::string out = raw(static_cast<uint16_t>(4 + in.size())) + raw(type) + in;
  out.resize((out.size() + 3) / 4 * 4);
  return out;
}
std::string kind(const char* name, const std::string& data) {
  return attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text(name)) + attribute(IFLA_INFO_DATA, data));
}

const NewLink kUpon7{.name = "tmp0", .on = 7};
const std::string kNameAnd7 = attribute(IFLA_IFNAME, text("tmp0")) + attribute(IFLA_LINK, raw(uint32_t{7}));

void expect_request(Message request, const std::string& attributes) {
  const nlmsghdr& header = *request.raw();
  EXPECT_EQ(header.nlmsg_type, RTM_NEWLINK);
  EXPECT_EQ(header.nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL);
  const std::string have(static_cast<const char*>(NLMSG_DATA(request.raw())),
                         header.nlmsg_len - NLMSG_HDRLEN);
  EXPECT_EQ(have, raw(ifinfomsg{}) + attributes);
}

TEST(LinkKinds, WhatEveryLinkMayHave) {
  const auto here = Netns::current();
  const NewLink link{.name = "tmp0", .on = 7, .mtu = 1400, .mac = Mac{2, 0, 0, 0, 0, 0x77}, .netns = &*here};
  expect_request(macvlan_request(link, MacvlanMode::Bridge),
                 kNameAnd7 + attribute(IFLA_MTU, raw(uint32_t{1400})) +
                     attribute(IFLA_ADDRESS, std::string("\x02\0\0\0\0\x77", 6)) +
                     attribute(IFLA_NET_NS_FD, raw(here->fd())) +
                     kind("macvlan", attribute(IFLA_MACVLAN_MODE, raw(uint32_t{MACVLAN_MODE_BRIDGE}))));
}

TEST(LinkKinds, Macvlan) {
  for (const auto& [mode, number] : {std::pair{MacvlanMode::Private, MACVLAN_MODE_PRIVATE},
                                     {MacvlanMode::Vepa, MACVLAN_MODE_VEPA},
                                     {MacvlanMode::Passthru, MACVLAN_MODE_PASSTHRU}})
    expect_request(macvlan_request(kUpon7, mode),
                   kNameAnd7 + kind("macvlan", attribute(IFLA_MACVLAN_MODE, raw(uint32_t{number}))));
  expect_request(macvlan_request(kUpon7, MacvlanMode::Vepa, 2000),
                 kNameAnd7 + kind("macvlan", attribute(IFLA_MACVLAN_MODE, raw(uint32_t{MACVLAN_MODE_VEPA})) +
                                                 attribute(IFLA_MACVLAN_BC_QUEUE_LEN, raw(uint32_t{2000}))));
}

TEST(LinkKinds, Dummy) {
  expect_request(dummy_request({.name = "eth0"}),
                 attribute(IFLA_IFNAME, text("eth0")) +
                     attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text("dummy"))));
}

TEST(LinkKinds, Vlan) {
  for (const uint16_t id : {0, 7, 4094})
    expect_request(vlan_request(kUpon7, id), kNameAnd7 + kind("vlan", attribute(IFLA_VLAN_ID, raw(id))));
}

TEST(LinkKinds, Ipvlan) {
  for (const auto& [mode, number] : {std::pair{IpvlanMode::L2, IPVLAN_MODE_L2},
                                     {IpvlanMode::L3, IPVLAN_MODE_L3},
                                     {IpvlanMode::L3s, IPVLAN_MODE_L3S}})
    expect_request(
        ipvlan_request(kUpon7, mode),
        kNameAnd7 + kind("ipvlan", attribute(IFLA_IPVLAN_MODE, raw(static_cast<uint16_t>(number)))));
}

TEST(LinkKinds, AMove) {
  const auto here = Netns::current();
  const auto bytes = [&](const Move& move) {
    Message request = move_request(move, *here);
    return std::string(static_cast<const char*>(NLMSG_DATA(request.raw())),
                       request.raw()->nlmsg_len - NLMSG_HDRLEN);
  };
  ifinfomsg header{};
  header.ifi_index = 7;
  const std::string start =
      raw(header) + attribute(IFLA_NET_NS_FD, raw(here->fd())) + attribute(IFLA_IFNAME, text("eth0"));
  EXPECT_EQ(bytes({7, "eth0", "ens3f0"}), start + attribute(IFLA_IFALIAS, "ens3f0"));
  EXPECT_EQ(bytes({7, "eth0", ""}), start + attribute(IFLA_IFALIAS, ""));
}

}  // namespace
}  // namespace thalweg::nl
