// The uplink's XDP program before tc: every packet case comes to the same as without it, and here is said,
// packet by packet, which ones it sends on itself and which it leaves to tc.
#include <gtest/gtest.h>

#include "tests/packet/case_frames.h"
#include "tests/packet/kernel_engine.h"
#include "tests/packet/native_engine.h"

namespace thalweg::packet {
namespace {

const Result<std::unique_ptr<XdpEngine>>& shared_engine() {
  static const auto engine = xdp_engine();
  return engine;
}

class XdpPacketCase : public testing::TestWithParam<size_t> {};

TEST_P(XdpPacketCase, ComesToTheSame) {
  const auto& xdp = shared_engine();
  if (!xdp) GTEST_SKIP() << xdp.error().message;
  const Case& one = cases()[GetParam()];
  if (const std::string why = why_not(**xdp, one); !why.empty()) GTEST_SKIP() << why << ": " << one.name;
  EXPECT_EQ(run_case(**xdp, one, nullptr), "") << one.name;
}

INSTANTIATE_TEST_SUITE_P(All, XdpPacketCase, testing::Range<size_t>(0, cases().size()));

TEST(XdpPacketCases, LeaveOutWhatTheKernelDoes) {
  const auto kernel = kernel_engine();
  const auto& xdp = shared_engine();
  if (!kernel || !xdp) GTEST_SKIP() << (xdp ? kernel.error().message : xdp.error().message);
  EXPECT_EQ(left_out(**xdp), left_out(**kernel));
}

// ---- who takes what

enum By { kTc, kXdp };
const std::string kThis6 = "2001:db8::1", kDirect = "198.51.100.130", kBalancer = "203.0.113.20";

// A service, its client, and the backend its packets go to.
struct Asked {
  Frame frame{.from = kWorld, .to = kThis, .to_port = 30080, .payload = std::string(100, 'x')};
  std::string backend = kRemote;
  uint16_t backend_port = 8080;

  Frame with(uint8_t flags) const {
    Frame one = frame;
    one.tcp_flags = flags;
    return one;
  }
  Bytes sent(uint8_t flags) const { return with(flags).bytes(); }
  // As the backend answers what this node asked it in the client's place.
  Frame answer_with(uint8_t flags) const {
    Frame back = frame;
    back.from = backend, back.from_port = backend_port;
    back.to = frame.to.find(':') == std::string::npos ? kThis : kThis6, back.to_port = kMasqueradePort;
    back.tcp_flags = flags;
    return back;
  }
  Bytes answered(uint8_t flags) const { return from_tunnel(answer_with(flags)); }
};

class Xdp : public testing::Test {
 protected:
  void SetUp() override {
    if (!shared_engine()) GTEST_SKIP() << shared_engine().error().message;
  }
  static XdpEngine& xdp() { return **shared_engine(); }

  void begin(const Rows& rows) {
    for (Engine* engine : {static_cast<Engine*>(&xdp()), native_.get()}) {
      ASSERT_TRUE(engine->clear());
      change(*engine, rows);
    }
    native_->come_in_by(kUplinkIfindex);
  }
  static void change(Engine& engine, const Rows& rows) {
    for (const PutRow& row : rows) ASSERT_TRUE(engine.put(row.table, row.key, row.value));
  }
  void change(const Rows& rows) {
    change(xdp(), rows);
    change(*native_, rows);
  }
  // The packet comes in: who sends it on, by which hop, and with the same bytes as the native path.
  void expect(By by, const Bytes& packet, hop_kind hop, const char* what) {
    const auto ours = native_->run(FROM_UPLINK, packet, 128);
    const uint64_t before = xdp().counted(DROP_NONE), before_xdp = xdp().counted(COUNTER_XDP);
    const auto theirs = xdp().run(FROM_UPLINK, packet, 128);
    ASSERT_TRUE(ours && theirs) << what << ": " << (ours ? theirs : ours).error().message;
    EXPECT_EQ(xdp().took(), by == kXdp) << what;
    EXPECT_EQ(ours->said, theirs->said) << what;
    EXPECT_EQ(ours->reason, theirs->reason) << what;
    if (hop == HOP_NONE) return;
    EXPECT_EQ(ours->hop, hop) << what;
    EXPECT_EQ(theirs->hop, hop) << what;
    EXPECT_EQ(ours->bytes, theirs->bytes) << what;
    EXPECT_EQ(xdp().counted(DROP_NONE) - before, 1u) << what << ": counted once";
    EXPECT_EQ(xdp().counted(COUNTER_XDP) - before_xdp, by == kXdp ? 1u : 0u) << what;
  }
  // The first packets of both directions are tc's, whatever the protocol.
  void open(const Asked& asked) {
    expect(kTc, asked.sent(kSyn), HOP_TUNNEL, "the first packet");
    expect(kTc, asked.answered(kSyn | kAck), HOP_WORLD, "the first answer");
  }

  std::unique_ptr<Engine> native_ = native_engine();
};

Rows node_port(const Asked& asked, uint32_t more_flags = 0) {
  return pods() + service(asked.frame.to, asked.frame.to_port, asked.frame.protocol, asked.backend,
                          asked.backend_port, SERVICE_NODE_PORT | more_flags);
}

TEST_F(Xdp, AConnectionToABackendElsewhere) {
  const Asked asked;
  begin(node_port(asked));
  open(asked);
  expect(kTc, asked.sent(kSyn), HOP_TUNNEL, "SYN again: its segment size is clamped");
  expect(kXdp, asked.sent(kAck), HOP_TUNNEL, "onwards");
  expect(kXdp, asked.answered(kAck), HOP_WORLD, "back");
  expect(kXdp, asked.sent(kAck | kFin), HOP_TUNNEL, "the end");
  expect(kXdp, asked.answered(kAck | kFin), HOP_WORLD, "the end, back");
  Frame again = asked.with(kSyn);
  again.sequence = 5000;
  expect(kTc, again.bytes(), HOP_TUNNEL, "the port used again: a flow of its own");
}

TEST_F(Xdp, AConnectionOverIpv6) {
  Asked asked;
  asked.frame.from = kWorld6, asked.frame.to = kThis6, asked.backend = kRemote6;
  begin(node_port(asked));
  open(asked);
  expect(kXdp, asked.sent(kAck), HOP_TUNNEL, "onwards");
  expect(kXdp, asked.answered(kAck), HOP_WORLD, "back");
}

TEST_F(Xdp, DatagramsWithAndWithoutAChecksum) {
  for (const bool without : {false, true}) {
    Asked asked;
    asked.frame.protocol = kUdp;
    asked.frame.no_udp_checksum = without;
    begin(node_port(asked));
    open(asked);
    expect(kXdp, asked.sent(0), HOP_TUNNEL, "onwards");
    expect(kXdp, asked.answered(0), HOP_WORLD, "back");
    // A length that is odd, and one shorter than the smallest frame.
    for (const size_t length : {0, 1, 17, 1001}) {
      asked.frame.payload = std::string(length, 'y');
      expect(kXdp, asked.sent(0), HOP_TUNNEL, "another length");
      expect(kXdp, asked.answered(0), HOP_WORLD, "another length, back");
    }
  }
}

// Of the UDP datagram inside the tunnel.
uint16_t checksum_inside(const Bytes& out) {
  constexpr size_t kField = 14 + 20 + 8 + 8 + 14 + 20 + 6;
  return static_cast<uint16_t>(static_cast<uint8_t>(out[kField]) << 8 |
                               static_cast<uint8_t>(out[kField + 1]));
}
// The same with more in the sum: what was checksum c without becomes c less that.
std::string two_bytes(uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  return {static_cast<char>(sum >> 8), static_cast<char>(sum & 255)};
}

// Those where a carry comes twice, and where none would mean "none", among them.
TEST_F(Xdp, EveryChecksumComesOutRight) {
  for (uint16_t port = 40000; port < 40012; ++port) {
    Asked asked;
    asked.frame.protocol = kUdp, asked.frame.from_port = port;
    asked.frame.payload = two_bytes(0);
    begin(node_port(asked));
    open(asked);
    const auto without = native_->run(FROM_UPLINK, asked.sent(0), 128);
    ASSERT_TRUE(without);
    for (const uint16_t wanted : {0, 1, 2, 0x7fff, 0xfffd, 0xfffe}) {
      asked.frame.payload = two_bytes(checksum_inside(without->bytes) + uint32_t{0xffff} - wanted);
      expect(kXdp, asked.sent(0), HOP_TUNNEL, "onwards");
      const auto out = native_->run(FROM_UPLINK, asked.sent(0), 128);
      ASSERT_TRUE(out);
      EXPECT_EQ(checksum_inside(out->bytes), wanted ? wanted : 0xffff);
    }
  }
}

TEST_F(Xdp, ABackendOnTheSameSegment) {
  Asked asked;
  asked.backend = kDirect;
  begin(node_port(asked) + route("198.51.100.128/26", ROUTE_DIRECT, "192.0.2.3"));
  expect(kTc, asked.sent(kSyn), HOP_DIRECT, "the first packet");
  expect(kTc, asked.answer_with(kSyn | kAck).bytes(), HOP_WORLD, "the first answer");
  expect(kXdp, asked.sent(kAck), HOP_DIRECT, "onwards");
  expect(kXdp, asked.answer_with(kAck).bytes(), HOP_WORLD, "back");
}

TEST_F(Xdp, ATunnelOverIpv6) {
  for (const bool v4_inside : {true, false}) {
    Asked asked;
    if (!v4_inside) asked.frame.from = kWorld6, asked.frame.to = kThis6, asked.backend = kRemote6;
    begin(node_port(asked) + route("198.51.100.64/26", ROUTE_TUNNEL, "2001:db8::2") +
          route("2001:db8:2::/64", ROUTE_TUNNEL, "2001:db8::2") +
          route("2001:db8::2", ROUTE_TUNNEL, "2001:db8::2", ROUTE_NODE_ADDRESS));
    const Tunnel back{"2001:db8::2", kThis6};
    expect(kTc, asked.sent(kSyn), HOP_TUNNEL, "the first packet");
    expect(kTc, back.around(asked.answer_with(kSyn | kAck).bytes()), HOP_WORLD, "the first answer");
    expect(kXdp, asked.sent(kAck), HOP_TUNNEL, "onwards");
    expect(kXdp, back.around(asked.answer_with(kAck).bytes()), HOP_WORLD, "back");
  }
}

TEST_F(Xdp, ABackendsNodeThatAnswersItself) {
  Asked asked;
  asked.frame.to = kBalancer;
  begin(node_port(asked, SERVICE_DSR));
  expect(kTc, asked.sent(kSyn), HOP_TUNNEL, "the first packet");
  expect(kXdp, asked.sent(kAck), HOP_TUNNEL, "onwards");
}

TEST_F(Xdp, ABackendHereIsForTc) {
  Asked asked;
  asked.backend = kPod;
  begin(node_port(asked));
  expect(kTc, asked.sent(kSyn), HOP_ENDPOINT, "the first packet");
  expect(kTc, asked.sent(kAck), HOP_ENDPOINT, "onwards");
}

TEST_F(Xdp, WhatIsNotOursPasses) {
  begin(node_port({}));
  for (const Frame& frame :
       {Frame{.from = kWorld, .to = kThis, .to_port = 22}, Frame{.from = kWorld, .to = "192.0.2.77"},
        Frame{.from = kWorld, .to = kThis, .protocol = kIcmp}})
    expect(kTc, frame.bytes(), HOP_NONE, "the host's");
  expect(kTc, Tunnel{"192.0.2.99", kThis}.around(Frame{.from = kRemote, .to = kPod}.bytes()), HOP_NONE,
         "no node");
  expect(kTc, Bytes("\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\x06", 14) + Bytes(40, 'a'), HOP_NONE, "ARP");
}

// ---- of flows it knows, what it leaves to tc

class XdpLeaves : public Xdp {
 protected:
  void SetUp() override {
    Xdp::SetUp();
    if (IsSkipped()) return;
    begin(node_port(asked_));
    open(asked_);
    expect(kXdp, asked_.sent(kAck), HOP_TUNNEL, "onwards");
    expect(kXdp, asked_.answered(kAck), HOP_WORLD, "back");
  }
  const Asked asked_;
  const Bytes plain_ = asked_.sent(kAck);
};

TEST_F(XdpLeaves, WhatIsToBeRefusedOverIpv6) {
  Asked asked;
  asked.frame.from = kWorld6, asked.frame.to = kThis6, asked.backend = kRemote6;
  begin(node_port(asked));
  open(asked);
  expect(kXdp, asked.sent(kAck), HOP_TUNNEL, "onwards");
  asked.frame.ttl = 1;
  expect(kTc, asked.sent(kAck), HOP_NONE, "hop limit out");
}

TEST_F(XdpLeaves, WhatIsTooBigForTheWayToThatNode) {
  begin(node_port(asked_) + route("198.51.100.64/26", ROUTE_TUNNEL, kOther, 0, 1300));
  open(asked_);
  Frame big = asked_.with(kAck);
  big.payload = std::string(1300 - 40, 'x');
  expect(kXdp, big.bytes(), HOP_TUNNEL, "just fits");
  big.payload += 'x';
  expect(kTc, big.bytes(), HOP_NONE, "too big, though the uplink would carry it");
}

TEST_F(XdpLeaves, WhatLeavesByAnotherInterface) {
  Rows rows = node_port(asked_);
  for (PutRow& row : rows)
    if (row.table == TABLE_node)
      row.value.replace(offsetof(::node, uplink_ifindex), 4, raw(uint32_t{kOtherIfindex}));
  begin(rows + passes_by(1));
  open(asked_);
  expect(kTc, plain_, HOP_TUNNEL, "onwards");
  expect(kTc, asked_.answered(kAck), HOP_WORLD, "back");
}

// A pod of a third node asks; the tunnel header it came in would have to give way to another.
TEST_F(XdpLeaves, WhatCameByTunnelAndGoesOnByTunnel) {
  begin(node_port(asked_) + route("198.51.100.192/26", ROUTE_TUNNEL, "192.0.2.3") + passes_by(1));
  Frame frame = asked_.with(kSyn);
  frame.from = "198.51.100.200";
  const Tunnel by{"192.0.2.3", kThis};
  expect(kTc, by.around(frame.bytes()), HOP_TUNNEL, "the first packet");
  frame.tcp_flags = kAck;
  expect(kTc, by.around(frame.bytes()), HOP_TUNNEL, "onwards");
}

// The error finds the way back, but moves no entry: that is the first answer's.
TEST_F(XdpLeaves, TheFirstAnswerBehindAnIcmpError) {
  Asked asked;
  asked.frame.protocol = kUdp;
  begin(node_port(asked));
  expect(kTc, asked.sent(0), HOP_TUNNEL, "the first packet");
  Frame error{.from = kOther, .to = kThis, .protocol = kIcmp};
  error.quotes = ip_packet(answer(asked.answer_with(0)).bytes()).substr(0, 28);
  expect(kTc, from_tunnel(error), HOP_WORLD, "an error about it");
  expect(kTc, asked.answered(0), HOP_WORLD, "the first answer");
  expect(kXdp, asked.answered(0), HOP_WORLD, "the next");
}

TEST_F(XdpLeaves, WhatIsToBeRefused) {
  for (const uint8_t ttl : {0, 1}) {
    Frame old = asked_.with(kAck);
    old.ttl = ttl;
    expect(kTc, old.bytes(), HOP_NONE, "TTL out");
    Frame back = asked_.answer_with(kAck);
    back.ttl = ttl;
    expect(kTc, from_tunnel(back), HOP_NONE, "TTL out, back");
  }
  Frame big = asked_.with(kAck);
  big.payload = std::string(1450, 'x');
  expect(kTc, big.bytes(), HOP_NONE, "too big for the tunnel");
  big.payload = std::string(1450 - 40, 'x');
  expect(kXdp, big.bytes(), HOP_TUNNEL, "just fits");
}

TEST_F(XdpLeaves, WhatIsNotPlain) {
  Frame tagged = asked_.with(kAck);
  tagged.vlan = true;
  expect(kTc, tagged.bytes(), HOP_NONE, "a VLAN's");
  Frame part = asked_.with(kAck);
  part.fragment = 0x2000;
  expect(kTc, part.bytes(), HOP_TUNNEL, "the first fragment");
  Frame rest = part;
  rest.fragment = 20, rest.no_transport = true;
  expect(kTc, rest.bytes(), HOP_TUNNEL, "a later fragment");
  Frame error{.from = "203.0.113.77", .to = kThis, .protocol = kIcmp};
  error.quotes = ip_packet(answer(asked_.with(kAck)).bytes()).substr(0, 28);
  expect(kTc, error.bytes(), HOP_TUNNEL, "an ICMP error");
  Frame options = asked_.with(kAck);
  options.ipv4_options = 8;
  expect(kXdp, options.bytes(), HOP_TUNNEL, "IPv4 options are plain enough");
}

TEST_F(XdpLeaves, SctpForItsChecksum) {
  Asked asked = asked_;
  asked.frame.protocol = kSctp;
  begin(node_port(asked));
  open(asked);
  asked.frame.sctp_chunk = 0;  // DATA
  expect(kTc, asked.sent(0), HOP_TUNNEL, "onwards");
}

// A sender on the same machine leaves its sum to a device: what stands there is that of the pseudo-header.
Bytes unfinished(Bytes frame) {
  const bool v4 = frame[12] == 8;
  const size_t tcp = v4 ? 34 : 54, field = tcp + 16;
  const uint16_t length = frame.size() - tcp;
  const std::string pseudo = (v4 ? frame.substr(26, 8) : frame.substr(22, 32)) + std::string("\0\x06", 2) +
                             static_cast<char>(length >> 8) + static_cast<char>(length & 255);
  const uint16_t sum = ~checksum(pseudo);
  frame[field] = static_cast<char>(sum >> 8), frame[field + 1] = static_cast<char>(sum & 255);
  return frame;
}

TEST_F(XdpLeaves, AChecksumThatIsStillToBeMade) {
  expect(kTc, unfinished(plain_), HOP_TUNNEL, "onwards");
  const Frame back = asked_.answer_with(kAck);
  expect(kTc, Tunnel{kOther, kThis}.around(unfinished(back.bytes())), HOP_WORLD, "back");
  expect(kXdp, plain_, HOP_TUNNEL, "finished");
}

TEST_F(XdpLeaves, AChecksumThatIsStillToBeMadeOverIpv6) {
  Asked asked;
  asked.frame.from = kWorld6, asked.frame.to = kThis6, asked.backend = kRemote6;
  begin(node_port(asked));
  open(asked);
  expect(kTc, unfinished(asked.sent(kAck)), HOP_TUNNEL, "onwards");
  expect(kXdp, asked.sent(kAck), HOP_TUNNEL, "finished");
}

TEST_F(XdpLeaves, AnotherMacsFrames) {
  Frame strange = asked_.with(kAck);
  strange.to_mac = std::string("\x02\0\0\0\0\x77", 6);
  expect(kTc, strange.bytes(), HOP_TUNNEL, "to another MAC");
}

TEST_F(XdpLeaves, AFlowThatMustBeDecidedAnew) {
  change({generation(2)});
  expect(kTc, plain_, HOP_TUNNEL, "the addresses have changed");
  expect(kXdp, plain_, HOP_TUNNEL, "decided");
  expect(kTc, asked_.answered(kAck), HOP_WORLD, "and back");
  expect(kXdp, asked_.answered(kAck), HOP_WORLD, "decided");
}

TEST_F(XdpLeaves, EverythingUntilSomethingPassesBy) {
  change({passes_by(0)});
  expect(kTc, plain_, HOP_TUNNEL, "it has not been seen yet");
  expect(kTc, asked_.answered(kAck), HOP_WORLD, "nor back");
  change({generation(2)});
  expect(kTc, plain_, HOP_TUNNEL, "decided anew");
  expect(kXdp, plain_, HOP_TUNNEL, "and seen");
}

TEST_F(XdpLeaves, AnAnswerByAnotherNode) {
  expect(kTc, Tunnel{"192.0.2.3", kThis}.around(asked_.answer_with(kAck).bytes()), HOP_NONE, "not its peer");
  expect(kTc, asked_.answer_with(kAck).bytes(), HOP_NONE, "not by tunnel");
  Tunnel other{kOther, kThis};
  other.vni = 2;
  expect(kTc, other.around(asked_.answer_with(kAck).bytes()), HOP_NONE, "another network");
}

TEST_F(XdpLeaves, ANextHopTheKernelDoesNotKnow) {
  for (const auto& [change, back] :
       {std::pair("neigh del 192.0.2.2 dev up0",
                  "neigh add 192.0.2.2 lladdr 02:00:00:00:01:02 dev up0 nud permanent"),
        {"route add prohibit 192.0.2.2/32", "route del prohibit 192.0.2.2/32"}}) {
    ASSERT_TRUE(xdp().on_node(change));
    expect(kTc, plain_, HOP_TUNNEL, change);
    ASSERT_TRUE(xdp().on_node(back));
    expect(kXdp, plain_, HOP_TUNNEL, back);
  }
}

}  // namespace
}  // namespace thalweg::packet
