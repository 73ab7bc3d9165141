#include "cni-plugins/fields.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

namespace thalweg::cni {

namespace json = boost::json;

namespace {

// An allow-list: what a runtime's folders are called, and nothing that leaves them.
bool is_plain_path(std::string_view path) {
  constexpr std::string_view kAllowed = "._-+:@~";
  if (!path.starts_with('/') || path.size() > 1024) return false;
  if (path.find("/../") != path.npos || path.ends_with("/..")) return false;
  return std::all_of(path.begin(), path.end(), [&](char c) {
    return c == '/' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kAllowed.find(c) != kAllowed.npos;
  });
}

const json::object kNoFields;

}  // namespace

Fields::Fields(const json::object& object) : object_(&object), problem_(std::make_shared<Problem>()) {}

const json::value* Fields::find(std::string_view key) const {
  const json::value* value = object_->if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

std::string Fields::path_to(std::string_view key) const { return fmt::format("{}{}", path_, key); }

void Fields::fault(const std::string& path, std::string_view why, uint32_t code) {
  if (!problem_->first) problem_->first = CniError(code, fmt::format("{}: {}", path, why));
}

void Fields::refuse(std::string_view key, std::string_view why) { fault(path_to(key), why, kInvalidConfig); }

Outcome<> Fields::done() const {
  if (problem_->first) return std::unexpected(*problem_->first);
  return {};
}

std::string Fields::text(std::string_view key, std::string_view otherwise) {
  const json::value* value = find(key);
  if (!value) return std::string(otherwise);
  if (value->is_string()) return std::string(value->get_string());
  fault(path_to(key), "expected a string", kDecodingFailure);
  return std::string(otherwise);
}

bool Fields::flag(std::string_view key, bool otherwise) {
  const json::value* value = find(key);
  if (!value) return otherwise;
  if (value->is_bool()) return value->get_bool();
  fault(path_to(key), "expected true or false", kDecodingFailure);
  return otherwise;
}

std::optional<int64_t> Fields::number(std::string_view key, int64_t least, int64_t most) {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_int64()) {
    fault(path_to(key), "expected a whole number", kDecodingFailure);
  } else if (value->get_int64() < least || value->get_int64() > most) {
    refuse(key, fmt::format("{} is not within {} to {}", value->get_int64(), least, most));
  } else {
    return value->get_int64();
  }
  return std::nullopt;
}

Ip Fields::ip(std::string_view key) { return parsed<Ip>(key, Ip::parse); }
Cidr Fields::subnet(std::string_view key) { return parsed<Cidr>(key, Cidr::parse); }

std::string Fields::absolute_path(std::string_view key) {
  std::string path = text(key);
  if (!path.empty() && !is_plain_path(path))
    refuse(key, fmt::format("\"{}\" is no plain absolute path", path));
  return path;
}

std::vector<std::string> Fields::texts(std::string_view key) {
  std::vector<std::string> out;
  const json::value* value = find(key);
  if (!value) return out;
  if (!value->is_array()) return fault(path_to(key), "expected a list of strings", kDecodingFailure), out;
  for (const json::value& row : value->get_array()) {
    if (!row.is_string()) return fault(path_to(key), "expected a list of strings", kDecodingFailure), out;
    out.emplace_back(row.get_string());
  }
  return out;
}

std::vector<Route> Fields::routes(std::string_view key) {
  auto routes = parse_routes(*object_, key);
  if (!routes) fault(path_to(key), routes.error().msg, routes.error().code);
  return routes ? std::move(*routes) : std::vector<Route>();
}

Fields Fields::object(std::string_view key) {
  const json::value* value = find(key);
  if (value && !value->is_object()) fault(path_to(key), "expected an object", kDecodingFailure);
  return Fields(value && value->is_object() ? value->get_object() : kNoFields, path_to(key) + ".", problem_);
}

std::vector<Fields> Fields::list(const json::value& value, const std::string& path) {
  std::vector<Fields> out;
  if (!value.is_array()) return fault(path, "expected a list of objects", kDecodingFailure), out;
  for (const json::value& row : value.get_array()) {
    const std::string at = fmt::format("{}[{}]", path, out.size());
    if (!row.is_object()) return fault(at, "expected an object", kDecodingFailure), out;
    out.push_back(Fields(row.get_object(), at + ".", problem_));
  }
  return out;
}

std::vector<Fields> Fields::objects(std::string_view key) {
  const json::value* value = find(key);
  return value ? list(*value, path_to(key)) : std::vector<Fields>();
}

std::vector<std::vector<Fields>> Fields::objects_of_lists(std::string_view key) {
  std::vector<std::vector<Fields>> out;
  const json::value* value = find(key);
  if (!value) return out;
  if (!value->is_array()) return fault(path_to(key), "expected a list of lists", kDecodingFailure), out;
  for (const json::value& row : value->get_array())
    out.push_back(list(row, fmt::format("{}[{}]", path_to(key), out.size())));
  return out;
}

}  // namespace thalweg::cni
