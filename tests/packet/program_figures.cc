#include "tests/packet/program_figures.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <span>

#include "bpf/gate.skel.h"
#include "bpf/socket.skel.h"
#include "bpf/tc.skel.h"
#include "bpf/xdp.skel.h"

namespace thalweg::packet {

namespace {

constexpr uint32_t kStatistics = 4;  // of the verifier's log levels: nothing but its figures
constexpr size_t kLogBytes = 1 << 16;

struct Close {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};

// Where the function begins that an instruction calls, as the kernel writes it; -1: it calls none of ours.
int callee(std::span<const bpf_insn> code, size_t at) {
  const bpf_insn& one = code[at];
  if (one.code != (BPF_JMP | BPF_CALL) || one.src_reg != BPF_PSEUDO_CALL) return -1;
  return static_cast<int>(at) + one.off + 1;
}

// The program's functions, by where they begin, with those they call.
std::map<int, std::set<int>> calls_of(std::span<const bpf_insn> code) {
  std::map<int, std::set<int>> calls = {{0, {}}};
  for (size_t i = 0; i < code.size(); ++i)
    if (const int function = callee(code, i); function >= 0) calls[function];
  for (size_t i = 0; i < code.size(); ++i)
    if (const int function = callee(code, i); function >= 0)
      std::prev(calls.upper_bound(static_cast<int>(i)))->second.insert(function);
  return calls;
}

// "stack depth 344+16+0": the frame of each function, in the order in which they stand.
std::vector<uint32_t> frames_in(const std::string& log) {
  static const std::string kBefore = "stack depth ";
  std::vector<uint32_t> frames;
  size_t at = log.find(kBefore);
  if (at == log.npos) return frames;
  for (at += kBefore.size(); at < log.size() && std::isdigit(log[at]); ++at) {
    frames.push_back(static_cast<uint32_t>(std::strtoul(&log[at], nullptr, 10)));
    at = log.find_first_not_of("0123456789", at);
  }
  return frames;
}

// The kernel counts a frame in steps of 16 bytes, where it compiles programs.
uint32_t deepest(const std::map<int, std::set<int>>& calls, const std::vector<uint32_t>& frames,
                 int function) {
  const auto index = static_cast<size_t>(std::distance(calls.begin(), calls.find(function)));
  uint32_t below = 0;
  for (const int next : calls.at(function)) below = std::max(below, deepest(calls, frames, next));
  return below + (frames[index] + 15) / 16 * 16;
}

// The program as the kernel keeps it: without what can never run.
Result<bpf_prog_info> read_program(int fd, std::vector<bpf_insn>& code) {
  bpf_prog_info size{};
  uint32_t length = sizeof size;
  if (bpf_obj_get_info_by_fd(fd, &size, &length) != 0) return fail_errno(errno, "ask for a program");
  code.resize(size.xlated_prog_len / sizeof(bpf_insn));
  bpf_prog_info info{};
  info.xlated_prog_len = size.xlated_prog_len;
  info.xlated_prog_insns = reinterpret_cast<uint64_t>(code.data());
  if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0) return fail_errno(errno, "read a program");
  return info;
}

Result<ProgramFigures> figures_of(const std::string& object, const bpf_program* program,
                                  const std::string& log) {
  std::vector<bpf_insn> code;
  const bpf_prog_info info = TRY(read_program(bpf_program__fd(program), code));
  const auto calls = calls_of(code);
  const auto frames = frames_in(log);
  const std::string name = object + "/" + bpf_program__name(program);
  if (frames.size() != calls.size())
    return fail("{}: {} functions, but the verifier speaks of {}", name, calls.size(), frames.size());
  return ProgramFigures{name, static_cast<uint32_t>(code.size()), info.verified_insns,
                        deepest(calls, frames, 0)};
}

Result<> add_figures(const std::string& name, const void* elf, size_t size,
                     std::vector<ProgramFigures>& all) {
  const std::unique_ptr<bpf_object, Close> object(bpf_object__open_mem(elf, size, nullptr));
  if (!object) return fail_errno(errno, "open {}", name);
  std::map<bpf_program*, std::string> logs;
  bpf_program* program;
  bpf_object__for_each_program(program, object.get()) {
    std::string& log = logs[program];
    log.resize(kLogBytes);
    bpf_program__set_log_level(program, kStatistics);
    bpf_program__set_log_buf(program, log.data(), log.size());
  }
  if (const int code = bpf_object__load(object.get()); code != 0) return fail_errno(-code, "load {}", name);
  bpf_object__for_each_program(program, object.get()) {
    auto figures = figures_of(name, program, logs[program].c_str());
    if (!figures) return std::unexpected(figures.error());
    all.push_back(*std::move(figures));
  }
  return {};
}

}  // namespace

Result<std::vector<ProgramFigures>> program_figures() {
  if (geteuid() != 0) return fail("loading BPF programs needs root");
  std::vector<ProgramFigures> all;
  size_t size = 0;
  const void* elf = tc_bpf__elf_bytes(&size);
  TRY(add_figures("tc", elf, size, all));
  elf = socket_bpf__elf_bytes(&size);
  TRY(add_figures("socket", elf, size, all));
  elf = xdp_bpf__elf_bytes(&size);
  TRY(add_figures("xdp", elf, size, all));
  elf = gate_bpf__elf_bytes(&size);
  TRY(add_figures("gate", elf, size, all));
  return all;
}

}  // namespace thalweg::packet
