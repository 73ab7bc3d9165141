#include "ingress/exchange.h"

#include <ctime>

#include "base/log.h"

namespace thalweg::ingress {

namespace {

constexpr size_t kLoggedBytes = 512;  // of a path or a host

std::string_view reason_phrase(int status) {
  switch (status) {
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 408: return "Request Timeout";
    case 417: return "Expectation Failed";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "";
  }
}

}  // namespace

bool idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" || method == "DELETE";
}

const std::string& http_date() {
  thread_local std::time_t second = 0;
  thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now == second) return text;
  second = now;
  std::tm utc{};
  gmtime_r(&now, &utc);
  char buffer[64];
  text.assign(buffer, std::strftime(buffer, sizeof buffer, "%a, %d %b %Y %H:%M:%S GMT", &utc));
  return text;
}

std::string refusal_response(const Exchange& exchange) {
  const RefusalText& why = describe(exchange.refusal);
  const std::string body = fmt::format("{} {}: {}\n", why.status, reason_phrase(why.status), why.text);
  ResponseHead head{.status = why.status, .reason = std::string(reason_phrase(why.status))};
  head.headers.add("Date", http_date());
  head.headers.add("Content-Type", "text/plain; charset=utf-8");
  if (!exchange.keep_client) head.headers.add("Connection", "close");
  head.framing = Framing::Length;
  head.length = body.size();
  return serialize(head) + (exchange.request.method == "HEAD" ? "" : body);
}

void log_access(const Exchange& exchange, const Client& client) {
  const auto& request = exchange.request;
  log::info("request", {{"client", client.ip},
                        {"tls", client.tls},
                        {"method", request.method.substr(0, 32)},
                        {"host", request.host.substr(0, kLoggedBytes)},
                        {"path", request.path.substr(0, kLoggedBytes)},
                        {"status", exchange.status},
                        {"reason", describe(exchange.refusal).label},
                        {"route", exchange.route == nullptr ? "-" : exchange.route->name},
                        {"backend", exchange.backend == nullptr ? "-" : exchange.backend->name},
                        {"endpoint", exchange.endpoint.port == 0 ? "-" : exchange.endpoint.str()},
                        {"bytes_in", exchange.request_bytes},
                        {"bytes_out", exchange.response_bytes},
                        {"ms", fmt::format("{:.1f}", exchange.seconds() * 1000)}});
}

}  // namespace thalweg::ingress
