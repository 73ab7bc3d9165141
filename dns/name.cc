#include "dns/name.h"

#include <algorithm>
#include <cstring>

namespace thalweg::dns {

namespace {

constexpr auto kLower = [] {
  std::array<uint8_t, 256> table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = lower(static_cast<uint8_t>(i));
  return table;
}();

bool equal_bytes(Bytes a, Bytes b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](uint8_t x, uint8_t y) { return kLower[x] == kLower[y]; });
}

bool digit(char c) { return c >= '0' && c <= '9'; }

// One character of presentation form, escapes resolved (RFC 1035 §5.1). False: a broken escape.
bool next_char(std::string_view text, size_t& at, uint8_t& out) {
  if (text[at] != '\\') {
    out = static_cast<uint8_t>(text[at++]);
    return true;
  }
  if (++at >= text.size()) return false;
  if (!digit(text[at])) {
    out = static_cast<uint8_t>(text[at++]);
    return true;
  }
  if (at + 3 > text.size() || !digit(text[at + 1]) || !digit(text[at + 2])) return false;
  const int value = (text[at] - '0') * 100 + (text[at + 1] - '0') * 10 + (text[at + 2] - '0');
  at += 3;
  out = static_cast<uint8_t>(value);
  return value <= 255;
}

void escape(std::string& out, uint8_t c) {
  if (c == '.' || c == '\\' || c == '"' || c == ';' || c == '(' || c == ')' || c == '@' || c == '$')
    (out += '\\') += static_cast<char>(c);
  else if (c > 0x20 && c < 0x7f)
    out += static_cast<char>(c);
  else
    out += fmt::format("\\{:03}", c);
}

}  // namespace

Result<Name> Name::parse(std::string_view text) {
  Name name;
  if (text == ".") return name;
  std::array<uint8_t, kMaxLabel + 1> label{};
  size_t at = 0;
  while (at < text.size()) {
    size_t length = 0;
    while (at < text.size() && text[at] != '.') {
      uint8_t c = 0;
      if (!next_char(text, at, c)) return fail("domain name \"{}\": broken escape", text);
      if (++length > kMaxLabel) return fail("domain name \"{}\": a label is longer than 63 bytes", text);
      label[length] = c;
    }
    if (length == 0) return fail("domain name \"{}\": empty label", text);
    label[0] = static_cast<uint8_t>(length);
    if (!name.append({label.data(), length + 1}))
      return fail("domain name \"{}\": longer than 255 bytes", text);
    if (at < text.size()) ++at;  // the dot
  }
  if (text.empty()) return fail("domain name: empty");
  return name;
}

bool Name::append(Bytes label_with_length) {
  if (length_ + label_with_length.size() > kMaxName) return false;
  std::copy(label_with_length.begin(), label_with_length.end(), bytes_.begin() + length_ - 1);
  length_ = static_cast<uint8_t>(length_ + label_with_length.size());
  bytes_[length_ - 1] = 0;
  return true;
}

bool Name::read(Bytes message, size_t& at) {
  length_ = 1;
  bytes_[0] = 0;
  size_t position = at;
  size_t start =
      at;  // of the segment being read; a pointer leads in front of it, and what it leads to ends there
  size_t limit = message.size();
  bool jumped = false;
  while (position < limit) {
    const uint8_t length = message[position];
    if (length == 0) {
      if (!jumped) at = position + 1;
      return true;
    }
    if (length >= 0xc0) {
      if (position + 1 >= limit) return false;
      const size_t target = static_cast<size_t>(length & 0x3f) << 8 | message[position + 1];
      if (target >= start || target < kHeaderSize) return false;
      if (!jumped) at = position + 2;
      jumped = true;
      limit = start;
      position = start = target;
      continue;
    }
    if (length > kMaxLabel || position + 1 + length > limit) return false;
    if (!append(message.subspan(position, length + 1u))) return false;
    position += 1u + length;
  }
  return false;
}

bool Name::prepend(std::string_view label) {
  if (label.empty() || label.size() > kMaxLabel || length_ + label.size() + 1 > kMaxName) return false;
  std::memmove(bytes_.data() + label.size() + 1, bytes_.data(), length_);
  bytes_[0] = static_cast<uint8_t>(label.size());
  std::memcpy(bytes_.data() + 1, label.data(), label.size());
  length_ = static_cast<uint8_t>(length_ + label.size() + 1);
  return true;
}

size_t Name::labels() const {
  size_t count = 0;
  for (size_t at = 0; bytes_[at] != 0; at += 1u + bytes_[at]) ++count;
  return count;
}

Name Name::parent(size_t n) const {
  size_t at = 0;
  for (; n > 0 && bytes_[at] != 0; --n) at += 1u + bytes_[at];
  Name out;
  out.length_ = static_cast<uint8_t>(length_ - at);
  std::memcpy(out.bytes_.data(), bytes_.data() + at, out.length_);
  return out;
}

std::string_view Name::label(size_t index) const {
  size_t at = 0;
  for (; index > 0; --index) at += 1u + bytes_[at];
  return {reinterpret_cast<const char*>(bytes_.data() + at + 1), bytes_[at]};
}

bool Name::within(const Name& ancestor) const {
  if (ancestor.length_ > length_) return false;
  const size_t start = length_ - ancestor.length_;
  size_t at = 0;
  while (at < start) at += 1u + bytes_[at];
  return at == start && equal_bytes(wire().subspan(start), ancestor.wire());
}

Name Name::lowered() const {
  Name out;
  out.length_ = length_;
  for (size_t i = 0; i < length_; ++i) out.bytes_[i] = kLower[bytes_[i]];  // length bytes are below 'A'
  return out;
}

std::string Name::str() const {
  if (is_root()) return ".";
  std::string out;
  for (size_t at = 0; bytes_[at] != 0; at += 1u + bytes_[at]) {
    for (size_t i = 1; i <= bytes_[at]; ++i) escape(out, bytes_[at + i]);
    out += '.';
  }
  return out;
}

bool Name::operator==(const Name& other) const { return equal_bytes(wire(), other.wire()); }

uint64_t hash_bytes(Bytes data, uint64_t seed) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t h = seed ^ (data.size() * kMultiplier);
  const auto mix = [&h](uint64_t word) {
    const auto product = static_cast<unsigned __int128>(h ^ word) * kMultiplier;
    h = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  size_t at = 0;
  for (; at + 8 <= data.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, data.data() + at, 8);
    mix(word);
  }
  uint64_t tail = 0;
  if (at < data.size()) std::memcpy(&tail, data.data() + at, data.size() - at);
  mix(tail ^ 0xff51afd7ed558ccd);
  return h ^ (h >> 32);
}

}  // namespace thalweg::dns
