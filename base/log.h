// One event per line, key=value, on stderr: log::info("pod wired", {{"pod", key}, {"ms", 12}});
// Libraries return errors; only the top of a program (and the loops it owns) logs.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace thalweg::log {

struct Field {
  template <class T>
  Field(std::string_view name, const T& value) : key(name), text(fmt::format("{}", value)) {}
  std::string_view key;
  std::string text;
};
using Fields = std::initializer_list<Field>;

enum class Level { Debug, Info, Warn, Error };
void set_level(Level level);

void debug(std::string_view event, Fields fields = {});
void info(std::string_view event, Fields fields = {});
void warn(std::string_view event, Fields fields = {});
void error(std::string_view event, Fields fields = {});

}  // namespace thalweg::log
