// One blocking HTTP/1.1 request over a unix socket, for short-lived programs: the command line, the CNI
// plugins. Library target: base_http_call (no Asio loop, no TLS: it starts at once).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thalweg {

struct HttpReply {
  int status = 0;
  std::string content_type;
  std::string body;
};

inline constexpr size_t kMaxReplyBytes = 64u << 20;

// timeout_ms bounds the whole call. Errors: code is errno (ENOENT, ECONNREFUSED: nobody there; ETIMEDOUT);
// 0 when what came back was no HTTP. Any HTTP status is a success here.
Result<HttpReply> http_call(const std::string& unix_socket_path, std::string_view method,
                            std::string_view target, std::string_view body, uint64_t timeout_ms);

}  // namespace thalweg
