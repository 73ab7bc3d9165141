// Records: names and what they answer, while a zone is being built; zone.cc turns them into prepared answers.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/ip.h"
#include "dns/message.h"

namespace thalweg::dns {

class Records {
 public:
  using Rdata = std::string;  // uncompressed wire form
  struct Entry {
    uint16_t type;
    Rdata rdata;
    auto operator<=>(const Entry&) const = default;
  };
  using Sets = std::unordered_map<std::string, std::vector<Entry>>;  // by lower-case wire name

  explicit Records(const Name& apex) : apex_(apex.lowered()) {}

  // Makes the name exist, with its parents up to the apex: empty non-terminals answer NODATA, not NXDOMAIN.
  void exists(const Name& name);
  void address(const Name& name, const Ip& ip);
  void srv(const Name& name, uint16_t weight, uint16_t port, const Name& target);
  void pointer(const Name& name, uint16_t type, const Name& target);  // CNAME, NS, PTR
  void text(const Name& name, std::string_view text);                 // ≤ 255 bytes
  void soa(const Name& name, const Name& server, const Name& mailbox, uint32_t serial,
           uint32_t negative_ttl_s);
  void skip() { ++skipped_; }

  // Sorted and without duplicates; owners sorted too.
  std::map<std::string, std::vector<Entry>> take();
  size_t skipped() const { return skipped_; }

 private:
  std::vector<Entry>& at(const Name& name);

  Name apex_;
  Sets sets_;
  size_t skipped_ = 0;
};

}  // namespace thalweg::dns
