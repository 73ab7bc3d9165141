// Flags: the command line every program of the project has in common (--help, --version, --log-level,
// --completion bash, exit codes). Only main() files include this; CLI11 stays behind it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thalweg {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

class Flags {
 public:
  // summary is one line; description is the paragraphs of the manual (blank lines between them).
  Flags(std::string_view name, std::string_view summary, std::string_view description = "");
  ~Flags();
  Flags(const Flags&) = delete;
  Flags& operator=(const Flags&) = delete;

  // add("--node-name", config.node_name, "this node's name", {.required = true}); the variable's value at
  // this moment is the default that --help shows. A name without dashes is a positional argument.
  struct Traits {
    bool required = false;
    std::vector<std::string> choices = {};  // the only values accepted
    bool is_path = false;                   // completion offers files
  };
  void add(std::string_view name, std::string& value, std::string_view help, const Traits& traits);
  void add(std::string_view name, std::vector<std::string>& value, std::string_view help,
           const Traits& traits);
  void add(std::string_view name, int64_t& value, std::string_view help, const Traits& traits);
  void add(std::string_view name, uint32_t& value, std::string_view help, const Traits& traits);
  void add(std::string_view name, uint16_t& value, std::string_view help, const Traits& traits);
  void add(std::string_view name, bool& value, std::string_view help);  // present: true
  void add(std::string_view name, auto& value, std::string_view help) { add(name, value, help, Traits()); }

  // A sub-command with flags of its own; lives as long as this. Once there is one, one must be given.
  Flags& command(std::string_view name, std::string_view summary, std::string_view description = "");
  // Name of the sub-command given, "" for none.
  std::string chosen() const;
  // A paragraph at the end of --help: "EXAMPLES", "FILES".
  void section(std::string_view title, std::string_view text);

  // Nothing: run the program (the log level is set). Else: exit with this; what had to be said was said.
  std::optional<int> parse(int argc, const char* const* argv);

  // Says on stderr what is wrong with the values given, and where to read more; kExitUsage. For what a
  // program checks by itself, before it does anything.
  int refuse(std::string_view why) const;

  std::string help() const;
  std::string bash_completion() const;

 private:
  struct Impl;
  explicit Flags(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg
