#include "kube/history.h"

#include <algorithm>

#include "kube/cluster.h"

namespace thalweg::kube {

History::History(size_t events_per_kind, uint64_t first_version)
    : capacity_(events_per_kind), version_(first_version) {
  for (auto& kind : kinds_) kind.floor = first_version;
}

void History::add_event(OneKind& kind, Event event) {
  kind.events.push_back(std::move(event));
  while (kind.events.size() > capacity_) {
    kind.floor = kind.events.front().now.version;
    kind.events.pop_front();
  }
}

void History::put(const Object& object) {
  auto& kind = of(kind_of(object));
  auto [at, added] = kind.objects.try_emplace(meta_of(object).key);
  if (!added && same_content(at->second.object, object)) {
    at->second.object = object;  // the one everybody else holds
    return;
  }
  std::optional<Versioned> before;
  if (!added) before = at->second;
  at->second = {object, ++version_};
  add_event(kind, {added ? Event::Type::Added : Event::Type::Modified, at->second, std::move(before)});
}

void History::erase(const ObjectRef& ref) {
  auto& kind = of(ref.kind);
  const auto at = kind.objects.find(ref.key);
  if (at == kind.objects.end()) return;
  Versioned last = std::move(at->second);
  kind.objects.erase(at);
  Versioned deleted{last.object, ++version_};
  add_event(kind, {Event::Type::Deleted, std::move(deleted), std::move(last)});
}

void History::forget() {
  for (auto& kind : kinds_) {
    kind.events.clear();
    kind.floor = version_;
  }
}

bool History::reaches(Kind kind, uint64_t version) const {
  return version >= of(kind).floor && version <= version_;
}

std::vector<const History::Event*> History::since(Kind kind, uint64_t version, size_t most) const {
  const auto& events = of(kind).events;
  auto at =
      std::ranges::upper_bound(events, version, {}, [](const Event& event) { return event.now.version; });
  std::vector<const Event*> found;
  for (; at != events.end() && found.size() < most; ++at) found.push_back(&*at);
  return found;
}

// What every object changed after version was at version: later events undone, newest first.
History::Past History::undo(const OneKind& kind, uint64_t version) {
  Past past;
  for (auto event = kind.events.rbegin(); event != kind.events.rend() && event->now.version > version;
       ++event)
    past[meta_of(event->now.object).key] = event->before;
  return past;
}

History::Page History::list(Kind kind, uint64_t version, const ObjectKey& after, size_t limit,
                            std::string_view ns) const {
  const auto& store = of(kind).objects;
  const Past past = undo(of(kind), version);
  Page page{.items = {}, .version = version};
  const auto add = [&](const ObjectKey& key, const Versioned& item) {
    if (!ns.empty() && key.ns != ns) return true;
    page.complete = !limit || page.items.size() < limit;
    if (page.complete) page.items.push_back(item);
    return page.complete;
  };
  auto now = store.upper_bound(after);
  auto then = past.upper_bound(after);
  while (now != store.end() || then != past.end()) {
    const bool from_past = now == store.end() || (then != past.end() && then->first <= now->first);
    if (from_past) {
      if (now != store.end() && now->first == then->first) ++now;
      if (then->second && !add(then->first, *then->second)) break;
      ++then;
    } else {
      if (!add(now->first, now->second)) break;
      ++now;
    }
  }
  return page;
}

std::optional<History::Versioned> History::get(const ObjectRef& ref) const {
  const auto& objects = of(ref.kind).objects;
  const auto found = objects.find(ref.key);
  if (found == objects.end()) return std::nullopt;
  return found->second;
}

}  // namespace thalweg::kube
