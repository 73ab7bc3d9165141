// Agent: thalwegd's one thread. Objects come from a Source, are compiled and applied (Forwarding), the host's
// side of the overlay is kept, CNI is served, and the objects are passed on (relay). Made by main(). Loading
// programs and saving objects have threads of their own, for as long as they take.
#pragma once

#include <memory>

#include "base/asio_fwd.h"
#include "base/result.h"
#include "dataplane/agent/options.h"

namespace thalweg::dataplane {

class Agent {
 public:
  Agent(asio::io_context& io, AgentOptions options);
  ~Agent();

  // Takes over what is pinned and recorded, boots from the last good objects, opens the sockets and asks the
  // source. An error is something an operator must mend; a source that is away is none.
  Result<> start();
  // Ends every background work. What is pinned stays and forwards.
  void stop();
  // It has logged why and stopped the loop: the kernel does not take the programs.
  bool failed() const;

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// Removes every trace in the kernel of an agent with these options: pins, links, routes, the host's leg.
// Records and addresses in the state folder stay.
Result<> clean_up(const AgentOptions& options);

}  // namespace thalweg::dataplane
