// The requests and answers of the Kubernetes list/watch protocol, as a server sees them. Pure. Used by
// kube/serve. https://kubernetes.io/docs/reference/using-api/api-concepts/
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "kube/history.h"

namespace thalweg::kube {

struct ListWatchRequest {
  Kind kind = Kind::Node;
  std::string ns;    // empty: all
  std::string name;  // empty: a list or watch
  bool watch = false;
  bool bookmarks = false;
  size_t limit = 0;
  std::optional<uint64_t> resource_version;  // absent: the newest
  std::optional<uint32_t> timeout_s;
  // From the continue token.
  std::optional<uint64_t> continue_version;
  ObjectKey continue_after;
};

// A Status that says no. https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
struct ApiRefusal {
  int code = 500;
  std::string reason;  // "Expired"
  std::string message;
  std::optional<uint32_t> retry_after_s;
  std::string json() const;
};

std::expected<ListWatchRequest, ApiRefusal> parse_list_watch(std::string_view method,
                                                             std::string_view target);
ApiRefusal expired(uint64_t version);

// The parts of an answer. A list is head, items with commas between them, tail.
std::string item_json(const History::Versioned& item);
std::string list_head(const ListWatchRequest& request, const History::Page& page);
std::string list_tail();
std::string event_json(const History::Event& event);                     // with a newline
std::string event_json(std::string_view type, std::string_view object);  // the same from its parts
std::string bookmark_json(Kind kind, uint64_t version);

}  // namespace thalweg::kube
