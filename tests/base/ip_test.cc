#include "base/ip.h"

#include <gtest/gtest.h>

namespace thalweg {

TEST(Ip, ParsesAndPrintsBothFamilies) {
  EXPECT_EQ(Ip::parse("192.0.2.1")->str(), "192.0.2.1");
  EXPECT_EQ(Ip::parse("2001:DB8::1")->str(), "2001:db8::1");
  EXPECT_TRUE(Ip::parse("192.0.2.1")->is_v4());
  EXPECT_FALSE(Ip::parse("2001:db8::1")->is_v4());
}

TEST(Ip, RefusesWhatIsNotAnAddress) {
  for (const char* text : {"", "192.0.2", "192.0.2.256", "192.0.2.01x", "fe80::1%eth0", "::1 "})
    EXPECT_FALSE(Ip::parse(text)) << text;
  EXPECT_FALSE(Ip::parse(std::string_view("192.0.2.1\0", 10)));
}

TEST(Ip, PlusCarries) { EXPECT_EQ(Ip::parse("192.0.2.255")->plus(2).str(), "192.0.3.1"); }

TEST(Cidr, ContainsItsOwnAndNothingElse) {
  const auto cidr = Cidr::parse("192.0.2.0/24").value();
  EXPECT_EQ(cidr.length(), 120);
  EXPECT_EQ(cidr.family_length(), 24);
  EXPECT_TRUE(cidr.contains(Ip::v4(192, 0, 2, 255)));
  EXPECT_FALSE(cidr.contains(Ip::v4(192, 0, 3, 0)));
  EXPECT_FALSE(Cidr::parse("0.0.0.0/0")->contains(*Ip::parse("2001:db8::1")));
  EXPECT_TRUE(Cidr::parse("::/0")->contains(*Ip::parse("2001:db8::1")));
}

TEST(Cidr, NamesTheMistake) {
  EXPECT_EQ(Cidr::parse("192.0.2.1/24").error().message,
            "'192.0.2.1/24' has host bits set: did you mean 192.0.2.0/24?");
  EXPECT_FALSE(Cidr::parse("192.0.2.0/33"));
  EXPECT_FALSE(Cidr::parse("192.0.2.0/"));
  EXPECT_FALSE(Cidr::parse("192.0.2.0"));
  EXPECT_TRUE(Cidr::parse_lenient("192.0.2.1/24"));
}

}  // namespace thalweg
