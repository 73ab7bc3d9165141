// Ip and Cidr: addresses as 16 bytes, IPv4 as v4-mapped IPv6 (RFC 4291 §2.5.5.2), so both families are one
// code.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thalweg {

class Ip {
 public:
  Ip() = default;  // "::", which stands for "none"
  explicit Ip(const std::array<uint8_t, 16>& bytes) : bytes_(bytes) {}
  static Ip v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
  static Ip from_v4_bytes(const void* four);     // network order
  static Ip from_v6_bytes(const void* sixteen);  // network order
  // Strict text forms only (inet_pton): no octal, no short forms, no zone.
  static Result<Ip> parse(std::string_view text);

  bool is_v4() const;
  bool is_none() const { return *this == Ip(); }
  bool is_loopback() const;
  bool is_link_local() const;
  bool is_multicast() const;
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  const uint8_t* v4_bytes() const { return bytes_.data() + 12; }
  std::string str() const;
  // This address plus n, for walking a range; wraps within the 128 bits.
  Ip plus(uint64_t n) const;

  auto operator<=>(const Ip&) const = default;

 private:
  std::array<uint8_t, 16> bytes_{};
};

class Cidr {
 public:
  Cidr() = default;
  // length counts from the start of the 128 bits: an IPv4 /24 is 120. Host bits are cleared.
  Cidr(const Ip& ip, uint8_t length);
  // "192.0.2.0/24", "2001:db8::/32". Host bits set are an error naming the text, as the API server refuses
  // them.
  static Result<Cidr> parse(std::string_view text);
  // As parse, but host bits may be set and are cleared.
  static Result<Cidr> parse_lenient(std::string_view text);
  static Cidr host(const Ip& ip) { return Cidr(ip, 128); }

  const Ip& ip() const { return ip_; }
  uint8_t length() const { return length_; }  // of 128
  uint8_t family_length() const;              // of 32 or 128, as written
  bool is_v4() const { return length_ >= 96 && ip_.is_v4(); }
  bool contains(const Ip& ip) const;
  bool contains(const Cidr& other) const { return length_ <= other.length_ && contains(other.ip_); }
  std::string str() const;

  auto operator<=>(const Cidr&) const = default;

 private:
  Ip ip_;
  uint8_t length_ = 0;
};

}  // namespace thalweg

template <>
struct std::hash<thalweg::Ip> {
  size_t operator()(const thalweg::Ip& ip) const noexcept {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(ip.bytes().data()), 16});
  }
};
template <>
struct fmt::formatter<thalweg::Ip> : fmt::formatter<std::string> {
  template <class C>
  auto format(const thalweg::Ip& ip, C& ctx) const {
    return fmt::formatter<std::string>::format(ip.str(), ctx);
  }
};
template <>
struct fmt::formatter<thalweg::Cidr> : fmt::formatter<std::string> {
  template <class C>
  auto format(const thalweg::Cidr& cidr, C& ctx) const {
    return fmt::formatter<std::string>::format(cidr.str(), ctx);
  }
};
