#include "kube/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <istream>
#include <map>
#include <spanstream>

#include "kube/field.h"

namespace json = boost::json;

namespace thalweg::kube {

namespace {

constexpr std::string_view kTrue[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
constexpr std::string_view kFalse[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};

bool listed(std::span<const std::string_view> words, std::string_view text) {
  return std::ranges::find(words, text) != words.end();
}

template <class T>
std::optional<T> whole(std::string_view digits, int base) {
  T number{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (error != std::errc() || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;
  return number;
}

std::optional<json::value> as_integer(std::string_view text) {
  const bool negative = text.starts_with("-");
  std::string_view digits = text.substr(negative || text.starts_with("+") ? 1 : 0);
  if (digits.empty() || !std::isdigit(static_cast<unsigned char>(digits.front()))) return std::nullopt;
  int base = 10;
  if (digits.starts_with("0x")) base = 16, digits.remove_prefix(2);
  if (digits.starts_with("0o")) base = 8, digits.remove_prefix(2);
  if (digits.starts_with("0b")) base = 2, digits.remove_prefix(2);
  if (base == 10 && digits.size() > 1 && digits.front() == '0') base = 8;
  const auto number = whole<int64_t>(digits, base);
  if (!number) return std::nullopt;
  return json::value(negative ? -*number : *number);
}

std::optional<json::value> as_float(std::string_view text) {
  const auto first = text.find_first_not_of("+-");
  if (first > 1 || first == std::string_view::npos) return std::nullopt;
  if (!std::isdigit(static_cast<unsigned char>(text[first])) && text[first] != '.') return std::nullopt;
  if (text.front() == '+') text.remove_prefix(1);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return json::value(number);
}

json::value plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (listed(kTrue, text)) return true;
  if (listed(kFalse, text)) return false;
  if (const auto number = as_integer(text)) return *number;
  if (const auto number = as_float(text)) return *number;
  return json::string(text);
}

struct Refused : YAML::ParserException {
  using ParserException::ParserException;
};

// Builds one document from the parser's events.
class Builder : public YAML::EventHandler {
 public:
  Builder(const YamlLimits& limits, size_t& values, size_t& bytes)
      : limits_(limits), values_(values), bytes_(bytes) {}

  YamlDocument take() { return std::move(document_); }
  bool empty() const { return empty_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { scalar(mark, anchor, nullptr); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    if (wants_key()) return take_key(mark, text);
    const bool quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!quoted && tag != "?" && !tag.empty()) throw Refused(mark, "tags are not read here: " + tag);
    scalar(mark, anchor, quoted ? json::value(json::string(text)) : plain_scalar(text));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused(mark, "an alias within what it names");
    charge_all(mark, found->second.value);
    YamlDocument copy = found->second;
    copy.lines.line = mark.line + 1;
    place(mark, 0, std::move(copy));
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, anchor, json::array());
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, anchor, json::object());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }

 private:
  struct Frame {
    YamlDocument document;
    YAML::Mark mark;
    YAML::anchor_t anchor;
    std::optional<std::string> key;
  };

  bool wants_key() const {
    return !frames_.empty() && frames_.back().document.value.is_object() && !frames_.back().key;
  }

  void take_key(const YAML::Mark& mark, const std::string& text) {
    if (text == "<<") throw Refused(mark, "merge keys (<<) are not read here");
    if (frames_.back().document.value.get_object().contains(text))
      throw Refused(mark, "the key " + json::serialize(json::string(text.substr(0, 80))) + " stands twice");
    charge(mark, text.size());
    frames_.back().key = text;
  }

  void charge(const YAML::Mark& mark, size_t bytes) {
    bytes_ += bytes + 64;
    if (++values_ > limits_.values || bytes_ > limits_.bytes)
      throw Refused(mark, "too large once its aliases are expanded");
  }

  void charge_all(const YAML::Mark& mark, const json::value& value) {
    charge(mark, value.is_string() ? value.get_string().size() : 0);
    if (const auto* array = value.if_array()) {
      for (const auto& one : *array) charge_all(mark, one);
    } else if (const auto* object = value.if_object()) {
      for (const auto& member : *object) {
        charge(mark, member.key().size());
        charge_all(mark, member.value());
      }
    }
  }

  void scalar(const YAML::Mark& mark, YAML::anchor_t anchor, json::value value) {
    charge(mark, value.is_string() ? value.get_string().size() : 0);
    place(mark, anchor, {std::move(value), {mark.line + 1, {}}});
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, json::value value) {
    if (wants_key()) throw Refused(mark, "a map's key must be text");
    if (frames_.size() >= limits_.depth) throw Refused(mark, "nested too deep");
    charge(mark, 0);
    frames_.push_back({{std::move(value), {mark.line + 1, {}}}, mark, anchor, {}});
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    place(frame.mark, frame.anchor, std::move(frame.document));
  }

  void place(const YAML::Mark& mark, YAML::anchor_t anchor, YamlDocument document) {
    if (anchor) {
      charge_all(mark, document.value);  // the copy kept for its aliases
      anchors_[anchor] = document;
    }
    if (frames_.empty()) {
      empty_ = document.value.is_null();
      document_ = std::move(document);
      return;
    }
    Frame& parent = frames_.back();
    if (wants_key()) throw Refused(mark, "a map's key must be text");
    parent.document.lines.children.push_back(std::move(document.lines));
    if (auto* array = parent.document.value.if_array()) return array->push_back(std::move(document.value));
    parent.document.value.get_object().emplace(*parent.key, std::move(document.value));
    parent.key.reset();
  }

  const YamlLimits& limits_;
  size_t& values_;
  size_t& bytes_;
  std::vector<Frame> frames_;
  std::map<YAML::anchor_t, YamlDocument> anchors_;
  YamlDocument document_;
  bool empty_ = true;
};

// True when wanted is at, or lies below, the value at path.
bool on_the_way(std::string_view path, std::string_view wanted) {
  return wanted.starts_with(path) && (wanted.size() == path.size() || path.empty() ||
                                      wanted[path.size()] == '.' || wanted[path.size()] == '[');
}

int descend(const json::value& value, const Lines& lines, const std::string& path, std::string_view wanted) {
  const auto* object = value.if_object();
  const auto* array = value.if_array();
  const size_t size = object ? object->size() : array ? array->size() : 0;
  for (size_t i = 0; i < std::min(size, lines.children.size()); ++i) {
    const auto* member = object ? object->begin() + i : nullptr;
    const std::string below = member ? path_join(path, member->key()) : path_join(path, i);
    if (on_the_way(below, wanted))
      return descend(member ? member->value() : (*array)[i], lines.children[i], below, wanted);
  }
  return lines.line;
}

}  // namespace

std::expected<std::vector<YamlDocument>, YamlError> parse_yaml(std::string_view text,
                                                               const YamlLimits& limits) {
  std::vector<YamlDocument> documents;
  size_t values = 0;
  size_t bytes = 0;
  try {
    std::ispanstream stream(std::span<const char>(text.data(), text.size()));
    YAML::Parser parser(stream);
    while (true) {
      Builder builder(limits, values, bytes);
      if (!parser.HandleNextDocument(builder)) break;
      if (!builder.empty()) documents.push_back(builder.take());
    }
  } catch (const YAML::Exception& error) {
    return std::unexpected(YamlError{error.mark.line + 1, error.msg});
  } catch (const std::exception& error) {
    return std::unexpected(YamlError{0, error.what()});
  }
  return documents;
}

int line_of(const json::value& value, const Lines& lines, std::string_view path) {
  return descend(value, lines, {}, path);
}

}  // namespace thalweg::kube
