#include "dataplane/ebpf/object.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace thalweg::dataplane {
namespace {

constexpr size_t kMostKeyBytes = 64;      // MOST_KEY_BYTES of bpf/port/take_over.h
constexpr uint16_t kNotCarried = 0xffff;  // NOT_CARRIED of bpf/port/take_over.h

// libbpf speaks to stderr; what it says goes into the error instead, its last lines.
std::string libbpf_words;
int keep_words(libbpf_print_level level, const char* format, va_list arguments) {
  if (level > LIBBPF_WARN) return 0;
  char* text = nullptr;  // the verifier's log comes in one piece, and its end is what matters
  const int length = ::vasprintf(&text, format, arguments);
  if (length < 0) return 0;
  libbpf_words.append(text, length);
  std::free(text);
  constexpr size_t kKept = 4096;
  if (libbpf_words.size() > kKept) libbpf_words.erase(0, libbpf_words.size() - kKept);
  return 0;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ';');
  return text;
}

// The object's constants, by name: they may be set until it is loaded.
class Constants {
 public:
  static Result<Constants> of(bpf_object* object) {
    Constants constants;
    constants.types_ = bpf_object__btf(object);
    bpf_map* map = nullptr;
    bpf_map* each = nullptr;
    bpf_object__for_each_map(each, object) {
      const std::string_view name = bpf_map__name(each);
      if (name.ends_with(".rodata")) map = each;
    }
    if (map != nullptr)
      constants.bytes_ = static_cast<char*>(const_cast<void*>(bpf_map__initial_value(map, &constants.size_)));
    const int section = btf__find_by_name_kind(constants.types_, ".rodata", BTF_KIND_DATASEC);
    if (constants.bytes_ == nullptr || section < 0) return fail("an object without constants");
    constants.section_ = btf__type_by_id(constants.types_, section);
    return constants;
  }

  // False: the object knows no such constant (it does not use the table).
  bool set(const std::string& name, const void* value, size_t bytes) {
    const btf_var_secinfo* vars = btf_var_secinfos(section_);
    for (int i = 0; i < btf_vlen(section_); ++i) {
      const btf_type* var = btf__type_by_id(types_, vars[i].type);
      if (name != btf__name_by_offset(types_, var->name_off)) continue;
      if (vars[i].offset + bytes > size_ || bytes > vars[i].size) return false;
      std::memcpy(bytes_ + vars[i].offset, value, bytes);
      return true;
    }
    return false;
  }

 private:
  const btf* types_ = nullptr;
  const btf_type* section_ = nullptr;
  char* bytes_ = nullptr;
  size_t size_ = 0;
};

// Byte by byte: from which byte of the one it is taken.
std::vector<uint16_t> origins(const std::vector<Move>& moves, size_t size) {
  std::vector<uint16_t> from(size, kNotCarried);
  for (const Move& move : moves)
    for (uint32_t i = 0; i < move.bytes; ++i) from[move.to + i] = static_cast<uint16_t>(move.from + i);
  return from;
}

Result<> give_map(bpf_object* object, const char* name, int fd) {
  bpf_map* map = bpf_object__find_map_by_name(object, name);
  if (map == nullptr) return fail("the programs have no {}", name);
  if (const int error = bpf_map__reuse_fd(map, fd))
    return fail_errno(-error, "give {} to the programs", name);
  return {};
}

// What port/take_over_flows.h asks for.
Result<> take_over_flows(bpf_object* object, Constants& constants, const OldTable& old) {
  if (bpf_object__find_map_by_name(object, "tw_flows_before") == nullptr) return {};
  const auto types = TRY(types_of_map(old.fd.get()));
  const Member key = TRY(member_of(types.value_ref(), "key"));
  if (key.bytes > kMostKeyBytes || key.bytes % 8 != 0 || key.at % 8 != 0)
    return fail("table flows: its old keys are too long or not in whole words");
  const uint8_t yes = 1;
  const uint32_t sets = TRY(sizes_of_map(old.sets.get()))
  .entries, at = key.at, words = key.bytes / 8;
  const auto keys = origins(old.old_key, kMostKeyBytes);
  const auto values = origins(old.new_value, info(old.table).value_size);
  if (!constants.set("flows_taken_over", &yes, sizeof yes) ||
      !constants.set("flow_sets_before", &sets, sizeof sets) ||
      !constants.set("flows_key_before", &at, sizeof at) ||
      !constants.set("flows_key_words", &words, sizeof words) ||
      !constants.set("flows_old_key", keys.data(), keys.size() * sizeof keys[0]) ||
      !constants.set("flows_new_value", values.data(), values.size() * sizeof values[0]))
    return fail("table flows: the programs cannot take it over");
  TRY(give_map(object, "tw_flow_sets_before", old.sets.get()));
  return give_map(object, "tw_flows_before", old.fd.get());
}

Result<> take_over_table(bpf_object* object, Constants& constants, const OldTable& old) {
  const std::string name(info(old.table).name);
  bpf_map* before = bpf_object__find_map_by_name(object, ("tw_" + name + "_before").c_str());
  if (before == nullptr) return {};
  if (old.sizes.key_size > kMostKeyBytes) return fail("table {}: its old keys are too long", name);
  const uint8_t yes = 1;
  const auto keys = origins(old.old_key, kMostKeyBytes);
  const auto values = origins(old.new_value, info(old.table).value_size);
  if (!constants.set(name + "_taken_over", &yes, sizeof yes)) return {};
  if (!constants.set(name + "_old_key", keys.data(), keys.size() * sizeof keys[0]) ||
      !constants.set(name + "_new_value", values.data(), values.size() * sizeof values[0]))
    return fail("table {}: the programs cannot take it over", name);
  if (const int error = bpf_map__reuse_fd(before, old.fd.get()))
    return fail_errno(-error, "give the old table {} to the programs", name);
  return {};
}

}  // namespace

void CloseObject::operator()(bpf_object* object) const { bpf_object__close(object); }

Result<ObjectPtr> open_object(const ObjectFile& file) {
  libbpf_words.clear();
  libbpf_set_print(keep_words);
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = file.name);
  ObjectPtr object(bpf_object__open_mem(file.bytes, file.size, &options));
  if (!object) return fail_errno(errno, "open the programs {}: {}", file.name, one_line(libbpf_words));
  return object;
}

Result<> use_tables(bpf_object* object, const EbpfDatapath& tables) {
  for (size_t id = 0; id < TABLES; ++id) {
    const std::string name = "tw_" + std::string(kTables[id].name);
    bpf_map* map = bpf_object__find_map_by_name(object, name.c_str());
    if (map == nullptr) continue;
    if (bpf_map__key_size(map) != kTables[id].key_size || bpf_map__value_size(map) != kTables[id].value_size)
      return fail("the programs were built for another layout of table {}", name);
    if (const int error = bpf_map__reuse_fd(map, tables.fd(static_cast<table_id>(id))))
      return fail_errno(-error, "give table {} to the programs", name);
  }
  return {};
}

Result<> take_over(bpf_object* object, const std::vector<OldTable>& old) {
  Constants constants = TRY(Constants::of(object));
  const uint8_t yes = 1;
  if (!constants.set("taking_over", &yes, sizeof yes)) return fail("the programs cannot take over");
  for (const OldTable& one : old) {
    if (one.table == TABLE_flows)
      TRY(take_over_flows(object, constants, one));
    else if (info(one.table).kind != TableInfo::Kind::ARRAY)
      TRY(take_over_table(object, constants, one));
  }
  return {};
}

Result<> load_object(bpf_object* object, const char* name) {
  if (const int error = bpf_object__load(object))
    return fail_errno(-error, "load the programs {}: {}", name, one_line(libbpf_words));
  return {};
}

}  // namespace thalweg::dataplane
