// The native path over a fixed world, for frames no one has made with care: says what is wrong with what
// became of one. Used by garbage_test and the fuzz target of the path (tests/fuzz/path_fuzz.cc).
#pragma once

#include <array>
#include <memory>
#include <set>

#include "bpf/port/native.h"
#include "tests/packet/world.h"

namespace thalweg::packet {

class Target {
 public:
  Target();

  void advance(uint64_t ns) { now_ns_ += ns; }
  // A row put, or without a value taken away.
  void change(const PutRow& row);

  // Runs a frame in a buffer of exactly its size. Empty: all is as it must be.
  std::string take(origin from, const Bytes& frame, uint32_t headroom);
  // Empty: every frame has been counted once, under its reason; but for what the host sends, untouched.
  std::string counted() const;

  // What has become of the frames so far; the last one that went on, as it left.
  const Bytes& last_out() const { return last_out_; }
  const std::set<int>& verdicts() const { return verdicts_; }
  uint64_t seen(drop_reason reason) const { return seen_[reason]; }

 private:
  struct Free {
    void operator()(native* engine) const { native_free(engine); }
  };
  __u64 now_ns_ = 1'000'000'000'000;
  std::unique_ptr<native, Free> engine_;
  std::array<uint64_t, DROP_REASONS> seen_{};
  std::set<int> verdicts_;
  uint64_t ran_ = 0, bytes_ = 0;
  Bytes last_out_;
};

}  // namespace thalweg::packet
