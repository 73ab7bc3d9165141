#include "dns/records.h"

#include <algorithm>

namespace thalweg::dns {

namespace {

std::string_view text_of(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

void add_u16(std::string& out, uint16_t value) {
  uint8_t raw[2];
  put_u16(raw, value);
  out += text_of(raw);
}

void add_u32(std::string& out, uint32_t value) {
  uint8_t raw[4];
  put_u32(raw, value);
  out += text_of(raw);
}

}  // namespace

std::vector<Records::Entry>& Records::at(const Name& name) {
  exists(name);
  return sets_[std::string(text_of(name.lowered().wire()))];
}

void Records::exists(const Name& name) {
  const Name key = name.lowered();
  if (!sets_.try_emplace(std::string(text_of(key.wire()))).second) return;  // then its parents exist too
  if (key.within(apex_) && key.size() > apex_.size()) exists(key.parent());
}

void Records::address(const Name& name, const Ip& ip) {
  if (ip.is_v4())
    at(name).push_back({kA, std::string(text_of({ip.v4_bytes(), 4}))});
  else
    at(name).push_back({kAaaa, std::string(text_of(ip.bytes()))});
}

void Records::srv(const Name& name, uint16_t weight, uint16_t port, const Name& target) {
  std::string rdata;
  add_u16(rdata, 0);  // priority
  add_u16(rdata, weight);
  add_u16(rdata, port);
  rdata += text_of(target.lowered().wire());
  at(name).push_back({kSrv, std::move(rdata)});
}

void Records::pointer(const Name& name, uint16_t type, const Name& target) {
  at(name).push_back({type, std::string(text_of(target.wire()))});
}

void Records::text(const Name& name, std::string_view text) {
  std::string rdata(1, static_cast<char>(text.size()));
  at(name).push_back({kTxt, rdata += text});
}

void Records::soa(const Name& name, const Name& server, const Name& mailbox, uint32_t serial,
                  uint32_t negative_ttl_s) {
  std::string rdata(text_of(server.wire()));
  rdata += text_of(mailbox.wire());
  for (const uint32_t value : {serial, 7200u, 1800u, 86400u, negative_ttl_s}) add_u32(rdata, value);
  at(name).push_back({kSoa, std::move(rdata)});
}

std::map<std::string, std::vector<Records::Entry>> Records::take() {
  std::map<std::string, std::vector<Entry>> sorted;
  for (auto& [name, entries] : sets_) {
    std::sort(entries.begin(), entries.end());
    entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
    sorted.emplace(name, std::move(entries));
  }
  sets_.clear();
  return sorted;
}

}  // namespace thalweg::dns
