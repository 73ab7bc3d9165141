#include "dataplane/ebpf/program.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "dataplane/ebpf/object.h"

namespace thalweg::dataplane {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kLinkTypeTcx = 11;  // BPF_LINK_TYPE_TCX, absent from Debian 12's headers

constexpr const char* kXdpHook = "at_uplink";

// Where each tc program belongs. The others say it themselves, by their section.
int tc_attach_type(std::string_view program) { return program.starts_with("to_") ? kTcxEgress : kTcxIngress; }

// Pins fd in place of what stands at path.
Result<> pin(int fd, const std::string& path) {
  TRY(remove_file(path));
  if (const int error = bpf_obj_pin(fd, path.c_str())) return fail_errno(-error, "pin {}", path);
  return {};
}

// bpffs takes no dots in names.
std::string pin_name(std::string_view where) {
  std::string name;
  for (const char c : where)
    if (c == '.')
      name += "%2E";
    else
      name += c;
  return name;
}
std::string unpin_name(std::string name) {
  for (size_t at = name.find("%2E"); at != std::string::npos; at = name.find("%2E", at + 1)) {
    name.erase(at + 1, 2);
    name[at] = '.';
  }
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
bool hangs_on(int link, uint32_t link_type, uint64_t target) {
  bpf_link_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(link, &info, &size) != 0 || info.type != link_type) return false;
  if (link_type == BPF_LINK_TYPE_CGROUP) return info.cgroup.cgroup_id == target;
  uint32_t ifindex = 0;  // first member of the union for tcx, as for xdp
  std::memcpy(&ifindex, &info.xdp, sizeof ifindex);
  return ifindex == target;
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

Fd same(int fd) { return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

// ---- programs pinned by a run before

std::vector<uint32_t> maps_of_program(int program) {
  bpf_prog_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) return {};
  std::vector<uint32_t> ids(info.nr_map_ids);
  info = {};
  info.nr_map_ids = ids.size();
  info.map_ids = reinterpret_cast<uint64_t>(ids.data());
  if (bpf_obj_get_info_by_fd(program, &info, &size) != 0) return {};
  return ids;
}

// A map of the program that is no table is its own: constants, counts for tests.
bool is_other_table(uint32_t id, const std::set<uint32_t>& ours) {
  if (ours.contains(id)) return false;
  const Fd map(bpf_map_get_fd_by_id(id));
  bpf_map_info about{};
  uint32_t size = sizeof about;
  if (!map || bpf_obj_get_info_by_fd(map.get(), &about, &size) != 0) return true;
  return std::any_of(std::begin(kTables), std::end(kTables), [&](const TableInfo& table) {
    return table.name.substr(0, BPF_OBJ_NAME_LEN - 1) == about.name;
  });
}

bool uses(int program, const std::set<uint32_t>& tables) {
  const std::vector<uint32_t> maps = maps_of_program(program);
  return !maps.empty() &&
         std::none_of(maps.begin(), maps.end(), [&](uint32_t id) { return is_other_table(id, tables); });
}

std::set<uint32_t> ids_of(const EbpfDatapath& tables) {
  std::set<uint32_t> ids;
  for (size_t id = 0; id < TABLES; ++id) ids.insert(id_of_map(tables.fd(static_cast<table_id>(id))));
  return ids;
}

// Readers before writers: what a socket was told is then found whichever build's program told it.
constexpr std::array kSocketHooks = {"recvmsg4", "recvmsg6", "getpeername4", "getpeername6",
                                     "connect4", "connect6", "sendmsg4",     "sendmsg6"};
// An older build may have none: its side of the gate then lets everything pass.
constexpr const char* kNewHook = "to_uplink";
// In the order of bpf/gate.bpf.c.
constexpr std::array kGateHooks = {"from_pod", "to_pod", "from_uplink", "from_host", kNewHook};

// A program of the set, of whatever code.
Fd program_in(const std::string& set_folder, const std::string& name) {
  for (const fs::path& code : entries(fmt::format("{}/programs", set_folder)))
    if (Fd fd(bpf_obj_get((code / name).c_str())); fd) return fd;
  return {};
}

}  // namespace

Programs::Program Programs::in_its_place(const bpf_program* program, Fd fd) {
  const int section = bpf_program__expected_attach_type(program);
  switch (bpf_program__type(program)) {
    case BPF_PROG_TYPE_CGROUP_SOCK_ADDR: return {std::move(fd), section, BPF_LINK_TYPE_CGROUP};
    case BPF_PROG_TYPE_XDP: return {std::move(fd), section, BPF_LINK_TYPE_XDP};
    default: return {std::move(fd), tc_attach_type(bpf_program__name(program)), kLinkTypeTcx};
  }
}

bool Programs::is_cgroup(const Program& program) { return program.link_type == BPF_LINK_TYPE_CGROUP; }

Result<Programs::ByName> Programs::load_objects(const EbpfDatapath& tables, const TableSets* sets) {
  ByName programs;
  for (const ObjectFile& file : path_objects()) {
    if (sets != nullptr && file.name == std::string_view("xdp")) continue;  // takes only what stands here
    const ObjectPtr object = TRY(open_object(file));
    TRY(use_tables(object.get(), tables));
    if (sets != nullptr) TRY(take_over(object.get(), sets->old_tables()));
    TRY(load_object(object.get(), file.name));
    bpf_program* each = nullptr;
    bpf_object__for_each_program(each, object.get()) {
      programs.insert_or_assign(bpf_program__name(each), in_its_place(each, same(bpf_program__fd(each))));
    }
  }
  return programs;
}

// Empty: not all of them are there, or they use other tables.
Result<Programs::ByName> Programs::read_pinned(const std::string& folder, const EbpfDatapath& tables) {
  const std::set<uint32_t> ours = ids_of(tables);
  ByName programs;
  for (const ObjectFile& file : path_objects()) {
    const ObjectPtr object = TRY(open_object(file));
    bpf_program* each = nullptr;
    bpf_object__for_each_program(each, object.get()) {
      const std::string name = bpf_program__name(each);
      Fd fd(bpf_obj_get(fmt::format("{}/{}", folder, name).c_str()));
      if (!fd || !uses(fd.get(), ours)) return ByName();
      programs.insert_or_assign(name, in_its_place(each, std::move(fd)));
    }
  }
  return programs;
}

Result<Programs> Programs::load(const std::string& bpf_dir, const std::string& set_folder,
                                const EbpfDatapath& tables) {
  Programs programs;
  programs.folder_ = bpf_dir;
  programs.set_folder_ = set_folder;
  const std::string folder = fmt::format("{}/programs/{}", set_folder, path_code_name());
  TRY(make_dirs(folder, 0700));
  programs.programs_ = TRY(read_pinned(folder, tables));
  programs.adopted_ = !programs.programs_.empty();
  if (programs.adopted_) return programs;
  programs.programs_ = TRY(load_objects(tables, nullptr));
  for (const auto& [name, program] : programs.programs_)
    TRY(pin(program.fd.get(), fmt::format("{}/{}", folder, name)));
  return programs;
}

Result<> Programs::drop_others() {
  for (const fs::path& code : entries(fmt::format("{}/programs", set_folder_)))
    if (code.filename() != path_code_name()) {
      std::error_code error;
      fs::remove_all(code, error);
      if (error) return fail_errno(error.value(), "remove {}", code.string());
    }
  return {};
}

// ---- the gate

Result<> Programs::raise_gate(const TableSets& sets, const EbpfDatapath& tables) {
  const std::string set = sets.own_folder();
  Gate gate {
    .programs = TRY(load_objects(tables, &sets))
    , .map = Fd(bpf_obj_get(gate_path(set).c_str())), .open = gate_of(sets.before_folder()).value_or(0) + 1
  };
  if (!gate.map) return fail_errno(errno, "open the gate");
  const ObjectPtr object = TRY(open_object(object_file("gate")));
  bpf_map* map = bpf_object__find_map_by_name(object.get(), "gate");
  bpf_map* sides = bpf_object__find_map_by_name(object.get(), "sides");
  if (const int error = bpf_map__reuse_fd(map, gate.map.get())) return fail_errno(-error, "use the gate");
  if (const Fd pinned(bpf_obj_get(sides_path(set).c_str())); pinned)
    if (const int error = bpf_map__reuse_fd(sides, pinned.get())) return fail_errno(-error, "use its sides");
  TRY(load_object(object.get(), "gate"));
  // Pinned: an array of programs forgets them when no process and no pin holds it.
  if (!Fd(bpf_obj_get(sides_path(set).c_str()))) TRY(pin(bpf_map__fd(sides), sides_path(set)));
  for (uint32_t i = 0; i < kGateHooks.size(); ++i) {
    const Fd before = program_in(sets.before_folder(), kGateHooks[i]);
    if (!before && kGateHooks[i] != std::string_view(kNewHook))
      return fail("the set before has no program {}", kGateHooks[i]);
    const auto after = gate.programs.find(kGateHooks[i]);
    if (after == gate.programs.end()) return fail("no program {}", kGateHooks[i]);
    const uint32_t other = i + kGateHooks.size();
    const int old_side = before.get(), new_side = after->second.fd.get();
    if ((before && bpf_map_update_elem(bpf_map__fd(sides), &i, &old_side, 0) != 0) ||
        bpf_map_update_elem(bpf_map__fd(sides), &other, &new_side, 0) != 0)
      return fail_errno(errno, "put {} behind the gate", kGateHooks[i]);
    const bpf_program* guard = bpf_object__find_program_by_name(object.get(), kGateHooks[i]);
    after->second.fd = same(bpf_program__fd(guard));
  }
  const bpf_program* guard = bpf_object__find_program_by_name(object.get(), kXdpHook);
  gate.programs.insert_or_assign(kXdpHook, in_its_place(guard, same(bpf_program__fd(guard))));
  gate_ = std::move(gate);
  return {};
}

Result<> Programs::pass_gate() {
  const uint32_t zero = 0;
  if (bpf_map_update_elem(gate_->map.get(), &zero, &gate_->open, 0) != 0)
    return fail_errno(errno, "open the gate");
  return {};
}

// ---- hooks

std::string Programs::link_path(std::string_view program, std::string_view where) const {
  return fmt::format("{}/links/{}/{}", folder_, program, pin_name(where));
}

// The pinned link gets this program if it still hangs on the target; else a new one takes its place.
Result<> Programs::hook(const Program& program, int target, const std::string& path, uint32_t flags) {
  const Fd pinned(bpf_obj_get(path.c_str()));
  const uint64_t expected = is_cgroup(program) ? inode_of(target) : static_cast<uint64_t>(target);
  if (pinned && hangs_on(pinned.get(), program.link_type, expected)) {
    if (bpf_link_update(pinned.get(), program.fd.get(), nullptr) == 0) return {};
  }
  TRY(remove_link(path));
  LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
  const Fd link(
      bpf_link_create(program.fd.get(), target, static_cast<bpf_attach_type>(program.attach_type), &options));
  if (!link) return fail_errno(errno, "attach");
  ++links_made_;
  return pin(link.get(), path);
}

Result<> Programs::attach(const std::string& name, const std::string& interface, uint32_t ifindex) {
  return attach(name, interface, ifindex, 0);
}

Result<> Programs::attach(const std::string& name, const std::string& interface, uint32_t ifindex,
                          uint32_t flags) {
  const auto program = hooked().find(name);
  if (program == hooked().end()) return fail("attach {} to {}: no such program", name, interface);
  TRY(make_dirs(fmt::format("{}/links/{}", folder_, name), 0700));
  return context(hook(program->second, ifindex, link_path(name, interface), flags), "{} at {}", name,
                 interface);
}

Result<> Programs::attach_xdp(const std::string& interface, uint32_t ifindex) {
  return attach(kXdpHook, interface, ifindex, XDP_FLAGS_DRV_MODE);
}

Result<> Programs::detach_xdp(const std::string& interface) {
  return remove_link(link_path(kXdpHook, interface));
}

Result<> Programs::detach(const std::string& interface) {
  for (const auto& [name, program] : programs_)
    if (!is_cgroup(program)) TRY(remove_link(link_path(name, interface)));
  return {};
}

Result<> Programs::keep_only(const std::set<std::string>& interfaces) {
  for (const auto& [name, program] : programs_) {
    if (is_cgroup(program)) continue;
    for (const fs::path& path : entries(fmt::format("{}/links/{}", folder_, name)))
      if (!interfaces.contains(unpin_name(path.filename()))) TRY(remove_link(path));
  }
  return {};
}

Result<> Programs::attach_cgroup(const std::string& folder) {
  const Fd cgroup(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return fail_errno(errno, "open cgroup {}", folder);
  for (const std::string name : kSocketHooks) {
    const auto program = hooked().find(name);
    if (program == hooked().end()) return fail("attach {} to {}: no such program", name, folder);
    TRY(make_dirs(fmt::format("{}/links/{}", folder_, name), 0700));
    TRY(context(hook(program->second, cgroup.get(), link_path(name, "cgroup")), "{} at {}", name, folder));
  }
  cgroup_ = folder;
  return {};
}

std::vector<Hook> Programs::attached() const {
  std::vector<Hook> hooks;
  for (const auto& [name, program] : programs_)
    for (const fs::path& path : entries(fmt::format("{}/links/{}", folder_, name)))
      hooks.push_back({name, is_cgroup(program) ? cgroup_ : unpin_name(path.filename())});
  return hooks;
}

Result<> unpin_all(const std::string& bpf_dir) {
  for (const fs::path& program : entries(fmt::format("{}/links", bpf_dir)))
    for (const fs::path& link : entries(program)) TRY(remove_link(link));
  for (const char* part : {"links", "sets"}) {
    std::error_code error;
    fs::remove_all(fmt::format("{}/{}", bpf_dir, part), error);
    if (error) return fail_errno(error.value(), "remove {}/{}", bpf_dir, part);
  }
  std::error_code ignored;  // someone else's pins may lie there, or it is a mount of its own
  fs::remove(bpf_dir, ignored);
  return {};
}

}  // namespace thalweg::dataplane
