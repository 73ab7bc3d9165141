#include "kube/list_watch.h"

#include <boost/json.hpp>
#include <charconv>

#include "kube/decode.h"
#include "kube/decode_kinds.h"

namespace json = boost::json;

namespace thalweg::kube {

namespace {

using Refused = std::unexpected<ApiRefusal>;

Refused refuse(int code, std::string reason, std::string message) {
  return Refused(ApiRefusal{code, std::move(reason), std::move(message), {}});
}

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 1] + 2, byte, 16).ptr == &text[i + 1] + 2) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

// Takes the first part of a path: "pods/web" → "pods", leaving "web".
std::string take_part(std::string_view& path) {
  const auto slash = path.find('/');
  const std::string part = percent_decode(path.substr(0, slash));
  path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  return part;
}

const KindInfo* find_plural(std::string_view group_version, std::string_view plural) {
  for (const auto& kind : kKinds) {
    if (kind.group_version == group_version && kind.plural == plural) return &kind;
  }
  return nullptr;
}

// /api/v1/… or /apis/GROUP/VERSION/…, then [namespaces/NS/]PLURAL[/NAME].
std::expected<ListWatchRequest, ApiRefusal> parse_path(std::string_view path) {
  const auto unknown = [] {
    return refuse(404, "NotFound", "the server could not find the requested resource");
  };
  ListWatchRequest request;
  path.remove_prefix(path.starts_with("/") ? 1 : 0);
  const std::string root = take_part(path);
  std::string group_version = take_part(path);
  if (root == "apis") group_version += "/" + take_part(path);
  if (root != "api" && root != "apis") return unknown();
  std::string plural = take_part(path);
  if (plural == "namespaces" && path.find('/') != std::string_view::npos) {
    request.ns = take_part(path);
    plural = take_part(path);
  }
  request.name = take_part(path);
  const KindInfo* kind = find_plural(group_version, plural);
  if (!kind || !path.empty() || (!request.ns.empty() && !kind->namespaced)) return unknown();
  if (kind->kind == Kind::Secret) return refuse(403, "Forbidden", "secrets are not served here");
  if (!request.name.empty() && kind->namespaced && request.ns.empty()) return unknown();
  request.kind = kind->kind;
  return request;
}

// VERSION/NAMESPACE/NAME of the last item, in base64.
bool parse_continue(const std::string& token, ListWatchRequest& request) {
  const auto text = decode_base64(token);
  if (!text) return false;
  std::string_view rest(*text);
  const auto first = rest.find('/');
  const auto second = rest.find('/', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return false;
  request.continue_version = number<uint64_t>(rest.substr(0, first));
  request.continue_after = {std::string(rest.substr(first + 1, second - first - 1)),
                            std::string(rest.substr(second + 1))};
  return request.continue_version.has_value();
}

bool parse_flag(const std::string& value) { return value == "1" || value == "true"; }

// Nothing when the parameter is as it should be.
std::optional<std::string> take_parameter(const std::string& key, const std::string& value,
                                          ListWatchRequest& request) {
  const auto wants = [&](bool good) {
    return good ? std::nullopt : std::optional("invalid value of " + key);
  };
  if (value.empty()) return std::nullopt;
  if (key == "watch") request.watch = parse_flag(value);
  if (key == "allowWatchBookmarks") request.bookmarks = parse_flag(value);
  if (key == "continue") return wants(parse_continue(value, request));
  if (key == "limit") {
    const auto limit = number<size_t>(value);
    request.limit = limit.value_or(0);
    return wants(limit.has_value());
  }
  if (key == "resourceVersion")
    return wants((request.resource_version = number<uint64_t>(value)).has_value());
  if (key == "timeoutSeconds") return wants((request.timeout_s = number<uint32_t>(value)).has_value());
  if (key == "labelSelector" || key == "fieldSelector") return key + " is not supported here";
  return std::nullopt;
}

json::object versioned(const History::Versioned& item) {
  json::object object = encode(item.object);
  object["metadata"].get_object()["resourceVersion"] = std::to_string(item.version);
  return object;
}

}  // namespace

std::expected<ListWatchRequest, ApiRefusal> parse_list_watch(std::string_view method,
                                                             std::string_view target) {
  if (method != "GET") return refuse(405, "MethodNotAllowed", "only GET: objects are served read-only");
  const auto mark = target.find('?');
  auto request = parse_path(target.substr(0, mark));
  std::string_view query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  while (request && !query.empty()) {
    const auto end = query.find('&');
    const auto pair = query.substr(0, end);
    query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
    const auto equals = std::min(pair.find('='), pair.size());
    const std::string value = percent_decode(pair.substr(std::min(equals + 1, pair.size())));
    const auto wrong = take_parameter(percent_decode(pair.substr(0, equals)), value, *request);
    if (wrong) return refuse(400, "BadRequest", *wrong);
  }
  return request;
}

ApiRefusal expired(uint64_t version) {
  return {410, "Expired", "too old resource version: " + std::to_string(version), {}};
}

std::string ApiRefusal::json() const {
  return json::serialize(json::object{{"kind", "Status"},
                                      {"apiVersion", "v1"},
                                      {"metadata", json::object()},
                                      {"status", "Failure"},
                                      {"message", message},
                                      {"reason", reason},
                                      {"code", code}});
}

std::string item_json(const History::Versioned& item) { return json::serialize(versioned(item)); }

std::string list_head(const ListWatchRequest& request, const History::Page& page) {
  const auto& kind = info(request.kind);
  json::object meta{{"resourceVersion", std::to_string(page.version)}};
  if (!page.complete) {
    const auto& last = meta_of(page.items.back().object).key;
    meta["continue"] = encode_base64(std::to_string(page.version) + "/" + last.ns + "/" + last.name);
  }
  const json::object head{{"kind", std::string(kind.name) + "List"},
                          {"apiVersion", kind.group_version},
                          {"metadata", std::move(meta)}};
  std::string text = json::serialize(head);
  text.pop_back();  // the document goes on
  return text + ",\"items\":[";
}

std::string list_tail() { return "]}\n"; }

std::string event_json(std::string_view type, std::string_view object) {
  std::string text = "{\"type\":\"";
  return text.append(type).append("\",\"object\":").append(object).append("}\n");
}

std::string event_json(const History::Event& event) {
  constexpr std::string_view kTypes[] = {"ADDED", "MODIFIED", "DELETED"};
  return event_json(kTypes[static_cast<size_t>(event.type)], item_json(event.now));
}

std::string bookmark_json(Kind kind, uint64_t version) {
  const json::object object{{"kind", info(kind).name},
                            {"apiVersion", info(kind).group_version},
                            {"metadata", json::object{{"resourceVersion", std::to_string(version)}}}};
  return event_json("BOOKMARK", json::serialize(object));
}

}  // namespace thalweg::kube
