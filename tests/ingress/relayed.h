// A relay on a socket, fed from a folder of manifests on a thread of its own: what thalwegd is to the
// ingress.
#pragma once

#include <memory>
#include <string>

namespace thalweg::ingress::test {

class Relayed {
 public:
  Relayed(const std::string& manifests, const std::string& socket_path);
  ~Relayed();
  Relayed(const Relayed&) = delete;
  Relayed& operator=(const Relayed&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::ingress::test
