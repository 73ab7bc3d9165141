// List and watch of one kind as an explicit state machine: Empty → InitPage → InitListed → Watching. Pure: it
// is told what the transport saw and says what to do next and what changed. Driven by kube/client.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "kube/object.h"

namespace thalweg::kube {

struct WatchOptions {
  uint32_t page_size = 500;
  uint32_t backoff_first_ms = 500;  // doubled a failure, jittered
  uint32_t backoff_max_ms = 30'000;
  uint32_t retry_after_max_ms = 120'000;
  uint32_t watch_timeout_s = 290;  // the server closes the stream after this to twice this
  size_t max_tombstones = 4096;
};

namespace watch_input {
struct Start {};
struct Item {  // one object of a list page
  Object object;
};
struct BadItem {  // one that could not be decoded: its last good version stays
  ObjectKey key;
};
struct PageEnd {
  std::string resource_version;
  std::string continue_token;  // empty: the last page
};
struct Opened {};  // the watch was accepted
enum class EventType : uint8_t { Added, Modified, Deleted };
struct Event {
  EventType type;
  Object object;
};
struct BadEvent {  // an event whose object could not be decoded
  EventType type;
  ObjectKey key;
  std::string resource_version;
};
struct Bookmark {
  std::string resource_version;
};
struct Closed {  // the watch's stream ended as HTTP allows
  uint64_t open_ms;
};
struct Failed {    // a refused request, an ERROR event, a broken connection or stream
  int status = 0;  // 0: no answer
  std::optional<uint32_t> retry_after_s;
};
struct Timer {};
}  // namespace watch_input

using WatchInput =
    std::variant<watch_input::Start, watch_input::Item, watch_input::BadItem, watch_input::PageEnd,
                 watch_input::Opened, watch_input::Event, watch_input::BadEvent, watch_input::Bookmark,
                 watch_input::Closed, watch_input::Failed, watch_input::Timer>;

// What the transport is to do. Go on: nothing new, keep reading.
namespace watch_next {
struct GoOn {
  bool operator==(const GoOn&) const = default;
};
struct List {
  std::string continue_token;
  uint32_t limit = 0;  // 0: everything in one answer
  bool operator==(const List&) const = default;
};
struct Watch {
  std::string resource_version;
  uint32_t timeout_s = 0;
  bool operator==(const Watch&) const = default;
};
struct Wait {  // then Timer
  uint32_t ms = 0;
  bool operator==(const Wait&) const = default;
};
}  // namespace watch_next

using WatchNext = std::variant<watch_next::GoOn, watch_next::List, watch_next::Watch, watch_next::Wait>;

struct Change {
  ObjectKey key;
  std::optional<Object> object;  // none: deleted
};

struct WatchOutput {
  WatchNext next;
  std::vector<Change> changes;
  bool listed = false;  // changes are a whole new list's: what it does not hold is deleted among them
};

struct WatchState {
  enum class Phase : uint8_t { Empty, InitPage, InitListed, Watching };

  explicit WatchState(WatchOptions options = {}, uint32_t seed = 1) : options(options), random(seed) {}

  WatchOptions options;
  std::minstd_rand random;
  Phase phase = Phase::Empty;
  bool paged = true;             // false after a continue token expired
  std::string continue_token;    // InitPage
  std::string resource_version;  // InitListed, Watching
  uint32_t list_failures = 0;
  uint32_t watch_failures = 0;
  bool progressed = false;                      // the open watch has told something
  std::map<ObjectKey, Object> pending;          // InitPage: the list so far
  std::set<ObjectKey> pending_bad;              // InitPage: listed, but not decodable
  std::map<ObjectKey, std::string> known;       // object → resourceVersion
  std::map<ObjectKey, std::string> tombstones;  // deleted since the last list
};

WatchOutput step(WatchState& state, WatchInput input);

// resourceVersions as numbers (KEP-5504); what is no number counts as newer.
bool is_newer(const std::string& version, const std::string& than);

}  // namespace thalweg::kube
