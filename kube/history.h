// The objects a relay serves, with enough of their past to answer watches and pages of older lists. Pure.
// Filled by kube/relay, read by kube/serve.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <string_view>
#include <vector>

#include "kube/object.h"

namespace thalweg::kube {

class History {
 public:
  // Versions start after first_version: a later process must start higher, so that old versions are refused.
  History(size_t events_per_kind, uint64_t first_version);

  struct Versioned {
    Object object;
    uint64_t version = 0;
  };
  struct Event {
    enum class Type : uint8_t { Added, Modified, Deleted };
    Type type;
    Versioned now;  // Deleted: the last object, under the version of its deletion
    std::optional<Versioned> before;
  };
  struct Page {
    std::vector<Versioned> items;
    uint64_t version = 0;  // the whole list's
    bool complete = true;  // nothing after the last item
  };

  void put(const Object& object);
  void erase(const ObjectRef& ref);
  // Forgets all events: every version before now is too old. For tests.
  void forget();

  uint64_t version() const { return version_; }
  // Whether events after version can still be told.
  bool reaches(Kind kind, uint64_t version) const;
  // The events of a kind after version, the first `most`. Only where reaches(kind, version).
  std::vector<const Event*> since(Kind kind, uint64_t version, size_t most) const;
  // Objects after the key `after` as they were at version, `limit` at most (0: all), of one namespace or all.
  // Only where reaches(kind, version).
  Page list(Kind kind, uint64_t version, const ObjectKey& after, size_t limit, std::string_view ns) const;
  std::optional<Versioned> get(const ObjectRef& ref) const;

 private:
  struct OneKind {
    std::map<ObjectKey, Versioned> objects;
    std::deque<Event> events;
    uint64_t floor = 0;  // the version of the newest event forgotten
  };
  using Past = std::map<ObjectKey, std::optional<Versioned>>;

  OneKind& of(Kind kind) { return kinds_[static_cast<size_t>(kind)]; }
  const OneKind& of(Kind kind) const { return kinds_[static_cast<size_t>(kind)]; }
  void add_event(OneKind& kind, Event event);
  static Past undo(const OneKind& kind, uint64_t version);

  size_t capacity_;
  uint64_t version_;
  std::array<OneKind, std::size(kKinds)> kinds_;
};

}  // namespace thalweg::kube
