#include "dns/text.h"

#include "base/ip.h"
#include "dns/zone.h"

namespace thalweg::dns {

namespace {

std::string name_text(Bytes message, size_t& at) {
  Name name;
  return name.read(message, at) ? name.lowered().str() : "<bad name>";
}

std::string unknown_text(Bytes rdata) {
  std::string out = fmt::format("\\# {} ", rdata.size());
  for (const uint8_t byte : rdata) out += fmt::format("{:02x}", byte);
  return out;
}

std::string soa_text(Bytes message, const Record& record) {
  size_t at = record.rdata;
  std::string out = name_text(message, at);
  out += ' ' + name_text(message, at);
  if (at + 20 > record.end()) return "<short SOA>";
  for (int i = 0; i < 5; ++i, at += 4) out += fmt::format(" {}", get_u32(message.data() + at));
  return out;
}

std::string txt_text(Bytes rdata) {
  std::string out;
  for (size_t at = 0; at < rdata.size(); at += rdata[at] + 1u) {
    if (at + 1 + rdata[at] > rdata.size()) return "<short TXT>";
    out += out.empty() ? "\"" : " \"";
    for (size_t i = 1; i <= rdata[at]; ++i) {
      const char c = static_cast<char>(rdata[at + i]);
      if (c == '"' || c == '\\') out += '\\';
      out += c >= 0x20 && c < 0x7f ? std::string(1, c) : fmt::format("\\{:03}", rdata[at + i]);
    }
    out += '"';
  }
  return out;
}

std::string rdata_text(Bytes message, const Record& record) {
  const Bytes rdata = message.subspan(record.rdata, record.rdlength);
  size_t at = record.rdata;
  switch (record.type) {
    case kA: return rdata.size() == 4 ? Ip::from_v4_bytes(rdata.data()).str() : unknown_text(rdata);
    case kAaaa: return rdata.size() == 16 ? Ip::from_v6_bytes(rdata.data()).str() : unknown_text(rdata);
    case kNs:
    case kCname:
    case kPtr: return name_text(message, at);
    case kSoa: return soa_text(message, record);
    case kTxt: return txt_text(rdata);
    case kSrv: {
      if (rdata.size() < 7) return unknown_text(rdata);
      at += 6;
      const std::string target = name_text(message, at);
      return fmt::format("{} {} {} {}", get_u16(rdata.data()), get_u16(rdata.data() + 2),
                         get_u16(rdata.data() + 4), target);
    }
    default: return unknown_text(rdata);
  }
}

}  // namespace

std::string record_text(Bytes message, const Record& record) {
  return fmt::format("{} {} IN {} {}", record.owner.lowered().str(), record.ttl_s, type_name(record.type),
                     rdata_text(message, record));
}

std::string message_text(Bytes message) {
  if (message.size() < kHeaderSize) return "malformed: shorter than a header\n";
  const uint16_t flags = get_u16(message.data() + 2);
  std::string out = rcode_name(static_cast<Rcode>(flags & 0xf));
  if (flags & kAa) out += " aa";
  if (flags & kTc) out += " tc";
  out += '\n';
  Reader reader(message);
  if (!reader.open()) return message.size() == kHeaderSize ? out : out + "malformed: question\n";
  constexpr const char* kSections[] = {"answer", "authority", "additional"};
  for (size_t section = 0; section < 3; ++section)
    for (uint16_t left = reader.count(section); left > 0; --left) {
      Record record;
      if (!reader.next(record)) return out + fmt::format("malformed: {}\n", kSections[section]);
      if (record.type != kOpt)
        out += fmt::format("{} {}\n", kSections[section], record_text(message, record));
    }
  if (reader.position() != message.size()) out += "malformed: bytes behind the message\n";
  return out;
}

std::string zone_text(const Zone& zone) {
  std::string out;
  for (const Node& node : zone.nodes())
    for (const Answers& answers : zone.answers(node)) {
      const Name owner = zone.name(node);
      std::vector<uint8_t> message(kMaxMessage);
      Writer writer(message);
      writer.begin(0, 0);
      writer.question(owner, answers.type);
      message.resize(writer.size());
      const Bytes prepared = zone.prepared(answers).first(answers.answer_size);
      message.insert(message.end(), prepared.begin(), prepared.end());
      put_u16(message.data() + 6, answers.records);
      Reader reader(message);
      Record record;
      reader.open();
      for (uint16_t i = 0; i < answers.records && reader.next(record); ++i)
        out += record_text(message, record) + '\n';
    }
  return out;
}

}  // namespace thalweg::dns
