#include "base/flags.h"

#include <gmock/gmock.h>

#include "base/file.h"

namespace thalweg {
namespace {

using ::testing::HasSubstr;

struct Config {
  std::string node;
  std::string socket = "/run/x.sock";
  uint16_t port = 53;
  int64_t count = -1;
  bool once = false;
  std::vector<std::string> paths;
};

// What a run said and how it ended; nothing when the program may run.
struct Outcome {
  std::optional<int> exit;
  std::string out, err;
};

Outcome parse(Flags& flags, std::vector<const char*> argv) {
  argv.insert(argv.begin(), "prog");
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Outcome run{flags.parse(static_cast<int>(argv.size()), argv.data()), "", ""};
  std::fflush(stdout);
  run.out = ::testing::internal::GetCapturedStdout();
  run.err = ::testing::internal::GetCapturedStderr();
  return run;
}

struct FlagsTest : ::testing::Test {
  FlagsTest() : flags("prog", "does a thing", "It does it well.") {
    flags.add("--node-name", config.node, "this node's name", {.required = true});
    flags.add("--socket", config.socket, "where to listen", {.is_path = true});
    flags.add("--port", config.port, "port");
    flags.add("--count", config.count, "how often");
    flags.add("--once", config.once, "stop after one round");
    flags.add("--manifests", config.paths, "files");
  }
  Config config;
  Flags flags;
};

TEST_F(FlagsTest, FillsTheVariables) {
  const Outcome run =
      parse(flags, {"--node-name", "n1", "--port=5353", "--count", "-3", "--once", "--manifests", "a", "b"});
  EXPECT_FALSE(run.exit) << run.err;
  EXPECT_EQ(config.node, "n1");
  EXPECT_EQ(config.socket, "/run/x.sock");
  EXPECT_EQ(config.port, 5353);
  EXPECT_EQ(config.count, -3);
  EXPECT_TRUE(config.once);
  EXPECT_THAT(config.paths, ::testing::ElementsAre("a", "b"));
}

TEST_F(FlagsTest, BadUsageIsOneLineAndExitTwo) {
  for (const auto& argv : std::vector<std::vector<const char*>>{{},
                                                                {"--node-name", "n", "--nonsense"},
                                                                {"--node-name", "n", "--port", "70000"},
                                                                {"--node-name", "n", "--count", "x"},
                                                                {"--node-name", "n", "--log-level", "loud"},
                                                                {"--node-name", "n", "stray"}}) {
    const Outcome run = parse(flags, argv);
    EXPECT_EQ(run.exit, kExitUsage);
    EXPECT_THAT(run.err, HasSubstr("prog: "));
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 2) << run.err;
    EXPECT_EQ(run.out, "");
  }
}

// An unknown flag is told before one that is missing: often they are the same.
TEST_F(FlagsTest, AnUnknownWordIsNamedWithTheNearestOne) {
  const std::pair<std::vector<const char*>, std::string> cases[] = {
      {{"--node-nmae", "n"}, "prog: --node-nmae: unknown flag; did you mean --node-name?"},
      {{"--node=n"}, "prog: --node: unknown flag; did you mean --node-name?"},
      {{"--prot", "53"}, "prog: --prot: unknown flag; did you mean --port?"},
      {{"--log-levl", "info"}, "prog: --log-levl: unknown flag; did you mean --log-level?"},
      {{"--frobnicate"}, "prog: --frobnicate: unknown flag"},
      {{"--node-name", "n", "stray"}, "prog: stray: unexpected argument"},
      {{"--once"}, "prog: --node-name is required"}};
  for (const auto& [argv, expected] : cases)
    EXPECT_EQ(parse(flags, argv).err, expected + "\nTry 'prog --help'.\n");
}

TEST_F(FlagsTest, HelpReadsAsAManual) {
  const Outcome run = parse(flags, {"--help"});
  EXPECT_EQ(run.exit, kExitOk);
  EXPECT_EQ(run.err, "");
  for (const char* part :
       {"NAME\n    prog - does a thing\n", "SYNOPSIS\n    prog --node-name TEXT [OPTION]...\n",
        "DESCRIPTION\n    It does it well.\n",
        "    --socket PATH\n        where to listen (default: /run/x.sock)\n",
        "    --node-name TEXT\n        this node's name (required)\n", "--completion SHELL", "EXIT STATUS"})
    EXPECT_THAT(run.out, HasSubstr(part));
}

TEST_F(FlagsTest, VersionNeedsNothingElse) {
  const Outcome run = parse(flags, {"--version"});
  EXPECT_EQ(run.exit, kExitOk);
  EXPECT_THAT(run.out, ::testing::MatchesRegex("prog [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(FlagsCommands, OneIsChosenAndHasItsOwnHelp) {
  std::string pod;
  Flags flags("prog", "asks");
  flags.command("status", "how it is");
  Flags& why = flags.command("why", "tells why");
  why.add("pod", pod, "whose", {.required = true});
  EXPECT_FALSE(parse(flags, {"why", "a/b"}).exit);
  EXPECT_EQ(flags.chosen(), "why");
  EXPECT_EQ(pod, "a/b");
  EXPECT_THAT(parse(flags, {"why", "--help"}).out, HasSubstr("prog why [OPTION]... pod"));
  EXPECT_THAT(parse(flags, {"--help"}).out, HasSubstr("COMMANDS\n    status\n        how it is\n"));
  EXPECT_EQ(parse(flags, {}).exit, kExitUsage);
  EXPECT_EQ(parse(flags, {"frobnicate"}).exit, kExitUsage);
  EXPECT_THAT(parse(flags, {"statsu"}).err, HasSubstr("prog: statsu: unknown command; did you mean status?"));
  EXPECT_THAT(parse(flags, {"why", "a/b", "--hlep"}).err,
              HasSubstr("prog why: --hlep: unknown flag; did you mean --help?"));
}

// The script is run, not only looked at.
TEST(FlagsCompletion, BashCompletesOptionsChoicesAndCommands) {
  if (::system("command -v bash >/dev/null") != 0) GTEST_SKIP() << "no bash";
  Flags flags("my-prog", "asks");
  flags.command("status", "how it is");
  flags.command("why", "tells why");
  const std::string script = parse(flags, {"--completion", "bash"}).out;
  const std::string path = ::testing::TempDir() + "completion.bash";
  const auto complete = [&](const std::string& words) {
    const std::string command = "set -eu; COMP_WORDS=(" + words +
                                "); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _my_prog; echo \"${COMPREPLY[*]-}\"";
    EXPECT_TRUE(write_atomically(path, script + command));
    FILE* pipe = ::popen(("bash " + path).c_str(), "r");
    char line[512] = "";
    EXPECT_TRUE(std::fgets(line, sizeof line, pipe));
    EXPECT_EQ(::pclose(pipe), 0);
    return std::string(line);
  };
  EXPECT_EQ(complete("my-prog --vers"), "--version\n");
  EXPECT_EQ(complete("my-prog st"), "status\n");
  EXPECT_EQ(complete("my-prog --log-level wa"), "warn\n");
  EXPECT_EQ(complete("my-prog status --he"), "--help\n");
}

}  // namespace
}  // namespace thalweg
