// Which flows the sweep removes.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "dataplane/agent/conntrack.h"

namespace thalweg::dataplane {
namespace {

const addr kClient = to_addr(Ip::v4(10, 244, 1, 5));
const addr kService = to_addr(Ip::v4(10, 96, 0, 10));
const addr kBackend = to_addr(Ip::v4(10, 244, 2, 7));
const addr kOther = to_addr(Ip::v4(10, 244, 2, 8));
constexpr uint64_t kNow = 100'000ull * 1'000'000'000;

Intent with_backend(const addr& backend_address) {
  Intent intent;
  const service_key service{.address = kService, .port = htons(53), .protocol = IPPROTO_UDP};
  intent.services[service] = {.backends = {1, 1}};
  intent.backends[{.service = service}] = {.address = backend_address, .port = htons(53)};
  return intent;
}

flow_key udp_key() {
  return {.a = kService, .b = kClient, .a_port = htons(53), .b_port = htons(4000), .protocol = IPPROTO_UDP};
}

flow to_backend(uint64_t age_ns) {
  flow value{.last_seen_ns = kNow - age_ns, .flags = FLOW_NAT};
  value.to = {
      .source = kClient, .destination = kBackend, .source_port = htons(4000), .destination_port = htons(53)};
  return value;
}

TEST(FlowEnd, AUdpFlowEndsWithItsBackend) {
  EXPECT_EQ(flow_end(udp_key(), to_backend(1), Backends(with_backend(kBackend)), kNow), FlowEnd::None);
  EXPECT_EQ(flow_end(udp_key(), to_backend(1), Backends(with_backend(kOther)), kNow), FlowEnd::BackendGone);
}

TEST(FlowEnd, ATcpFlowOutlivesItsBackendsReadiness) {
  flow_key key = udp_key();
  key.protocol = IPPROTO_TCP;
  EXPECT_EQ(flow_end(key, to_backend(1), Backends(with_backend(kOther)), kNow), FlowEnd::None);
}

TEST(FlowEnd, WhatIsIdleTooLongEnds) {
  const Backends backends(with_backend(kBackend));
  EXPECT_EQ(flow_end(udp_key(), to_backend(kUdpIdleNs), backends, kNow), FlowEnd::None);
  EXPECT_EQ(flow_end(udp_key(), to_backend(kUdpIdleNs + 1), backends, kNow), FlowEnd::Expired);
  flow_key tcp = udp_key();
  tcp.protocol = IPPROTO_TCP;
  EXPECT_EQ(flow_end(tcp, to_backend(kUdpIdleNs + 1), backends, kNow), FlowEnd::None);
}

TEST(FlowEnd, AFlowSeenAfterTheClockWasReadStays) {
  flow value = to_backend(0);
  value.last_seen_ns = kNow + 5;
  EXPECT_EQ(flow_end(udp_key(), value, Backends(with_backend(kBackend)), kNow), FlowEnd::None);
}

TEST(FlowEnd, TheTwinIsKeyedBySmallerSideFirst) {
  const flow_key twin = twin_key(to_backend(0), IPPROTO_UDP);
  EXPECT_EQ(to_ip(twin.a).str(), "10.244.1.5");
  EXPECT_EQ(to_ip(twin.b).str(), "10.244.2.7");
  EXPECT_EQ(ntohs(twin.a_port), 4000);
}

}  // namespace
}  // namespace thalweg::dataplane
