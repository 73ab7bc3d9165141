// ARP, neighbour discovery, echo and unfinished checksums as bytes, against frames written out by hand.
#include "dataplane/dpdk/frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace thalweg::dataplane::dpdk {
namespace {

using Bytes = std::vector<uint8_t>;
constexpr Mac kEdgeMac = {2, 0, 0, 0, 0, 0x20};
constexpr Mac kPeerMac = {2, 0, 0, 0, 0, 0x11};
const Ip kEdge = Ip::v4(192, 0, 2, 20), kPeer = Ip::v4(192, 0, 2, 11);
const Ip kEdge6 = *Ip::parse("2001:db8::20"), kPeer6 = *Ip::parse("2001:db8::11");

Bytes hex(std::string_view text) {
  Bytes bytes;
  std::string digits;
  for (char c : text)
    if (c != ' ' && c != '\n') digits += c;
  for (size_t i = 0; i + 1 < digits.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  return bytes;
}

// RFC 1071, spelled out: the sum over the 16-bit words of `bytes`, folded.
uint32_t words(const Bytes& bytes, size_t from, size_t to) {
  uint32_t sum = 0;
  for (size_t i = from; i < to; i += 2) sum += bytes[i] << 8 | (i + 1 < to ? bytes[i + 1] : 0);
  return sum;
}
uint16_t fold(uint32_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// UDP 192.0.2.11:4000 → 192.0.2.20:53, payload "abcde", its checksum field as given.
Bytes udp(uint16_t checksum, uint16_t port = 53, const Bytes& payload = {'a', 'b', 'c', 'd', 'e'}) {
  Bytes frame = hex(
      "020000000020 020000000011 0800 4500 0000 0000 0000 4011 0000 c000020b c0000214 0fa0 0000 0000 0000");
  const auto total = static_cast<uint16_t>(28 + payload.size()),
             length = static_cast<uint16_t>(8 + payload.size());
  frame[16] = total >> 8, frame[17] = total & 255;
  frame[36] = port >> 8, frame[37] = port & 255;
  frame[38] = length >> 8, frame[39] = length & 255;
  frame[40] = checksum >> 8, frame[41] = checksum & 255;
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}
uint16_t pseudo(const Bytes& frame) { return fold(words(frame, 26, 34) + 17 + (frame.size() - 34)); }
bool udp_sum_holds(const Bytes& frame) {
  return fold(pseudo(frame) + words(frame, 34, frame.size())) == 0xffff;
}

TEST(Arp, AQuestionAsTheRfcDrawsIt) {
  Bytes frame(kArpFrameBytes);
  write_arp(frame, true, {kEdgeMac, kEdge}, {kBroadcast, kPeer});
  EXPECT_EQ(
      frame,
      hex("ffffffffffff 020000000020 0806 0001 0800 06 04 0001 020000000020 c0000214 000000000000 c000020b"));
}

TEST(Arp, AnAnswerAsTheRfcDrawsIt) {
  Bytes frame(kArpFrameBytes);
  write_arp(frame, false, {kEdgeMac, kEdge}, {kPeerMac, kPeer});
  EXPECT_EQ(
      frame,
      hex("020000000011 020000000020 0806 0001 0800 06 04 0002 020000000020 c0000214 020000000011 c000020b"));
  const auto seen = parse_arp(frame);
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->request);
  EXPECT_EQ(seen->sender, kEdge);
  EXPECT_EQ(seen->sender_mac, kEdgeMac);
  EXPECT_EQ(seen->target, kPeer);
}

TEST(Arp, NonsenseIsNotArp) {
  Bytes good(kArpFrameBytes);
  write_arp(good, true, {kPeerMac, kPeer}, {kBroadcast, kEdge});
  ASSERT_TRUE(parse_arp(good));
  for (size_t at : {12, 14, 16, 18, 19, 20}) {  // type, hardware, protocol, lengths, operation
    Bytes bad = good;
    bad[at] ^= 0x40;
    EXPECT_FALSE(parse_arp(bad)) << "byte " << at;
  }
  Bytes group = good;
  group[22] |= 1;  // a group address as the sender's
  EXPECT_FALSE(parse_arp(group));
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_FALSE(parse_arp(ConstFrame(good).first(length))) << length;
}

TEST(Nd, AQuestionIsUnderstoodByItsOwnReaderAndGoesToTheSolicitedNode) {
  Bytes frame(kNdFrameBytes);
  write_nd_question(frame, {kEdgeMac, kEdge6}, kPeer6, std::nullopt);
  EXPECT_EQ(ether_destination(frame), (Mac{0x33, 0x33, 0xff, 0, 0, 0x11}));
  EXPECT_EQ(ip_destination(frame), Ip::parse("ff02::1:ff00:11"));
  EXPECT_EQ(fold(words(frame, 22, 54) + 32 + 58 + words(frame, 54, 86)), 0xffff);
  const auto seen = parse_nd(frame);
  ASSERT_TRUE(seen);
  EXPECT_TRUE(seen->request);
  EXPECT_EQ(seen->sender, kEdge6);
  EXPECT_EQ(seen->sender_mac, kEdgeMac);
  EXPECT_EQ(seen->target, kPeer6);
}

TEST(Nd, AnAnswerSaysSolicitedAndOverride) {
  Bytes frame(kNdFrameBytes);
  write_nd_answer(frame, {kEdgeMac, kEdge6}, {kPeerMac, kPeer6}, kEdge6);
  const auto seen = parse_nd(frame);
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->request);
  EXPECT_TRUE(seen->solicited && seen->override_mac);
  EXPECT_EQ(seen->target, kEdge6);
  EXPECT_EQ(seen->sender_mac, kEdgeMac);
  write_nd_answer(frame, {kEdgeMac, kEdge6}, {}, kEdge6);  // to one without an address: to all nodes
  ASSERT_TRUE(parse_nd(frame));
  EXPECT_FALSE(parse_nd(frame)->solicited);
  EXPECT_EQ(ether_destination(frame), (Mac{0x33, 0x33, 0, 0, 0, 1}));
}

TEST(Nd, WhatTheRfcSaysToIgnoreIsIgnored) {
  Bytes good(kNdFrameBytes);
  write_nd_question(good, {kPeerMac, kPeer6}, kEdge6, std::nullopt);
  ASSERT_TRUE(parse_nd(good));
  for (size_t at :
       {12, 14, 20, 21, 54, 55, 57, 62, 79}) {  // type, version, protocol, hop limit, …, option length
    Bytes bad = good;
    bad[at] ^= 0xf5;
    EXPECT_FALSE(parse_nd(bad)) << "byte " << at;
  }
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_FALSE(parse_nd(ConstFrame(good).first(length))) << length;
}

TEST(Nd, AnOptionOfLengthZeroEndsTheReading) {
  Bytes frame(kNdFrameBytes);
  write_nd_question(frame, {kPeerMac, kPeer6}, kEdge6, std::nullopt);
  frame[79] = 0;
  frame[56] = frame[57] = 0;
  const auto sum = static_cast<uint16_t>(~fold(words(frame, 22, 54) + 32 + 58 + words(frame, 54, 86)));
  frame[56] = sum >> 8, frame[57] = sum & 255;
  EXPECT_FALSE(parse_nd(frame));
}

TEST(Echo, V4IsAnsweredInPlace) {
  Bytes frame =
      hex("020000000020 020000000011 0800 4500 0021 0000 0000 0111 0000 c000020b c0000214"
          "0800 0000 1234 0001 68656c6c6f");
  frame[23] = 1;
  auto sum = static_cast<uint16_t>(~fold(words(frame, 34, frame.size())));
  frame[36] = sum >> 8, frame[37] = sum & 255;
  const auto echo = parse_echo_request(frame);
  ASSERT_TRUE(echo);
  EXPECT_EQ(echo->destination, kEdge);
  answer_echo(frame);
  EXPECT_EQ(ether_destination(frame), kPeerMac);
  EXPECT_EQ(ip_destination(frame), kPeer);
  EXPECT_EQ(frame[34], 0);
  EXPECT_EQ(frame[22], 64);
  EXPECT_EQ(fold(words(frame, 14, 34)), 0xffff);
  EXPECT_EQ(fold(words(frame, 34, frame.size())), 0xffff);
  EXPECT_FALSE(parse_echo_request(frame));  // an answer is no question
}

TEST(Echo, V6IsAnsweredInPlace) {
  Bytes frame = hex("020000000020 020000000011 86dd 60000000 000b 3a 01");
  frame.insert(frame.end(), kPeer6.bytes().begin(), kPeer6.bytes().end());
  frame.insert(frame.end(), kEdge6.bytes().begin(), kEdge6.bytes().end());
  const Bytes body = hex("8000 0000 1234 0001 616263");
  frame.insert(frame.end(), body.begin(), body.end());
  auto sum = static_cast<uint16_t>(~fold(words(frame, 22, 54) + 11 + 58 + words(frame, 54, 65)));
  frame[56] = sum >> 8, frame[57] = sum & 255;
  ASSERT_TRUE(parse_echo_request(frame));
  answer_echo(frame);
  EXPECT_EQ(ip_destination(frame), kPeer6);
  EXPECT_EQ(frame[54], 129);
  EXPECT_EQ(fold(words(frame, 22, 54) + 11 + 58 + words(frame, 54, 65)), 0xffff);
}

TEST(Echo, AFragmentOrABrokenSumIsNotAnswered) {
  Bytes frame = hex(
      "020000000020 020000000011 0800 4500 001c 0000 0000 4001 0000 c000020b c0000214 0800 f7ff 0000 0000");
  ASSERT_TRUE(parse_echo_request(frame));
  Bytes fragment = frame;
  fragment[20] = 0x20;
  EXPECT_FALSE(parse_echo_request(fragment));
  frame[38] ^= 1;
  EXPECT_FALSE(parse_echo_request(frame));
}

TEST(Checksums, AnUnfinishedOneIsFinished) {
  Bytes frame = udp(0);
  const uint16_t bare = pseudo(frame);
  frame = udp(bare);
  ASSERT_FALSE(udp_sum_holds(frame));
  finish_checksums(frame, 4789);
  EXPECT_TRUE(udp_sum_holds(frame));
}

TEST(Checksums, AFinishedAWrongAndAnAbsentOneStay) {
  Bytes good = udp(0);
  good = udp(pseudo(good));
  finish_checksums(good, 4789);
  for (const Bytes& frame : {good, udp(0x1234), udp(0)}) {
    Bytes after = frame;
    finish_checksums(after, 4789);
    EXPECT_EQ(after, frame);
  }
}

TEST(Checksums, InsideATunnelToo) {
  Bytes inner = udp(pseudo(udp(0)));
  Bytes payload = hex("08000000 00000100");
  payload.insert(payload.end(), inner.begin(), inner.end());
  Bytes frame = udp(0, 4789, payload);
  finish_checksums(frame, 4789);
  EXPECT_TRUE(udp_sum_holds(Bytes(frame.begin() + 50, frame.end())));
  Bytes elsewhere = udp(0, 4790, payload);
  const Bytes before = elsewhere;
  finish_checksums(elsewhere, 4789);
  EXPECT_EQ(elsewhere, before);
}

TEST(Checksums, CutFramesAreLeftAlone) {
  Bytes frame = udp(pseudo(udp(0)));
  for (size_t length = 0; length < frame.size(); ++length) {
    Bytes cut(frame.begin(), frame.begin() + static_cast<long>(length));
    const Bytes before = cut;
    finish_checksums(cut, 4789);
    EXPECT_EQ(cut, before) << length;
  }
}

}  // namespace
}  // namespace thalweg::dataplane::dpdk
