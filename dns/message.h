// DNS messages (RFC 1035 §4, EDNS RFC 6891): a bounded reader for what clients and upstreams send, a writer
// with name compression for what we send. Nothing here allocates; read by zone, answer, cache, upstream.
#pragma once

#include <cstdint>
#include <optional>

#include "dns/name.h"

namespace thalweg::dns {

constexpr size_t kMaxMessage = 65535;
constexpr uint16_t kPlainUdpSize = 512;  // RFC 1035 §4.2.1
constexpr uint16_t kEdnsUdpSize = 1232;  // no fragments on any IPv6 path (DNS flag day 2020)
constexpr size_t kOptSize = 11;          // an OPT record without options

enum Type : uint16_t {
  kA = 1,
  kNs = 2,
  kCname = 5,
  kSoa = 6,
  kPtr = 12,
  kTxt = 16,
  kAaaa = 28,
  kSrv = 33,
  kOpt = 41,
  kTkey = 249,
  kIxfr = 251,
  kAxfr = 252,
  kAny = 255,
};
constexpr uint16_t kClassIn = 1;

enum class Rcode : uint8_t {
  NoError = 0,
  FormErr = 1,
  ServFail = 2,
  NxDomain = 3,
  NotImp = 4,
  Refused = 5,
  BadVers = 16
};
const char* rcode_name(Rcode rcode);
// "A", "SRV", …; "TYPE65280" for those without a name here (RFC 3597 §5).
std::string type_name(uint16_t type);

// The flags word (RFC 1035 §4.1.1, RFC 4035 §3).
constexpr uint16_t kQr = 0x8000, kAa = 0x0400, kTc = 0x0200, kRd = 0x0100, kRa = 0x0080, kAd = 0x0020,
                   kCd = 0x0010;
constexpr uint8_t opcode_of(uint16_t flags) { return flags >> 11 & 0xf; }

struct Query {
  uint16_t id = 0;
  uint16_t flags = 0;
  Name name;   // as the client spelled it
  Name lower;  // what lookups use
  uint16_t type = 0;
  uint16_t klass = 0;
  size_t question_end = kHeaderSize;  // header and question, to be echoed
  bool edns = false;
  uint8_t edns_version = 0;
  bool dnssec_ok = false;
  uint16_t udp_size = kPlainUdpSize;  // the client's, never below 512

  bool recursion_desired() const { return flags & kRd; }
};

// What to do with bytes that arrived as a query. FormErr leaves id and flags filled, NotImp too.
enum class Parsed : uint8_t { Ok, Drop, FormErr, NotImp };
Parsed parse_query(Bytes message, Query& query);

struct Record {
  Name owner;
  uint16_t type = 0;
  uint16_t klass = 0;
  uint32_t ttl_s = 0;
  size_t start = 0;  // offsets in the message
  size_t ttl_at = 0;
  size_t rdata = 0;
  uint16_t rdlength = 0;
  size_t end() const { return rdata + rdlength; }
};

// Walks a response's sections; every read is bounded by the message.
class Reader {
 public:
  explicit Reader(Bytes message) : message_(message) {}
  // Header and exactly one question. False: malformed.
  bool open();
  uint16_t id() const { return u16(0); }
  uint16_t flags() const { return u16(2); }
  uint16_t count(size_t section) const {
    return u16(6 + 2 * section);
  }  // 0 answer, 1 authority, 2 additional
  const Name& name() const { return name_; }
  uint16_t type() const { return type_; }
  uint16_t klass() const { return klass_; }
  // The next record at the cursor. False: malformed or cut short.
  bool next(Record& record);
  size_t position() const { return at_; }

 private:
  uint16_t u16(size_t at) const { return static_cast<uint16_t>(message_[at] << 8 | message_[at + 1]); }
  Bytes message_;
  size_t at_ = kHeaderSize;
  Name name_;
  uint16_t type_ = 0;
  uint16_t klass_ = 0;
};

// Writes one message into a caller's buffer. A record that does not fit leaves no trace: the call says false.
class Writer {
 public:
  enum class Section : uint8_t { Answer, Authority, Additional };

  explicit Writer(std::span<uint8_t> out) : out_(out), limit_(out.size()) {}
  bool begin(uint16_t id, uint16_t flags);
  // Echoes the question bytes of a parsed query, case and all.
  bool begin(Bytes query, const Query& parsed, uint16_t flags);
  bool question(const Name& name, uint16_t type, uint16_t klass = kClassIn);
  // rdata in its uncompressed wire form; names in NS, PTR and SOA are compressed; never CNAME's, which
  // answer() reads.
  bool record(Section section, const Name& owner, uint16_t type, uint32_t ttl_s, Bytes rdata);
  // extended: the rcode's upper bits live in OPT; size: what we accept by UDP.
  bool opt(bool dnssec_ok, Rcode rcode, uint16_t udp_size = kEdnsUdpSize);
  void set_flags(uint16_t flags);
  size_t size() const { return at_; }
  Bytes written() const { return out_.first(at_); }

 private:
  bool name(const Name& name, bool compress);
  bool rdata(uint16_t type, Bytes rdata);
  bool rdata_names(Bytes rdata, size_t names);
  bool u16(uint16_t value);
  bool u32(uint32_t value);
  bool bytes(Bytes data);
  std::optional<size_t> seen(const Name& name, size_t label_at) const;
  bool undo(size_t at, size_t known);
  void count(Section section);

  std::span<uint8_t> out_;
  size_t limit_;
  size_t at_ = 0;
  // Where suffixes stand already; when it is full later names are compressed less, that is all.
  std::array<uint16_t, 128> known_{};
  size_t known_count_ = 0;
};

inline void put_u16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}
inline uint16_t get_u16(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }
inline void put_u32(uint8_t* at, uint32_t value) {
  put_u16(at, static_cast<uint16_t>(value >> 16));
  put_u16(at + 2, static_cast<uint16_t>(value));
}
inline uint32_t get_u32(const uint8_t* at) {
  return static_cast<uint32_t>(get_u16(at)) << 16 | get_u16(at + 2);
}

// Writes our OPT at `at` and counts it in the additional section of the message that begins at `header`. The
// upper bits of an extended rcode live there (RFC 6891 §6.1.3). Returns kOptSize.
size_t write_opt(uint8_t* at, bool dnssec_ok, Rcode rcode, uint8_t* header);

}  // namespace thalweg::dns
