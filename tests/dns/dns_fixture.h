// What the DNS tests share: a small cluster, queries from text, replies as zone-file text.
#pragma once

#include <string>
#include <vector>

#include "dns/answer.h"
#include "dns/text.h"
#include "dns/zone.h"

namespace thalweg::dns::test {

// Services web (ClusterIP, dual stack), db (headless), alias/inner/loop (ExternalName); pods; namespaces.
kube::Cluster small_cluster();
ZoneConfig small_config(PodNames pods = PodNames::Disabled);

std::vector<uint8_t> query_bytes(const std::string& name, uint16_t type, uint16_t flags = kRd,
                                 uint16_t edns_size = 0);

struct Asked {
  Reply reply;
  std::string text;  // message_text of the reply, "" when there is none
  std::vector<uint8_t> bytes;
};
Asked ask(const Zone& zone, const std::vector<uint8_t>& query, Transport transport = {});
Asked ask(const Zone& zone, const std::string& name, uint16_t type, Transport transport = {});

}  // namespace thalweg::dns::test
