#include "dns/message.h"

#include <algorithm>
#include <cstring>

namespace thalweg::dns {

const char* rcode_name(Rcode rcode) {
  switch (rcode) {
    case Rcode::NoError: return "NOERROR";
    case Rcode::FormErr: return "FORMERR";
    case Rcode::ServFail: return "SERVFAIL";
    case Rcode::NxDomain: return "NXDOMAIN";
    case Rcode::NotImp: return "NOTIMP";
    case Rcode::Refused: return "REFUSED";
    case Rcode::BadVers: return "BADVERS";
  }
  return "OTHER";
}

std::string type_name(uint16_t type) {
  switch (type) {
    case kA: return "A";
    case kNs: return "NS";
    case kCname: return "CNAME";
    case kSoa: return "SOA";
    case kPtr: return "PTR";
    case kTxt: return "TXT";
    case kAaaa: return "AAAA";
    case kSrv: return "SRV";
    case kAny: return "ANY";
    default: return fmt::format("TYPE{}", type);
  }
}

namespace {

// RFC 6891 §6.1.1: one OPT at most, owned by the root.
bool take_opt(const Record& record, Query& query) {
  if (query.edns || !record.owner.is_root()) return false;
  query.edns = true;
  query.udp_size = std::max(record.klass, kPlainUdpSize);
  query.edns_version = static_cast<uint8_t>(record.ttl_s >> 16);
  query.dnssec_ok = record.ttl_s & 0x8000;
  return true;
}

// What may stand behind a question: nothing but additional records, of which only OPT means something to us.
Parsed parse_additional(Bytes message, Reader& reader, Query& query) {
  for (uint16_t left = reader.count(2); left > 0; --left) {
    Record record;
    if (!reader.next(record)) return Parsed::FormErr;
    if (record.type == kOpt && !take_opt(record, query)) return Parsed::FormErr;
  }
  return reader.position() == message.size() ? Parsed::Ok : Parsed::FormErr;
}

}  // namespace

Parsed parse_query(Bytes message, Query& query) {
  if (message.size() < kHeaderSize) return Parsed::Drop;
  query.id = get_u16(message.data());
  query.flags = get_u16(message.data() + 2);
  query.question_end = kHeaderSize;
  query.edns = false;
  query.dnssec_ok = false;
  query.edns_version = 0;
  query.udp_size = kPlainUdpSize;
  if (query.flags & kQr) return Parsed::Drop;  // answering an answer is how two servers loop
  if (opcode_of(query.flags) != 0) return Parsed::NotImp;
  Reader reader(message);
  if (!reader.open() || reader.count(0) != 0 || reader.count(1) != 0) return Parsed::FormErr;
  query.name = reader.name();
  query.lower = query.name.lowered();
  query.type = reader.type();
  query.klass = reader.klass();
  const size_t question_end = reader.position();
  // There is nothing in front of the question a pointer could honestly lead to; prepared answers count on its
  // length.
  if (question_end != kHeaderSize + query.name.size() + 4) return Parsed::FormErr;
  const Parsed parsed = parse_additional(message, reader, query);
  if (parsed == Parsed::Ok)
    query.question_end = question_end;
  else
    query.edns = false;  // what could not be read whole is answered by a bare header
  return parsed;
}

bool Reader::open() {
  if (message_.size() < kHeaderSize || u16(4) != 1) return false;
  at_ = kHeaderSize;
  if (!name_.read(message_, at_) || at_ + 4 > message_.size()) return false;
  type_ = u16(at_);
  klass_ = u16(at_ + 2);
  at_ += 4;
  return true;
}

bool Reader::next(Record& record) {
  record.start = at_;
  if (!record.owner.read(message_, at_) || at_ + 10 > message_.size()) return false;
  record.type = u16(at_);
  record.klass = u16(at_ + 2);
  record.ttl_at = at_ + 4;
  record.ttl_s = get_u32(message_.data() + at_ + 4);
  record.rdlength = u16(at_ + 8);
  record.rdata = at_ + 10;
  if (record.end() > message_.size()) return false;
  at_ = record.end();
  return true;
}

bool Writer::begin(uint16_t id, uint16_t flags) {
  if (limit_ < kHeaderSize) return false;
  std::memset(out_.data(), 0, kHeaderSize);
  put_u16(out_.data(), id);
  put_u16(out_.data() + 2, flags);
  at_ = kHeaderSize;
  known_count_ = 0;
  return true;
}

bool Writer::begin(Bytes query, const Query& parsed, uint16_t flags) {
  if (!begin(parsed.id, flags) || !bytes(query.subspan(kHeaderSize, parsed.question_end - kHeaderSize)))
    return false;
  if (parsed.question_end == kHeaderSize) return true;
  put_u16(out_.data() + 4, 1);
  if (!parsed.name.is_root()) known_[known_count_++] = kHeaderSize;
  return true;
}

void Writer::set_flags(uint16_t flags) { put_u16(out_.data() + 2, flags); }

bool Writer::question(const Name& name, uint16_t type, uint16_t klass) {
  if (!this->name(name, true) || !u16(type) || !u16(klass)) return false;
  put_u16(out_.data() + 4, 1);
  return true;
}

bool Writer::record(Section section, const Name& owner, uint16_t type, uint32_t ttl_s, Bytes rdata) {
  const size_t start = at_;
  const size_t known = known_count_;
  if (!name(owner, true) || !u16(type) || !u16(kClassIn) || !u32(ttl_s) || !u16(0)) return undo(start, known);
  const size_t rdata_at = at_;
  if (!this->rdata(type, rdata)) return undo(start, known);
  put_u16(out_.data() + rdata_at - 2, static_cast<uint16_t>(at_ - rdata_at));
  count(section);
  return true;
}

bool Writer::rdata(uint16_t type, Bytes rdata) {
  switch (type) {
    case kNs:
    case kPtr: return rdata_names(rdata, 1);
    case kSoa: return rdata_names(rdata, 2);
    case kSrv: {  // RFC 2782: the target itself is not compressed, but others may point to it
      size_t at = 6;
      Name target;
      return target.read(rdata, at) && bytes(rdata.first(6)) && name(target, false);
    }
    default: return bytes(rdata);
  }
}

bool Writer::rdata_names(Bytes rdata, size_t names) {
  size_t at = 0;
  for (; names > 0; --names) {
    Name target;
    if (!target.read(rdata, at) || !name(target, true)) return false;
  }
  return bytes(rdata.subspan(at));
}

bool Writer::opt(bool dnssec_ok, Rcode rcode, uint16_t udp_size) {
  if (at_ + kOptSize > limit_) return false;
  at_ += write_opt(out_.data() + at_, dnssec_ok, rcode, out_.data());
  put_u16(out_.data() + at_ - 8, udp_size);
  return true;
}

bool Writer::undo(size_t at, size_t known) {
  at_ = at;
  known_count_ = known;
  return false;
}

void Writer::count(Section section) {
  uint8_t* at = out_.data() + 6 + 2 * static_cast<size_t>(section);
  put_u16(at, static_cast<uint16_t>(get_u16(at) + 1));
}

// Where the suffix of `name` that begins at label_at already stands in the message.
std::optional<size_t> Writer::seen(const Name& name, size_t label_at) const {
  const Bytes suffix = name.wire().subspan(label_at);
  for (size_t i = 0; i < known_count_; ++i) {
    size_t at = known_[i];
    size_t matched = 0;
    while (at <
           at_) {  // our own output: pointers lead backwards, only the name being written may lack its end
      while (out_[at] >= 0xc0) at = static_cast<size_t>(out_[at] & 0x3f) << 8 | out_[at + 1];
      const size_t length = out_[at] + 1u;
      if (matched + length > suffix.size()) break;
      const auto same = [](uint8_t a, uint8_t b) { return lower(a) == lower(b); };
      if (!std::equal(out_.data() + at, out_.data() + at + length, suffix.data() + matched, same)) break;
      matched += length;
      if (matched == suffix.size()) return known_[i];
      at += length;
    }
  }
  return std::nullopt;
}

bool Writer::name(const Name& name, bool compress) {
  const Bytes wire = name.wire();
  for (size_t label_at = 0; wire[label_at] != 0; label_at += wire[label_at] + 1u) {
    const auto pointer = seen(name, label_at);
    if (pointer && compress) return u16(static_cast<uint16_t>(0xc000 | *pointer));
    if (!pointer && at_ < 0x4000 && known_count_ < known_.size())
      known_[known_count_++] = static_cast<uint16_t>(at_);
    if (!bytes(wire.subspan(label_at, wire[label_at] + 1u))) return false;
  }
  return bytes(wire.last(1));
}

bool Writer::u16(uint16_t value) {
  uint8_t raw[2];
  put_u16(raw, value);
  return bytes(raw);
}

bool Writer::u32(uint32_t value) {
  uint8_t raw[4];
  put_u32(raw, value);
  return bytes(raw);
}

bool Writer::bytes(Bytes data) {
  if (at_ + data.size() > limit_) return false;
  if (!data.empty()) std::memcpy(out_.data() + at_, data.data(), data.size());
  at_ += data.size();
  return true;
}

size_t write_opt(uint8_t* at, bool dnssec_ok, Rcode rcode, uint8_t* header) {
  at[0] = 0;  // the root owns it
  put_u16(at + 1, kOpt);
  put_u16(at + 3, kEdnsUdpSize);
  at[5] = static_cast<uint8_t>(rcode) >> 4;
  at[6] = 0;  // version
  put_u16(at + 7, dnssec_ok ? 0x8000 : 0);
  put_u16(at + 9, 0);
  put_u16(header + 10, static_cast<uint16_t>(get_u16(header + 10) + 1));
  return kOptSize;
}

}  // namespace thalweg::dns
