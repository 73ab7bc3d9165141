// A configuration's fields, read by name and kind. An absent field (or null) reads as its default; the first
// that is of another kind is kept as the error and told by done(). Used by every plugin's configuration.
#pragma once

#include <boost/json/object.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cni-plugins/cni.h"

namespace thalweg::cni {

class Fields {
 public:
  explicit Fields(const boost::json::object& object);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  std::string text(std::string_view key, std::string_view otherwise = "");
  bool flag(std::string_view key, bool otherwise = false);
  std::optional<int64_t> number(std::string_view key, int64_t least, int64_t most);
  Ip ip(std::string_view key);                      // none: absent
  Cidr subnet(std::string_view key);                // host bits set are an error
  std::string absolute_path(std::string_view key);  // no "." or "..", letters, digits and "._-/+:@~" only
  std::vector<std::string> texts(std::string_view key);
  std::vector<Route> routes(std::string_view key);
  Fields object(std::string_view key);  // absent: one without fields
  std::vector<Fields> objects(std::string_view key);
  std::vector<std::vector<Fields>> objects_of_lists(std::string_view key);

  // What the caller finds wrong with a field it has read.
  void refuse(std::string_view key, std::string_view why);
  // Reads a text by a function of the project's own kind; empty or absent: T().
  template <class T>
  T parsed(std::string_view key, Result<T> (*parse)(std::string_view)) {
    const std::string value = text(key);
    if (value.empty()) return T();
    auto result = parse(value);
    if (!result) refuse(key, result.error().message);
    return result.value_or(T());
  }

  Outcome<> done() const;
  const boost::json::object& raw() const { return *object_; }

 private:
  struct Problem {
    std::optional<CniError> first;
  };
  Fields(const boost::json::object& object, std::string path, std::shared_ptr<Problem> problem)
      : object_(&object), path_(std::move(path)), problem_(std::move(problem)) {}
  const boost::json::value* find(std::string_view key) const;
  std::vector<Fields> list(const boost::json::value& value, const std::string& path);
  std::string path_to(std::string_view key) const;
  void fault(const std::string& path, std::string_view why, uint32_t code);

  const boost::json::object* object_;
  std::string path_;  // of this object within the configuration, "" or with a "." behind
  std::shared_ptr<Problem> problem_;
};

}  // namespace thalweg::cni
