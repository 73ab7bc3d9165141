// The path's table of flows, read and changed where it stands: bpf/path/flows.h once more, for the agent. Any
// build's rows, as long as they hold a key and a stamp. Used by conntrack.h and sets.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "bpf/abi.h"

namespace thalweg::dataplane {

// A BPF array in this process' memory: all of it, or as much as is looked at, a window of so many rows at a
// time. Copies are the same one. One thread's.
class MappedArray {
 public:
  static constexpr uint32_t kWhole = UINT32_MAX;
  static Result<MappedArray> map(int fd, uint32_t window_rows = kWhole);
  // With windows: until the next call. A row that cannot be mapped reads as zeroes.
  char* at(uint32_t index) const;
  uint32_t entries() const { return entries_; }
  size_t row_bytes() const { return row_bytes_; }

 private:
  struct Window {
    uint32_t first = 0, end = 0;  // rows
    char* rows = nullptr;
    void* memory = nullptr;
    size_t bytes = 0;
    ~Window() { close(); }
    void close();
  };
  Result<> look_at(uint32_t index) const;

  std::shared_ptr<Window> window_;
  std::shared_ptr<Fd> fd_;
  std::shared_ptr<std::string> none_;
  uint32_t entries_ = 0, window_rows_ = kWhole;
  size_t row_bytes_ = 0, stride_ = 0;
};

class FlowTable {
 public:
  enum class Rows : uint8_t { WHOLE, WINDOWS };
  // WINDOWS: for who goes through it now and then, and is not to hold all its memory meanwhile.
  static Result<FlowTable> open(int secret, int sets, int rows, Rows how = Rows::WHOLE);

  uint32_t sets() const { return sets_.entries(); }
  size_t row_bytes() const { return settled_.row_bytes(); }
  static bool is_opening(uint32_t number) { return (number & 31) >= SETTLED_WAYS; }

  // Every row in use of these sets, as it was at one moment. It may be forgotten from within.
  using OnRow = std::function<void(uint32_t number, const std::string& row)>;
  void each(uint32_t first, uint32_t sets, const OnRow& on_row) const;
  // 0: none.
  uint32_t find(std::string_view key) const;
  // False: it is gone already. With the row as it was read: or has become another flow's.
  bool forget(uint32_t number) const;
  bool forget(uint32_t number, const std::string& row) const;
  // Its number; 0: a row with its key stands already, or there is no room.
  uint32_t put(const std::string& row, bool opening) const;

 private:
  struct Home {
    uint32_t set;
    uint16_t tag;
  };
  Home home_of(std::string_view key) const;
  flow_set* set_at(uint32_t set) const { return reinterpret_cast<flow_set*>(sets_.at(set)); }
  char* row_at(uint32_t set, uint32_t way) const;
  std::string_view key_of(const char* row) const { return {row + key_at_, key_bytes_}; }
  uint32_t* stamp_of(char* row) const { return reinterpret_cast<uint32_t*>(row + stamp_at_); }
  bool read(uint32_t set, uint32_t way, std::string& row) const;

  MappedArray sets_, settled_, opening_;  // these two: the same rows, each looked at where it is
  flow_secret secret_{};
  uint32_t key_at_ = 0, key_bytes_ = 0, stamp_at_ = 0;
};

}  // namespace thalweg::dataplane
