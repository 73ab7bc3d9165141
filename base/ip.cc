#include "base/ip.h"

#include <arpa/inet.h>

#include <charconv>

namespace thalweg {

namespace {

constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Ip masked(const Ip& ip, uint8_t length) {
  auto bytes = ip.bytes();
  for (unsigned i = 0; i < 16; ++i) {
    unsigned bits = length > i * 8 ? std::min(8u, length - i * 8) : 0;
    bytes[i] &= static_cast<uint8_t>(0xff00u >> bits);
  }
  return Ip(bytes);
}

}  // namespace

Ip Ip::v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
  const uint8_t four[4] = {a, b, c, d};
  return from_v4_bytes(four);
}

Ip Ip::from_v4_bytes(const void* four) {
  Ip ip;
  std::copy(kMapped.begin(), kMapped.end(), ip.bytes_.begin());
  std::memcpy(ip.bytes_.data() + 12, four, 4);
  return ip;
}

Ip Ip::from_v6_bytes(const void* sixteen) {
  Ip ip;
  std::memcpy(ip.bytes_.data(), sixteen, 16);
  return ip;
}

Result<Ip> Ip::parse(std::string_view text) {
  const std::string terminated(text);  // inet_pton wants a C string
  if (terminated.size() != std::strlen(terminated.c_str())) return fail("address has a NUL byte");
  uint8_t raw[16];
  if (inet_pton(AF_INET, terminated.c_str(), raw) == 1) return from_v4_bytes(raw);
  if (inet_pton(AF_INET6, terminated.c_str(), raw) == 1) return from_v6_bytes(raw);
  return fail("'{}' is not an IP address", text);
}

bool Ip::is_v4() const { return std::equal(kMapped.begin(), kMapped.end(), bytes_.begin()); }

bool Ip::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  return masked(*this, 127) == Ip() && bytes_[15] == 1;
}

bool Ip::is_link_local() const {
  if (is_v4()) return bytes_[12] == 169 && bytes_[13] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

bool Ip::is_multicast() const { return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff; }

std::string Ip::str() const {
  char text[INET6_ADDRSTRLEN];
  if (is_v4()) return inet_ntop(AF_INET, v4_bytes(), text, sizeof text);
  return inet_ntop(AF_INET6, bytes_.data(), text, sizeof text);
}

Ip Ip::plus(uint64_t n) const {
  Ip sum = *this;
  for (int i = 15; i >= 0 && n != 0; --i) {
    n += sum.bytes_[i];
    sum.bytes_[i] = static_cast<uint8_t>(n);
    n >>= 8;
  }
  return sum;
}

Cidr::Cidr(const Ip& ip, uint8_t length) : ip_(masked(ip, length)), length_(length) {}

Result<Cidr> Cidr::parse_lenient(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return fail("'{}' is not a CIDR: no '/'", text);
  const auto ip = Ip::parse(text.substr(0, slash));
  if (!ip) return fail("'{}' is not a CIDR", text);
  const auto digits = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  const unsigned most = ip->is_v4() ? 32 : 128;
  if (code != std::errc() || end != digits.data() + digits.size() || digits.empty() || length > most)
    return fail("'{}' is not a CIDR: the prefix length is a number from 0 to {}", text, most);
  return Cidr(*ip, static_cast<uint8_t>(ip->is_v4() ? length + 96 : length));
}

Result<Cidr> Cidr::parse(std::string_view text) {
  const auto cidr = TRY(parse_lenient(text));
  if (Ip::parse(text.substr(0, text.find('/'))).value() != cidr.ip())
    return fail("'{}' has host bits set: did you mean {}?", text, cidr);
  return cidr;
}

uint8_t Cidr::family_length() const { return is_v4() ? length_ - 96 : length_; }

bool Cidr::contains(const Ip& ip) const { return masked(ip, length_) == ip_; }

std::string Cidr::str() const { return fmt::format("{}/{}", ip_.str(), family_length()); }

}  // namespace thalweg
