// The scene of the conformance tests: two endpoints, the objects that name them, and the program in front.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "program.h"
#include "upstream_server.h"

namespace thalweg::ingress::test {

class Scene : public testing::Test {
 protected:
  Scene();
  // Starts the program with these flags added.
  void start(const std::vector<std::string>& more = {}) { start_on({"--manifests", objects.path()}, more); }
  void start_on(const std::vector<std::string>& source, const std::vector<std::string>& more = {});
  // curl of http://a.example PATH through the ingress; the body is the output.
  Outcome curl(const std::string& url, std::vector<std::string> more = {}) const;
  std::string http(const std::string& host = "a.example") const;  // "http://host:PORT"
  std::string https(const std::string& host) const;
  // What comes back until the ingress closes the connection.
  std::string raw(const std::string& bytes) const;
  std::unique_ptr<Wire> connect() const;

  static std::string service(const std::string& name, const std::vector<uint16_t>& ports);
  static std::string ingress(const std::string& name, const std::string& host, const std::string& path,
                             const std::string& service, const std::string& tls_secret = "");
  static std::string secret(const std::string& name, const std::string& certificate, const std::string& key);

  UpstreamServer one{"one"}, two{"two"};
  Folder objects, secrets;
  std::unique_ptr<Program> program;
};

inline const std::string kGet = "GET / HTTP/1.1\r\nHost: a.example\r\n";

}  // namespace thalweg::ingress::test
