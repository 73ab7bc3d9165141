// A network namespace of a test's own: made under a name nobody else uses, gone with the test. What an
// earlier, killed run left behind is swept first.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "base/link.h"
#include "base/netns.h"

namespace thalweg {

inline bool may_make_netns() {
  static const bool may = [] {
    const std::string name = fmt::format("twt-base-probe-{}", ::getpid());
    const bool made = create_netns(name).has_value();
    (void)delete_netns(name);
    return made;
  }();
  return may;
}

class ScratchNetns {
 public:
  explicit ScratchNetns(std::string_view part) : name_(fmt::format("twt-base-{}-{}", part, ::getpid())) {
    sweep(fmt::format("twt-base-{}-", part));
    netns_ = std::make_unique<Netns>(std::move(create_netns(name_).value()));
    socket_ = std::make_unique<nl::Socket>(std::move(nl::Socket::open_in(*netns_).value()));
    EXPECT_TRUE(nl::set_up(*socket_, 1));
  }
  ~ScratchNetns() { EXPECT_TRUE(delete_netns(name_)); }

  const std::string& name() const { return name_; }
  std::string path() const { return netns_path(name_); }
  const Netns& netns() const { return *netns_; }
  nl::Socket& socket() { return *socket_; }

 private:
  static void sweep(const std::string& prefix) {
    for (const std::string& name : list_netns(prefix).value_or(std::vector<std::string>()))
      if (::kill(std::atoi(name.c_str() + prefix.size()), 0) < 0) (void)delete_netns(name);
  }
  std::string name_;
  std::unique_ptr<Netns> netns_;
  std::unique_ptr<nl::Socket> socket_;
};

// The first line of a test that needs namespaces.
#define NEED_NETNS() \
  if (!may_make_netns()) GTEST_SKIP() << "cannot make network namespaces: needs root (CAP_SYS_ADMIN)"

}  // namespace thalweg
