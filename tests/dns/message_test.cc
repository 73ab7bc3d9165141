#include "dns/message.h"

#include <gtest/gtest.h>

#include "dns/text.h"
#include "dns_fixture.h"

namespace thalweg::dns {
namespace {

using test::query_bytes;

Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(ParseQuery, ReadsQuestionAndEdns) {
  const auto bytes = query_bytes("Web.Default", kSrv, kRd | kCd, 4096);
  Query query;
  ASSERT_EQ(parse_query(bytes, query), Parsed::Ok);
  EXPECT_EQ(query.id, 0x1234);
  EXPECT_EQ(query.name.str(), "Web.Default.");
  EXPECT_EQ(query.lower.str(), "web.default.");
  EXPECT_EQ(query.type, kSrv);
  EXPECT_TRUE(query.recursion_desired());
  EXPECT_TRUE(query.edns);
  EXPECT_EQ(query.udp_size, 4096);
}

struct BadQuery {
  const char* name;
  std::vector<uint8_t> bytes;
  Parsed expected;
};

std::vector<uint8_t> changed(std::vector<uint8_t> bytes, size_t at, uint8_t value) {
  bytes[at] = value;
  return bytes;
}

std::vector<uint8_t> with_two_opts() {
  std::vector<uint8_t> out(600);
  Writer writer(out);
  writer.begin(1, kRd);
  writer.question(*Name::parse("a"), kA);
  writer.opt(false, Rcode::NoError);
  writer.opt(false, Rcode::NoError);
  out.resize(writer.size());
  return out;
}

TEST(ParseQuery, RefusesWhatIsNone) {
  const auto good = query_bytes("a.b", kA);
  auto cut = good;
  cut.resize(good.size() - 1);
  auto tail = good;
  tail.push_back(0);
  auto pointer = good;  // a.b → a, then a pointer into the header
  pointer[14] = 0xc0;
  const std::vector<BadQuery> cases = {
      {"nothing", {}, Parsed::Drop},
      {"half a header", {1, 2, 3, 4, 5}, Parsed::Drop},
      {"a response", changed(good, 2, 0x81), Parsed::Drop},
      {"opcode UPDATE", changed(good, 2, 0x28), Parsed::NotImp},
      {"no question", changed(good, 5, 0), Parsed::FormErr},
      {"two questions", changed(good, 5, 2), Parsed::FormErr},
      {"an answer in it", changed(good, 7, 1), Parsed::FormErr},
      {"an authority in it", changed(good, 9, 1), Parsed::FormErr},
      {"an additional that is absent", changed(good, 11, 1), Parsed::FormErr},
      {"cut short", cut, Parsed::FormErr},
      {"a byte behind it", tail, Parsed::FormErr},
      {"a compressed question", pointer, Parsed::FormErr},
      {"two OPTs", with_two_opts(), Parsed::FormErr},
  };
  for (const auto& each : cases) {
    Query query;
    EXPECT_EQ(parse_query(each.bytes, query), each.expected) << each.name;
  }
}

TEST(Writer, CompressesAndUndoesWhatDoesNotFit) {
  std::vector<uint8_t> out(80);
  Writer writer(out);
  ASSERT_TRUE(writer.begin(1, kQr));
  ASSERT_TRUE(writer.question(*Name::parse("web.default.svc"), kPtr));
  const Name target = *Name::parse("x.Default.svc");
  const size_t before = writer.size();
  ASSERT_TRUE(
      writer.record(Writer::Section::Answer, *Name::parse("WEB.default.svc"), kPtr, 5, target.wire()));
  EXPECT_EQ(writer.size() - before, 12u + 4u);  // owner pointer, "x" and a pointer
  const std::string filler(60, 'y');
  EXPECT_FALSE(writer.record(Writer::Section::Answer, target, kTxt, 5, bytes_of(filler)));
  EXPECT_EQ(writer.size(), before + 16u);
  EXPECT_EQ(message_text(writer.written()), "NOERROR\nanswer web.default.svc. 5 IN PTR x.default.svc.\n");
}

TEST(Writer, ManyNamesStillReadBack) {
  std::vector<uint8_t> out(kMaxMessage);
  Writer writer(out);
  writer.begin(1, kQr);
  writer.question(*Name::parse("q.example"), kPtr);
  std::string expected = "NOERROR\n";
  for (int i = 0; i < 1500; ++i) {  // beyond what pointers reach and the table holds
    const std::string owner = fmt::format("n{}.d{}.example", i, i % 7);
    const Name target = *Name::parse(fmt::format("t{}.example", i));
    ASSERT_TRUE(writer.record(Writer::Section::Answer, *Name::parse(owner), kPtr, 5, target.wire()));
    expected += fmt::format("answer {}. 5 IN PTR t{}.example.\n", owner, i);
  }
  EXPECT_EQ(message_text(writer.written()), expected);
}

}  // namespace
}  // namespace thalweg::dns
