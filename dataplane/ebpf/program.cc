#include "dataplane/ebpf/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/file.h"
#include "dataplane/ebpf/objects.h"

namespace thalweg::dataplane {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kLinkTypeTcx = 11;  // BPF_LINK_TYPE_TCX, absent from Debian 12's headers

// Where each tc program belongs. Socket hooks say it themselves, by their section.
int tc_attach_type(std::string_view program) { return program == "to_pod" ? kTcxEgress : kTcxIngress; }

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

struct CloseObject {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPtr = std::unique_ptr<bpf_object, CloseObject>;

// Maps of the same name as a table become that table; the object's own (constants) stay its own.
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

Result<ObjectPtr> load_object(const ObjectFile& file, const EbpfDatapath& tables) {
  libbpf_words.clear();
  libbpf_set_print(keep_words);
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = file.name);
  ObjectPtr object(bpf_object__open_mem(file.bytes, file.size, &options));
  if (!object) return fail_errno(errno, "open the programs {}: {}", file.name, one_line(libbpf_words));
  TRY(use_tables(object.get(), tables));
  if (const int error = bpf_object__load(object.get()))
    return fail_errno(-error, "load the programs {}: {}", file.name, one_line(libbpf_words));
  return object;
}

// Pins fd in place of what stands at path.
Result<> pin(int fd, const std::string& path) {
  TRY(remove_file(path));
  if (const int error = bpf_obj_pin(fd, path.c_str())) return fail_errno(-error, "pin {}", path);
  return {};
}

// bpffs takes no dots in names.
std::string pin_name(std::string_view where) {
  std::string name;
  for (const char c : where) name += c == '.' ? std::string("%2E") : std::string(1, c);
  return name;
}
std::string unpin_name(std::string name) {
  for (size_t at = name.find("%2E"); at != std::string::npos; at = name.find("%2E")) name.replace(at, 3, ".");
  return name;
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::error_code ignored;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

// Whether a pinned link still hangs where it should: its interface or cgroup may have gone and come again.
bool hangs_on(int link, bool is_cgroup, uint64_t target) {
  bpf_link_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(link, &info, &size) != 0) return false;
  if (is_cgroup) return info.type == BPF_LINK_TYPE_CGROUP && info.cgroup.cgroup_id == target;
  uint32_t ifindex = 0;  // first member of the union for tcx, as for xdp
  std::memcpy(&ifindex, &info.xdp, sizeof ifindex);
  return info.type == kLinkTypeTcx && ifindex == target;
}

uint64_t inode_of(int fd) {
  struct stat info {};
  return ::fstat(fd, &info) == 0 ? info.st_ino : 0;  // a cgroup's number
}

// Detached at once: the kernel frees a link some time after its pin goes, and until then refuses to hook the
// same program to the same place again.
Result<> remove_link(const std::string& path) {
  const Fd link(bpf_obj_get(path.c_str()));
  if (link) (void)bpf_link_detach(link.get());
  return remove_file(path);
}

}  // namespace

Result<Programs> Programs::load(const std::string& bpf_dir, const EbpfDatapath& tables) {
  Programs programs;
  programs.folder_ = bpf_dir;
  TRY(make_dirs(bpf_dir + "/programs", 0700));
  for (const ObjectFile& file : object_files()) {
    const ObjectPtr object = TRY(load_object(file, tables));
    bpf_program* each = nullptr;
    bpf_object__for_each_program(each, object.get()) {
      const std::string name = bpf_program__name(each);
      const bool is_cgroup = bpf_program__type(each) == BPF_PROG_TYPE_CGROUP_SOCK_ADDR;
      Program program{
          Fd(fcntl(bpf_program__fd(each), F_DUPFD_CLOEXEC, 3)),
          is_cgroup ? static_cast<int>(bpf_program__expected_attach_type(each)) : tc_attach_type(name),
          is_cgroup};
      TRY(pin(program.fd.get(), bpf_dir + "/programs/" + name));
      programs.programs_.insert_or_assign(name, std::move(program));
    }
  }
  return programs;
}

std::string Programs::link_path(std::string_view program, std::string_view where) const {
  return fmt::format("{}/links/{}/{}", folder_, program, pin_name(where));
}

// The pinned link gets this program if it still hangs on the target; else a new one takes its place.
Result<> Programs::hook(const Program& program, int target, const std::string& path) {
  const Fd pinned(bpf_obj_get(path.c_str()));
  const uint64_t expected = program.is_cgroup ? inode_of(target) : static_cast<uint64_t>(target);
  if (pinned && hangs_on(pinned.get(), program.is_cgroup, expected)) {
    if (bpf_link_update(pinned.get(), program.fd.get(), nullptr) == 0) return {};
  }
  TRY(remove_link(path));
  const Fd link(
      bpf_link_create(program.fd.get(), target, static_cast<bpf_attach_type>(program.attach_type), nullptr));
  if (!link) return fail_errno(errno, "attach");
  return pin(link.get(), path);
}

Result<> Programs::attach(const std::string& name, const std::string& interface, uint32_t ifindex) {
  const auto program = programs_.find(name);
  if (program == programs_.end()) return fail("attach {} to {}: no such program", name, interface);
  TRY(make_dirs(fmt::format("{}/links/{}", folder_, name), 0700));
  return context(hook(program->second, ifindex, link_path(name, interface)), "{} at {}", name, interface);
}

Result<> Programs::detach(const std::string& interface) {
  for (const auto& [name, program] : programs_)
    if (!program.is_cgroup) TRY(remove_link(link_path(name, interface)));
  return {};
}

Result<> Programs::keep_only(const std::set<std::string>& interfaces) {
  for (const auto& [name, program] : programs_) {
    if (program.is_cgroup) continue;
    for (const fs::path& path : entries(fmt::format("{}/links/{}", folder_, name)))
      if (!interfaces.contains(unpin_name(path.filename()))) TRY(remove_link(path));
  }
  return {};
}

Result<> Programs::attach_cgroup(const std::string& folder) {
  const Fd cgroup(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return fail_errno(errno, "open cgroup {}", folder);
  for (const auto& [name, program] : programs_) {
    if (!program.is_cgroup) continue;
    TRY(make_dirs(fmt::format("{}/links/{}", folder_, name), 0700));
    TRY(context(hook(program, cgroup.get(), link_path(name, "cgroup")), "{} at {}", name, folder));
  }
  cgroup_ = folder;
  return {};
}

std::vector<Hook> Programs::attached() const {
  std::vector<Hook> hooks;
  for (const auto& [name, program] : programs_)
    for (const fs::path& path : entries(fmt::format("{}/links/{}", folder_, name)))
      hooks.push_back({name, program.is_cgroup ? cgroup_ : unpin_name(path.filename())});
  return hooks;
}

Result<> unpin_all(const std::string& bpf_dir) {
  for (const fs::path& program : entries(bpf_dir + "/links"))
    for (const fs::path& link : entries(program)) TRY(remove_link(link));
  for (const char* part : {"links", "programs", "maps"}) {
    std::error_code error;
    fs::remove_all(bpf_dir + "/" + part, error);
    if (error) return fail_errno(error.value(), "remove {}/{}", bpf_dir, part);
  }
  std::error_code ignored;  // someone else's pins may lie there, or it is a mount of its own
  fs::remove(bpf_dir, ignored);
  return {};
}

}  // namespace thalweg::dataplane
