#include "dns/endpoint.h"

#include <gtest/gtest.h>

namespace thalweg::dns {
namespace {

TEST(Endpoint, ReadsWhatFlagsWrite) {
  EXPECT_EQ(parse_endpoint("192.0.2.1")->str(), "192.0.2.1:53");
  EXPECT_EQ(parse_endpoint("192.0.2.1:5353")->str(), "192.0.2.1:5353");
  EXPECT_EQ(parse_endpoint("2001:db8::1")->str(), "[2001:db8::1]:53");
  EXPECT_EQ(parse_endpoint("[2001:db8::1]:5353")->str(), "[2001:db8::1]:5353");
  EXPECT_EQ(parse_endpoint("0.0.0.0:53")->str(), "0.0.0.0:53");
  EXPECT_EQ(parse_endpoint("[::]:53")->str(), "[::]:53");
  for (const char* text : {"", "host", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:53x",
                           "[2001:db8::1", "[2001:db8::1]53", "192.0.2.256"})
    EXPECT_FALSE(parse_endpoint(text)) << text;
}

TEST(Endpoint, ReadsResolvConf) {
  const auto found = nameservers(
      "# comment\nsearch a b\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 \r\nnameserver\nnameserver "
      "nonsense\noptions ndots:5");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].str(), "192.0.2.1:53");
  EXPECT_EQ(found[1].str(), "[2001:db8::1]:53");
}

TEST(Endpoint, SeesLoops) {
  const std::vector<Endpoint> listen = {*parse_endpoint("0.0.0.0:53"), *parse_endpoint("[2001:db8::2]:53")};
  const std::vector<Ip> local = {*Ip::parse("192.0.2.1"), *Ip::parse("2001:db8::3")};
  EXPECT_TRUE(loops(*parse_endpoint("127.0.0.53"), listen, local));
  EXPECT_TRUE(loops(*parse_endpoint("192.0.2.1"), listen, local));
  EXPECT_TRUE(loops(*parse_endpoint("2001:db8::2"), listen, local));
  EXPECT_FALSE(loops(*parse_endpoint("192.0.2.1:5353"), listen, local));
  EXPECT_FALSE(loops(*parse_endpoint("192.0.2.9"), listen, local));
  EXPECT_FALSE(loops(*parse_endpoint("2001:db8::3"), listen, local));
}

}  // namespace
}  // namespace thalweg::dns
