// Snapshot<T>: the current immutable value of something; one thread publishes, any thread reads without
// waiting for it. A reader keeps what it got for as long as it needs it.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

namespace thalweg {

template <class T>
class Snapshot {
 public:
  Snapshot() : value_(std::make_shared<const T>()) {}
  explicit Snapshot(T first) : value_(std::make_shared<const T>(std::move(first))) {}

  std::shared_ptr<const T> get() const { return value_.load(std::memory_order_acquire); }
  void publish(std::shared_ptr<const T> next) { value_.store(std::move(next), std::memory_order_release); }
  void publish(T next) { publish(std::make_shared<const T>(std::move(next))); }

 private:
  std::atomic<std::shared_ptr<const T>> value_;
};

}  // namespace thalweg
