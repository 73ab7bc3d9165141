// ZoneWriter: turns Records into an immutable Zone of prepared answers; zone_build.cc calls it.
#pragma once

#include "dns/records.h"
#include "dns/zone.h"

namespace thalweg::dns {

class ZoneWriter {
 public:
  explicit ZoneWriter(const ZoneConfig& config);
  std::shared_ptr<const Zone> write(Records records);

 private:
  using Sorted = std::map<std::string, std::vector<Records::Entry>>;

  void add_node(const std::string& name, const std::vector<Records::Entry>& entries);
  Answers prepare(const Name& owner, std::span<const Records::Entry> set);
  uint16_t add_targets(Writer& writer, std::span<const Records::Entry> set);
  void index();
  void keep_soa();

  std::shared_ptr<Zone> zone_;
  Sorted sorted_;
  std::vector<uint8_t> scratch_;
};

}  // namespace thalweg::dns
