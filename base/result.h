// Result<T>: a value or an Error with its story. Every fallible function of the project returns one.
#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace thalweg {

struct Error {
  std::string message;  // reads on one line: "open /run/x: permission denied"
  int code = 0;         // errno where the kernel gave one, else 0
};

template <class T = void>
using Result = std::expected<T, Error>;

// fail("port {}: out of range", n): what a function returns when it gives up.
template <class... Args>
std::unexpected<Error> fail(fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{fmt::format(format, std::forward<Args>(args)...)});
}

// fail_errno(errno, "open {}", path): the same with the kernel's word behind it.
template <class... Args>
std::unexpected<Error> fail_errno(int code, fmt::format_string<Args...> format, Args&&... args) {
  return std::unexpected(Error{
      fmt::format("{}: {}", fmt::format(format, std::forward<Args>(args)...), std::strerror(code)), code});
}

// Puts context in front of an error on its way up; leaves a success alone.
template <class T, class... Args>
Result<T> context(Result<T>&& result, fmt::format_string<Args...> format, Args&&... args) {
  if (!result)
    result.error().message =
        fmt::format("{}: {}", fmt::format(format, std::forward<Args>(args)...), result.error().message);
  return std::move(result);
}

namespace detail {
template <class T, class E>
T take(std::expected<T, E>&& result) {
  return std::move(*result);
}
template <class E>
void take(std::expected<void, E>&&) {}
}  // namespace detail

}  // namespace thalweg

// auto fd = TRY(open_file(path)); returns the error to the caller, whose own kind of error may be one that is
// made from it. Never around co_await: g++ 12 crashes on
// it; await into a variable first, then CO_TRY(std::move(variable)).
#define TRY(expression)                                                             \
  __extension__({                                                                   \
    auto thalweg_result = (expression);                                             \
    if (!thalweg_result) return std::unexpected(std::move(thalweg_result).error()); \
    ::thalweg::detail::take(std::move(thalweg_result));                             \
  })

#define CO_TRY(expression)                                                             \
  __extension__({                                                                      \
    auto thalweg_result = (expression);                                                \
    if (!thalweg_result) co_return std::unexpected(std::move(thalweg_result).error()); \
    ::thalweg::detail::take(std::move(thalweg_result));                                \
  })
