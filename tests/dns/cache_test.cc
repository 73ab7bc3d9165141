// Forwarded replies: what is accepted, how long it is kept, how it is handed out.
#include "dns/cache.h"

#include <gtest/gtest.h>

#include <random>

#include "dns_fixture.h"

namespace thalweg::dns {
namespace {

using test::query_bytes;

const Name kWww = *Name::parse("www.example.com");
const uint8_t kAddress[] = {192, 0, 2, 80};

struct Made {
  uint16_t flags = kQr | kRd | kRa;
  int addresses = 1;
  uint32_t ttl_s = 60;
  std::optional<uint32_t> soa_minimum = std::nullopt;
  bool opt = true;
};

std::vector<uint8_t> made(const Made& spec) {
  std::vector<uint8_t> out(kMaxMessage);
  Writer writer(out);
  writer.begin(77, spec.flags);
  writer.question(kWww, kA);
  for (int i = 0; i < spec.addresses; ++i)
    writer.record(Writer::Section::Answer, kWww, kA, spec.ttl_s, kAddress);
  if (spec.soa_minimum) {
    std::vector<uint8_t> rdata(2 + 20);  // two roots, five numbers
    put_u32(rdata.data() + 18, *spec.soa_minimum);
    writer.record(Writer::Section::Authority, kWww.parent(), kSoa, 900, rdata);
  }
  if (spec.opt) writer.opt(false, Rcode::NoError);
  out.resize(writer.size());
  return out;
}

uint32_t kept_s(const Made& spec) {
  const auto accepted = accept_reply(made(spec), kWww, kA);
  return accepted ? accepted->keep_s : UINT32_MAX;
}

TEST(Forwarded, IsKeptAsLongAsItsTtlsSay) {
  EXPECT_EQ(kept_s({}), 60u);
  EXPECT_EQ(kept_s({.ttl_s = 0}), 0u);
  EXPECT_EQ(kept_s({.ttl_s = 1'000'000}), 3600u);
  EXPECT_EQ(kept_s({.ttl_s = 0x80000000}), 0u);
  EXPECT_EQ(kept_s({.addresses = 0, .soa_minimum = 30}), 30u);
  EXPECT_EQ(kept_s({.addresses = 0, .soa_minimum = 5000}), 900u);
  EXPECT_EQ(kept_s({.addresses = 0}), 0u);
  EXPECT_EQ(kept_s({.flags = kQr | 3, .addresses = 0, .soa_minimum = 30}), 30u);
  EXPECT_EQ(kept_s({.flags = kQr | 2}), 0u);
  EXPECT_EQ(kept_s({.flags = kQr | kTc}), 0u);
}

TEST(Forwarded, IsRefusedWhenItAnswersSomethingElse) {
  const auto reply = made({});
  EXPECT_TRUE(accept_reply(reply, kWww, kA));
  EXPECT_FALSE(accept_reply(reply, kWww, kAaaa));
  EXPECT_FALSE(accept_reply(reply, kWww.parent(), kA));
  EXPECT_FALSE(accept_reply(made({.flags = 0}), kWww, kA));
  EXPECT_FALSE(accept_reply(Bytes(reply).first(reply.size() - 12), kWww, kA));
  EXPECT_FALSE(accept_reply({}, kWww, kA));
}

std::pair<Reply, std::vector<uint8_t>> delivered(const Forwarded& forwarded,
                                                 const std::vector<uint8_t>& bytes, uint32_t age_s,
                                                 bool stream = false) {
  Query query;
  EXPECT_EQ(parse_query(bytes, query), Parsed::Ok);
  std::vector<uint8_t> out(kMaxMessage);
  const Reply reply = deliver(forwarded, age_s, query, bytes, {.stream = stream}, out);
  out.resize(reply.size);
  return {reply, out};
}

TEST(Forwarded, IsDeliveredAsTheClientAsked) {
  const auto forwarded = accept_reply(made({}), kWww, kA);
  const auto [reply, out] = delivered(*forwarded, query_bytes("WWW.Example.com", kA, kRd, 1232), 20);
  EXPECT_EQ(message_text(out), "NOERROR\nanswer www.example.com. 40 IN A 192.0.2.80\n");
  EXPECT_EQ(get_u16(out.data()), 0x1234);
  EXPECT_EQ(get_u16(out.data() + 10), 1);  // our OPT, once
  EXPECT_EQ(out[13], 'W');
  const auto plain = delivered(*forwarded, query_bytes("www.example.com", kA), 0).second;
  EXPECT_EQ(get_u16(plain.data() + 10), 0);
}

TEST(Forwarded, IsCutToTheClientsSize) {
  const auto forwarded = accept_reply(made({.addresses = 100}), kWww, kA);
  const auto [reply, out] = delivered(*forwarded, query_bytes("www.example.com", kA), 0);
  EXPECT_TRUE(reply.truncated);
  EXPECT_LE(out.size(), 512u);
  EXPECT_GT(out.size(), 480u);
  EXPECT_EQ(message_text(out).find("malformed"), std::string::npos);
  EXPECT_FALSE(delivered(*forwarded, query_bytes("www.example.com", kA), 0, true).first.truncated);
}

std::shared_ptr<const Forwarded> kept(uint32_t keep_s, size_t size = 100) {
  auto out = std::make_shared<Forwarded>();
  out->message.resize(size);
  out->keep_s = keep_s;
  return out;
}

CacheKey key(int i) { return {*Name::parse(fmt::format("n{}.example", i)), kA, false, false}; }

TEST(Cache, ForgetsWhatHasExpired) {
  Cache cache({}, 1);
  cache.put(key(1), kept(10), 1000);
  cache.put(key(2), kept(0), 1000);
  EXPECT_EQ(cache.find(key(1), 5500)->age_s, 4u);
  EXPECT_FALSE(cache.find(key(2), 1000));
  EXPECT_FALSE(cache.find(key(1), 11'000));
  EXPECT_EQ(cache.entries(), 0u);
  EXPECT_EQ(cache.bytes(), 0u);
}

TEST(Cache, KeysDifferByWhatChangesTheReply) {
  Cache cache({}, 1);
  const Name name = *Name::parse("a.example");
  cache.put({name, kA, false, false}, kept(10), 0);
  EXPECT_TRUE(cache.find({name, kA, false, false}, 0));
  EXPECT_FALSE(cache.find({name, kAaaa, false, false}, 0));
  EXPECT_FALSE(cache.find({name, kA, true, false}, 0));
  EXPECT_FALSE(cache.find({name, kA, false, true}, 0));
}

TEST(Cache, IsBoundedAndDropsTheLeastRecentlyUsed) {
  Cache cache({.max_entries = 3}, 1);
  for (int i = 0; i < 3; ++i) cache.put(key(i), kept(10), 0);
  cache.find(key(0), 0);
  cache.put(key(3), kept(10), 0);
  EXPECT_TRUE(cache.find(key(0), 0));
  EXPECT_FALSE(cache.find(key(1), 0));
  EXPECT_EQ(cache.evictions(), 1u);
  Cache small({.max_bytes = 2000}, 1);
  for (int i = 0; i < 100; ++i) small.put(key(i), kept(10, 400), 0);
  EXPECT_LE(small.bytes(), 2000u);
  EXPECT_GT(small.entries(), 0u);
  small.put(key(1), kept(10, 60'000), 0);
  EXPECT_FALSE(small.find(key(1), 0));
}

TEST(Garbage, MutatedRepliesAreAcceptedWholeOrNotAtAll) {
  const auto good = made({.addresses = 3, .soa_minimum = 30});
  std::mt19937 random(4);
  for (int i = 0; i < 100'000; ++i) {
    auto bytes = good;
    for (unsigned flips = random() % 5; flips > 0; --flips) bytes[random() % bytes.size()] = random();
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto accepted = accept_reply(bytes, kWww, kA);
    if (!accepted) continue;
    const auto query = query_bytes("www.example.com", kA, kRd, i % 2 ? 1232 : 0);
    const auto text = message_text(delivered(*accepted, query, 0).second);
    ASSERT_EQ(text.find("malformed"), std::string::npos) << text;
    // Names that point into a TTL change with it; that is the upstream's fault, and must only stay within
    // bounds.
    ASSERT_LE(delivered(*accepted, query, i % 100).second.size(), 1232u);
  }
}

}  // namespace
}  // namespace thalweg::dns
