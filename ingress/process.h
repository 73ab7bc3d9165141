// What the process asks of the kernel once, at its start: listening sockets, descriptors, and then no rights
// at all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "ingress/routes.h"

namespace thalweg::ingress {

// "192.0.2.1:80", "[2001:db8::1]:80"; port 0 lets the kernel choose.
Result<Endpoint> parse_address(std::string_view text);
// A bound TCP socket that does not listen yet: until it does, clients are refused instead of kept waiting. An
// IPv6 address takes IPv6 only. `shared`: several sockets may have the address (one a loop).
Result<Fd> bind_tcp(const Endpoint& address, bool shared);
Result<> start_listening(const Fd& socket);
Result<Endpoint> bound_address(const Fd& socket);

// As many descriptors as the hard limit allows; how many that is.
uint64_t raise_open_files();

// Gives every capability up, for good, also across exec; with `user` (a name or a number) becomes that user
// first. Before any thread is started. Afterwards no core dump holds the keys.
Result<> drop_privileges(const std::string& user);

}  // namespace thalweg::ingress
