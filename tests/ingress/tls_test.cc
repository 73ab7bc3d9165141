// Which certificate a name gets, and what a broken Secret does to it.
#include "ingress/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace thalweg::ingress {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

struct Scene {
  kube::Store<kube::Ingress> ingresses;
  kube::Store<kube::Secret> secrets;
  KeyPair fallback = make_self_signed("fallback.invalid").value();

  void tls(const std::string& ingress, const std::string& secret, std::vector<std::string> hosts) {
    auto made = std::make_shared<kube::Ingress>();
    made->meta.key = {"default", ingress};
    made->tls = {{.hosts = std::move(hosts), .secret = secret}};
    ingresses[made->meta.key] = made;
  }
  void secret(const std::string& name, const std::string& certificate, const std::string& key) {
    auto made = std::make_shared<kube::Secret>();
    made->meta.key = {"default", name};
    made->tls_crt = certificate;
    made->tls_key = key;
    secrets[made->meta.key] = made;
  }
  KeyPair secret(const std::string& name, const std::string& common_name) {
    const KeyPair pair = make_self_signed(common_name).value();
    secret(name, pair.certificate, pair.key);
    return pair;
  }
  BuiltCertificates build(const Certificates* before = nullptr) const {
    return build_certificates(ingresses, secrets, {}, fallback, before);
  }
};

TEST(Tls, ExactNameThenWildcardThenFallback) {
  Scene scene;
  scene.secret("exact", "www.example");
  scene.secret("wild", "*.example");
  scene.tls("a", "exact", {"www.example"});
  scene.tls("b", "wild", {"*.example"});
  const auto built = scene.build();
  EXPECT_THAT(built.errors, IsEmpty());
  const Certificates& all = *built.certificates;
  ASSERT_NE(all.find("www.example"), nullptr);
  EXPECT_NE(all.find("www.example"), all.find("other.example"));
  EXPECT_EQ(all.find("www.example."), all.find("www.example"));
  EXPECT_NE(all.find("other.example"), nullptr);
  EXPECT_EQ(all.find("a.b.example"), nullptr);
  EXPECT_EQ(all.find("example"), nullptr);
  EXPECT_EQ(all.find(""), nullptr);
  EXPECT_NE(all.context(), nullptr);
}

TEST(Tls, WithoutHostsTheCertificatesOwnNamesCount) {
  Scene scene;
  scene.secret("cert", "Own.Example");
  scene.tls("a", "cert", {});
  EXPECT_NE(scene.build().certificates->find("own.example"), nullptr);
}

TEST(Tls, BrokenSecretsAreNamedAndTheirContentIsNot) {
  const KeyPair a = make_self_signed("a.example").value(), b = make_self_signed("b.example").value();
  const std::string half = a.certificate.substr(0, a.certificate.size() / 2);
  struct {
    const char* what;
    std::string certificate, key, error;
  } const rows[] = {{"mismatch", a.certificate, b.key, "tls.key is not the key of tls.crt"},
                    {"no certificate", "hello", a.key, "tls.crt: not a PEM certificate"},
                    {"half", half, a.key, "tls.crt: not a PEM certificate"},
                    {"empty", "", "", "tls.crt: not a PEM certificate"},
                    {"no key", a.certificate, "s3cret", "tls.key: not a PEM private key"},
                    {"turned", a.key, a.certificate, "tls.crt: not a PEM certificate"}};
  for (const auto& row : rows) {
    Scene scene;
    scene.secret("bad", row.certificate, row.key);
    scene.tls("a", "bad", {"a.example"});
    const auto built = scene.build();
    ASSERT_EQ(built.errors.size(), 1u) << row.what;
    EXPECT_THAT(built.errors[0], HasSubstr("Secret default/bad: " + row.error)) << row.what;
    EXPECT_THAT(built.errors[0], Not(HasSubstr("s3cret")));
    EXPECT_EQ(built.certificates->find("a.example"), nullptr) << row.what;
  }
}

TEST(Tls, ABrokenSecretKeepsItsLastGoodOneAGoneSecretDoesNot) {
  Scene scene;
  scene.tls("a", "cert", {"a.example"});
  scene.secret("cert", "a.example");
  const auto good = scene.build();
  scene.secret("cert", "broken", "broken");
  const auto broken = scene.build(good.certificates.get());
  EXPECT_EQ(broken.certificates->find("a.example"), good.certificates->find("a.example"));
  EXPECT_THAT(broken.errors, ElementsAre(HasSubstr("the last good certificate stays")));
  scene.secrets.clear();
  const auto gone = scene.build(broken.certificates.get());
  EXPECT_EQ(gone.certificates->find("a.example"), nullptr);
  EXPECT_THAT(gone.errors, ElementsAre(HasSubstr("Secret default/cert does not exist")));
}

TEST(Tls, WhatDidNotChangeIsNotMadeAgain) {
  Scene scene;
  scene.tls("a", "cert", {"a.example"});
  scene.secret("cert", "a.example");
  const auto first = scene.build();
  EXPECT_EQ(scene.build(first.certificates.get()).certificates->find("a.example"),
            first.certificates->find("a.example"));
  scene.secret("cert", "a.example");
  EXPECT_NE(scene.build(first.certificates.get()).certificates->find("a.example"),
            first.certificates->find("a.example"));
}

TEST(Tls, TwoSecretsForOneNameTheFirstIngressWins) {
  Scene scene;
  scene.secret("one", "a.example");
  scene.secret("two", "a.example");
  scene.tls("b", "two", {"a.example"});
  scene.tls("a", "one", {"a.example"});
  const auto built = scene.build();
  EXPECT_THAT(built.errors, ElementsAre(HasSubstr("Ingress default/b: spec.tls: host 'a.example'")));
}

}  // namespace
}  // namespace thalweg::ingress
