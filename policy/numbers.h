// Numbers: gives contents (a class, a rule set, a rule's name) numbers that stay while the content is in use,
// and again after a restart. Handed out in a circle, so that a freed number comes back as late as possible:
// what was decided under its old meaning is long gone.
#pragma once

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
    if (const auto held = held_.find(content); held != held_.end())
      return ++held->second.count, held->second.number;
    uint32_t number = 0;
    if (const auto known = restored_.find(content); known != restored_.end()) {
      number = known->second;
      restored_.erase(known);
    } else {
      number = unused();
    }
    if (number == 0) return 0;
    taken_.insert(number);
    held_.emplace(content, Held{number, 1});
    ++version_;
    return number;
  }

  // True when that was the last reference: the number means nothing any more.
  bool release(const Content& content) {
    const auto held = held_.find(content);
    if (held == held_.end() || --held->second.count > 0) return false;
    taken_.erase(held->second.number);
    held_.erase(held);
    ++version_;
    return true;
  }

  uint32_t find(const Content& content) const {
    const auto held = held_.find(content);
    return held == held_.end() ? 0 : held->second.number;
  }

  // Before the first use: this content had this number.
  void restore(const Content& content, uint32_t number) {
    if (number < first_ || number > last_ || !taken_.insert(number).second) return;
    restored_.emplace(content, number);
    next_ = number == last_ ? first_ : number + 1;
  }
  // Until settle(): this number means something unknown, don't give it out.
  void avoid(uint32_t number) {
    if (number >= first_ && number <= last_ && taken_.insert(number).second) avoided_.insert(number);
  }
  // What was restored and avoided but is not in use may be given out from now on.
  void settle() {
    for (const auto& [content, number] : restored_) taken_.erase(number);
    for (const uint32_t number : avoided_) taken_.erase(number);
    if (!restored_.empty()) ++version_;
    restored_.clear();
    avoided_.clear();
  }

  template <class F>
  void for_each(F&& f) const {
    for (const auto& [content, held] : held_) f(content, held.number);
  }
  size_t size() const { return held_.size(); }
  uint64_t version() const { return version_; }
  uint32_t next() const { return next_; }
  void set_next(uint32_t next) { next_ = next < first_ || next > last_ ? first_ : next; }

 private:
  struct Held {
    uint32_t number;
    uint64_t count;
  };

  uint32_t unused() {
    if (taken_.size() > last_ - first_) return 0;
    while (taken_.contains(next_)) advance();
    const uint32_t number = next_;
    advance();
    return number;
  }
  void advance() { next_ = next_ == last_ ? first_ : next_ + 1; }

  uint32_t first_, last_, next_;
  uint64_t version_ = 0;
  std::map<Content, Held> held_;
  std::map<Content, uint32_t> restored_;
  std::set<uint32_t> taken_, avoided_;
};

}  // namespace thalweg::policy
