#include "kube/decode.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>

#include "kube/decode_kinds.h"

namespace json = boost::json;

namespace thalweg::kube {

namespace {

// Groups that once served one of our kinds in another version.
constexpr std::string_view kOldGroups[] = {"extensions"};

std::string_view group_of(std::string_view api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view() : api_version.substr(0, slash);
}

// Annotations are kept only where someone above reads them; they can be 256 KiB.
bool annotation_is_read(std::string_view key) {
  return key.starts_with("thalweg") || key == "kubernetes.io/ingress.class" ||
         key == "service.kubernetes.io/topology-mode";
}

// RFC 1123 subdomain, the widest form any of our kinds allows.
bool is_object_name(std::string_view name) {
  if (name.empty() || name.size() > 253) return false;
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return alnum(name.front()) && alnum(name.back()) &&
         std::ranges::all_of(name, [&](char c) { return alnum(c) || c == '-' || c == '.'; });
}

std::string decode_name(const Field& field, std::string_view what) {
  std::string name = field.required_string();
  if (!field.failed() && !is_object_name(name)) field.fail_value(what);
  return name;
}

// As the API writes times (RFC 3339, whole seconds of UTC): "2026-11-23T09:30:00Z".
constexpr std::string_view kTimeForm = "0000-00-00T00:00:00Z";

std::optional<int64_t> parse_time(std::string_view text) {
  if (text.size() != kTimeForm.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i)
    if (kTimeForm[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != kTimeForm[i]) return std::nullopt;
  const auto number = [&](size_t at, size_t length) {
    unsigned value = 0;
    std::from_chars(text.data() + at, text.data() + at + length, value);
    return value;
  };
  using namespace std::chrono;
  const year_month_day date(year(static_cast<int>(number(0, 4))), month(number(5, 2)), day(number(8, 2)));
  if (!date.ok() || number(11, 2) > 23 || number(14, 2) > 59 || number(17, 2) > 60) return std::nullopt;
  return sys_days(date).time_since_epoch().count() * 86'400LL + number(11, 2) * 3'600 + number(14, 2) * 60 +
         number(17, 2);
}

std::string time_text(int64_t seconds) {
  using namespace std::chrono;
  const sys_seconds at{std::chrono::seconds(seconds)};
  const year_month_day date(floor<days>(at));
  const hh_mm_ss time(at - floor<days>(at));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     time.hours().count(), time.minutes().count(), time.seconds().count());
}

int64_t decode_time(const Field& field) {
  const std::string text = field.string();
  const auto time = text.empty() ? 0 : parse_time(text);
  if (!time) field.fail_value("a time like 2026-11-23T09:30:00Z");
  return time.value_or(0);
}

Meta decode_meta(const Field& field, bool namespaced) {
  Meta meta;
  meta.key.name = decode_name(field["name"], "a name of lower-case letters, digits, '-' and '.'");
  if (namespaced) {
    const Field ns = field["namespace"];
    meta.key.ns = ns.present() && ns.string().size() ? decode_name(ns, "a namespace's name") : "default";
  }
  meta.uid = field["uid"].string();
  meta.resource_version = field["resourceVersion"].string();
  meta.labels = field["labels"].labels();
  field["annotations"].members([&](std::string_view key, const Field& value) {
    if (annotation_is_read(key)) meta.annotations.emplace(key, value.string());
  });
  meta.terminating = !field["deletionTimestamp"].string().empty();
  meta.created_s = decode_time(field["creationTimestamp"]);
  return meta;
}

template <class T>
Object decode_as(const Field& root, bool namespaced) {
  auto object = std::make_shared<T>();
  const Field meta = root["metadata"];
  if (!meta.present()) meta.fail("is required");
  object->meta = decode_meta(meta, namespaced);
  if (!root.failed()) decode_kind(root, *object);
  return std::shared_ptr<const T>(std::move(object));
}

using DecodeAs = Object (*)(const Field&, bool);
constexpr DecodeAs kDecoders[] = {
#define KIND(type, plural, version, namespaced) &decode_as<type>,
    THALWEG_KINDS(KIND)
#undef KIND
};

json::object encode_meta(const Meta& meta) {
  json::object out;
  const auto add = [&](const char* key, const std::string& text) {
    if (!text.empty()) out[key] = text;
  };
  add("name", meta.key.name);
  add("namespace", meta.key.ns);
  add("uid", meta.uid);
  add("resourceVersion", meta.resource_version);
  if (!meta.labels.empty()) out["labels"] = encode_labels(meta.labels);
  if (!meta.annotations.empty()) out["annotations"] = encode_labels(meta.annotations);
  if (meta.created_s != 0) out["creationTimestamp"] = time_text(meta.created_s);
  if (meta.terminating) out["deletionTimestamp"] = "1970-01-01T00:00:00Z";  // the time itself is not kept
  return out;
}

std::string peek_string(const json::value& meta, std::string_view key) {
  const auto* object = meta.if_object();
  const auto* value = object ? object->if_contains(key) : nullptr;
  const auto* text = value ? value->if_string() : nullptr;
  if (!text || text->size() > 253) return {};
  std::string clean(*text);
  std::ranges::replace_if(
      clean, [](unsigned char c) { return !std::isprint(c); }, '?');
  return clean;
}

}  // namespace

ObjectRef peek_ref(Kind kind, const json::value& value) {
  ObjectRef ref{kind, {}};
  const auto* object = value.if_object();
  const auto* meta = object ? object->if_contains("metadata") : nullptr;
  if (!meta) return ref;
  ref.key.name = peek_string(*meta, "name");
  if (info(kind).namespaced) {
    ref.key.ns = peek_string(*meta, "namespace");
    if (ref.key.ns.empty()) ref.key.ns = "default";
  }
  return ref;
}

std::expected<Object, DecodeError> decode(Kind kind, const json::value& value) {
  FieldError error(value);
  Object object = kDecoders[static_cast<size_t>(kind)](Field(error, value), info(kind).namespaced);
  if (!error.failed()) return object;
  ObjectRef ref = peek_ref(kind, value);
  if (ref.key.name.empty()) ref.key.name = "(no name)";
  return std::unexpected(DecodeError{ref.str(), error.path(), error.what()});
}

Result<std::optional<Kind>> find_kind(std::string_view api_version, std::string_view kind) {
  for (const auto& known : kKinds) {
    if (kind != known.name) continue;
    if (api_version == known.group_version) return known.kind;
    const auto group = group_of(api_version);
    if (group == group_of(known.group_version) ||
        std::ranges::find(kOldGroups, group) != std::end(kOldGroups))
      return fail("apiVersion: {} of {} is not read here, only {}", api_version, kind, known.group_version);
  }
  return std::nullopt;
}

json::object encode(const Object& object) {
  const auto& kind = info(kind_of(object));
  json::object root;
  root["apiVersion"] = kind.group_version;
  root["kind"] = kind.name;
  root["metadata"] = encode_meta(meta_of(object));
  std::visit([&](const auto& one) { encode_kind(*one, root); }, object);
  return root;
}

}  // namespace thalweg::kube
