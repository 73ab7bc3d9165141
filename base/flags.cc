// CLI11 parses; the help text and the completion are written here, from the same list of options.
#include "base/flags.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <deque>

#include "base/log.h"
#include "base/nearest.h"

namespace thalweg {

namespace {

constexpr size_t kTextColumns = 80;

struct Entry {
  std::string name;
  std::string help;
  std::string fallback;  // the default, as text
  std::string kind;      // "TEXT", "N", "" for a switch
  Flags::Traits traits;
  bool positional() const { return name.front() != '-'; }
};

// Wraps words at kTextColumns behind `indent`; line breaks of the text stay.
std::string wrapped(std::string_view text, size_t indent) {
  std::string out;
  size_t column = 0;
  const auto new_line = [&] {
    out += '\n';
    column = 0;
  };
  const auto word = [&](std::string_view letters) {
    if (column > indent && column + 1 + letters.size() > kTextColumns) new_line();
    const size_t gap = column == 0 ? indent : 1;
    out.append(gap, ' ').append(letters);
    column += gap + letters.size();
  };
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    if (end > 0) word(text.substr(0, end));
    if (end < text.size() && text[end] == '\n') new_line();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string default_text(const std::string& value) { return value; }
std::string default_text(const std::vector<std::string>& value) {
  return fmt::format("{}", fmt::join(value, ","));
}
std::string default_text(auto value) { return fmt::format("{}", value); }

log::Level log_level(const std::string& text) {
  if (text == "debug") return log::Level::Debug;
  if (text == "warn") return log::Level::Warn;
  if (text == "error") return log::Level::Error;
  return log::Level::Info;
}

}  // namespace

struct Flags::Impl {
  std::string name, summary, description;
  CLI::App* app = nullptr;
  std::unique_ptr<CLI::App> owned;  // of the top one only
  std::deque<Entry> entries;
  std::vector<std::pair<std::string, std::string>> sections;
  std::deque<std::unique_ptr<Flags>> commands;
  // Of the top one only.
  std::string level = "info", completion;
  bool wants_help = false, wants_version = false;

  template <class T>
  void add(std::string_view option, T& value, std::string_view help, const Traits& traits, std::string kind) {
    auto* made = app->add_option(std::string(option), value, std::string(help));
    if (traits.required) made->required();
    if (!traits.choices.empty()) made->check(CLI::IsMember(traits.choices));
    entries.push_back({std::string(option), std::string(help), default_text(value), std::move(kind), traits});
  }
  void add_switch(std::string_view option, bool& value, std::string_view help) {
    app->add_flag(std::string(option), value, std::string(help));
    entries.push_back({std::string(option), std::string(help), "", "", {}});
  }
  void add_common(Impl& top);
  const Impl& innermost() const;
  std::string about(const std::string& unknown, const Impl& top) const;
  std::string synopsis() const;
};

// --help works behind every sub-command too.
void Flags::Impl::add_common(Impl& top) {
  app->set_help_flag();
  add_switch("--help,-h", top.wants_help, "print this text");
  if (this != &top) return;
  add_switch("--version", wants_version, "print the version");
  add("--log-level", level, "least level of the events written to stderr",
      {.choices = {"debug", "info", "warn", "error"}}, "LEVEL");
  add("--completion", completion, "print a completion script for this shell: source it, or install it",
      {.choices = {"bash"}}, "SHELL");
}

Flags::Flags(std::string_view name, std::string_view summary, std::string_view description)
    : impl_(std::make_unique<Impl>()) {
  impl_->name = name;
  impl_->summary = summary;
  impl_->description = description;
  impl_->owned = std::make_unique<CLI::App>(std::string(summary), std::string(name));
  impl_->app = impl_->owned.get();
  impl_->add_common(*impl_);
}

Flags::Flags(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Flags::~Flags() = default;

void Flags::add(std::string_view name, std::string& value, std::string_view help, const Traits& traits) {
  impl_->add(name, value, help, traits, traits.is_path ? "PATH" : "TEXT");
}
void Flags::add(std::string_view name, std::vector<std::string>& value, std::string_view help,
                const Traits& traits) {
  impl_->add(name, value, help, traits, "TEXT...");
}
void Flags::add(std::string_view name, int64_t& value, std::string_view help, const Traits& traits) {
  impl_->add(name, value, help, traits, "N");
}
void Flags::add(std::string_view name, uint32_t& value, std::string_view help, const Traits& traits) {
  impl_->add(name, value, help, traits, "N");
}
void Flags::add(std::string_view name, uint16_t& value, std::string_view help, const Traits& traits) {
  impl_->add(name, value, help, traits, "N");
}
void Flags::add(std::string_view name, bool& value, std::string_view help) {
  impl_->add_switch(name, value, help);
}

Flags& Flags::command(std::string_view name, std::string_view summary, std::string_view description) {
  auto made = std::make_unique<Impl>();
  made->name = fmt::format("{} {}", impl_->name, name);
  made->summary = summary;
  made->description = description;
  made->app = impl_->app->add_subcommand(std::string(name), std::string(summary));
  made->add_common(*impl_);
  return *impl_->commands.emplace_back(new Flags(std::move(made)));
}

std::string Flags::chosen() const {
  const auto given = impl_->app->get_subcommands();
  return given.empty() ? "" : given.front()->get_name();
}

void Flags::section(std::string_view title, std::string_view text) {
  impl_->sections.emplace_back(title, text);
}

const Flags::Impl& Flags::Impl::innermost() const {
  for (const auto& command : commands)
    if (command->impl_->app->parsed()) return command->impl_->innermost();
  return *this;
}

// Why a word of the command line is refused, with what was probably meant.
std::string Flags::Impl::about(const std::string& unknown, const Impl& top) const {
  const bool flag = unknown.starts_with('-');
  const std::string word = unknown.substr(0, unknown.find('='));
  std::vector<std::string_view> known;
  if (!flag)
    for (const auto& command : commands) known.push_back(command->impl_->app->get_name());
  for (const Impl* of : {this, &top})
    for (const Entry& entry : of->entries)
      if (flag && !entry.positional())
        known.push_back(std::string_view(entry.name).substr(0, entry.name.find(',')));
  const std::string_view meant = nearest(word, known);
  const bool no_command = !flag && !commands.empty();
  return fmt::format("{}: {}{}", word,
                     flag         ? "unknown flag"
                     : no_command ? "unknown command"
                                  : "unexpected argument",
                     meant.empty() ? "" : fmt::format("; did you mean {}?", meant));
}

std::optional<int> Flags::parse(int argc, const char* const* argv) {
  std::string refused;
  impl_->wants_help = impl_->wants_version = false;
  impl_->completion.clear();
  try {
    impl_->app->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    refused = error.what();
  }
  const Impl& spoken_to = impl_->innermost();
  // What was asked for is answered even when a required flag is missing.
  const auto say = [](const std::string& text) {
    return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() ? kExitOk : kExitFailed;
  };
  if (impl_->wants_help) {
    for (const auto& command : impl_->commands)
      if (command->impl_.get() == &spoken_to) return say(command->help());
    return say(help());
  }
  if (impl_->wants_version) return say(fmt::format("{} {}\n", impl_->name, THALWEG_VERSION));
  if (impl_->completion == "bash") return say(bash_completion());
  if (refused.empty() && !impl_->commands.empty() && chosen().empty()) refused = "a command is required";
  // Before what is missing: a flag in the wrong spelling may be the one that is missed.
  if (const auto unknown = impl_->app->remaining(true); !unknown.empty()) {
    const auto flag = std::ranges::find_if(unknown, [](const auto& word) { return word.starts_with('-'); });
    refused = spoken_to.about(flag == unknown.end() ? unknown.front() : *flag, *impl_);
  }
  if (!refused.empty()) return refuse(refused);
  log::set_level(log_level(impl_->level));
  return std::nullopt;
}

int Flags::refuse(std::string_view why) const {
  fmt::print(stderr, "{0}: {1}\nTry '{0} --help'.\n", impl_->innermost().name, why);
  return kExitUsage;
}

std::string Flags::Impl::synopsis() const {
  std::string line = name;
  for (const Entry& entry : entries)
    if (!entry.positional() && entry.traits.required) line += fmt::format(" {} {}", entry.name, entry.kind);
  line += " [OPTION]...";
  for (const Entry& entry : entries)
    if (entry.positional()) line += entry.traits.required ? " " + entry.name : " [" + entry.name + "]";
  if (!commands.empty()) line += " COMMAND ...";
  return line;
}

std::string Flags::help() const {
  const Impl& self = *impl_;
  std::string out = fmt::format("NAME\n{}\n\nSYNOPSIS\n{}\n", wrapped(self.name + " - " + self.summary, 4),
                                wrapped(self.synopsis(), 4));
  if (!self.description.empty()) out += fmt::format("\nDESCRIPTION\n{}\n", wrapped(self.description, 4));
  if (!self.commands.empty()) out += "\nCOMMANDS\n";
  for (const auto& command : self.commands)
    out += fmt::format("    {}\n{}\n", command->impl_->app->get_name(), wrapped(command->impl_->summary, 8));
  out += "\nOPTIONS\n";
  for (const Entry& entry : self.entries) {
    std::string text = entry.help;
    if (!entry.traits.choices.empty())
      text += fmt::format("; one of {}", fmt::join(entry.traits.choices, ", "));
    if (entry.traits.required) text += " (required)";
    if (!entry.fallback.empty()) text += fmt::format(" (default: {})", entry.fallback);
    out += fmt::format("    {}{}{}\n{}\n", entry.name, entry.kind.empty() || entry.positional() ? "" : " ",
                       entry.positional() ? "" : entry.kind, wrapped(text, 8));
  }
  for (const auto& [title, text] : self.sections) out += fmt::format("\n{}\n{}\n", title, wrapped(text, 4));
  out += fmt::format("\nEXIT STATUS\n    {} done   {} failed   {} bad usage\n", kExitOk, kExitFailed,
                     kExitUsage);
  return out;
}

namespace {

// "--help,-h" → "--help -h"
std::string spellings(std::string name) {
  std::replace(name.begin(), name.end(), ',', ' ');
  return name;
}

std::string value_cases(const std::deque<Entry>& entries) {
  std::string out;
  for (const Entry& entry : entries) {
    if (entry.positional() || entry.kind.empty()) continue;
    std::string reply = ":";
    if (!entry.traits.choices.empty())
      reply = fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", fmt::join(entry.traits.choices, " "));
    else if (entry.traits.is_path)
      reply = "COMPREPLY=($(compgen -f -- \"$cur\"))";
    out += fmt::format("    {}) {}; return ;;\n", entry.name, reply);
  }
  return out;
}

std::string option_words(const std::deque<Entry>& entries) {
  std::string out;
  for (const Entry& entry : entries)
    if (!entry.positional()) out += (out.empty() ? "" : " ") + spellings(entry.name);
  return out;
}

}  // namespace

std::string Flags::bash_completion() const {
  std::string function = "_" + impl_->name;
  std::replace(function.begin(), function.end(), '-', '_');
  std::string cases = value_cases(impl_->entries), words, commands;
  for (const auto& command : impl_->commands) {
    const std::string& name = command->impl_->app->get_name();
    cases += value_cases(command->impl_->entries);
    commands += " " + name;
    words += fmt::format("    {}) words='{}' ;;\n", name, option_words(command->impl_->entries));
  }
  return fmt::format(
      "# bash completion for {0}: source this file, or put it into "
      "/usr/share/bash-completion/completions/{0}\n"
      "{1}() {{\n"
      "  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words='{2}{3}' word\n"
      "  COMPREPLY=()\n"
      "  case $prev in\n{4}  esac\n"
      "  for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do case $word in\n{5}    *) ;;\n  esac; done\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
      "}}\n"
      "complete -o default -F {1} {0}\n",
      impl_->name, function, option_words(impl_->entries), commands, cases, words);
}

}  // namespace thalweg
