// Kubernetes objects to routes: classes, Service ports, endpoints, defaults, conflicts, what is missing.
#include "ingress/build.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thalweg::ingress {
namespace {

using kube::IngressPath;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct World {
  kube::Cluster cluster;

  void service(const std::string& name, std::vector<kube::ServicePort> ports,
               kube::Service::Type type = kube::Service::Type::ClusterIP) {
    kube::Service service;
    service.meta.key = {"default", name};
    service.type = type;
    service.ports = std::move(ports);
    cluster.services[service.meta.key] = std::make_shared<kube::Service>(service);
  }

  void slice(const std::string& service, std::vector<kube::EndpointPort> ports,
             std::vector<kube::Endpoint> endpoints, bool v4 = true) {
    kube::EndpointSlice slice;
    slice.meta.key = {"default", service + "-" + std::to_string(cluster.endpoint_slices.size())};
    slice.service = service;
    slice.v4 = v4;
    slice.ports = std::move(ports);
    slice.endpoints = std::move(endpoints);
    cluster.endpoint_slices[slice.meta.key] = std::make_shared<kube::EndpointSlice>(slice);
  }

  kube::Ingress& ingress(const std::string& name) {
    auto ingress = std::make_shared<kube::Ingress>();
    ingress->meta.key = {"default", name};
    cluster.ingresses[ingress->meta.key] = ingress;
    return *ingress;
  }

  // Ingress `name`: host/path to service:port.
  kube::Ingress& rule(const std::string& name, const std::string& host, const std::string& path,
                      const std::string& service, kube::PortRef port,
                      IngressPath::Type type = IngressPath::Type::Prefix) {
    kube::Ingress& made = ingress(name);
    made.rules = {{.host = host, .paths = {{.path = path, .type = type, .backend = {service, port}}}}};
    return made;
  }

  Built build(BuildOptions options = {}) const { return build_routes(cluster, options); }
};

kube::Endpoint endpoint(const char* ip, bool ready = true, bool serving = true, bool terminating = false) {
  return {
      .addresses = {Ip::parse(ip).value()}, .ready = ready, .serving = serving, .terminating = terminating};
}

World web() {
  World world;
  world.service("web", {{.name = "http", .port = 80}, {.name = "admin", .port = 81}});
  world.slice("web", {{.name = "http", .port = 8080}, {.name = "admin", .port = 9090}},
              {endpoint("192.0.2.2"), endpoint("192.0.2.1"), endpoint("192.0.2.3", false)});
  return world;
}

std::vector<std::string> endpoints(const Built& built, std::string_view host, std::string_view path) {
  std::vector<std::string> found;
  if (const Route* route = built.routes.find(host, path))
    for (const auto& one : built.routes.backends()[route->backend].endpoints) found.push_back(one.str());
  return found;
}

TEST(Build, PortByNumberOrNameToReadyEndpoints) {
  World world = web();
  world.rule("by-number", "a.example", "/", "web", {.number = 80});
  world.rule("by-name", "b.example", "/", "web", {.name = "admin"});
  const Built built = world.build();
  EXPECT_THAT(endpoints(built, "a.example", "/"), ElementsAre("192.0.2.1:8080", "192.0.2.2:8080"));
  EXPECT_THAT(endpoints(built, "b.example", "/"), ElementsAre("192.0.2.1:9090", "192.0.2.2:9090"));
  EXPECT_THAT(built.warnings, IsEmpty());
}

TEST(Build, ManySlicesAreOneBackendWithoutRepeats) {
  World world = web();
  world.slice("web", {{.name = "http", .port = 8080}}, {endpoint("192.0.2.1"), endpoint("192.0.2.9")});
  world.rule("a", "", "/", "web", {.number = 80});
  EXPECT_THAT(endpoints(world.build(), "", "/"),
              ElementsAre("192.0.2.1:8080", "192.0.2.2:8080", "192.0.2.9:8080"));
}

TEST(Build, OneFamilyOfADualStackService) {
  World world = web();
  world.slice("web", {{.name = "http", .port = 8080}}, {endpoint("2001:db8::1")}, false);
  world.rule("a", "", "/", "web", {.number = 80});
  EXPECT_THAT(endpoints(world.build(), "", "/"), ElementsAre("192.0.2.1:8080", "192.0.2.2:8080"));
}

TEST(Build, Ipv6AloneIsServed) {
  World world;
  world.service("six", {{.port = 80}});
  world.slice("six", {{.port = 8080}}, {endpoint("2001:db8::1")}, false);
  world.rule("a", "", "/", "six", {.number = 80});
  EXPECT_THAT(endpoints(world.build(), "", "/"), ElementsAre("[2001:db8::1]:8080"));
}

TEST(Build, TerminatingEndpointsServeOnlyWhenNoneIsReady) {
  World world;
  world.service("web", {{.port = 80}});
  world.slice("web", {{.port = 8080}},
              {endpoint("192.0.2.1", false, true, true), endpoint("192.0.2.2", false, false)});
  world.rule("a", "", "/", "web", {.number = 80});
  EXPECT_THAT(endpoints(world.build(), "", "/"), ElementsAre("192.0.2.1:8080"));
}

struct MissingCase {
  std::string name;
  kube::Service::Type type;
  uint16_t port;
  std::string warning;
};

TEST(Build, WhatCannotBeServedKeepsItsRouteAndSaysWhy) {
  World world;
  world.service("ext", {{.port = 80}}, kube::Service::Type::ExternalName);
  world.service("web", {{.name = "dns", .protocol = kube::Protocol::UDP, .port = 80}});
  world.rule("1", "gone.example", "/", "gone", {.number = 80});
  world.rule("2", "ext.example", "/", "ext", {.number = 80});
  world.rule("3", "port.example", "/", "web", {.number = 80});
  const Built built = world.build();
  EXPECT_THAT(built.warnings, ElementsAre(HasSubstr("Service default/gone does not exist"),
                                          HasSubstr("ExternalName"), HasSubstr("no TCP port 80")));
  for (const char* host : {"gone.example", "ext.example", "port.example"}) {
    const Route* route = built.routes.find(host, "/");
    ASSERT_NE(route, nullptr) << host;
    EXPECT_FALSE(built.routes.backends()[route->backend].exists) << host;
  }
}

TEST(Build, NoReadyEndpointsIsABackendWithNobody) {
  World world;
  world.service("web", {{.port = 80}});
  world.rule("a", "", "/", "web", {.number = 80});
  const Built built = world.build();
  const Backend& backend = built.routes.backends()[built.routes.find("", "/")->backend];
  EXPECT_TRUE(backend.exists);
  EXPECT_THAT(backend.endpoints, IsEmpty());
  EXPECT_THAT(built.warnings, IsEmpty());
}

TEST(Build, ClassesDecideWhoseIngressItIs) {
  World world = web();
  world.rule("mine", "mine.example", "/", "web", {.number = 80}).class_name = "thalweg";
  world.rule("other", "other.example", "/", "web", {.number = 80}).class_name = "nginx";
  world.rule("none", "none.example", "/", "web", {.number = 80});
  world.rule("old", "old.example", "/", "web", {.number = 80}).meta.annotations = {
      {"kubernetes.io/ingress.class", "nginx"}};
  const Built with = world.build(), without = world.build({.classless = false});
  EXPECT_NE(with.routes.find("mine.example", "/"), nullptr);
  EXPECT_EQ(with.routes.find("other.example", "/"), nullptr);
  EXPECT_EQ(with.routes.find("old.example", "/"), nullptr);
  EXPECT_NE(with.routes.find("none.example", "/"), nullptr);
  EXPECT_EQ(without.routes.find("none.example", "/"), nullptr);
}

TEST(Build, AConflictIsWonByTheOlder) {
  World world = web();
  world.rule("a", "a.example", "/x", "web", {.name = "admin"}).meta.created_s = 1'700'000'001;
  world.rule("b", "a.example", "/x", "web", {.name = "http"}).meta.created_s = 1'700'000'000;
  for (const auto& [name, created_s] : {std::pair("c", 2), std::pair("d", 1)}) {
    kube::Ingress& made = world.ingress(name);
    made.meta.created_s = created_s;
    made.default_backend = {.service = "web", .port = {.name = "http"}};
  }
  const Built built = world.build();
  EXPECT_EQ(built.routes.find("a.example", "/x")->name, "default/b");
  EXPECT_EQ(built.routes.find("other.example", "/")->name, "default/d");
  EXPECT_THAT(built.warnings,
              testing::UnorderedElementsAre(
                  "Ingress default/a: path '/x' of host 'a.example' is default/b's already: left out",
                  "Ingress default/c: spec.defaultBackend: default/d is the default for every host "
                  "already"));
}

TEST(Build, ConflictIsWonByTheSmallestKeyWithOneWarning) {
  World world = web();
  world.rule("b", "a.example", "/x", "web", {.name = "admin"});
  world.rule("a", "a.example", "/x/", "web", {.name = "http"});
  const Built built = world.build();
  EXPECT_EQ(built.routes.find("a.example", "/x")->name, "default/a");
  EXPECT_THAT(built.warnings,
              ElementsAre("Ingress default/b: path '/x' of host 'a.example' is default/a's already: "
                          "left out"));
}

TEST(Build, ImplementationSpecificIsAPrefixAndNoPathIsTheRoot) {
  World world = web();
  world.rule("a", "a.example", "", "web", {.number = 80}, IngressPath::Type::ImplementationSpecific);
  EXPECT_NE(world.build().routes.find("a.example", "/any"), nullptr);
}

TEST(Build, DefaultBackendTakesWhatNoRuleMatches) {
  World world = web();
  world.rule("a", "a.example", "/x", "web", {.number = 80}).default_backend =
      kube::IngressBackend{"web", {.number = 81}};
  world.ingress("b").default_backend = kube::IngressBackend{"web", {.number = 80}};
  const Built built = world.build();
  EXPECT_THAT(endpoints(built, "a.example", "/x").front(), "192.0.2.1:8080");
  EXPECT_THAT(endpoints(built, "a.example", "/y").front(), "192.0.2.1:9090");
  EXPECT_EQ(built.routes.find("z.example", "/")->name, "default/a");
  EXPECT_THAT(built.warnings, ElementsAre(HasSubstr("default/b: spec.defaultBackend")));
}

TEST(Build, HostileHostsAndPathsAreLeftOutWithAWarning) {
  World world = web();
  world.rule("1", "UPPER.example", "/", "web", {.number = 80});
  world.rule("2", "*.*.example", "/", "web", {.number = 80});
  world.rule("3", "ok.example", "no-slash", "web", {.number = 80});
  world.rule("4", "a\nb", "/", "web", {.number = 80});
  const Built built = world.build();
  EXPECT_EQ(built.routes.size(), 0u);
  EXPECT_EQ(built.warnings.size(), 4u);
}

TEST(Build, ValidHosts) {
  for (const char* good : {"a", "a.example", "*.example", "1.2.3.4", "a-b.c"})
    EXPECT_TRUE(valid_host(good)) << good;
  for (const char* bad : {"", "*", "*.", "a..b", ".a", "a.", "-a", "a-", "A", "a_b", "a b", "a/b", "a.*.b"})
    EXPECT_FALSE(valid_host(bad)) << bad;
}

}  // namespace
}  // namespace thalweg::ingress
