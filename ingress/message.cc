#include "ingress/message.h"

#include <fmt/format.h>

#include <algorithm>

namespace thalweg::ingress {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

void append_fields(std::string& out, const Headers& headers, Framing framing, uint64_t length) {
  for (const auto& field : headers) append_field(out, field.name, field.value);
  if (framing == Framing::Length) append_field(out, "Content-Length", std::to_string(length));
  if (framing == Framing::Chunked) append_field(out, "Transfer-Encoding", "chunked");
  out.append("\r\n");
}

}  // namespace

bool iequals(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::ranges::equal(a, b, {}, lower, lower);
}

void Headers::add(std::string_view name, std::string_view value) {
  fields_.push_back({std::string(name), std::string(value)});
}

void Headers::set(std::string_view name, std::string_view value) {
  remove(name);
  add(name, value);
}

void Headers::remove(std::string_view name) {
  remove_if([&](const Field& field) { return iequals(field.name, name); });
}

const std::string* Headers::find(std::string_view name) const {
  for (const auto& field : fields_)
    if (iequals(field.name, name)) return &field.value;
  return nullptr;
}

size_t Headers::count(std::string_view name) const {
  return std::ranges::count_if(fields_, [&](const Field& field) { return iequals(field.name, name); });
}

bool Headers::lists(std::string_view name, std::string_view token) const {
  for (const auto& field : fields_) {
    if (!iequals(field.name, name)) continue;
    for (const auto one : list_tokens(field.value))
      if (iequals(one, token)) return true;
  }
  return false;
}

std::vector<std::string_view> list_tokens(std::string_view value) {
  std::vector<std::string_view> tokens;
  while (!value.empty()) {
    const auto comma = value.find(',');
    if (const auto token = trimmed(value.substr(0, comma)); !token.empty()) tokens.push_back(token);
    value = comma == value.npos ? std::string_view() : value.substr(comma + 1);
  }
  return tokens;
}

std::string serialize(const RequestHead& head) {
  std::string out;
  out.reserve(512);
  out.append(head.method).append(" ").append(head.target).append(" HTTP/1.1\r\n");
  append_fields(out, head.headers, head.framing, head.length);
  return out;
}

std::string serialize(const ResponseHead& head) {
  std::string out;
  out.reserve(512);
  out.append(fmt::format("HTTP/1.1 {:03} ", head.status)).append(head.reason).append("\r\n");
  append_fields(out, head.headers, head.framing, head.length);
  return out;
}

}  // namespace thalweg::ingress
