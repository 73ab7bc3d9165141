// What a program's io_context loop needs beside its sockets: stop signals, timers, coalescing.
// All of it belongs to the loop's thread; callbacks run on it; stop() (and the destructor) ends them at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/asio_fwd.h"

namespace thalweg {

// Runs the loop until it is stopped; exceptions a library throws out of a callback end here, logged, and the
// loop goes on.
void run_loop(asio::io_context& io);

// Calls once on the first SIGINT or SIGTERM; a second signal ends the process by default action.
class StopSignals {
 public:
  StopSignals(asio::io_context& io, std::function<void(int signal)> on_stop);
  ~StopSignals();
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

class Timer {
 public:
  explicit Timer(asio::io_context& io);
  ~Timer();
  // Both replace what was pending. A callback may call any of these on its own timer.
  void after(uint64_t delay_ms, std::function<void()> callback);
  void every(uint64_t period_ms, std::function<void()> callback);
  bool pending() const;
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Many pokes, one call: quiet_ms after the last poke, but at most max_ms after the first.
class Debounce {
 public:
  Debounce(asio::io_context& io, uint64_t quiet_ms, uint64_t max_ms, std::function<void()> callback);
  ~Debounce();
  void poke();
  void stop();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace thalweg
