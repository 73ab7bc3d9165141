#include "dataplane/ebpf/flow_table.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "dataplane/ebpf/layout.h"
#include "dataplane/ebpf/maps.h"

namespace thalweg::dataplane {
namespace {

constexpr uint32_t kWindowRows = 64;

uint32_t number_of(uint32_t set, uint32_t way) { return (set + 1) << 5 | way; }
uint32_t set_of(uint32_t number) { return (number >> 5) - 1; }
uint32_t way_of(uint32_t number) { return number & 31; }

uint16_t tag_of(const flow_set* set, uint32_t way) {
  return static_cast<uint16_t>(__atomic_load_n(&set->words[way / 4], __ATOMIC_ACQUIRE) >> way % 4 * 16);
}

bool change_tag(flow_set* set, uint32_t way, uint16_t from, uint16_t to) {
  const uint32_t shift = way % 4 * 16;
  __u64* word = &set->words[way / 4];
  __u64 before = __atomic_load_n(word, __ATOMIC_ACQUIRE);
  while (static_cast<uint16_t>(before >> shift) == from) {
    const __u64 after = before ^ static_cast<__u64>(static_cast<uint16_t>(from ^ to)) << shift;
    if (__atomic_compare_exchange_n(word, &before, after, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      return true;
  }
  return false;
}

void give_tag(flow_set* set, uint32_t way, uint16_t tag) {
  __atomic_store_n(&set->tags[way], tag, __ATOMIC_RELEASE);
}

// Made before the first packet is, which otherwise makes it.
Result<flow_secret> secret_in(int map) {
  const uint32_t zero = 0;
  flow_secret secret{};
  if (const int error = bpf_map_lookup_elem(map, &zero, &secret))
    return fail_errno(-error, "read the flows' secret");
  if (secret.words[0] != 0) return secret;
  if (::getrandom(&secret, sizeof secret, 0) != sizeof secret) return fail_errno(errno, "make a secret");
  for (__u64& word : secret.words) word |= 1;
  if (const int error = bpf_map_update_elem(map, &zero, &secret, BPF_ANY))
    return fail_errno(-error, "write the flows' secret");
  return secret;
}

}  // namespace

Result<MappedArray> MappedArray::map(int fd, uint32_t window_rows) {
  const MapSizes sizes = TRY(sizes_of_map(fd));
  MappedArray array;
  array.entries_ = static_cast<uint32_t>(sizes.entries);
  array.row_bytes_ = sizes.value_size;
  array.stride_ = (sizes.value_size + 7) / 8 * 8;
  array.window_rows_ = window_rows;
  array.window_ = std::make_shared<Window>();
  array.none_ = std::make_shared<std::string>(array.stride_, '\0');
  array.fd_ = std::make_shared<Fd>(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!*array.fd_) return fail_errno(errno, "keep a table");
  TRY(array.look_at(0));
  return array;
}

void MappedArray::Window::close() {
  if (memory != nullptr) ::munmap(memory, bytes);
  memory = nullptr;
  first = end = 0;
}

// Rows need not begin where pages do.
Result<> MappedArray::look_at(uint32_t index) const {
  const size_t page = ::sysconf(_SC_PAGESIZE);
  Window& window = *window_;
  window.close();
  const uint32_t first = index - index % window_rows_;
  const uint32_t end = window_rows_ < entries_ - first ? first + window_rows_ : entries_;
  const size_t from = first * stride_ / page * page;
  window.bytes = (end * stride_ - from + page - 1) / page * page;
  void* memory =
      ::mmap(nullptr, window.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_->get(), static_cast<off_t>(from));
  if (memory == MAP_FAILED) return fail_errno(errno, "map a table");
  window.memory = memory;
  window.first = first;
  window.end = end;
  window.rows = static_cast<char*>(memory) + (first * stride_ - from);
  return {};
}

char* MappedArray::at(uint32_t index) const {
  if ((index < window_->first || index >= window_->end) && !look_at(index)) {
    none_->assign(stride_, '\0');
    return none_->data();
  }
  return window_->rows + static_cast<size_t>(index - window_->first) * stride_;
}

Result<FlowTable> FlowTable::open(int secret, int sets, int rows, Rows how) {
  FlowTable table;
  const uint32_t window = how == Rows::WINDOWS ? kWindowRows : MappedArray::kWhole;
  table.sets_ = TRY(context(MappedArray::map(sets), "table flow_sets"));
  table.settled_ = TRY(context(MappedArray::map(rows, window), "table flows"));
  table.opening_ = table.settled_;
  if (how == Rows::WINDOWS) table.opening_ = TRY(context(MappedArray::map(rows, window), "table flows"));
  const MapTypes types = TRY(types_of_map(rows));
  const Member key = TRY(member_of(types.value_ref(), "key"))
  , stamp = TRY(member_of(types.value_ref(), "stamp"));
  const bool fits = table.sets_.row_bytes() == sizeof(flow_set) && stamp.bytes == sizeof(uint32_t) &&
                    table.settled_.entries() == table.sets() * SET_WAYS && key.bytes % 8 == 0 &&
                    key.bytes / 8 * 2 <= std::size(table.secret_.words);
  if (!fits) return fail("table flows: another way to keep them");
  table.secret_ = TRY(secret_in(secret));
  table.key_at_ = key.at;
  table.key_bytes_ = key.bytes;
  table.stamp_at_ = stamp.at;
  return table;
}

FlowTable::Home FlowTable::home_of(std::string_view key) const {
  uint64_t sum = 0;
  for (size_t i = 0; i < key.size() / 8; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, key.data() + i * 8, sizeof word);
    sum += ((word & 0xffffffff) + secret_.words[2 * i]) * ((word >> 32) + secret_.words[2 * i + 1]);
  }
  const uint64_t at = (sum >> 32) * sets();
  const auto tag = static_cast<uint16_t>(static_cast<uint32_t>(at) >> 16);
  return {static_cast<uint32_t>(at >> 32), tag < FIRST_TAG ? static_cast<uint16_t>(tag + FIRST_TAG) : tag};
}

char* FlowTable::row_at(uint32_t set, uint32_t way) const {
  if (way < SETTLED_WAYS) return settled_.at(set * SETTLED_WAYS + way);
  return opening_.at((sets() - 1) * SETTLED_WAYS + set * (SET_WAYS - SETTLED_WAYS) + way);
}

// Whole, of one flow.
bool FlowTable::read(uint32_t set, uint32_t way, std::string& row) const {
  char* from = row_at(set, way);
  const uint32_t stamp = __atomic_load_n(stamp_of(from), __ATOMIC_ACQUIRE);
  row.assign(from, row_bytes());
  std::atomic_thread_fence(std::memory_order_acquire);
  return stamp != 0 && __atomic_load_n(stamp_of(from), __ATOMIC_RELAXED) == stamp;
}

void FlowTable::each(uint32_t first, uint32_t sets, const OnRow& on_row) const {
  std::string row;
  for (uint32_t set = first; set < first + sets && set < this->sets(); ++set)
    for (uint32_t way = 0; way < SET_WAYS; ++way)
      if (tag_of(set_at(set), way) >= FIRST_TAG && read(set, way, row)) on_row(number_of(set, way), row);
}

uint32_t FlowTable::find(std::string_view key) const {
  const Home home = home_of(key);
  for (uint32_t way = 0; way < SET_WAYS; ++way)
    if (tag_of(set_at(home.set), way) == home.tag && key_of(row_at(home.set, way)) == key)
      return number_of(home.set, way);
  return 0;
}

bool FlowTable::forget(uint32_t number) const {
  std::string row;
  return read(set_of(number), way_of(number), row) && forget(number, row);
}

bool FlowTable::forget(uint32_t number, const std::string& row) const {
  const uint32_t set = set_of(number), way = way_of(number);
  const Home home = home_of(key_of(row.data()));
  if (home.set != set || !change_tag(set_at(set), way, home.tag, TAG_BUSY)) return false;
  char* stands = row_at(set, way);
  const bool same = std::memcmp(stands + stamp_at_, row.data() + stamp_at_, sizeof(uint32_t)) == 0;
  if (same) __atomic_store_n(stamp_of(stands), 0, __ATOMIC_RELEASE);
  give_tag(set_at(set), way, same ? TAG_NONE : home.tag);
  return same;
}

uint32_t FlowTable::put(const std::string& row, bool opening) const {
  const std::string_view key = key_of(row.data());
  if (find(key) != 0) return 0;
  const Home home = home_of(key);
  flow_set* set = set_at(home.set);
  const uint32_t first = opening ? SETTLED_WAYS : 0, end = opening ? SET_WAYS : SETTLED_WAYS;
  for (uint32_t way = first; way < end; ++way) {
    if (!change_tag(set, way, TAG_NONE, TAG_BUSY)) continue;
    char* to = row_at(home.set, way);
    const uint32_t stamp = __atomic_fetch_add(&set->written, 1, __ATOMIC_RELAXED) << 1 | 1;
    __atomic_store_n(stamp_of(to), 0, __ATOMIC_RELEASE);
    std::atomic_thread_fence(std::memory_order_release);
    std::string stamped = row;
    std::memset(stamped.data() + stamp_at_, 0, sizeof stamp);
    std::memcpy(to, stamped.data(), stamped.size());
    __atomic_store_n(stamp_of(to), stamp, __ATOMIC_RELEASE);
    give_tag(set, way, home.tag);
    return number_of(home.set, way);
  }
  return 0;
}

}  // namespace thalweg::dataplane
