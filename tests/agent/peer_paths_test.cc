// What routers say of tunnel packets, as a raw socket hears it.
#include <gtest/gtest.h>

#include "dataplane/agent/peer_paths.h"

namespace thalweg::dataplane {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes ipv4(uint8_t protocol, const Bytes& to, const Bytes& payload) {
  Bytes packet(16, 0);
  packet[0] = 0x45, packet[9] = protocol;
  packet.insert(packet.end(), to.begin(), to.end());
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

const Bytes kPeer = {192, 0, 2, 12}, kSelf = {192, 0, 2, 11};
const Bytes kUdp = {0xc0, 0x01, 0x12, 0xb5, 0, 100, 0, 0};  // to port 4789

Bytes error(uint8_t type, uint8_t code, uint16_t mtu, const Bytes& quoted) {
  Bytes icmp = {type, code, 0, 0, 0, 0, static_cast<uint8_t>(mtu >> 8), static_cast<uint8_t>(mtu)};
  icmp.insert(icmp.end(), quoted.begin(), quoted.end());
  return ipv4(1, kSelf, icmp);
}

TEST(TooBig, SaysWhichPeerAndHowMuch) {
  const auto said = read_too_big(error(3, 4, 1400, ipv4(17, kPeer, kUdp)), 4789);
  ASSERT_TRUE(said);
  EXPECT_EQ(*said, (TooBig{*Ip::parse("192.0.2.12"), 1400}));
}

TEST(TooBig, NothingElseCounts) {
  const Bytes tunnelled = ipv4(17, kPeer, kUdp);
  EXPECT_FALSE(read_too_big(error(3, 3, 1400, tunnelled), 4789)) << "another code";
  EXPECT_FALSE(read_too_big(error(11, 4, 1400, tunnelled), 4789)) << "another type";
  EXPECT_FALSE(read_too_big(error(3, 4, 0, tunnelled), 4789)) << "a router that does not say";
  EXPECT_FALSE(read_too_big(error(3, 4, 1400, tunnelled), 8472)) << "another port";
  EXPECT_FALSE(read_too_big(error(3, 4, 1400, ipv4(6, kPeer, kUdp)), 4789)) << "TCP";
}

TEST(TooBig, EveryShorterPacketIsRefused) {
  const Bytes whole = error(3, 4, 1400, ipv4(17, kPeer, kUdp));
  const size_t needed = 20 + 8 + 20 + 4;
  for (size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_EQ(read_too_big(cut, 4789).has_value(), length >= needed) << length;
  }
  Bytes longer = whole;
  longer[28] = 0x4f;  // the quoted header claims options that are not there
  EXPECT_FALSE(read_too_big(longer, 4789));
}

const Bytes kPeer6 = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12};

Bytes ipv6(uint8_t next, const Bytes& to, const Bytes& payload) {
  Bytes packet(24, 0);
  packet[0] = 0x60, packet[6] = next;
  packet.insert(packet.end(), to.begin(), to.end());
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

Bytes error6(uint8_t type, uint32_t mtu, const Bytes& quoted) {
  Bytes message = {type, 0, 0, 0};
  for (const int shift : {24, 16, 8, 0}) message.push_back(static_cast<uint8_t>(mtu >> shift));
  message.insert(message.end(), quoted.begin(), quoted.end());
  return message;
}

TEST(TooBig6, SaysWhichPeerAndHowMuch) {
  const Bytes quoted = ipv6(17, kPeer6, kUdp);
  EXPECT_EQ(read_too_big6(error6(2, 1400, quoted), 4789), (TooBig{*Ip::parse("2001:db8::12"), 1400}));
  EXPECT_EQ(read_too_big6(error6(2, 0x10578, quoted), 4789)->mtu, 65'535);
}

TEST(TooBig6, NothingElseCounts) {
  EXPECT_FALSE(read_too_big6(error6(1, 1400, ipv6(17, kPeer6, kUdp)), 4789)) << "another type";
  EXPECT_FALSE(read_too_big6(error6(2, 1400, ipv6(17, kPeer6, kUdp)), 8472)) << "another port";
  EXPECT_FALSE(read_too_big6(error6(2, 1400, ipv6(6, kPeer6, kUdp)), 4789)) << "TCP";
  EXPECT_FALSE(read_too_big6(error6(2, 1400, ipv4(17, kPeer, Bytes(40, 0x12))), 4789)) << "IPv4 quoted";
}

TEST(TooBig6, EveryShorterMessageIsRefused) {
  const Bytes whole = error6(2, 1400, ipv6(17, kPeer6, kUdp));
  const size_t needed = 8 + 40 + 4;
  for (size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    EXPECT_EQ(read_too_big6(cut, 4789).has_value(), length >= needed) << length;
  }
}

}  // namespace
}  // namespace thalweg::dataplane
