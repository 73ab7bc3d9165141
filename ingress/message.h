// Heads of requests and responses, whatever wire they came by: what the phases read and change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace thalweg::ingress {

bool iequals(std::string_view a, std::string_view b);  // ASCII, without case

// Header fields in the order they came; names are compared without case.
class Headers {
 public:
  struct Field {
    std::string name;
    std::string value;
  };

  void add(std::string_view name, std::string_view value);
  void set(std::string_view name, std::string_view value);  // replaces every field of that name
  void remove(std::string_view name);
  template <class Predicate>
  void remove_if(Predicate predicate) {
    std::erase_if(fields_, predicate);
  }
  const std::string* find(std::string_view name) const;  // the first, or null
  size_t count(std::string_view name) const;
  // True when a comma-separated field of that name lists the token (RFC 9110 §5.6.1).
  bool lists(std::string_view name, std::string_view token) const;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  size_t size() const { return fields_.size(); }

 private:
  std::vector<Field> fields_;
};

// The tokens of a comma-separated list, trimmed, empty ones left out.
std::vector<std::string_view> list_tokens(std::string_view value);

// How the end of a body is found (RFC 9112 §6).
enum class Framing : uint8_t { None, Length, Chunked, UntilClose };

struct RequestHead {
  std::string method;
  std::string target;  // as read; after sanitize: origin-form, its path normalised
  int version = 11;    // 10 or 11
  Headers headers;
  // Filled by sanitize:
  std::string authority;  // Host as the client wrote it
  std::string host;       // lower case, no port, no last dot: what routes are looked up by
  std::string path;       // of the target, without the query
  std::string upgrade;    // the protocol asked for, or empty
  Framing framing = Framing::None;
  uint64_t length = 0;  // bytes, when framing is Length
  bool keep_alive = true;
};

struct ResponseHead {
  int status = 0;
  std::string reason;
  int version = 11;
  Headers headers;
  // Filled by sanitize:
  Framing framing = Framing::None;
  uint64_t length = 0;
  bool keep_alive = true;
};

// The bytes of a head on an HTTP/1.1 wire, its empty line included. Framing fields are written from
// `framing`.
std::string serialize(const RequestHead& head);
std::string serialize(const ResponseHead& head);

}  // namespace thalweg::ingress
