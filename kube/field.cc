#include "kube/field.h"

#include <algorithm>
#include <cctype>

namespace json = boost::json;

namespace thalweg::kube {

namespace {

bool plain_key(std::string_view key) {
  return !key.empty() &&
         std::ranges::all_of(key, [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; });
}

// Documents are trees: the path of a value is found by looking for its address, once, when it is wrong.
bool find_path(const json::value& at, const json::value* wanted, std::string& path) {
  if (&at == wanted) return true;
  const std::string here = path;
  if (const auto* object = at.if_object()) {
    for (const auto& member : *object) {
      path = path_join(here, member.key());
      if (find_path(member.value(), wanted, path)) return true;
    }
  } else if (const auto* array = at.if_array()) {
    for (size_t i = 0; i < array->size(); ++i) {
      path = path_join(here, i);
      if (find_path((*array)[i], wanted, path)) return true;
    }
  }
  path = here;
  return false;
}

// A scalar as it stands in an error: on one line, short, quoted when it is text.
std::string shown(const json::value& value) {
  if (value.is_object() || value.is_array()) return std::string(type_name(value));
  std::string text;
  if (const auto* string = value.if_string()) {
    text = json::serialize(json::string(string->subview(0, 48)));
    if (string->size() > 48) text += "…";
    return text;
  }
  return json::serialize(value);
}

}  // namespace

std::string path_join(const std::string& path, std::string_view key) {
  if (!plain_key(key)) return path + "[" + json::serialize(json::string(key.substr(0, 80))) + "]";
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

std::string path_join(const std::string& path, size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

std::string_view type_name(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: return "null";
    case json::kind::bool_: return "a boolean";
    case json::kind::int64:
    case json::kind::uint64: return "an integer";
    case json::kind::double_: return "a number";
    case json::kind::string: return "a string";
    case json::kind::array: return "a list";
    case json::kind::object: return "an object";
  }
  return "nothing";
}

void Field::fail(std::string what) const {
  if (error_->failed_) return;
  error_->failed_ = true;
  error_->what_ = std::move(what);
  find_path(error_->root_, value_ ? value_ : parent_, error_->path_);
  if (!value_ && !key_.empty()) error_->path_ = path_join(error_->path_, key_);
}

void Field::fail_type(std::string_view expected) const {
  fail("expected " + std::string(expected) + ", got " + std::string(type_name(*value_)));
}

void Field::fail_value(std::string_view expected) const {
  if (!value_) return fail("is required");
  fail("expected " + std::string(expected) + ", got " + shown(*value_));
}

const json::object* Field::as_object() const {
  if (!value_) return nullptr;
  const auto* object = value_->if_object();
  if (!object) fail_type("an object");
  return object;
}

const json::array* Field::as_array() const {
  if (!value_) return nullptr;
  const auto* array = value_->if_array();
  if (!array) fail_type("a list");
  return array;
}

const json::string* Field::as_string() const {
  if (!value_) return nullptr;
  const auto* string = value_->if_string();
  if (!string) fail_type("a string");
  return string;
}

Field Field::operator[](std::string_view key) const {
  const auto* object = as_object();
  if (!object) return Field(error_, nullptr, value_ ? value_ : parent_, value_ ? key : key_);
  const auto* member = object->if_contains(key);
  return Field(error_, member && !member->is_null() ? member : nullptr, value_, key);
}

std::string Field::string(std::string_view absent) const {
  const auto* text = as_string();
  return std::string(text ? std::string_view(*text) : absent);
}

std::string Field::required_string() const {
  const std::string text = string();
  if (!present() || text.empty()) fail(present() ? "must not be empty" : "is required");
  return text;
}

bool Field::boolean(bool absent) const {
  if (!value_) return absent;
  const auto* flag = value_->if_bool();
  if (!flag) fail_type("a boolean");
  return flag ? *flag : absent;
}

int64_t Field::integer(int64_t least, int64_t most, int64_t absent) const {
  if (!value_) return absent;
  if (!value_->is_int64() && !value_->is_uint64()) {
    fail_type("an integer");
    return absent;
  }
  json::error_code out_of_range;
  const auto number = value_->to_number<int64_t>(out_of_range);
  if (out_of_range || number < least || number > most) {
    fail_value("an integer from " + std::to_string(least) + " to " + std::to_string(most));
    return absent;
  }
  return number;
}

int64_t Field::required_integer(int64_t least, int64_t most) const {
  if (!present()) fail("is required");
  return integer(least, most, least);
}

std::optional<Ip> Field::ip() const {
  const auto* text = as_string();
  if (!text) return std::nullopt;
  const auto ip = Ip::parse(*text);
  if (ip) return *ip;
  fail_value("an IP address");
  return std::nullopt;
}

std::optional<Cidr> Field::cidr() const {
  const auto* text = as_string();
  if (!text) return std::nullopt;
  const auto cidr = Cidr::parse_lenient(*text);
  if (cidr) return *cidr;
  fail_value("an address range (CIDR)");
  return std::nullopt;
}

Labels Field::labels() const {
  Labels labels;
  members([&](std::string_view key, const Field& value) { labels.emplace(key, value.string()); });
  return labels;
}

std::vector<std::string> Field::strings() const {
  std::vector<std::string> list;
  each([&](const Field& element) { list.push_back(element.string()); });
  return list;
}

}  // namespace thalweg::kube
