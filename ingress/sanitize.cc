#include "ingress/sanitize.h"

#include <algorithm>
#include <charconv>

namespace thalweg::ingress {

namespace {

constexpr std::string_view kHopByHop[] = {"Connection",
                                          "Keep-Alive",
                                          "Proxy-Connection",
                                          "TE",
                                          "Trailer",
                                          "Transfer-Encoding",
                                          "Upgrade",
                                          "Proxy-Authenticate",
                                          "Proxy-Authorization",
                                          "Proxy-Authentication-Info",
                                          "HTTP2-Settings"};
// Only we may say these. A client's are dropped, also spelt with '_', which some servers read as '-'.
constexpr std::string_view kForwarded[] = {"X-Forwarded-For",   "X-Forwarded-Proto", "X-Forwarded-Host",
                                           "X-Forwarded-Port",  "X-Real-IP",         "Forwarded",
                                           "X-Forwarded-Server"};
// A Connection field cannot take these away from the service.
constexpr std::string_view kKept[] = {"Host", "Content-Type", "Authorization", "Cookie", "Content-Encoding"};

template <size_t N>
bool listed(const std::string_view (&names)[N], std::string_view name) {
  return std::ranges::any_of(names, [&](std::string_view one) { return iequals(one, name); });
}

bool is_token_char(unsigned char c) {
  return std::isalnum(c) ||
         std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
}

bool is_token(std::string_view text) { return !text.empty() && std::ranges::all_of(text, is_token_char); }

bool is_control(char c) {
  const auto u = static_cast<unsigned char>(c);
  return (u < 0x20 && c != '\t') || u == 0x7f;
}

Refusal check_line(std::string_view line, bool first) {
  if (std::ranges::any_of(line, is_control)) return Refusal::BadSyntax;
  if (first) return line.empty() ? Refusal::BadSyntax : Refusal::None;
  if (line.front() == ' ' || line.front() == '\t') return Refusal::BadFolding;
  const auto colon = line.find(':');
  return is_token(line.substr(0, colon)) && colon != line.npos ? Refusal::None : Refusal::BadSyntax;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool is_unreserved(unsigned char c) {
  return std::isalnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

bool decode_unreserved(std::string& path) {
  if (path.find('%') == path.npos) return true;
  std::string out;
  out.reserve(path.size());
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out += path[i];
      continue;
    }
    if (i + 2 >= path.size()) return false;
    const int high = hex_digit(path[i + 1]), low = hex_digit(path[i + 2]);
    const int byte = high * 16 + low;
    if (high < 0 || low < 0 || byte == 0) return false;
    if (is_unreserved(static_cast<unsigned char>(byte)))
      out += static_cast<char>(byte);
    else
      out.append(path, i, 3);
    i += 2;
  }
  path = std::move(out);
  return true;
}

// RFC 3986 §5.2.4 on a path that starts with '/'.
void remove_dot_segments(std::string& path) {
  if (path.find("/.") == path.npos) return;
  std::string out;
  std::string_view rest = path;
  while (!rest.empty()) {
    const auto next = std::min(rest.find('/', 1), rest.size());
    const auto segment = rest.substr(0, next);
    rest.remove_prefix(next);
    if (segment != "/." && segment != "/..") {
      out += segment;
      continue;
    }
    if (segment == "/..") out.resize(out.empty() ? 0 : out.rfind('/'));
    if (rest.empty()) out += '/';
  }
  path = out.empty() ? "/" : std::move(out);
}

// "http://host/path" (absolute-form) is what a client sends to a proxy; its authority then counts, not
// Host's.
Refusal normalize_target(RequestHead& head) {
  std::string_view target = head.target;
  std::string absolute_authority;
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !iequals(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    const auto end = std::min(target.find_first_of("/?"), target.size());
    absolute_authority = target.substr(0, end);
    target.remove_prefix(end);
    if (absolute_authority.empty()) return Refusal::BadHost;
    break;
  }
  if (target.find('#') != target.npos) return Refusal::BadTarget;
  const auto question = std::min(target.find('?'), target.size());
  head.path = target.substr(0, question);
  const std::string query(target.substr(question));
  if (!absolute_authority.empty() && head.path.empty()) head.path = "/";
  if (!head.path.starts_with('/') || !normalize_path(head.path)) return Refusal::BadTarget;
  head.target = head.path + query;
  if (!absolute_authority.empty()) head.headers.set("Host", absolute_authority);
  return Refusal::None;
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
  return text.empty() || (code == std::errc() && end == text.data() + text.size() && port <= 65535);
}

bool is_reg_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && std::ranges::all_of(name, [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '.' || c == '_';
  });
}

// The name without port, in lower case; empty when it is not a host.
std::string host_name(std::string_view authority) {
  size_t end = authority.find(':');
  if (authority.starts_with('[')) end = authority.find(']') == authority.npos ? 0 : authority.find(']') + 1;
  std::string_view name = authority.substr(0, end);
  const std::string_view rest = authority.substr(name.size());
  if (!rest.empty() && (rest.front() != ':' || !is_port(rest.substr(1)))) return {};
  if (name.starts_with('[')) {
    const auto inner = name.substr(1, name.size() - 2);
    return inner.find_first_not_of("0123456789abcdefABCDEF:.") == inner.npos ? std::string(name)
                                                                             : std::string();
  }
  if (name.size() > 1 && name.ends_with('.')) name.remove_suffix(1);
  if (!is_reg_name(name)) return {};
  std::string host(name);
  std::ranges::transform(host, host.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return host;
}

Refusal check_host(RequestHead& head) {
  const size_t count = head.headers.count("Host");
  if (count > 1) return Refusal::BadHost;
  if (count == 0) return head.version >= 11 ? Refusal::NoHost : Refusal::None;
  head.authority = *head.headers.find("Host");
  head.host = host_name(head.authority);
  return head.host.empty() ? Refusal::BadHost : Refusal::None;
}

// One Content-Length of digits, or none.
bool read_length(const Headers& headers, bool& present, uint64_t& length) {
  present = headers.count("Content-Length") > 0;
  if (!present) return true;
  const std::string& text = *headers.find("Content-Length");
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), length);
  return headers.count("Content-Length") == 1 && code == std::errc() && end == text.data() + text.size() &&
         !text.empty();
}

// RFC 9112 §6.3; stricter than it: both fields, repeated fields, and any coding but chunked are refused.
template <class Head>
Refusal decide_framing(Head& head) {
  bool has_length = false;
  const size_t codings = head.headers.count("Transfer-Encoding");
  if (!read_length(head.headers, has_length, head.length)) return Refusal::AmbiguousLength;
  if (codings > 1 || (codings == 1 && (has_length || head.version < 11))) return Refusal::AmbiguousLength;
  if (codings == 1 && !iequals(*head.headers.find("Transfer-Encoding"), "chunked"))
    return Refusal::BadTransferCoding;
  head.framing = codings == 1 ? Framing::Chunked : has_length ? Framing::Length : Framing::None;
  return Refusal::None;
}

template <class Head>
bool wants_keep_alive(const Head& head) {
  if (head.headers.lists("Connection", "close")) return false;
  return head.version >= 11 || head.headers.lists("Connection", "keep-alive");
}

void remove_hop_by_hop(Headers& headers) {
  std::vector<std::string> named;
  for (const auto& field : headers)
    if (iequals(field.name, "Connection"))
      for (const auto token : list_tokens(field.value)) named.emplace_back(token);
  headers.remove_if([&](const Headers::Field& field) {
    if (listed(kHopByHop, field.name)) return true;
    return !listed(kKept, field.name) &&
           std::ranges::any_of(named, [&](const auto& one) { return iequals(one, field.name); });
  });
  headers.remove("Content-Length");  // written again from the framing
}

void set_forwarded(RequestHead& head, const Client& client) {
  head.headers.remove_if([](const Headers::Field& field) {
    std::string name = field.name;
    std::ranges::replace(name, '_', '-');
    return listed(kForwarded, name);
  });
  head.headers.add("X-Forwarded-For", client.ip);
  head.headers.add("X-Forwarded-Proto", client.tls ? "https" : "http");
  if (!head.authority.empty()) head.headers.add("X-Forwarded-Host", head.authority);
}

Refusal check_request_line(const RequestHead& head) {
  if (head.version != 10 && head.version != 11) return Refusal::BadVersion;
  if (!is_token(head.method)) return Refusal::BadSyntax;
  return head.method == "CONNECT" || head.method == "TRACE" ? Refusal::BadMethod : Refusal::None;
}

Refusal check_expectation(const RequestHead& head) {
  const auto* expect = head.headers.find("Expect");
  return expect == nullptr || iequals(*expect, "100-continue") ? Refusal::None : Refusal::BadExpectation;
}

// Only a request without a body can switch protocols: what follows it would be ambiguous otherwise.
std::string asked_upgrade(const RequestHead& head) {
  const auto* upgrade = head.headers.find("Upgrade");
  if (upgrade == nullptr || head.version < 11 || head.framing != Framing::None) return {};
  if (head.headers.count("Upgrade") > 1 || !head.headers.lists("Connection", "upgrade")) return {};
  return iequals(*upgrade, "h2c") ? std::string() : *upgrade;
}

}  // namespace

Refusal check_head_text(std::string_view text) {
  for (bool first = true; !text.empty(); first = false) {
    const auto end = text.find("\r\n");
    if (end == text.npos) return Refusal::BadSyntax;
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (line.empty() && !first) return text.empty() ? Refusal::None : Refusal::BadSyntax;
    if (const auto refusal = check_line(line, first); refusal != Refusal::None) return refusal;
  }
  return Refusal::BadSyntax;
}

bool normalize_path(std::string& path) {
  if (!decode_unreserved(path)) return false;
  remove_dot_segments(path);
  return true;
}

Refusal sanitize(RequestHead& head, const Client& client) {
  Refusal refusal = check_request_line(head);
  if (refusal == Refusal::None) refusal = normalize_target(head);
  if (refusal == Refusal::None) refusal = check_host(head);
  if (refusal == Refusal::None) refusal = decide_framing(head);
  if (refusal == Refusal::None) refusal = check_expectation(head);
  if (refusal != Refusal::None) return refusal;
  head.keep_alive = wants_keep_alive(head);
  head.upgrade = asked_upgrade(head);
  remove_hop_by_hop(head.headers);
  set_forwarded(head, client);
  if (!head.upgrade.empty()) {
    head.headers.add("Connection", "Upgrade");
    head.headers.add("Upgrade", head.upgrade);
  }
  return Refusal::None;
}

Refusal sanitize(ResponseHead& head, const RequestHead& request) {
  if (head.version != 10 && head.version != 11) return Refusal::BadResponse;
  if (head.status < 100 || head.status > 999) return Refusal::BadResponse;
  if (decide_framing(head) != Refusal::None) return Refusal::BadResponse;
  head.keep_alive = wants_keep_alive(head);
  const bool bodiless = request.method == "HEAD" || head.status == 304;
  const bool empty = head.status / 100 == 1 || head.status == 204;
  if (head.status == 101) {
    const auto* upgrade = head.headers.find("Upgrade");
    if (request.upgrade.empty() || upgrade == nullptr) return Refusal::BadResponse;
    const std::string protocol = *upgrade;
    remove_hop_by_hop(head.headers);
    head.headers.add("Connection", "Upgrade");
    head.headers.add("Upgrade", protocol);
    head.framing = Framing::None;
    return Refusal::None;
  }
  const bool had_length = head.framing == Framing::Length;
  remove_hop_by_hop(head.headers);
  if (bodiless && had_length) head.headers.add("Content-Length", std::to_string(head.length));
  if (!bodiless && !empty && head.framing == Framing::None) head.framing = Framing::UntilClose;
  if (bodiless || empty) head.framing = Framing::None;
  if (head.framing == Framing::UntilClose) head.keep_alive = false;
  return Refusal::None;
}

}  // namespace thalweg::ingress
