// libFuzzer target: any bytes as a query, and as an upstream's reply. Not part of the default build:
//   clang++-16 -std=c++2b -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/dns_message_fuzz.cc \
//     dns/{name,message,records,zone,zone_build,answer,text,forwarded}.cc base/ip.cc -lfmt
#include <cstdlib>

#include "dns/forwarded.h"
#include "dns/text.h"

using namespace thalweg;
using namespace thalweg::dns;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto zone = build_zone({}, {.apex = *Name::parse("cluster.local"),
                                           .pods = PodNames::Insecure,
                                           .name_servers = {Ip::v4(192, 0, 2, 1)}});
  static std::vector<uint8_t> out(kMaxMessage);
  const Bytes bytes(data, size);
  Query query;
  const Parsed parsed = parse_query(bytes, query);
  const Reply reply = answer(*zone, parsed, query, bytes, {.recursion_available = true}, out);
  if (reply.size > 0 && message_text(Bytes(out).first(reply.size)).find("malformed") != std::string::npos)
    abort();
  Reader reader(bytes);
  if (reader.open()) accept_reply(bytes, reader.name(), reader.type());
  return 0;
}
