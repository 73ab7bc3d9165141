// Random and mutated bytes through every parser of the answer path: whatever comes, the reply is well formed
// or none.
#include <gtest/gtest.h>

#include <random>

#include "dns_fixture.h"

namespace thalweg::dns {
namespace {

using test::ask;
using test::query_bytes;

void expect_sound(const Zone& zone, const std::vector<uint8_t>& bytes) {
  const auto asked = ask(zone, bytes, {.recursion_available = true});
  if (asked.reply.action == Reply::Action::Drop) return;
  if (asked.reply.action == Reply::Action::Forward) return;
  ASSERT_GE(asked.bytes.size(), kHeaderSize);
  ASSERT_LE(asked.bytes.size(), kEdnsUdpSize);
  ASSERT_EQ(asked.text.find("malformed"), std::string::npos) << asked.text;
  ASSERT_TRUE(get_u16(asked.bytes.data() + 2) & kQr);
}

TEST(Garbage, RandomBytes) {
  const auto zone = build_zone(test::small_cluster(), test::small_config(PodNames::Insecure));
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    std::vector<uint8_t> bytes(random() % 100);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    if (bytes.size() > 5 && random() % 2) bytes[2] &= 0x07, bytes[4] = 0, bytes[5] = 1;
    expect_sound(*zone, bytes);
  }
}

TEST(Garbage, MutatedQueries) {
  const auto zone = build_zone(test::small_cluster(), test::small_config(PodNames::Insecure));
  const char* names[] = {"web.default.svc.cluster.local",   "_sql._tcp.db.default.svc.cluster.local",
                         "alias.default.svc.cluster.local", "10-1-2-3.default.pod.cluster.local",
                         "10.0.96.10.in-addr.arpa",         "nope.cluster.local"};
  const uint16_t types[] = {kA, kAaaa, kSrv, kPtr, kAny, kTxt};
  std::mt19937 random(2);
  for (int i = 0; i < 100'000; ++i) {
    auto bytes = query_bytes(names[random() % 6], types[random() % 6], kRd, random() % 2 ? 1232 : 0);
    for (unsigned flips = random() % 4; flips > 0; --flips) bytes[random() % bytes.size()] = random();
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    expect_sound(*zone, bytes);
  }
}

// Replies of a hostile upstream go through the same reader, and through follow().
TEST(Garbage, MutatedUpstreamReplies) {
  const auto zone = build_zone(test::small_cluster(), test::small_config());
  const auto query = query_bytes("alias.default.svc.cluster.local", kA);
  Query parsed;
  ASSERT_EQ(parse_query(query, parsed), Parsed::Ok);
  const Name www = *Name::parse("www.example.com");
  std::mt19937 random(3);
  std::vector<uint8_t> out(kMaxMessage);
  for (int i = 0; i < 100'000; ++i) {
    std::vector<uint8_t> upstream(512);
    Writer writer(upstream);
    writer.begin(9, kQr);
    writer.question(www, kA);
    writer.record(Writer::Section::Answer, www, kCname, 60, Name::parse("h.example.com")->wire());
    writer.record(Writer::Section::Answer, *Name::parse("h.example.com"), kA, 60, Bytes(query).first(4));
    upstream.resize(writer.size());
    for (unsigned flips = random() % 4; flips > 0; --flips) upstream[random() % upstream.size()] = random();
    const Reply reply = follow(*zone, parsed, query, upstream, {}, out);
    ASSERT_EQ(message_text(Bytes(out).first(reply.size)).find("malformed"), std::string::npos);
  }
}

}  // namespace
}  // namespace thalweg::dns
