// Numbers: gives contents (a class, a rule set, a rule's name) numbers that stay while the content is in use,
// and again after a restart. Handed out in a circle, so that a freed number comes back as late as possible:
// what was decided under its old meaning is long gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

namespace thalweg::policy {

template <class Content>
class Numbers {
 public:
  Numbers(uint32_t first, uint32_t last) : first_(first), last_(last), next_(first) {}

  // The content's number, one reference more. 0: every number is taken.
  uint32_t retain(const Content& content) {
    const auto [held, fresh] = held_.try_emplace(content);
    if (!fresh) return ++held->second.count, held->second.number;
    const uint32_t number = recall(content);
    if (number == 0) {
      held_.erase(held);
      return 0;
    }
    held->second = {number, 1};
    contents_.emplace(number, &held->first);
    ++version_;
    return number;
  }

  // True when that was the last reference: the number means nothing any more.
  bool release(uint32_t number) {
    const auto content = contents_.find(number);
    if (content == contents_.end()) return false;
    const auto held = held_.find(*content->second);
    if (--held->second.count > 0) return false;
    contents_.erase(content);
    held_.erase(held);
    ++version_;
    return true;
  }

  // 0: not in use.
  uint32_t find(const Content& content) const {
    const auto held = held_.find(content);
    return held == held_.end() ? 0 : held->second.number;
  }
  const Content* content(uint32_t number) const {
    const auto found = contents_.find(number);
    return found == contents_.end() ? nullptr : found->second;
  }

  // Before the first use: this content had this number.
  void restore(const Content& content, uint32_t number) {
    if (number < first_ || number > last_ || !reserved_.insert(number).second) return;
    restored_.emplace(content, number);
  }
  // Until settle(): this number means something unknown, don't give it out.
  void avoid(uint32_t number) { reserved_.insert(number); }
  // What was restored and avoided but is not in use may be given out from now on.
  void settle() {
    if (!restored_.empty()) ++version_;
    restored_.clear();
    reserved_.clear();
  }

  template <class F>
  void for_each(F&& f) const {
    for (const auto& [number, content] : contents_) f(*content, number);
  }
  size_t size() const { return held_.size(); }
  uint64_t version() const { return version_; }
  uint32_t next() const { return next_; }
  void set_next(uint32_t next) { next_ = next < first_ || next > last_ ? first_ : next; }

 private:
  struct Held {
    uint32_t number = 0;
    uint64_t count = 0;
  };

  uint32_t recall(const Content& content) {
    const auto known = restored_.find(content);
    if (known == restored_.end()) return unused();
    const uint32_t number = known->second;
    restored_.erase(known);
    return number;
  }
  uint32_t unused() {
    for (uint64_t tries = 0; tries <= uint64_t{last_} - first_; ++tries) {
      const uint32_t number = next_;
      next_ = next_ == last_ ? first_ : next_ + 1;
      if (!contents_.contains(number) && !reserved_.contains(number)) return number;
    }
    return 0;
  }

  uint32_t first_, last_, next_;
  uint64_t version_ = 0;
  std::map<Content, Held> held_;
  std::map<uint32_t, const Content*> contents_;  // into held_, whose nodes stay where they are
  std::map<Content, uint32_t> restored_;
  std::set<uint32_t> reserved_;
};

}  // namespace thalweg::policy
