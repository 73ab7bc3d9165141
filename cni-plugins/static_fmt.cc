// The formatting library inside the program: Debian has it as a shared library only, which would bring the
// C++ runtime's with it, and each costs a start of the program a fifth of a millisecond.
#include <fmt/format-inl.h>

template char fmt::detail::decimal_point_impl<char>(fmt::detail::locale_ref);
template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl<char>(
    fmt::detail::locale_ref);
