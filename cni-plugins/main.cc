// The multi-call binary: the name it is called by (a hard link in the CNI bin directory) picks the plugin.
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/nearest.h"
#include "cni-plugins/plugins.h"

namespace {

constexpr const char* kHelp = R"(NAME
    thalweg-cni - the CNI plugins of Thalweg, in one program

SYNOPSIS
    CNI_COMMAND=VERB CNI_... thalweg-cni < CONFIGURATION

DESCRIPTION
    Called by a container runtime, by the CNI specification (0.3.0 to 1.1.0):
    what to do stands in the environment, the network configuration on standard
    input, the result or an error object goes to standard output. The name it is
    called by picks the plugin:

)";
constexpr const char* kHelpRest = R"(
    The verbs are ADD, DEL, CHECK, GC, STATUS and VERSION.

OPTIONS
    Only without CNI_COMMAND:
    --help, -h    print this text
    --version     print the version
    --list        print the plugins' names, one a line
    --completion bash
                  print a completion script for bash: source it, or install it

CONFIGURATION
    agentSocket   path of the agent's socket (/run/thalweg/agent.sock)

EXIT STATUS
    0 done   1 failed: the error object says why   2 bad usage
)";
constexpr const char* kCompletion = "complete -W '--help -h --version --list --completion' thalweg-cni\n";

bool print_help() {
  bool written = std::fputs(kHelp, stdout) >= 0;
#define PLUGIN(symbol, name, what) written &= std::printf("    %-12s  %s\n", name, what) >= 0;
#include "cni-plugins/plugins.def"
#undef PLUGIN
  return written && std::fputs(kHelpRest, stdout) >= 0;
}

bool print_names() {
  bool written = true;
#define PLUGIN(symbol, name, what) written &= std::puts(name) >= 0;
#include "cni-plugins/plugins.def"
#undef PLUGIN
  return written;
}

// Somebody typed it: a runtime always sets CNI_COMMAND.
int run_typed(std::string_view flag, std::string_view value) {
  if (flag == "--help" || flag == "-h") return !print_help();
  if (flag == "--version") return std::printf("thalweg-cni %s\n", THALWEG_VERSION) < 0;
  if (flag == "--list") return !print_names();
  if (flag == "--completion" && value == "bash") return std::fputs(kCompletion, stdout) < 0;
  constexpr std::string_view kFlags[] = {"--help", "--version", "--list", "--completion"};
  if (flag == "--completion") {
    std::fprintf(stderr, "thalweg-cni: --completion: bash is the only shell\n");
  } else {
    const std::string meant(thalweg::nearest(flag, kFlags));
    std::fprintf(stderr, "thalweg-cni: %s: unknown %s%s%s%s\n", flag.data(),
                 flag.starts_with('-') ? "flag" : "argument", meant.empty() ? "" : "; did you mean ",
                 meant.c_str(), meant.empty() ? "" : "?");
  }
  std::fputs("Try 'thalweg-cni --help'.\n", stderr);
  return 2;
}

}  // namespace

int main(int count, char** argv) {
  using namespace thalweg::cni;
  ::mallopt(M_ARENA_MAX, 1);  // the threads that enter namespaces live for one call: no heap of their own
  if (count > 1 && std::getenv("CNI_COMMAND") == nullptr) return run_typed(argv[1], count > 2 ? argv[2] : "");
  if (isatty(STDIN_FILENO) && std::getenv("CNI_COMMAND") == nullptr) return run_typed("--help", "");
  std::string_view name = argv[0] ? argv[0] : "";
  name.remove_prefix(name.rfind('/') + 1);
  if (const Plugin* plugin = find_plugin(name)) return run_process(*plugin);
  std::printf("{\"cniVersion\":\"1.1.0\",\"code\":%d,\"msg\":\"there is no plugin of this name here\"}\n",
              kPluginFailure);
  return 1;
}
