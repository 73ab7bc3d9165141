#include "dns/zone.h"

#include <bit>
#include <cstring>

#include "dns/zone_writer.h"

namespace thalweg::dns {

namespace {

Bytes bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

Name name_of(Bytes wire) {
  Name name;
  size_t at = 0;
  name.read(wire, at);
  return name;
}

}  // namespace

std::shared_ptr<const Zone> Zone::unsynced(const ZoneConfig& config) {
  auto zone = std::make_shared<Zone>();
  zone->config_ = config;
  return zone;
}

const Node* Zone::find(Bytes lower_name) const {
  if (slots_.empty()) return nullptr;
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash(lower_name) & mask; slots_[slot] != 0; slot = (slot + 1) & mask) {
    const Node& node = nodes_[slots_[slot] - 1];
    if (node.name_size == lower_name.size() &&
        std::memcmp(bytes_.data() + node.name, lower_name.data(), lower_name.size()) == 0)
      return &node;
  }
  return nullptr;
}

const Answers* Zone::find(const Node& node, uint16_t type) const {
  for (const Answers& each : answers(node))
    if (each.type == type) return &each;
  return nullptr;
}

Name Zone::name(const Node& node) const { return name_of(Bytes(bytes_).subspan(node.name, node.name_size)); }

size_t Zone::bytes() const {
  return bytes_.capacity() + nodes_.capacity() * sizeof(Node) + answers_.capacity() * sizeof(Answers) +
         slots_.capacity() * sizeof(uint32_t);
}

ZoneWriter::ZoneWriter(const ZoneConfig& config) : zone_(std::make_shared<Zone>()), scratch_(kMaxMessage) {
  zone_->config_ = config;
}

std::shared_ptr<const Zone> ZoneWriter::write(Records records) {
  zone_->skipped_ = records.skipped();
  sorted_ = records.take();
  for (const auto& [name, entries] : sorted_) add_node(name, entries);
  zone_->bytes_.shrink_to_fit();
  zone_->answers_.shrink_to_fit();
  index();
  keep_soa();
  zone_->synced_ = true;
  return std::move(zone_);
}

void ZoneWriter::add_node(const std::string& name, const std::vector<Records::Entry>& entries) {
  const Name owner = name_of(bytes_of(name));
  Node node;
  node.name = static_cast<uint32_t>(zone_->bytes_.size());
  node.name_size = static_cast<uint8_t>(name.size());
  node.first = static_cast<uint32_t>(zone_->answers_.size());
  node.reverse = !owner.within(zone_->apex());
  zone_->bytes_.insert(zone_->bytes_.end(), name.begin(), name.end());
  for (size_t from = 0, to = 0; from < entries.size(); from = to) {
    while (to < entries.size() && entries[to].type == entries[from].type) ++to;
    zone_->answers_.push_back(prepare(owner, std::span(entries).subspan(from, to - from)));
    ++node.count;
  }
  zone_->nodes_.push_back(node);
}

// Writes the whole message once, as a client without limits would get it, and keeps what follows the
// question.
Answers ZoneWriter::prepare(const Name& owner, std::span<const Records::Entry> set) {
  Answers answers;
  answers.type = set.front().type;
  Writer writer{std::span(scratch_).first(kMaxMessage - kOptSize)};
  writer.begin(0, 0);
  writer.question(owner, answers.type);
  const size_t start = writer.size();
  for (const auto& entry : set) {
    if (!writer.record(Writer::Section::Answer, owner, entry.type, zone_->config_.ttl_s,
                       bytes_of(entry.rdata))) {
      ++zone_->skipped_;
      continue;
    }
    ++answers.records;
  }
  answers.answer_size = static_cast<uint32_t>(writer.size() - start);
  if (answers.type == kSrv) answers.additional = add_targets(writer, set);
  answers.total_size = static_cast<uint32_t>(writer.size() - start);
  if ((answers.type == kA || answers.type == kAaaa) && answers.records > 1)
    answers.rotate_by = static_cast<uint16_t>(answers.answer_size / answers.records);
  answers.offset = static_cast<uint32_t>(zone_->bytes_.size());
  zone_->bytes_.insert(zone_->bytes_.end(), scratch_.begin() + start, scratch_.begin() + writer.size());
  return answers;
}

// RFC 2782: the addresses of the targets ride along.
uint16_t ZoneWriter::add_targets(Writer& writer, std::span<const Records::Entry> set) {
  uint16_t added = 0;
  std::set<std::string> done;
  for (const auto& entry : set) {
    const std::string target = entry.rdata.substr(6);
    const auto found = sorted_.find(target);
    if (found == sorted_.end() || !done.insert(target).second) continue;
    const Name owner = name_of(bytes_of(target));
    for (const auto& address : found->second)
      if ((address.type == kA || address.type == kAaaa) &&
          writer.record(Writer::Section::Additional, owner, address.type, zone_->config_.ttl_s,
                        bytes_of(address.rdata)))
        ++added;
  }
  return added;
}

void ZoneWriter::index() {
  zone_->slots_.assign(std::bit_ceil(zone_->nodes_.size() * 2), 0);
  const size_t mask = zone_->slots_.size() - 1;
  for (size_t i = 0; i < zone_->nodes_.size(); ++i) {
    const Node& node = zone_->nodes_[i];
    size_t slot = zone_->hash(Bytes(zone_->bytes_).subspan(node.name, node.name_size)) & mask;
    while (zone_->slots_[slot] != 0) slot = (slot + 1) & mask;
    zone_->slots_[slot] = static_cast<uint32_t>(i + 1);
  }
}

void ZoneWriter::keep_soa() {
  const Name apex = zone_->apex().lowered();
  const auto found =
      sorted_.find(std::string(reinterpret_cast<const char*>(apex.wire().data()), apex.size()));
  if (found == sorted_.end()) return;
  for (const auto& entry : found->second) {
    if (entry.type != kSoa) continue;
    auto& soa = zone_->soa_;
    soa.resize(12);
    put_u16(soa.data() + 2, kSoa);
    put_u16(soa.data() + 4, kClassIn);
    put_u32(soa.data() + 6, zone_->config_.ttl_s);
    put_u16(soa.data() + 10, static_cast<uint16_t>(entry.rdata.size()));
    soa.insert(soa.end(), entry.rdata.begin(), entry.rdata.end());
  }
}

}  // namespace thalweg::dns
