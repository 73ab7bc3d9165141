// A node and a pod, both namespaces: the link made, checked, broken, undone; and packets through it.
#include "dataplane/agent/pod_link.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <sys/socket.h>

#include "tests/base/scratch_netns.h"

namespace thalweg::dataplane {
namespace {

using ::testing::HasSubstr;

Ip ip(const char* text) { return Ip::parse(text).value(); }

struct PodLinkTest : ::testing::Test {
  void SetUp() override {
    NEED_NETNS();
    node = std::make_unique<ScratchNetns>("node");
    pod = std::make_unique<ScratchNetns>("pod");
    spec = {.netns_path = pod->path(),
            .ifname = "eth0",
            .host_name = host_link_name("c1", "eth0"),
            .ips = {ip("192.0.2.7"), ip("2001:db8::7")},
            .mtu = 1400};
  }
  Result<PodLink> wire_it() {
    return node->netns().run([&] { return wire(spec); });
  }
  Result<PodLink> check_it() {
    return node->netns().run([&] { return check(spec); });
  }
  Result<> unwire_it() {
    return node->netns().run([&] { return unwire(spec.host_name); });
  }
  size_t links_in(ScratchNetns& ns) { return nl::links(ns.socket())->size(); }
  std::unique_ptr<ScratchNetns> node, pod;
  PodLinkSpec spec;
};

TEST(HostLinkName, IsALinkNameAndDiffers) {
  const std::string name = host_link_name("c1", "eth0");
  EXPECT_THAT(name, ::testing::MatchesRegex("tw[0-9a-f]{11}"));
  EXPECT_TRUE(nl::is_link_name(name));
  EXPECT_EQ(name, host_link_name("c1", "eth0"));
  EXPECT_NE(name, host_link_name("c1", "eth1"));
  EXPECT_NE(host_link_name("ab", "c"), host_link_name("a", "bc"));
}

TEST_F(PodLinkTest, IsAsDescribed) {
  const auto link = wire_it();
  ASSERT_TRUE(link) << link.error().message;
  const auto host = nl::link_by_name(node->socket(), spec.host_name).value();
  const auto eth0 = nl::link_by_name(pod->socket(), "eth0").value();
  EXPECT_EQ(link->host_ifindex, host.index);
  EXPECT_EQ(link->host_mac, host.mac);
  EXPECT_EQ(link->pod_mac, eth0.mac);
  EXPECT_EQ(eth0.mtu, 1400u);
  EXPECT_TRUE(check_it()) << check_it().error().message;
  const auto sysctls = pod->netns().run([]() -> Result<std::string> {
    return TRY(get_sysctl("net/ipv6/conf/eth0/accept_ra"))
    +TRY(get_sysctl("net/ipv6/conf/eth0/accept_dad"))
    +TRY(get_sysctl("net/ipv6/conf/eth0/disable_ipv6"));
  });
  EXPECT_EQ(sysctls.value(), "000");
}

// Wiring again must not disturb a pod that is up: the link stays the very same.
TEST_F(PodLinkTest, WiringAgainKeepsTheLink) {
  const auto one = wire_it();
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_EQ(wire_it()->host_ifindex, one->host_ifindex);
  // Half of it gone: made anew.
  ASSERT_TRUE(nl::delete_address(
      pod->socket(), {.ip = spec.ips[0], .link = nl::link_by_name(pod->socket(), "eth0")->index}));
  EXPECT_THAT(check_it().error().message, HasSubstr("192.0.2.7"));
  const auto again = wire_it();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(check_it());
}

TEST_F(PodLinkTest, CheckNamesWhatIsWrong) {
  ASSERT_TRUE(wire_it());
  const uint32_t eth0 = nl::link_by_name(pod->socket(), "eth0")->index;
  const uint32_t host = nl::link_by_name(node->socket(), spec.host_name)->index;
  ASSERT_TRUE(nl::delete_neighbour(pod->socket(), {.ip = kPodGateway6, .link = eth0}));
  EXPECT_THAT(check_it().error().message, HasSubstr("fe80::1"));
  ASSERT_TRUE(wire_it());
  const uint32_t host2 = nl::link_by_name(node->socket(), spec.host_name)->index;
  EXPECT_NE(host, host2);
  ASSERT_TRUE(nl::delete_route(node->socket(), {.to = Cidr::host(spec.ips[1]), .link = host2}));
  EXPECT_THAT(check_it().error().message, HasSubstr("2001:db8::7"));
  ASSERT_TRUE(wire_it());
  ASSERT_TRUE(nl::set_up(pod->socket(), nl::link_by_name(pod->socket(), "eth0")->index, false));
  EXPECT_THAT(check_it().error().message, HasSubstr("down"));
}

TEST_F(PodLinkTest, FailureLeavesNothing) {
  const size_t before = links_in(*node);
  spec.ips = {ip("192.0.2.7"), ip("ff02::1")};  // no link may have a multicast address
  EXPECT_FALSE(wire_it());
  EXPECT_EQ(links_in(*node), before);
  EXPECT_EQ(links_in(*pod), 1u);
  // The pod's name is taken by another: that link stays.
  ASSERT_TRUE(nl::create_veth(pod->socket(), {.name = "eth0", .peer_name = "other"}));
  spec.ips = {ip("192.0.2.7")};
  EXPECT_EQ(wire_it().error().code, EEXIST);
  EXPECT_EQ(links_in(*node), before);
  EXPECT_TRUE(nl::link_by_name(pod->socket(), "eth0"));
}

TEST_F(PodLinkTest, AbsentNamespaceAndBadSpecs) {
  spec.netns_path = "/run/netns/twt-base-absent";
  EXPECT_EQ(wire_it().error().code, ENOENT);
  spec.netns_path = node->path();
  EXPECT_THAT(wire_it().error().message, HasSubstr("own namespace"));
  spec.netns_path = pod->path();
  for (const char* name : {"", "..", "a/b", "1234567890123456"}) {
    spec.ifname = name;
    EXPECT_FALSE(wire_it()) << name;
  }
}

TEST_F(PodLinkTest, UnwireIsIdempotentAndTakesAllAlong) {
  ASSERT_TRUE(wire_it());
  EXPECT_TRUE(unwire_it());
  EXPECT_TRUE(unwire_it());
  EXPECT_EQ(links_in(*pod), 1u);
  const auto routes = nl::routes(node->socket()).value();
  for (const nl::Route& route : routes) EXPECT_NE(route.to, Cidr::host(spec.ips[0]));
}

// One datagram each way over the real link, the node having an address of its own on lo.
TEST_F(PodLinkTest, PacketsPassBothFamilies) {
  for (const char* own : {"198.51.100.1", "2001:db8:ffff::1"}) {
    ASSERT_TRUE(nl::set_address(node->socket(), {.ip = ip(own), .link = 1}));
    while (!nl::is_local(node->socket(), ip(own)).value()) ::usleep(500);
  }
  ASSERT_TRUE(wire_it());
  const auto socket_at = [](const char* text, bool v4) -> Result<int> {
    const int fd = ::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_storage address = {};
    address.ss_family = v4 ? AF_INET : AF_INET6;
    reinterpret_cast<sockaddr_in*>(&address)->sin_port = htons(4000);
    ::inet_pton(address.ss_family, text,
                v4 ? static_cast<void*>(&reinterpret_cast<sockaddr_in*>(&address)->sin_addr)
                   : &reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
      return fail_errno(errno, "bind");
    timeval timeout = {5, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    return fd;
  };
  for (const auto& [in_pod, on_node] :
       {std::pair{"192.0.2.7", "198.51.100.1"}, {"2001:db8::7", "2001:db8:ffff::1"}}) {
    const bool v4 = ip(in_pod).is_v4();
    const Fd p(pod->netns().run([&, in_pod = in_pod] { return socket_at(in_pod, v4); }).value());
    const Fd n(node->netns().run([&, on_node = on_node] { return socket_at(on_node, v4); }).value());
    sockaddr_storage to = {};
    socklen_t size = sizeof to;
    ::getsockname(n.get(), reinterpret_cast<sockaddr*>(&to), &size);
    ASSERT_EQ(::sendto(p.get(), "hello", 5, 0, reinterpret_cast<sockaddr*>(&to), size), 5)
        << in_pod << std::strerror(errno);
    char buffer[16];
    ASSERT_EQ(::recvfrom(n.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&to), &size), 5)
        << in_pod;
    ASSERT_EQ(::sendto(n.get(), "again", 5, 0, reinterpret_cast<sockaddr*>(&to), size), 5);
    ASSERT_EQ(::recv(p.get(), buffer, sizeof buffer, 0), 5) << in_pod;
  }
}

TEST_F(PodLinkTest, Ipv4Only) {
  spec.ips = {ip("192.0.2.7")};
  ASSERT_TRUE(wire_it());
  EXPECT_TRUE(check_it());
  const auto addresses = nl::addresses(pod->socket(), nl::link_by_name(pod->socket(), "eth0")->index).value();
  EXPECT_EQ(addresses.size(), 1u);
}

}  // namespace
}  // namespace thalweg::dataplane
