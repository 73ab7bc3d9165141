#include "kube/watch.h"

#include <algorithm>

namespace thalweg::kube {

using namespace watch_input;
using namespace watch_next;
using Phase = WatchState::Phase;

namespace {

constexpr uint32_t kRelistAfterFailures = 5;  // of the watch, in a row: perhaps the version is the trouble
constexpr uint32_t kRestartListAfter = 3;     // failures of one page, in a row
constexpr uint64_t kLongEnoughMs = 1000;      // a watch that lived so long did not fail

uint32_t between(WatchState& state, uint32_t least, uint32_t most) {
  return std::uniform_int_distribution<uint32_t>(least, most)(state.random);
}

uint32_t backoff_ms(WatchState& state, uint32_t failures) {
  const uint32_t doublings = std::min(failures > 0 ? failures - 1 : 0, 20U);
  const uint64_t full = uint64_t{state.options.backoff_first_ms} << doublings;
  const auto most = static_cast<uint32_t>(std::min<uint64_t>(full, state.options.backoff_max_ms));
  return between(state, most / 2, most);
}

Wait wait(WatchState& state, uint32_t failures, const std::optional<uint32_t>& retry_after_s) {
  const uint32_t own_ms = backoff_ms(state, failures);
  if (!retry_after_s) return {own_ms};
  const uint64_t asked_ms =
      std::min<uint64_t>(uint64_t{*retry_after_s} * 1000, state.options.retry_after_max_ms);
  return {static_cast<uint32_t>(asked_ms) + own_ms / 4};  // not all clients at the same moment
}

WatchNext list_page(WatchState& state) {
  state.phase = Phase::InitPage;
  return List{state.continue_token, state.paged ? state.options.page_size : 0};
}

WatchNext open_watch(WatchState& state) {
  state.phase = Phase::InitListed;
  state.progressed = false;
  const uint32_t base = state.options.watch_timeout_s;
  return Watch{state.resource_version, between(state, base, 2 * base)};
}

// Forgets the list under way; what is known stays until a new list is whole.
void back_to_empty(WatchState& state) {
  state.phase = Phase::Empty;
  state.continue_token.clear();
  state.pending.clear();
  state.pending_bad.clear();
}

WatchNext resume(WatchState& state) {
  const bool listing = state.phase == Phase::Empty || state.phase == Phase::InitPage;
  return listing ? list_page(state) : open_watch(state);
}

void bury(WatchState& state, const ObjectKey& key, const std::string& version) {
  if (state.tombstones.size() >= state.options.max_tombstones) state.tombstones.clear();
  state.tombstones[key] = version;
}

// An event tells something new when no later one of the same object was seen.
bool is_news(const WatchState& state, const ObjectKey& key, const std::string& version) {
  const auto known = state.known.find(key);
  if (known != state.known.end()) return is_newer(version, known->second);
  const auto gone = state.tombstones.find(key);
  return gone == state.tombstones.end() || is_newer(version, gone->second);
}

void advance(WatchState& state, const std::string& version) {
  state.progressed = true;
  state.watch_failures = 0;
  if (!version.empty() && is_newer(version, state.resource_version)) state.resource_version = version;
}

void remove(WatchState& state, const ObjectKey& key, const std::string& version, WatchOutput& out) {
  if (state.known.erase(key)) out.changes.push_back({key, std::nullopt});
  bury(state, key, version);
}

// The whole list against what is known: a consistent replacement.
void replace_all(WatchState& state, WatchOutput& out) {
  out.listed = true;
  for (const auto& [key, version] : state.known) {
    if (!state.pending.contains(key) && !state.pending_bad.contains(key))
      out.changes.push_back({key, std::nullopt});
  }
  std::erase_if(state.known, [&](const auto& one) { return !state.pending_bad.contains(one.first); });
  for (auto& [key, object] : state.pending) {
    state.known[key] = meta_of(object).resource_version;
    out.changes.push_back({key, std::move(object)});
  }
  state.pending.clear();
  state.pending_bad.clear();
  state.tombstones.clear();
}

WatchNext fail_list(WatchState& state, const Failed& failure) {
  ++state.list_failures;
  if (failure.status == 410) {  // the continue token is too old: next time all in one answer
    state.paged = false;
    back_to_empty(state);
    if (state.list_failures == 1) return list_page(state);
  }
  if (state.list_failures % kRestartListAfter == 0) back_to_empty(state);
  return wait(state, state.list_failures, failure.retry_after_s);
}

WatchNext fail_watch(WatchState& state, const Failed& failure) {
  ++state.watch_failures;
  const bool expired = failure.status == 410;
  if (expired || state.watch_failures % kRelistAfterFailures == 0) back_to_empty(state);
  if (expired && state.watch_failures == 1) return list_page(state);
  state.phase = state.phase == Phase::Watching ? Phase::InitListed : state.phase;
  return wait(state, state.watch_failures, failure.retry_after_s);
}

struct Stepper {
  WatchState& state;
  WatchOutput out;

  void operator()(const Start&) {
    back_to_empty(state);
    out.next = list_page(state);
  }
  void operator()(const Timer&) { out.next = resume(state); }

  void operator()(Item& item) {
    const ObjectKey key = meta_of(item.object).key;
    state.pending_bad.erase(key);
    state.pending.insert_or_assign(key, std::move(item.object));
  }
  void operator()(const BadItem& item) { state.pending_bad.insert(item.key); }

  void operator()(const PageEnd& page) {
    state.list_failures = 0;
    state.continue_token = page.continue_token;
    if (!page.continue_token.empty()) {
      out.next = list_page(state);
      return;
    }
    state.paged = true;
    state.resource_version = page.resource_version;
    replace_all(state, out);
    out.next = open_watch(state);
  }

  void operator()(const Opened&) { state.phase = Phase::Watching; }

  void operator()(Event& event) {
    const Meta& meta = meta_of(event.object);
    const ObjectKey key = meta.key;
    const std::string version = meta.resource_version;
    const bool news = is_news(state, key, version);
    advance(state, version);
    if (!news) return;
    if (event.type == EventType::Deleted) return remove(state, key, version, out);
    state.tombstones.erase(key);
    state.known[key] = version;
    out.changes.push_back({key, std::move(event.object)});
  }

  void operator()(const BadEvent& event) {
    const bool news = is_news(state, event.key, event.resource_version);
    advance(state, event.resource_version);
    if (news && event.type == EventType::Deleted) remove(state, event.key, event.resource_version, out);
  }

  void operator()(const Bookmark& bookmark) { advance(state, bookmark.resource_version); }

  void operator()(const Closed& closed) {
    if (state.progressed || closed.open_ms >= kLongEnoughMs) {
      state.watch_failures = 0;
      out.next = open_watch(state);
    } else {
      out.next = fail_watch(state, {});
    }
  }

  void operator()(const Failed& failure) {
    const bool listing = state.phase == Phase::Empty || state.phase == Phase::InitPage;
    out.next = listing ? fail_list(state, failure) : fail_watch(state, failure);
  }
};

bool is_number(const std::string& text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

bool is_newer(const std::string& version, const std::string& than) {
  if (!is_number(version) || !is_number(than)) return true;
  if (version.size() != than.size()) return version.size() > than.size();
  return version > than;
}

WatchOutput step(WatchState& state, WatchInput input) {
  Stepper stepper{state, {}};
  std::visit(stepper, input);
  return std::move(stepper.out);
}

}  // namespace thalweg::kube
