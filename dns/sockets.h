// Sockets: the listening sockets, opened before rights are dropped; and the rights. main opens, the workers
// own.
#pragma once

#include <vector>

#include "base/fd.h"
#include "dns/endpoint.h"

namespace thalweg::dns {

struct ListenSockets {
  Endpoint at;
  Fd udp;
  Fd tcp;
};

// One UDP and one TCP socket an address, for one worker. `shared`: several workers listen on the same
// address. Addresses the machine does not have (yet) are no error (IP_FREEBIND).
Result<std::vector<ListenSockets>> open_sockets(const std::vector<Endpoint>& listen, bool shared);

// Gives up every capability of the calling thread, and the chance to ever gain one. Threads started later
// inherit it.
Result<> drop_rights();

}  // namespace thalweg::dns
