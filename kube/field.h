// Field: a place in a JSON document, present or absent, that knows its path when something is wrong there.
// What kube/decode*.cc and the kubeconfig reader are written with; the first error sticks, reads after it
// give defaults.
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "kube/object.h"

namespace thalweg::kube {

// The first thing wrong in one document.
class FieldError {
 public:
  explicit FieldError(const boost::json::value& root) : root_(root) {}
  bool failed() const { return failed_; }
  const std::string& path() const { return path_; }
  const std::string& what() const { return what_; }

 private:
  friend class Field;
  const boost::json::value& root_;
  bool failed_ = false;
  std::string path_;
  std::string what_;
};

class Field {
 public:
  Field(FieldError& error, const boost::json::value& root) : error_(&error), value_(&root) {}

  // JSON null counts as absent, as in Go.
  bool present() const { return value_ != nullptr; }
  bool is_string() const { return value_ && value_->is_string(); }
  // The member of that name; an error when this is present and no object.
  Field operator[](std::string_view key) const;

  std::string string(std::string_view absent = {}) const;
  std::string required_string() const;  // not empty
  bool boolean(bool absent) const;
  int64_t integer(int64_t least, int64_t most, int64_t absent) const;
  int64_t required_integer(int64_t least, int64_t most) const;
  uint16_t port() const { return static_cast<uint16_t>(integer(1, 65535, 0)); }
  std::optional<Ip> ip() const;      // nothing after an error, or absent
  std::optional<Cidr> cidr() const;  // host bits are cleared, as the API allows them
  Labels labels() const;
  std::vector<std::string> strings() const;

  // One of a few words: choose<Protocol>({{"TCP", Protocol::TCP}, …}, Protocol::TCP).
  template <class T>
  T choose(std::initializer_list<std::pair<std::string_view, T>> words, T absent) const {
    if (!present()) return absent;
    const std::string text = string();
    std::string list;
    for (const auto& [word, value] : words) {
      if (word == text) return value;
      list += (list.empty() ? "" : ", ") + std::string(word);
    }
    fail_value("one of " + list);
    return absent;
  }

  // Calls visit(Field) for each element; absent is an empty list.
  template <class F>
  void each(F&& visit) const {
    const auto* array = as_array();
    if (!array) return;
    for (const auto& element : *array) visit(Field(error_, &element, value_, {}));
  }
  // Of a list; absent is an empty one.
  size_t size() const {
    const auto* array = as_array();
    return array ? array->size() : 0;
  }
  // visit(key, Field) for each member.
  template <class F>
  void members(F&& visit) const {
    const auto* object = as_object();
    if (!object) return;
    for (const auto& member : *object) {
      const auto* value = member.value().is_null() ? nullptr : &member.value();
      visit(std::string_view(member.key()), Field(error_, value, value_, member.key()));
    }
  }

  void fail(std::string what) const;
  // "expected EXPECTED, got …" with the value itself, shortened, when it is a scalar.
  void fail_value(std::string_view expected) const;
  bool failed() const { return error_->failed(); }
  const boost::json::value* value() const { return value_; }

 private:
  Field(FieldError* error, const boost::json::value* value, const boost::json::value* parent,
        std::string_view key)
      : error_(error), value_(value), parent_(parent), key_(key) {}
  const boost::json::array* as_array() const;
  const boost::json::object* as_object() const;
  const boost::json::string* as_string() const;
  void fail_type(std::string_view expected) const;

  FieldError* error_;
  const boost::json::value* value_;  // null: absent
  const boost::json::value* parent_ = nullptr;
  std::string_view key_;
};

// "a string", "an integer", "a list", …
std::string_view type_name(const boost::json::value& value);
// One more step of a path: "spec" + "ports" → "spec.ports"; odd keys are quoted in brackets.
std::string path_join(const std::string& path, std::string_view key);
std::string path_join(const std::string& path, size_t index);

}  // namespace thalweg::kube
