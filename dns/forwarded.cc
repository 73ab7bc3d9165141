#include "dns/forwarded.h"

#include <algorithm>
#include <cstring>

namespace thalweg::dns {

namespace {

constexpr uint32_t kMaxKeep = 3600;  // seconds, as CoreDNS caps them
constexpr uint32_t kMaxKeepNegative = 1800;

struct Walk {
  Forwarded out;
  uint32_t smallest = kMaxKeep;
  std::optional<uint32_t> soa;
  size_t end = 0;  // of the records kept
};

// Reads one section; the OPT and what stands behind it are not kept.
bool walk_section(Reader& reader, Bytes reply, size_t section, Walk& walk, uint16_t& kept) {
  bool keeping = true;
  for (uint16_t left = reader.count(section); left > 0; --left) {
    Record record;
    if (!reader.next(record)) return false;
    if (record.type == kOpt && section != 2) return false;
    if (record.type == kOpt) keeping = false;
    if (!keeping) continue;
    if (record.ttl_at > UINT16_MAX) return false;
    walk.out.ttl_at.push_back(static_cast<uint16_t>(record.ttl_at));
    walk.end = record.end();
    const uint32_t ttl = record.ttl_s > INT32_MAX ? 0 : record.ttl_s;  // RFC 2181 §8
    walk.smallest = std::min(walk.smallest, ttl);
    if (section == 1 && record.type == kSoa && record.rdlength >= 22)
      walk.soa = std::min(ttl, get_u32(reply.data() + record.end() - 4));
    ++kept;
  }
  return true;
}

uint32_t keep_time(const Walk& walk, uint16_t flags, bool has_answer) {
  const auto rcode = static_cast<Rcode>(flags & 0xf);
  if ((flags & kTc) || (rcode != Rcode::NoError && rcode != Rcode::NxDomain)) return 0;
  if (rcode == Rcode::NoError && has_answer) return walk.smallest;
  return walk.soa ? std::min({*walk.soa, walk.smallest, kMaxKeepNegative}) : 0;
}

// As many whole records as fit, counted per section; what is left out sets TC.
size_t cut_to(std::span<uint8_t> message, size_t limit) {
  Reader reader(message);
  reader.open();
  size_t end = reader.position();
  std::array<uint16_t, 3> counts{};
  bool fits = true;
  for (size_t section = 0; section < 3 && fits; ++section)
    for (uint16_t left = reader.count(section); left > 0 && fits; --left) {
      Record record;
      fits = reader.next(record) && record.end() <= limit;
      if (!fits) break;
      end = record.end();
      ++counts[section];
    }
  for (size_t i = 0; i < counts.size(); ++i) put_u16(message.data() + 6 + 2 * i, counts[i]);
  return end;
}

}  // namespace

std::optional<Forwarded> accept_reply(Bytes reply, const Name& name, uint16_t type) {
  Reader reader(reply);
  if (!reader.open() || !(reader.flags() & kQr)) return std::nullopt;
  if (!(reader.name() == name) || reader.type() != type || reader.klass() != kClassIn) return std::nullopt;
  if (reader.position() != kHeaderSize + name.size() + 4) return std::nullopt;
  Walk walk;
  walk.end = reader.position();
  std::array<uint16_t, 3> counts{};
  for (size_t section = 0; section < 3; ++section)
    if (!walk_section(reader, reply, section, walk, counts[section])) return std::nullopt;
  Forwarded out = std::move(walk.out);
  out.keep_s = keep_time(walk, reader.flags(), counts[0] > 0);
  out.negative = counts[0] == 0 || (reader.flags() & 0xf) != 0;
  out.message.assign(reply.begin(), reply.begin() + static_cast<ptrdiff_t>(walk.end));
  put_u16(out.message.data(), 0);
  for (size_t i = 0; i < counts.size(); ++i) put_u16(out.message.data() + 6 + 2 * i, counts[i]);
  return out;
}

Reply deliver(const Forwarded& forwarded, uint32_t age_s, const Query& query, Bytes message,
              const Transport& transport, std::span<uint8_t> out) {
  const size_t limit = reply_limit(query, transport) - (query.edns ? kOptSize : 0);
  const uint16_t theirs = get_u16(forwarded.message.data() + 2);
  const auto rcode = static_cast<Rcode>(theirs & 0xf);
  std::vector<uint8_t> copy = forwarded.message;
  for (const uint16_t at : forwarded.ttl_at) {
    const uint32_t ttl = get_u32(copy.data() + at);
    put_u32(copy.data() + at, ttl > age_s ? ttl - age_s : 0);
  }
  put_u16(copy.data(), query.id);
  std::memcpy(copy.data() + kHeaderSize, message.data() + kHeaderSize, query.question_end - kHeaderSize);
  size_t size = copy.size();
  const bool cut = size > limit;
  if (cut) size = cut_to(copy, limit);
  const uint16_t ad = query.dnssec_ok || (query.flags & kAd) ? kAd : 0;  // RFC 6840 §5.8
  const auto flags = static_cast<uint16_t>(kQr | kRa | (query.flags & (kRd | kCd)) |
                                           (theirs & (kTc | ad | 0xf)) | (cut ? kTc : 0));
  put_u16(copy.data() + 2, flags);
  std::memcpy(out.data(), copy.data(), size);
  if (query.edns) size += write_opt(out.data() + size, query.dnssec_ok, rcode, out.data());
  return {.action = Reply::Action::Send, .rcode = rcode, .truncated = (flags & kTc) != 0, .size = size};
}

}  // namespace thalweg::dns
