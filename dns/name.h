// Name: a domain name in wire form (RFC 1035 §3.1), its case kept. Everything in dns/ that reads or writes
// names uses it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thalweg::dns {

using Bytes = std::span<const uint8_t>;

constexpr size_t kHeaderSize = 12;  // of a message; no name begins inside it
constexpr size_t kMaxName = 255;    // RFC 1035 §2.3.4, the root's byte included
constexpr size_t kMaxLabel = 63;
constexpr size_t kMaxLabels = 127;

// ASCII only, as RFC 4343 says; other bytes are themselves.
constexpr uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

class Name {
 public:
  Name() = default;  // the root

  // "a.b.c", with or without the last dot; \DDD and \x escapes. Errors name the text.
  static Result<Name> parse(std::string_view text);

  // Reads a name at `at` of a message and moves `at` behind it. Compression pointers must lead strictly
  // backwards and not into the header, so the work is bounded by the name's length. False: not a name (at is
  // then unspecified).
  bool read(Bytes message, size_t& at);

  // One label in front: false when it is empty, longer than 63 bytes, or the name would exceed 255.
  bool prepend(std::string_view label);

  Bytes wire() const { return {bytes_.data(), length_}; }
  size_t size() const { return length_; }
  size_t labels() const;  // without the root
  bool is_root() const { return length_ == 1; }
  // The name without its first n labels; n must not exceed labels().
  Name parent(size_t n = 1) const;
  std::string_view label(size_t index) const;  // index < labels()

  // This name equals `ancestor` or lies below it.
  bool within(const Name& ancestor) const;
  Name lowered() const;
  std::string str() const;  // presentation form with the last dot; the root is "."

  bool operator==(const Name& other) const;  // without regard to case

 private:
  bool append(Bytes label_with_length);

  std::array<uint8_t, kMaxName> bytes_{};
  uint8_t length_ = 1;
};

// A hash of lower-case wire bytes; the seed keeps outsiders from choosing collisions.
uint64_t hash_bytes(Bytes lower_case, uint64_t seed = 0);

}  // namespace thalweg::dns
