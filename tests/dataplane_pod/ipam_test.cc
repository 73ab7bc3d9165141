#include "dataplane/agent/ipam.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <sstream>

#include "base/fd.h"
#include "base/file.h"

namespace thalweg::dataplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Cidr cidr(const char* text) { return Cidr::parse(text).value(); }
Ip ip(const char* text) { return Ip::parse(text).value(); }
Attachment pod(const std::string& name) { return {name, "eth0"}; }

struct IpamTest : ::testing::Test {
  IpamTest() {
    // In memory where there is such a place: a killed process is no power cut, so fsync proves nothing here.
    const bool memory = std::filesystem::is_directory("/dev/shm");
    std::string pattern = (memory ? "/dev/shm/" : ::testing::TempDir()) + "thalweg-ipam-XXXXXX";
    folder = ::mkdtemp(pattern.data());
    path = folder + "/ipam";
  }
  ~IpamTest() override { std::filesystem::remove_all(folder); }
  Ipam open(const std::vector<Cidr>& ranges) {
    auto ipam = Ipam::open(path);
    EXPECT_TRUE(ipam) << ipam.error().message;
    EXPECT_TRUE(ipam->set_ranges(ranges));
    return std::move(*ipam);
  }
  // The journal without the room behind its lines.
  std::string lines() {
    const std::string text = read_file(path).value();
    return text.substr(0, text.find('\0'));
  }
  std::string folder, path;
};

std::string first(Ipam& ipam, const std::string& name) {
  auto lease = ipam.acquire(pod(name));
  return lease ? lease->ips.at(0).str() : lease.error().message;
}

TEST_F(IpamTest, OneOfEachFamilyBehindNetworkAndGateway) {
  Ipam ipam = open({cidr("2001:db8:1::/64"), cidr("192.0.2.0/24")});
  EXPECT_THAT(ipam.acquire(pod("a"))->ips, ElementsAre(ip("192.0.2.2"), ip("2001:db8:1::2")));
  EXPECT_THAT(ipam.acquire(pod("b"))->ips, ElementsAre(ip("192.0.2.3"), ip("2001:db8:1::3")));
  EXPECT_EQ(Ipam::gateway(cidr("192.0.2.0/24")), ip("192.0.2.1"));
}

TEST_F(IpamTest, ARepeatedAddGetsTheSame) {
  Ipam ipam = open({cidr("192.0.2.0/24")});
  const auto one = ipam.acquire(pod("a"), "ns/one");
  EXPECT_EQ(ipam.acquire(pod("a"))->ips, one->ips);
  EXPECT_EQ(ipam.find(pod("a"))->owner, "ns/one");
  EXPECT_NE(ipam.acquire({"a", "net1"})->ips, one->ips);
}

TEST_F(IpamTest, ExhaustedIsAClearErrorAndFreesAgain) {
  Ipam ipam = open({cidr("192.0.2.0/29")});  // .2 – .6
  EXPECT_EQ(ipam.free_addresses(false), 5u);
  for (const char* name : {"a", "b", "c", "d", "e"}) EXPECT_TRUE(ipam.acquire(pod(name)));
  EXPECT_EQ(first(ipam, "e"), "192.0.2.6");
  const auto full = ipam.acquire(pod("f"));
  EXPECT_EQ(full.error().code, ENOSPC);
  EXPECT_THAT(full.error().message, HasSubstr("192.0.2.0/29"));
  EXPECT_EQ(ipam.free_addresses(false), 0u);
  ASSERT_TRUE(ipam.release(pod("c")));
  EXPECT_EQ(first(ipam, "f"), "192.0.2.4");
}

TEST_F(IpamTest, AReleasedAddressIsTheLastToComeAgainAlsoAfterARestart) {
  {
    Ipam ipam = open({cidr("192.0.2.0/29")});
    EXPECT_EQ(first(ipam, "a"), "192.0.2.2");
    ASSERT_TRUE(ipam.release(pod("a")));
    ASSERT_TRUE(ipam.release(pod("a")));
    EXPECT_EQ(first(ipam, "b"), "192.0.2.3");
    ASSERT_TRUE(ipam.release(pod("b")));
  }
  for (const char* want : {"192.0.2.4", "192.0.2.5", "192.0.2.6", "192.0.2.2", "192.0.2.3"}) {
    Ipam ipam = open({cidr("192.0.2.0/29")});
    EXPECT_EQ(first(ipam, "x"), want);
    ASSERT_TRUE(ipam.release(pod("x")));
  }
}

TEST_F(IpamTest, GarbageCollectionKeepsTheValid) {
  {
    Ipam ipam = open({cidr("192.0.2.0/24")});
    for (const char* name : {"a", "b", "c"}) (void)ipam.acquire(pod(name));
    const auto gone = ipam.keep_only({pod("b"), pod("unknown")});
    ASSERT_TRUE(gone);
    EXPECT_EQ(gone->size(), 2u);
    EXPECT_TRUE(ipam.keep_only({pod("b")})->empty());
  }
  Ipam ipam = open({cidr("192.0.2.0/24")});
  ASSERT_EQ(ipam.leases().size(), 1u);
  EXPECT_EQ(ipam.leases()[0].attachment, pod("b"));
}

TEST_F(IpamTest, AChangedRangeKeepsWhatIsInUse) {
  Ipam ipam = open({cidr("192.0.2.0/24")});
  const auto old = ipam.acquire(pod("a"));
  ASSERT_TRUE(ipam.set_ranges({cidr("198.51.100.0/24")}));
  EXPECT_EQ(ipam.acquire(pod("a"))->ips, old->ips);
  EXPECT_EQ(first(ipam, "b"), "198.51.100.2");
  ASSERT_TRUE(ipam.set_ranges({cidr("192.0.2.0/24")}));
  EXPECT_EQ(first(ipam, "c"), "192.0.2.3");
}

TEST_F(IpamTest, NoRangeOrAUselessOne) {
  Ipam ipam = open({});
  EXPECT_EQ(ipam.acquire(pod("a")).error().code, EAGAIN);
  for (const char* small : {"192.0.2.0/31", "192.0.2.0/32", "2001:db8::/127"})
    EXPECT_THAT(ipam.set_ranges({cidr(small)}).error().message, HasSubstr(small));
  ASSERT_TRUE(ipam.set_ranges({cidr("192.0.2.0/30"), cidr("2001:db8::/126")}));
  EXPECT_EQ(ipam.free_addresses(false), 1u);
  EXPECT_EQ(ipam.free_addresses(true), 2u);
}

TEST_F(IpamTest, AHugeRangeCostsNothing) {
  Ipam ipam = open({cidr("2001:db8::/32")});
  EXPECT_EQ(first(ipam, "a"), "2001:db8::2");
  EXPECT_EQ(first(ipam, "b"), "2001:db8::3");
}

TEST_F(IpamTest, TheJournalStaysShort) {
  Ipam ipam = open({cidr("192.0.2.0/24")});
  for (int i = 0; i < 1500; ++i) {
    ASSERT_TRUE(ipam.acquire(pod("a")));
    ASSERT_TRUE(ipam.release(pod("a")));
  }
  EXPECT_LT(std::filesystem::file_size(path), 200'000u);
}

TEST_F(IpamTest, AHalfLineAtTheEndIsDroppedElsewhereItIsAnError) {
  (void)open({cidr("192.0.2.0/24")}).acquire(pod("a"));
  const std::string half = lines() + R"({"add":{"container":"b","ifn)";
  ASSERT_TRUE(write_atomically(path, half + std::string(100, '\0')));
  {
    Ipam ipam = open({cidr("192.0.2.0/24")});
    EXPECT_TRUE(ipam.find(pod("a")));
    EXPECT_FALSE(ipam.find(pod("b")));
  }
  const std::string whole = lines();
  for (const char* bad :
       {"{\"add\":{\"container\":\"b\",\"ifn\n", "[]\n", "{\"add\":{}}\n", "{}\n",
        "{\"add\":{\"container\":\"b\",\"ifname\":\"e\",\"owner\":\"\",\"ips\":[\"192.0.2.2\"]}}\n"}) {
    ASSERT_TRUE(write_atomically(path, whole + bad + whole));
    const auto opened = Ipam::open(path);
    ASSERT_FALSE(opened) << bad;
    EXPECT_THAT(opened.error().message, HasSubstr(path + ":3")) << opened.error().message;
  }
}

TEST_F(IpamTest, TwoAgentsCannotShareIt) {
  Ipam ipam = open({cidr("192.0.2.0/24")});
  EXPECT_EQ(Ipam::open(path).error().code, EWOULDBLOCK);
}

// A child hands out and takes back, telling each answer over a pipe, and is killed in the middle of it, again
// and again. What it answered must be what the next one finds; nothing may be with two.
TEST_F(IpamTest, NeverTwiceAcrossSigkill) {
  std::map<std::string, std::string> answered;  // pod → address, as told
  std::set<std::string> in_question;            // the operation cut off
  srand(7);
  for (int round = 0; round < 150; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(::pipe(pipe_fds), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto ipam = Ipam::open(path);
      if (!ipam || !ipam->set_ranges({cidr("192.0.2.0/27")})) ::_exit(3);
      const auto say = [&](const std::string& text) {
        const std::string line = text + "\n";
        if (::write(pipe_fds[1], line.data(), line.size()) < 0) ::_exit(6);
      };
      for (int i = 0;; ++i) {
        const std::string name = fmt::format("p{}", (round * 7 + i * 11) % 23);
        const bool add = !ipam->find(pod(name));
        say((add ? "try add " : "try del ") + name);
        if (!add) {
          if (!ipam->release(pod(name))) ::_exit(4);
          say("del " + name);
        } else if (const auto lease = ipam->acquire(pod(name))) {
          say("add " + name + " " + lease->ips[0].str());
        } else {
          ::_exit(5);
        }
      }
    }
    ::close(pipe_fds[1]);
    const Fd in(pipe_fds[0]);
    std::string told;
    char chunk[512];
    const size_t enough = static_cast<size_t>(rand() % 3000);
    for (ssize_t n; told.size() <= enough && (n = ::read(in.get(), chunk, sizeof chunk)) > 0;)
      told.append(chunk, n);
    ::kill(child, SIGKILL);
    for (ssize_t n; (n = ::read(in.get(), chunk, sizeof chunk)) > 0;) told.append(chunk, n);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child gave up by itself: " << WEXITSTATUS(status);

    in_question.clear();
    std::istringstream lines(told);
    for (std::string word, name, address; lines >> word >> name;) {
      if (word == "try") {
        lines >> name;
        in_question = {name};
      } else {
        if (word == "add") lines >> address, answered[name] = address;
        if (word == "del") answered.erase(name);
        in_question.clear();
      }
    }
    Ipam ipam = open({cidr("192.0.2.0/27")});
    std::map<std::string, std::string> found;
    std::set<std::string> addresses;
    for (const Lease& lease : ipam.leases()) {
      found[lease.attachment.container_id] = lease.ips[0].str();
      EXPECT_TRUE(addresses.insert(lease.ips[0].str()).second) << lease.ips[0].str() << " is with two";
    }
    for (const std::string& name : in_question) {  // may have happened or not
      if (found.contains(name) && answered.contains(name)) {
        EXPECT_EQ(found[name], answered[name]);
      }
      answered.erase(name);
      if (found.contains(name)) answered[name] = found[name];
    }
    ASSERT_EQ(found, answered) << "round " << round;
  }
}

}  // namespace
}  // namespace thalweg::dataplane
