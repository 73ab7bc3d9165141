#include "dns/answer.h"

#include <algorithm>
#include <cstring>

namespace thalweg::dns {

namespace {

constexpr int kMaxChain = 8;  // CNAMEs followed within the zone for one query

// What one query's stages share.
struct Exchange {
  const Zone& zone;
  const Query& query;
  Bytes message;
  const Transport& transport;
  std::span<uint8_t> out;

  size_t limit() const { return reply_limit(query, transport) - (query.edns ? kOptSize : 0); }
  uint16_t flags(Rcode rcode, uint16_t more = 0) const {
    const uint16_t kept = query.flags & (0x7800 | kRd | kCd);
    return static_cast<uint16_t>(kQr | kept | more | (transport.recursion_available ? kRa : 0) |
                                 (static_cast<uint8_t>(rcode) & 0xf));
  }
};

// Header, the question as it came, and OPT behind `body` bytes that stand after the question already.
Reply finish(const Exchange& x, uint16_t flags, Rcode rcode, const std::array<uint16_t, 3>& counts,
             size_t body) {
  uint8_t* out = x.out.data();
  const size_t question = x.query.question_end;
  put_u16(out, x.query.id);
  put_u16(out + 2, flags);
  put_u16(out + 4, question > kHeaderSize ? 1 : 0);
  std::memcpy(out + kHeaderSize, x.message.data() + kHeaderSize, question - kHeaderSize);
  for (size_t i = 0; i < counts.size(); ++i) put_u16(out + 6 + 2 * i, counts[i]);
  size_t size = question + body;
  if (x.query.edns) size += write_opt(out + size, x.query.dnssec_ok, rcode, out);
  return {.action = Reply::Action::Send, .rcode = rcode, .truncated = (flags & kTc) != 0, .size = size};
}

Reply bare(const Exchange& x, Rcode rcode) { return finish(x, x.flags(rcode), rcode, {0, 0, 0}, 0); }

// NODATA and NXDOMAIN: no answer, the SOA in authority (RFC 2308). The owner is a pointer to the apex at the
// question's end; a reverse name is its own apex.
Reply negative(const Exchange& x, Rcode rcode, bool reverse) {
  const Bytes soa = x.zone.soa();
  const size_t question = x.query.question_end;
  if (question + soa.size() > x.limit()) return finish(x, x.flags(rcode, kAa), rcode, {0, 0, 0}, 0);
  const size_t owner = reverse ? kHeaderSize : kHeaderSize + x.query.name.size() - x.zone.apex().size();
  std::memcpy(x.out.data() + question, soa.data(), soa.size());
  put_u16(x.out.data() + question, static_cast<uint16_t>(0xc000 | owner));
  return finish(x, x.flags(rcode, kAa), rcode, {0, 1, 0}, soa.size());
}

// `count` records of one size, beginning with the one the query's id picks: clients that take the first
// spread.
void copy_rotated(uint8_t* out, Bytes records, size_t size, size_t first, size_t count) {
  const size_t until_end = std::min(count, records.size() / size - first);
  std::memcpy(out, records.data() + first * size, until_end * size);
  std::memcpy(out + until_end * size, records.data(), (count - until_end) * size);
}

// As many whole records as fit: owner pointer, type, class, TTL, length, data.
std::pair<size_t, uint16_t> fitting(Bytes records, size_t room) {
  size_t size = 0;
  uint16_t count = 0;
  while (size + 12 <= records.size()) {
    const size_t record = 12u + get_u16(records.data() + size + 10);
    if (size + record > room) break;
    size += record;
    ++count;
  }
  return {size, count};
}

Reply positive(const Exchange& x, const Answers& answers) {
  const Bytes prepared = x.zone.prepared(answers);
  const Bytes records = prepared.first(answers.answer_size);
  const size_t room = x.limit() - x.query.question_end;
  uint8_t* body = x.out.data() + x.query.question_end;
  size_t size = answers.answer_size;
  uint16_t count = answers.records;
  if (size > room) std::tie(size, count) = fitting(records, room);
  if (answers.rotate_by != 0)
    copy_rotated(body, records, answers.rotate_by, x.query.id % answers.records, count);
  else
    std::memcpy(body, records.data(), size);
  const bool whole = count == answers.records;
  const bool with_additional = whole && answers.additional > 0 && answers.total_size <= room;
  if (with_additional) {
    std::memcpy(body + size, prepared.data() + size, answers.total_size - size);
    size = answers.total_size;
  }
  const uint16_t additional = with_additional ? answers.additional : 0;
  return finish(x, x.flags(Rcode::NoError, kAa | (whole ? 0 : kTc)), Rcode::NoError, {count, 0, additional},
                size);
}

Name cname_target(const Exchange& x, const Answers& cname) {
  Name target;
  size_t at = 12;  // behind the record's fixed part; CNAME data is never compressed
  target.read(x.zone.prepared(cname), at);
  return target;
}

// Adds the addresses a name of the zone has, under its own name.
bool add_addresses(const Exchange& x, Writer& writer, const Name& owner, const Answers& answers) {
  const Bytes records = x.zone.prepared(answers).first(answers.answer_size);
  for (size_t at = 0; at + 12 <= records.size();) {
    const uint16_t length = get_u16(records.data() + at + 10);
    if (!writer.record(Writer::Section::Answer, owner, answers.type, x.zone.config().ttl_s,
                       records.subspan(at + 12, length)))
      return false;
    at += 12u + length;
  }
  return true;
}

struct Chain {
  std::optional<Name> outside;  // where the chain leaves the zone
  Rcode rcode = Rcode::NoError;
  bool truncated = false;
};

// Writes the CNAMEs from the query's name on, and the addresses at their end when the zone has them.
Chain write_chain(const Exchange& x, Writer& writer, const Answers* cname) {
  Name owner = x.query.name;
  for (int links = 0; links < kMaxChain; ++links) {
    const Name target = cname_target(x, *cname);
    if (!writer.record(Writer::Section::Answer, owner, kCname, x.zone.config().ttl_s, target.wire()))
      return {.truncated = true};
    if (x.query.type != kA && x.query.type != kAaaa) return {};
    const Node* node = x.zone.find(target.lowered().wire());
    if (node == nullptr && !target.within(x.zone.apex())) return {.outside = target};
    if (node == nullptr) return {.rcode = Rcode::NxDomain};
    if (const Answers* found = x.zone.find(*node, x.query.type))
      return {.truncated = !add_addresses(x, writer, target, *found)};
    cname = x.zone.find(*node, kCname);
    if (cname == nullptr) return {};
    owner = target;
  }
  return {.rcode = Rcode::ServFail};
}

void end_chain(const Exchange& x, Writer& writer, const Chain& chain) {
  writer.set_flags(x.flags(chain.rcode, kAa | (chain.truncated ? kTc : 0)));
}

Writer chain_writer(const Exchange& x) {
  Writer writer(x.out.first(x.limit()));
  writer.begin(x.message, x.query, x.flags(Rcode::NoError, kAa));
  return writer;
}

Reply seal(const Exchange& x, const Writer& writer, Rcode rcode, bool truncated) {
  size_t size = writer.size();
  if (x.query.edns) size += write_opt(x.out.data() + size, x.query.dnssec_ok, rcode, x.out.data());
  return {.action = Reply::Action::Send, .rcode = rcode, .truncated = truncated, .size = size};
}

Reply aliased(const Exchange& x, const Answers& cname) {
  Writer writer = chain_writer(x);
  const Chain chain = write_chain(x, writer, &cname);
  if (chain.rcode == Rcode::ServFail) return bare(x, Rcode::ServFail);
  end_chain(x, writer, chain);
  Reply reply = seal(x, writer, chain.rcode, chain.truncated);
  if (chain.outside && x.query.recursion_desired() && x.transport.recursion_available) {
    reply.action = Reply::Action::Follow;
    reply.target = chain.outside;
  }
  return reply;
}

Reply at_node(const Exchange& x, const Node& node) {
  if (x.query.type == kAny && node.count > 0)
    return positive(x, x.zone.answers(node).front());  // RFC 8482 §4.1
  if (const Answers* found = x.zone.find(node, x.query.type)) return positive(x, *found);
  if (const Answers* cname = x.zone.find(node, kCname)) return aliased(x, *cname);
  return negative(x, Rcode::NoError, node.reverse);
}

// a-b-c-d.<namespace>.pod.<apex> in insecure mode: the name is its own answer, if the namespace exists.
std::optional<Reply> pod_name(const Exchange& x) {
  if (x.zone.config().pods != PodNames::Insecure) return std::nullopt;
  if (x.query.lower.labels() != x.zone.apex().labels() + 3) return std::nullopt;
  const Name ns = x.query.lower.parent();
  if (!(ns.parent() == pods_name(x.zone.apex())) || x.zone.find(ns.wire()) == nullptr) return std::nullopt;
  const auto ip = from_dashed(x.query.lower.label(0));
  if (!ip) return std::nullopt;
  const uint16_t type = ip->is_v4() ? kA : kAaaa;
  if (x.query.type != type && x.query.type != kAny) return negative(x, Rcode::NoError, false);
  const Bytes rdata = ip->is_v4() ? Bytes(ip->v4_bytes(), 4) : Bytes(ip->bytes());
  Writer writer = chain_writer(x);
  const bool fits = writer.record(Writer::Section::Answer, x.query.name, type, x.zone.config().ttl_s, rdata);
  return seal(x, writer, Rcode::NoError, !fits);
}

bool reverse_tree(const Name& name) {
  static const Name v4 = *Name::parse("in-addr.arpa");
  static const Name v6 = *Name::parse("ip6.arpa");
  return name.within(v4) || name.within(v6);
}

Reply not_held(const Exchange& x, bool ours) {
  if (ours) {
    auto pod = pod_name(x);
    return pod ? std::move(*pod) : negative(x, Rcode::NxDomain, false);
  }
  if (!x.query.recursion_desired() || !x.transport.recursion_available) return bare(x, Rcode::Refused);
  return {.action = Reply::Action::Forward};
}

// Questions no zone answers, whatever their name.
std::optional<Rcode> refused_by_shape(const Query& query) {
  if (query.edns && query.edns_version != 0) return Rcode::BadVers;
  if (query.type == 0 || query.type == kOpt) return Rcode::FormErr;
  if (query.klass != kClassIn) return Rcode::Refused;
  if (query.type >= kTkey && query.type < kAny) return Rcode::Refused;  // transfers, TKEY, TSIG, MAILA, MAILB
  return std::nullopt;
}

}  // namespace

size_t reply_limit(const Query& query, const Transport& transport) {
  if (transport.stream) return kMaxMessage;
  return std::min(query.udp_size, kEdnsUdpSize);
}

Reply answer(const Zone& zone, Parsed parsed, const Query& query, Bytes message, const Transport& transport,
             std::span<uint8_t> out) {
  const Exchange x{zone, query, message, transport, out};
  if (parsed == Parsed::Drop) return {};
  if (parsed == Parsed::FormErr) return bare(x, Rcode::FormErr);
  if (parsed == Parsed::NotImp) return bare(x, Rcode::NotImp);
  if (const auto rcode = refused_by_shape(query)) return bare(x, *rcode);
  if (const Node* node = zone.find(query.lower.wire())) return at_node(x, *node);
  const bool ours = query.lower.within(zone.apex());
  if (!zone.synced() && (ours || reverse_tree(query.lower))) return bare(x, Rcode::ServFail);
  return not_held(x, ours);
}

Reply refuse(const Query& query, Bytes message, Rcode rcode, const Transport& transport,
             std::span<uint8_t> out) {
  static const Zone none;
  return bare({none, query, message, transport, out}, rcode);
}

Reply follow(const Zone& zone, const Query& query, Bytes message, Bytes upstream, const Transport& transport,
             std::span<uint8_t> out) {
  const Exchange x{zone, query, message, transport, out};
  const Node* node = zone.find(query.lower.wire());
  const Answers* cname = node != nullptr ? zone.find(*node, kCname) : nullptr;
  Reader reader(upstream);
  if (cname == nullptr || !reader.open()) return bare(x, Rcode::ServFail);
  Writer writer = chain_writer(x);
  Chain chain = write_chain(x, writer, cname);
  chain.rcode = static_cast<Rcode>(reader.flags() & 0xf);
  for (uint16_t left = reader.count(0); left > 0 && !chain.truncated; --left) {
    Record record;
    if (!reader.next(record)) return bare(x, Rcode::ServFail);
    Bytes rdata = upstream.subspan(record.rdata, record.rdlength);
    Name target;
    size_t at = record.rdata;
    if (record.type == kCname && target.read(upstream, at)) rdata = target.wire();
    if (record.type == kCname || record.type == query.type)
      chain.truncated =
          !writer.record(Writer::Section::Answer, record.owner, record.type, record.ttl_s, rdata);
  }
  end_chain(x, writer, chain);
  return seal(x, writer, chain.rcode, chain.truncated);
}

}  // namespace thalweg::dns
