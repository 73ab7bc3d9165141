#include "kube/json_stream.h"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>

namespace json = boost::json;

namespace thalweg::kube {

namespace {

constexpr size_t kMaxMemberText = 65536;
constexpr size_t kMaxNameText = 256;

// Receives the parser's events; builds only what a piece keeps. Depth 0 is outside the document.
class Cutter {
 public:
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = 65536;
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  Cutter(JsonStream::Shape shape, JsonStream::Callbacks callbacks, JsonStreamLimits limits)
      : shape_(shape), callbacks_(std::move(callbacks)), limits_(limits) {}

  void reset() {
    depth_ = 0;
    in_items_ = building_ = false;
    skip_depth_ = 0;
    stack_.reset();
  }

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code& error) { return open(error); }
  bool on_array_begin(json::error_code& error) {
    const bool items = shape_ == JsonStream::Shape::List && depth_ == 1 && member_ == "items";
    if (items) {
      in_items_ = true;
      ++depth_;
      return true;
    }
    if (depth_ == 0) return refuse(error);
    return open(error);
  }

  bool on_object_end(size_t size, json::error_code&) {
    if (depth_ > 1 && keeps()) stack_.push_object(size - dropped(size));
    return close();
  }
  bool on_array_end(size_t size, json::error_code&) {
    if (in_items_ && depth_ == 2) {
      in_items_ = false;
      --depth_;
      return true;
    }
    if (keeps()) stack_.push_array(size);
    return close();
  }

  bool on_key_part(json::string_view text, size_t, json::error_code&) {
    key_part(text);
    return true;
  }
  bool on_key(json::string_view text, size_t, json::error_code&) {
    key_part(text);
    if (depth_ == 1) {
      member_ = key_;
    } else {
      begin_member();
    }
    key_.clear();
    return true;
  }
  bool on_string_part(json::string_view text, size_t, json::error_code&) {
    text_part(text);
    return true;
  }
  bool on_string(json::string_view text, size_t, json::error_code& error) {
    if (!begin_scalar(error)) return false;
    text_part(text);
    note_name();
    if (keeps()) stack_.push_string(text_);
    text_.clear();
    return end_scalar();
  }
  bool on_number_part(json::string_view text, json::error_code&) { return charge(text.size()), true; }
  bool on_int64(int64_t number, json::string_view, json::error_code& error) { return scalar(error, number); }
  bool on_uint64(uint64_t number, json::string_view, json::error_code& error) {
    return scalar(error, number);
  }
  bool on_double(double number, json::string_view, json::error_code& error) { return scalar(error, number); }
  bool on_bool(bool flag, json::error_code& error) { return scalar(error, flag); }
  bool on_null(json::error_code& error) { return scalar(error, nullptr); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  JsonStream::Callbacks& callbacks() { return callbacks_; }

 private:
  // The depth at which a piece's own value stands.
  size_t piece_depth() const { return in_items_ ? 2 : 1; }
  bool keeps() const { return building_ && !oversized_ && !skip_depth_; }

  bool refuse(json::error_code& error) {
    error = json::error::syntax;
    return false;
  }

  bool open(json::error_code&) {
    if (depth_ == piece_depth()) begin_piece();
    ++depth_;
    charge(64);
    if (building_ && dropped_.size() < depth_ + 1) dropped_.resize(depth_ + 1);
    if (building_) dropped_[depth_] = 0;
    return true;
  }

  bool close() {
    --depth_;
    if (depth_ == 0) return true;
    end_member();
    if (depth_ == piece_depth()) end_piece();
    return true;
  }

  bool begin_scalar(json::error_code& error) {
    if (depth_ == 0) return refuse(error);
    if (depth_ == piece_depth()) begin_piece();
    charge(32);
    return true;
  }
  bool end_scalar() {
    end_member();
    if (depth_ == piece_depth()) end_piece();
    return true;
  }
  template <class T>
  bool scalar(json::error_code& error, T value) {
    if (!begin_scalar(error)) return false;
    if (keeps()) push(value);
    return end_scalar();
  }
  void push(int64_t number) { stack_.push_int64(number); }
  void push(uint64_t number) { stack_.push_uint64(number); }
  void push(double number) { stack_.push_double(number); }
  void push(bool flag) { stack_.push_bool(flag); }
  void push(std::nullptr_t) { stack_.push_null(); }

  void begin_piece() {
    building_ = true;
    oversized_ = false;
    skip_depth_ = 0;
    bytes_ = 0;
    name_ = {};
    path_.clear();
    stack_.reset();
  }

  void end_piece() {
    building_ = false;
    if (oversized_) {
      callbacks_.oversized(in_items_ ? "items" : member_, std::move(name_));
    } else {
      callbacks_.piece(in_items_ ? "items" : member_, stack_.release());
    }
  }

  // A key inside a piece. managedFields is often the largest part of an object and nobody reads it.
  void begin_member() {
    const size_t below = depth_ - piece_depth();  // 1: a member of the piece itself
    if (below <= 2) {
      path_.resize(below - 1);
      path_.push_back(key_);
    }
    charge(key_.size() + 32);
    if (skip_depth_) return;
    if (key_ == "managedFields") {
      skip_depth_ = depth_;
      ++dropped_[depth_];
    } else if (keeps()) {
      stack_.push_key(key_);
    }
  }
  void end_member() {
    if (skip_depth_ == depth_) skip_depth_ = 0;
  }
  size_t dropped(size_t) { return depth_ < dropped_.size() ? dropped_[depth_] : 0; }

  void key_part(std::string_view text) { key_.append(text); }
  void text_part(std::string_view text) {
    charge(text.size());
    const size_t most =
        depth_ == piece_depth() ? kMaxMemberText : kMaxNameText;  // before it is known to be kept
    if (keeps() || text_.size() + text.size() <= most) text_.append(text);
  }

  // The name is remembered apart, so that an object too large to build can still be named.
  void note_name() {
    if (path_.size() != 2 || path_[0] != "metadata" || depth_ != piece_depth() + 2 || text_.size() > 256)
      return;
    if (path_[1] == "name") name_.name = text_;
    if (path_[1] == "namespace") name_.ns = text_;
    if (path_[1] == "resourceVersion") name_.resource_version = text_;
  }

  void charge(size_t bytes) {
    bytes_ += bytes;
    if (!building_ || oversized_ || bytes_ <= limits_.piece_bytes) return;
    oversized_ = true;
    stack_.reset();
    text_.clear();
    text_.shrink_to_fit();
  }

  JsonStream::Shape shape_;
  JsonStream::Callbacks callbacks_;
  JsonStreamLimits limits_;
  json::value_stack stack_;
  size_t depth_ = 0;
  bool in_items_ = false;
  bool building_ = false;          // within a piece
  bool oversized_ = false;         // the piece is only followed to its end
  size_t skip_depth_ = 0;          // within a dropped member of the object at this depth
  std::vector<uint32_t> dropped_;  // members left out, an object being built
  size_t bytes_ = 0;
  std::string member_;  // of the document
  std::string key_;
  std::string text_;
  std::vector<std::string> path_;
  PieceName name_;
};

json::parse_options parse_options(size_t depth) {
  json::parse_options options;
  options.max_depth = depth;
  return options;
}

}  // namespace

struct JsonStream::Impl {
  Impl(Shape shape, Callbacks callbacks, JsonStreamLimits limits)
      : parser(parse_options(limits.depth), shape, std::move(callbacks), limits) {}

  json::basic_parser<Cutter> parser;
  bool within = false;  // a document
};

JsonStream::JsonStream(Shape shape, Callbacks callbacks, JsonStreamLimits limits)
    : impl_(std::make_unique<Impl>(shape, std::move(callbacks), limits)) {}
JsonStream::~JsonStream() = default;

bool JsonStream::at_end() const { return !impl_->within; }

Result<> JsonStream::write(std::string_view bytes) {
  auto& [parser, within] = *impl_;
  while (!bytes.empty()) {
    if (!within) {
      const size_t start = bytes.find_first_not_of(" \t\r\n");
      if (start == std::string_view::npos) return {};
      bytes.remove_prefix(start);
      parser.reset();
      parser.handler().reset();
      within = true;
    }
    json::error_code error;
    const size_t used = parser.write_some(true, bytes.data(), bytes.size(), error);
    if (error) return fail("not the JSON expected: {}", error.message());
    bytes.remove_prefix(used);
    if (!parser.done()) continue;
    within = false;
    if (parser.handler().callbacks().end) parser.handler().callbacks().end();
  }
  return {};
}

}  // namespace thalweg::kube
