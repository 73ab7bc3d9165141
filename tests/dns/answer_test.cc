// What is answered: tables of a question and the reply in zone-file text.
#include "dns/answer.h"

#include <gtest/gtest.h>

#include "dns_fixture.h"

namespace thalweg::dns {
namespace {

using test::ask;
using test::query_bytes;
using test::small_cluster;
using test::small_config;

constexpr const char* kSoaLine =
    "authority cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5\n";

struct Case {
  const char* name;
  uint16_t type;
  std::string expected;
};

void expect_all(const Zone& zone, const std::vector<Case>& cases) {
  for (const auto& each : cases)
    EXPECT_EQ(ask(zone, each.name, each.type).text, each.expected)
        << each.name << ' ' << type_name(each.type);
}

TEST(Answer, PositiveAnswers) {
  const auto zone = build_zone(small_cluster(), small_config());
  expect_all(*zone,
             {
                 {"web.default.svc.cluster.local", kA,
                  "NOERROR aa\nanswer web.default.svc.cluster.local. 5 IN A 10.96.0.10\n"},
                 {"WEB.Default.svc.CLUSTER.local", kA,
                  "NOERROR aa\nanswer web.default.svc.cluster.local. 5 IN A 10.96.0.10\n"},
                 {"web.default.svc.cluster.local", kAaaa,
                  "NOERROR aa\nanswer web.default.svc.cluster.local. 5 IN AAAA 2001:db8:96::10\n"},
                 {"10.0.96.10.in-addr.arpa", kPtr,
                  "NOERROR aa\nanswer 10.0.96.10.in-addr.arpa. 5 IN PTR web.default.svc.cluster.local.\n"},
                 {"dns-version.cluster.local", kTxt,
                  "NOERROR aa\nanswer dns-version.cluster.local. 5 IN TXT \"1.1.0\"\n"},
                 {"cluster.local", kNs, "NOERROR aa\nanswer cluster.local. 5 IN NS ns.dns.cluster.local.\n"},
                 {"_http._tcp.web.default.svc.cluster.local", kSrv,
                  "NOERROR aa\n"
                  "answer _http._tcp.web.default.svc.cluster.local. 5 IN SRV 0 100 80 "
                  "web.default.svc.cluster.local.\n"
                  "additional web.default.svc.cluster.local. 5 IN A 10.96.0.10\n"
                  "additional web.default.svc.cluster.local. 5 IN AAAA 2001:db8:96::10\n"},
                 {"_sql._tcp.db.default.svc.cluster.local", kSrv,
                  "NOERROR aa\n"
                  "answer _sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 100 5432 "
                  "db-0.db.default.svc.cluster.local.\n"
                  "answer _sql._tcp.db.default.svc.cluster.local. 5 IN SRV 0 100 5432 "
                  "10-1-0-6.db.default.svc.cluster.local.\n"
                  "additional db-0.db.default.svc.cluster.local. 5 IN A 10.1.0.5\n"
                  "additional db-0.db.default.svc.cluster.local. 5 IN AAAA 2001:db8:1::5\n"
                  "additional 10-1-0-6.db.default.svc.cluster.local. 5 IN A 10.1.0.6\n"},
                 // ANY is answered with one record set (RFC 8482).
                 {"web.default.svc.cluster.local", kAny,
                  "NOERROR aa\nanswer web.default.svc.cluster.local. 5 IN A 10.96.0.10\n"},
             });
}

TEST(Answer, NegativeAnswersKnowEmptyNonTerminals) {
  const auto zone = build_zone(small_cluster(), small_config());
  const std::string nodata = std::string("NOERROR aa\n") + kSoaLine;
  const std::string nxdomain = std::string("NXDOMAIN aa\n") + kSoaLine;
  expect_all(*zone, {
                        {"web.default.svc.cluster.local", kTxt, nodata},
                        {"svc.cluster.local", kA, nodata},
                        {"default.svc.cluster.local", kA, nodata},
                        {"empty.svc.cluster.local", kA, nodata},
                        {"_tcp.web.default.svc.cluster.local", kSrv, nodata},
                        {"dns.cluster.local", kA, nodata},
                        {"_tcp.web.default.svc.cluster.local", kAny, nodata},
                        {"nope.default.svc.cluster.local", kA, nxdomain},
                        {"x.web.default.svc.cluster.local", kA, nxdomain},
                        {"db-2.db.default.svc.cluster.local", kA, nxdomain},
                        {"absent.svc.cluster.local", kA, nxdomain},
                        {"broken.default.svc.cluster.local", kA, nxdomain},
                        {"pod.cluster.local", kA, nxdomain},
                        {"example.com.cluster.local", kA, nxdomain},
                        {"10.0.96.10.in-addr.arpa", kA,
                         "NOERROR aa\nauthority 10.0.96.10.in-addr.arpa. 5 IN SOA ns.dns.cluster.local. "
                         "hostmaster.cluster.local. "
                         "7 7200 1800 86400 5\n"},
                    });
}

TEST(Answer, CnamesAreFollowedWithinTheZone) {
  const auto zone = build_zone(small_cluster(), small_config());
  const std::string alias =
      "NOERROR aa\nanswer alias.default.svc.cluster.local. 5 IN CNAME www.example.com.\n";
  const std::string inner =
      "NOERROR aa\nanswer inner.default.svc.cluster.local. 5 IN CNAME web.default.svc.cluster.local.\n";
  expect_all(*zone, {
                        {"alias.default.svc.cluster.local", kA, alias},
                        {"alias.default.svc.cluster.local", kCname, alias},
                        {"alias.default.svc.cluster.local", kTxt, alias},
                        {"inner.default.svc.cluster.local", kA,
                         inner + "answer web.default.svc.cluster.local. 5 IN A 10.96.0.10\n"},
                        {"inner.default.svc.cluster.local", kTxt, inner},
                        {"loop.default.svc.cluster.local", kA, "SERVFAIL\n"},
                    });
}

TEST(Answer, CnameLeadingOutIsHandedOnAndFinished) {
  const auto zone = build_zone(small_cluster(), small_config());
  const auto query = query_bytes("Alias.default.svc.cluster.local", kA, kRd, 1232);
  const Transport transport{.recursion_available = true};
  const auto asked = ask(*zone, query, transport);
  ASSERT_EQ(asked.reply.action, Reply::Action::Follow);
  EXPECT_EQ(asked.reply.target->str(), "www.example.com.");
  std::vector<uint8_t> upstream(512);
  Writer writer(upstream);
  writer.begin(9, kQr | kRd | kRa);
  const Name www = *Name::parse("www.example.com");
  const Name host = *Name::parse("host.example.com");
  const uint8_t address[] = {192, 0, 2, 80};
  writer.question(www, kA);
  writer.record(Writer::Section::Answer, www, kCname, 60, host.wire());
  writer.record(Writer::Section::Answer, host, kA, 60, address);
  upstream.resize(writer.size());
  Query parsed;
  ASSERT_EQ(parse_query(query, parsed), Parsed::Ok);
  std::vector<uint8_t> out(kMaxMessage);
  const Reply reply = follow(*zone, parsed, query, upstream, transport, out);
  out.resize(reply.size);
  EXPECT_EQ(
      message_text(out),
      "NOERROR aa\nanswer alias.default.svc.cluster.local. 5 IN CNAME www.example.com.\n"
      "answer www.example.com. 60 IN CNAME host.example.com.\nanswer host.example.com. 60 IN A 192.0.2.80\n");
  out.resize(kMaxMessage);
  EXPECT_EQ(follow(*zone, parsed, query, {}, transport, out).rcode, Rcode::ServFail);
}

TEST(Answer, CaseAndIdAreEchoed) {
  const auto zone = build_zone(small_cluster(), small_config());
  const auto query = query_bytes("wEb.DEFAULT.svc.cluster.local", kA, kRd | kCd, 1232);
  const auto asked = ask(*zone, query, {.recursion_available = true});
  const Bytes question = Bytes(query).subspan(12, query.size() - 12 - kOptSize);
  EXPECT_TRUE(std::equal(question.begin(), question.end(), asked.bytes.begin() + 12));
  EXPECT_EQ(get_u16(asked.bytes.data()), 0x1234);
  EXPECT_EQ(get_u16(asked.bytes.data() + 2), kQr | kAa | kRd | kRa | kCd);
}

TEST(Answer, OptOnlyToThoseWhoSentOne) {
  const auto zone = build_zone(small_cluster(), small_config());
  const auto with = ask(*zone, query_bytes("web.default.svc.cluster.local", kA, kRd, 4096));
  const auto without = ask(*zone, query_bytes("web.default.svc.cluster.local", kA));
  EXPECT_EQ(with.bytes.size(), without.bytes.size() + kOptSize);
  EXPECT_EQ(get_u16(with.bytes.data() + 10), 1);
  EXPECT_EQ(get_u16(with.bytes.data() + with.bytes.size() - 8), kEdnsUdpSize);
  EXPECT_EQ(get_u16(without.bytes.data() + 10), 0);
}

TEST(Answer, RefusesByShape) {
  const auto zone = build_zone(small_cluster(), small_config());
  auto bad_version = query_bytes("web.default.svc.cluster.local", kA, kRd, 1232);
  bad_version[bad_version.size() - 5] = 1;
  auto chaos = query_bytes("version.bind", kTxt);
  chaos[chaos.size() - 1] = 3;
  auto update = query_bytes("cluster.local", kSoa);
  update[2] = 0x28;
  auto broken = query_bytes("a", kA);
  broken.pop_back();
  EXPECT_EQ(ask(*zone, bad_version).reply.rcode, Rcode::BadVers);
  EXPECT_EQ(ask(*zone, chaos).text, "REFUSED\n");
  EXPECT_EQ(ask(*zone, update).text, "NOTIMP\n");
  EXPECT_EQ(ask(*zone, broken).text, "FORMERR\n");
  EXPECT_EQ(ask(*zone, "cluster.local", kAxfr).text, "REFUSED\n");
  EXPECT_EQ(ask(*zone, "cluster.local", kOpt).text, "FORMERR\n");
  EXPECT_EQ(ask(*zone, "example.com", kA).text, "REFUSED\n");
  EXPECT_EQ(ask(*zone, std::vector<uint8_t>{1, 2, 3}).reply.action, Reply::Action::Drop);
}

TEST(Answer, ForwardsWhatIsNotOursOnlyWhenAskedTo) {
  const auto zone = build_zone(small_cluster(), small_config());
  const Transport transport{.recursion_available = true};
  EXPECT_EQ(ask(*zone, "example.com", kA, transport).reply.action, Reply::Action::Forward);
  EXPECT_EQ(ask(*zone, "9.9.9.9.in-addr.arpa", kPtr, transport).reply.action, Reply::Action::Forward);
  EXPECT_EQ(ask(*zone, query_bytes("example.com", kA, 0), transport).text, "REFUSED\n");
}

TEST(Answer, NotSyncedIsServfailNeverNxdomain) {
  const auto zone = Zone::unsynced(small_config());
  const Transport transport{.recursion_available = true};
  EXPECT_EQ(ask(*zone, "web.default.svc.cluster.local", kA, transport).text, "SERVFAIL\n");
  EXPECT_EQ(ask(*zone, "10.0.96.10.in-addr.arpa", kPtr, transport).text, "SERVFAIL\n");
  EXPECT_EQ(ask(*zone, "example.com", kA, transport).reply.action, Reply::Action::Forward);
}

TEST(Answer, InsecurePodNamesAnswerThemselves) {
  const auto zone = build_zone(small_cluster(), small_config(PodNames::Insecure));
  const std::string nodata = std::string("NOERROR aa\n") + kSoaLine;
  const std::string nxdomain = std::string("NXDOMAIN aa\n") + kSoaLine;
  expect_all(*zone, {
                        {"10-9-8-7.default.pod.cluster.local", kA,
                         "NOERROR aa\nanswer 10-9-8-7.default.pod.cluster.local. 5 IN A 10.9.8.7\n"},
                        {"2001-db8--7.default.pod.cluster.local", kAaaa,
                         "NOERROR aa\nanswer 2001-db8--7.default.pod.cluster.local. 5 IN AAAA 2001:db8::7\n"},
                        {"10-9-8-7.default.pod.cluster.local", kAaaa, nodata},
                        {"10-9-8-7.absent.pod.cluster.local", kA, nxdomain},
                        {"web.default.pod.cluster.local", kA, nxdomain},
                        {"default.pod.cluster.local", kA, nodata},
                    });
}

// A headless Service of n endpoints.
std::shared_ptr<const Zone> large_zone(int n) {
  auto cluster = small_cluster();
  auto slice = *cluster.endpoint_slices.at({"default", "db-v4"});
  slice.endpoints.clear();
  for (int i = 0; i < n; ++i) {
    kube::Endpoint endpoint;
    endpoint.addresses = {Ip::v4(10, 2, 0, 0).plus(i)};
    slice.endpoints.push_back(endpoint);
  }
  cluster.endpoint_slices[slice.meta.key] = std::make_shared<kube::EndpointSlice>(slice);
  return build_zone(cluster, small_config());
}

TEST(Answer, TruncatesToTheClientsSize) {
  const auto zone = large_zone(200);
  struct Size {
    uint16_t edns;
    bool stream;
    size_t limit;
    bool truncated;
  };
  for (const Size& each :
       {Size{0, false, 512, true}, Size{100, false, 512, true}, Size{800, false, 800, true},
        Size{4096, false, 1232, true}, Size{0, true, 65535, false}}) {
    const auto query = query_bytes("db.default.svc.cluster.local", kA, kRd, each.edns);
    const auto asked = ask(*zone, query, {.stream = each.stream});
    EXPECT_LE(asked.bytes.size(), each.limit);
    EXPECT_EQ(asked.reply.truncated, each.truncated) << each.edns;
    EXPECT_EQ((get_u16(asked.bytes.data() + 2) & kTc) != 0, each.truncated);
    EXPECT_EQ(asked.text.find("malformed"), std::string::npos);
    if (each.truncated) {
      EXPECT_GT(asked.bytes.size() + 16 + kOptSize, each.limit);  // what fits is kept
    }
  }
}

TEST(Answer, SrvKeepsItsAnswersAndLeavesOutAdditional) {
  const auto zone = large_zone(10);
  const auto query = query_bytes("_sql._tcp.db.default.svc.cluster.local", kSrv);
  const auto asked = ask(*zone, query);
  EXPECT_EQ(asked.text.find("malformed"), std::string::npos);
  EXPECT_TRUE(asked.reply.truncated);
  const auto whole = ask(*zone, query, {.stream = true});
  EXPECT_FALSE(whole.reply.truncated);
  EXPECT_EQ(get_u16(whole.bytes.data() + 6), 11);  // ten, and the IPv6 endpoint
  EXPECT_EQ(get_u16(whole.bytes.data() + 10), 11);
}

TEST(Answer, MoreThanAMessageHoldsIsCutAtRecords) {
  const auto zone = large_zone(6000);
  const auto asked = ask(*zone, query_bytes("db.default.svc.cluster.local", kA), {.stream = true});
  EXPECT_LE(asked.bytes.size(), kMaxMessage);
  EXPECT_GT(get_u16(asked.bytes.data() + 6), 4000);
  EXPECT_EQ(asked.text.find("malformed"), std::string::npos);
  EXPECT_GT(zone->skipped(), 0u);
}

TEST(Answer, FirstAddressSpreadsOverQueries) {
  const auto zone = large_zone(4);
  std::set<std::string> first;
  auto query = query_bytes("db.default.svc.cluster.local", kA);
  for (uint8_t id = 0; id < 8; ++id) {
    query[1] = id;
    const auto asked = ask(*zone, query);
    first.insert(asked.text.substr(0, asked.text.find('\n', 12)));
    EXPECT_EQ(get_u16(asked.bytes.data() + 6), 4);
  }
  EXPECT_EQ(first.size(), 4u);
}

}  // namespace
}  // namespace thalweg::dns
