// Each piece is one Asio object and a callback that can be taken away.
#include "base/asio.h"  // first: it is the precompiled header

#include <signal.h>

#include "base/loop.h"

namespace thalweg {

void run_loop(asio::io_context& io) {
  for (;;) {
    try {
      io.run();
      return;
    } catch (const std::exception& error) {
      log::error("exception in the loop", {{"what", error.what()}});
    }
  }
}

// ---- StopSignals

struct StopSignals::Impl {
  asio::signal_set signals;
  std::function<void(int)> on_stop;
};

StopSignals::StopSignals(asio::io_context& io, std::function<void(int)> on_stop)
    : impl_(new Impl{asio::signal_set(io, SIGINT, SIGTERM), std::move(on_stop)}) {
  impl_->signals.async_wait([impl = impl_](boost::system::error_code code, int signal) {
    if (code) return;
    // Restores the default action: who asks twice does not want to wait.
    boost::system::error_code ignored;
    impl->signals.clear(ignored);
    if (const auto callback = std::exchange(impl->on_stop, nullptr)) callback(signal);
  });
}
StopSignals::~StopSignals() { stop(); }
void StopSignals::stop() {
  boost::system::error_code ignored;
  impl_->signals.clear(ignored);
  impl_->on_stop = nullptr;
}

// ---- Timer

struct Timer::Impl {
  asio::steady_timer timer;
  std::function<void()> callback = nullptr;
  uint64_t period_ms = 0;
  uint64_t round = 0;  // of the last start; a completion of an older one is void

  static void wait(const std::shared_ptr<Impl>& impl, uint64_t delay_ms) {
    impl->timer.expires_after(std::chrono::milliseconds(delay_ms));
    impl->timer.async_wait([impl, round = ++impl->round](boost::system::error_code code) {
      if (code || round != impl->round || !impl->callback) return;
      const auto callback = impl->callback;  // a copy: the call may replace or stop its own timer
      if (impl->period_ms)
        wait(impl, impl->period_ms);
      else
        impl->callback = nullptr;
      callback();
    });
  }
  static void start(const std::shared_ptr<Impl>& impl, uint64_t delay_ms, uint64_t period_ms,
                    std::function<void()> callback) {
    impl->callback = std::move(callback);
    impl->period_ms = period_ms;
    wait(impl, delay_ms);
  }
};

Timer::Timer(asio::io_context& io) : impl_(new Impl{asio::steady_timer(io)}) {}
Timer::~Timer() { stop(); }
void Timer::after(uint64_t delay_ms, std::function<void()> callback) {
  Impl::start(impl_, delay_ms, 0, std::move(callback));
}
void Timer::every(uint64_t period_ms, std::function<void()> callback) {
  const uint64_t period = std::max<uint64_t>(period_ms, 1);
  Impl::start(impl_, period, period, std::move(callback));
}
bool Timer::pending() const { return impl_->callback != nullptr; }
void Timer::stop() {
  impl_->callback = nullptr;
  ++impl_->round;
  impl_->timer.cancel();
}

// ---- Debounce

struct Debounce::Impl {
  Timer timer;
  uint64_t quiet_ms, max_ms;
  std::function<void()> callback;
  std::chrono::steady_clock::time_point first = {};
};

Debounce::Debounce(asio::io_context& io, uint64_t quiet_ms, uint64_t max_ms, std::function<void()> callback)
    : impl_(new Impl{Timer(io), quiet_ms, max_ms, std::move(callback)}) {}
Debounce::~Debounce() { stop(); }

void Debounce::poke() {
  if (!impl_->callback) return;
  const auto now = std::chrono::steady_clock::now();
  if (!impl_->timer.pending()) impl_->first = now;
  const uint64_t waited = std::chrono::duration_cast<std::chrono::milliseconds>(now - impl_->first).count();
  const uint64_t left = waited >= impl_->max_ms ? 0 : impl_->max_ms - waited;
  impl_->timer.after(std::min(impl_->quiet_ms, left), [impl = impl_.get()] {
    if (const auto callback = impl->callback) callback();
  });
}

void Debounce::stop() {
  impl_->timer.stop();
  impl_->callback = nullptr;
}

}  // namespace thalweg
