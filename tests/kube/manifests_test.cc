// The manifests source on real folders: what it reads, what it keeps when a file breaks, how it follows
// changes.
#include "base/asio.h"
//
#include "kube/manifests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "kube/source.h"

namespace thalweg::kube {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string ns_yaml(const std::string& name, const std::string& label = "a") {
  return "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + name + "\n  labels: {l: " + label +
         "}\n---\n";
}

class Manifests : public testing::Test {
 protected:
  Manifests() {
    char name[] = "/tmp/thalweg-manifests-XXXXXX";
    root_ = ::mkdtemp(name);
    folder_ = root_ / "objects";
    fs::create_directory(folder_);
  }
  ~Manifests() override {
    if (source_) source_->stop();
    fs::remove_all(root_);
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  void replace(const std::string& name, const std::string& text) const {
    std::ofstream(root_ / "new") << text;
    fs::rename(root_ / "new", folder_ / name);
  }

  void start(std::vector<Kind> kinds = {}) {
    SourceOptions options{.manifests = folder_, .kinds = std::move(kinds)};
    options.on_error = [this](const std::string& text) { errors_.push_back(text); };
    auto source = make_source(io_, std::move(options));
    ASSERT_TRUE(source) << source.error().message;
    source_ = std::move(*source);
    source_->start([this](const Cluster& cluster, std::span<const ObjectRef> changed) {
      cluster_ = cluster;
      changes_.emplace_back(changed.begin(), changed.end());
    });
    run_until([this] { return !changes_.empty(); });
  }

  // Runs the loop until the condition holds; the deadline only ends a test that has already failed.
  void run_until(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    io_.restart();
    while (!holds()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "nothing came of it";
      io_.run_one_for(std::chrono::milliseconds(20));
    }
  }

  std::vector<std::string> namespaces() const {
    std::vector<std::string> names;
    for (const auto& [key, ns] : cluster_.namespaces) names.push_back(key.name);
    return names;
  }

  fs::path root_;
  fs::path folder_;
  asio::io_context io_;
  std::unique_ptr<Source> source_;
  Cluster cluster_;
  std::vector<std::vector<ObjectRef>> changes_;
  std::vector<std::string> errors_;
};

TEST_F(Manifests, ReadsAFolderWithFoldersListsAndJson) {
  write("a.yaml", ns_yaml("one") + ns_yaml("two"));
  fs::create_directory(folder_ / "deep");
  write("deep/b.yml", "apiVersion: v1\nkind: List\nitems:\n- " +
                          std::string("{apiVersion: v1, kind: Namespace, metadata: {name: three}}\n"));
  write("c.json", R"({"apiVersion":"v1","kind":"NamespaceList","items":[{"metadata":{"name":"four"}}]})");
  write("ignored.txt", "not: [yaml");
  write(".hidden.yaml", ns_yaml("hidden"));
  write("unknown.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n");
  start();
  EXPECT_THAT(namespaces(), ElementsAre("four", "one", "three", "two"));
  EXPECT_THAT(errors_, IsEmpty());
  EXPECT_TRUE(source_->status().synced);
  EXPECT_THAT(changes_, SizeIs(1));
}

TEST_F(Manifests, AnErrorNamesFileLineObjectAndField) {
  write("bad.yaml", ns_yaml("one") +
                        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports:\n"
                        "  - port: 80\n  - name: b\n    port: \"81\"\n");
  start();
  EXPECT_THAT(namespaces(), ElementsAre("one"));
  EXPECT_THAT(errors_, ElementsAre((folder_ / "bad.yaml").string() +
                                   ":14: Service default/web: spec.ports[1].port: expected an integer, "
                                   "got a string"));
}

TEST_F(Manifests, ABrokenFileKeepsItsLastGoodObjects) {
  write("a.yaml", ns_yaml("one"));
  write("b.yaml", ns_yaml("two"));
  start();
  replace("a.yaml", "apiVersion: v1\nkind: [broken\n");
  run_until([this] { return !errors_.empty(); });
  EXPECT_THAT(errors_.front(), HasSubstr("a.yaml:"));
  replace("b.yaml", ns_yaml("three"));
  run_until([this] { return changes_.size() == 2; });
  EXPECT_THAT(namespaces(), ElementsAre("one", "three"));
  EXPECT_THAT(errors_, SizeIs(1)) << "an error is said once";
  replace("a.yaml", ns_yaml("four"));
  run_until([this] { return changes_.size() == 3; });
  EXPECT_THAT(namespaces(), ElementsAre("four", "three"));
}

TEST_F(Manifests, AMalformedObjectKeepsItsLastGoodVersionAndTheOthersMoveOn) {
  write("a.yaml", ns_yaml("one", "first") + ns_yaml("two", "first"));
  start();
  replace("a.yaml", ns_yaml("one", "[]") + ns_yaml("two", "second"));
  run_until([this] { return changes_.size() == 2; });
  EXPECT_EQ(cluster_.namespaces.at({"", "one"})->meta.labels.at("l"), "first");
  EXPECT_EQ(cluster_.namespaces.at({"", "two"})->meta.labels.at("l"), "second");
  EXPECT_THAT(errors_,
              ElementsAre(HasSubstr("Namespace one: metadata.labels.l: expected a string, got a list")));
}

TEST_F(Manifests, TheFirstOfTwoWins) {
  write("a.yaml", ns_yaml("one", "from-a"));
  write("b.yaml", ns_yaml("one", "from-b"));
  start();
  EXPECT_EQ(cluster_.namespaces.at({"", "one"})->meta.labels.at("l"), "from-a");
  EXPECT_THAT(errors_, ElementsAre(HasSubstr("b.yaml:1: Namespace one: already written at")));
}

TEST_F(Manifests, FollowsNewFilesFoldersAndDeletions) {
  write("a.yaml", ns_yaml("one"));
  start();
  fs::create_directory(folder_ / "sub");
  write("sub/b.yaml", ns_yaml("two"));
  run_until([this] { return namespaces().size() == 2; });
  write("sub/c.yaml", ns_yaml("three"));
  run_until([this] { return namespaces().size() == 3; });
  fs::remove(folder_ / "a.yaml");
  run_until([this] { return namespaces().size() == 2; });
  EXPECT_THAT(changes_.back(), ElementsAre(ObjectRef{Kind::Namespace, {"", "one"}}));
  fs::remove_all(folder_ / "sub");
  run_until([this] { return namespaces().empty(); });
}

TEST_F(Manifests, SurvivesTheFolderBeingReplaced) {
  write("a.yaml", ns_yaml("one"));
  start();
  fs::rename(folder_, root_ / "old");
  run_until([this] { return !errors_.empty(); });
  EXPECT_THAT(errors_.back(), HasSubstr("No such file"));
  EXPECT_THAT(namespaces(), ElementsAre("one")) << "the last good state stays";
  fs::create_directory(root_ / "fresh");
  std::ofstream(root_ / "fresh" / "a.yaml") << ns_yaml("two");
  fs::rename(root_ / "fresh", folder_);
  run_until([this] { return changes_.size() == 2; });
  EXPECT_THAT(namespaces(), ElementsAre("two"));
  write("b.yaml", ns_yaml("three"));
  run_until([this] { return changes_.size() == 3; });
  EXPECT_THAT(namespaces(), ElementsAre("three", "two"));
}

TEST_F(Manifests, AFileHalfWrittenIsNotRead) {
  write("a.yaml", ns_yaml("one"));
  start();
  std::ofstream slow(folder_ / "a.yaml");  // truncated now
  slow << "apiVersion: v1\n" << std::flush;
  write("b.yaml", ns_yaml("two"));  // and another file calls for a scan
  run_until([this] { return changes_.size() == 2; });
  EXPECT_THAT(namespaces(), ElementsAre("one", "two"));
  slow << "kind: Namespace\nmetadata: {name: three}\n";
  slow.close();
  run_until([this] { return changes_.size() == 3; });
  EXPECT_THAT(namespaces(), ElementsAre("three", "two"));
  EXPECT_THAT(errors_, IsEmpty());
}

TEST_F(Manifests, SecretsOnlyWhenAskedFor) {
  const std::string secret =
      "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: s}\n"
      "stringData: {tls.crt: c, tls.key: k}\n";
  write("a.yaml", secret);
  start();
  EXPECT_THAT(cluster_.secrets, IsEmpty());
  source_->stop();
  changes_.clear();
  start({Kind::Secret});
  ASSERT_THAT(cluster_.secrets, SizeIs(1));
  EXPECT_EQ(cluster_.secrets.begin()->second->tls_key, "k");
}

TEST(ManifestFile, BoundsAHostileFile) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += fmt::format("a{0}: &a{0} [*a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}, *a{1}]\n", i,
                        i - 1);
  }
  EXPECT_THAT(read_manifest("f.yaml", bomb).errors, ElementsAre(HasSubstr("too large once its aliases")));
  EXPECT_THAT(read_manifest("f.yaml", std::string(1000, '[')).errors, ElementsAre(HasSubstr("f.yaml:1: ")));
  EXPECT_THAT(read_manifest("f.json", std::string(1000, '[')).errors, ElementsAre(HasSubstr("f.json:1: ")));
  const ManifestLimits small{.file_bytes = 10};
  EXPECT_THAT(read_manifest("f.yaml", "kind: something long", small).errors,
              ElementsAre("f.yaml: larger than 10 bytes"));
}

TEST(ManifestFile, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"kind: Service\n", "f.yaml:1: apiVersion: is required"},
      {"\n- 1\n", "f.yaml:2: expected an object, got a list"},
      {"apiVersion: extensions/v1beta1\nkind: Ingress\n",
       "f.yaml:1: apiVersion: extensions/v1beta1 of Ingress is not read here, only networking.k8s.io/v1"},
      {"a: 1\na: 2\n", "f.yaml:2: the key \"a\" stands twice"},
      {"a: *nothing\n", "f.yaml:1: the referenced anchor is not defined"},
      {"a: {<<: {b: c}}\n", "f.yaml:1: merge keys (<<) are not read here"},
      {"a: !!binary aGk=\n", "f.yaml:1: tags are not read here: tag:yaml.org,2002:binary"},
  };
  for (const auto& [text, error] : cases) {
    EXPECT_THAT(read_manifest("f.yaml", text).errors, ElementsAre(error)) << text;
  }
}

}  // namespace
}  // namespace thalweg::kube
