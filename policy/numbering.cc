#include "policy/numbering.h"

#include <charconv>
#include <functional>
#include <optional>
#include <vector>

namespace thalweg::policy {

namespace {

constexpr std::string_view kFirstLine = "thalweg-numbering 1";

std::string_view take_word(std::string_view& line) {
  const size_t end = line.find(' ');
  const auto word = line.substr(0, end);
  line.remove_prefix(end == line.npos ? line.size() : end + 1);
  return word;
}

std::optional<uint32_t> number_of(std::string_view word) {
  uint32_t out = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), out);
  if (error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
  return out;
}

std::string text_of(const Class& marks) {
  std::string out;
  for (const auto& one : marks)
    out += fmt::format("{}{}={}", out.empty() ? "" : " ", one.selector, one.value);
  return out;
}

std::optional<Class> class_of(std::string_view text) {
  Class out;
  while (!text.empty()) {
    const auto word = take_word(text);
    const size_t equals = word.find('=');
    if (equals == word.npos) return std::nullopt;
    const auto selector = number_of(word.substr(0, equals));
    const auto value = number_of(word.substr(equals + 1));
    if (!selector || !value || *value > 0xffff) return std::nullopt;
    out.push_back({*selector, static_cast<uint16_t>(*value)});
  }
  return out;
}

// One line read: what to do with it, once every line has proved good.
using Restore = std::function<void(const Numbering&)>;

std::optional<Restore> parse_next(std::string_view kind, uint32_t number) {
  if (kind == "selector") return [=](const Numbering& to) { to.selectors.set_next(number); };
  if (kind == "identity") return [=](const Numbering& to) { to.classes.set_next(number); };
  if (kind == "rule_set") return [=](const Numbering& to) { to.rule_sets.set_next(number); };
  if (kind == "rule") return [=](const Numbering& to) { to.rules.set_next(number); };
  return std::nullopt;
}

std::optional<Restore> parse_line(std::string_view line) {
  const auto kind = take_word(line);
  if (kind == "next") {
    const auto of = take_word(line);
    const auto number = number_of(line);
    return number ? parse_next(of, *number) : std::nullopt;
  }
  const auto number = number_of(take_word(line));
  if (!number || line.empty()) return std::nullopt;
  const std::string text(line);
  if (kind == "selector") return [=](const Numbering& to) { to.selectors.restore(text, *number); };
  if (kind == "rule_set") return [=](const Numbering& to) { to.rule_sets.restore(text, *number); };
  if (kind == "rule") return [=](const Numbering& to) { to.rules.restore(text, *number); };
  const auto marks = class_of(line);
  if (kind != "identity" || !marks) return std::nullopt;
  return [=](const Numbering& to) { to.classes.restore(*marks, *number); };
}

}  // namespace

std::string encode(const Numbering& from) {
  std::string out =
      fmt::format("{}\nnext selector {}\nnext identity {}\nnext rule_set {}\nnext rule {}\n", kFirstLine,
                  from.selectors.next(), from.classes.next(), from.rule_sets.next(), from.rules.next());
  const auto line = [&](std::string_view kind, uint32_t number, const std::string& text) {
    fmt::format_to(std::back_inserter(out), "{} {} {}\n", kind, number, text);
  };
  from.selectors.for_each([&](const std::string& text, uint32_t n) { line("selector", n, text); });
  from.classes.for_each([&](const Class& marks, uint32_t n) { line("identity", n, text_of(marks)); });
  from.rule_sets.for_each([&](const std::string& text, uint32_t n) { line("rule_set", n, text); });
  from.rules.for_each([&](const std::string& text, uint32_t n) { line("rule", n, text); });
  return out;
}

Result<> decode(std::string_view text, const Numbering& into) {
  std::vector<Restore> lines;
  for (size_t n = 1; !text.empty(); ++n) {
    const size_t end = text.find('\n');
    const auto line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (n == 1) {
      if (line != kFirstLine) return fail("numbering: line 1: not \"{}\"", kFirstLine);
      continue;
    }
    auto restore = parse_line(line);
    if (!restore) return fail("numbering: line {}: not a number and its content", n);
    lines.push_back(std::move(*restore));
  }
  for (const auto& restore : lines) restore(into);
  return {};
}

}  // namespace thalweg::policy
