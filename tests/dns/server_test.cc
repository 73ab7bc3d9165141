// thalweg-dns as a whole, in a network namespace of its own, with real clients (dig, getent) and nsd as its
// upstream.
//
//   dig, getent ── 10.96.0.2, 2001:db8:96::2 on lo ── thalweg-dns *:53
//                                                      ├─ 127.0.0.55:5300 (dead)
//                                                      └─ 127.0.0.54:5300 nsd: example.test
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "base/fd.h"
#include "dns/message.h"
#include "dns_fixture.h"

namespace thalweg::dns {
namespace {

constexpr const char* kManifest = R"(
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "2001:db8:96::10"]
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec:
  clusterIP: None
  ports: [{name: sql, port: 5432}]
  selector: {app: db}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: default, labels: {app: db}}
spec: {hostname: db-0, subdomain: db, containers: [{name: c, image: x}]}
status: {podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: default}
spec: {type: ExternalName, externalName: www.example.test}
)";

constexpr const char* kAdded = R"(
apiVersion: v1
kind: Service
metadata: {name: added, namespace: default}
spec: {clusterIP: 10.96.0.77, ports: [{name: http, port: 80}]}
)";

constexpr const char* kZoneFile = R"($ORIGIN example.test.
$TTL 300
@ IN SOA ns hostmaster 1 7200 1800 86400 60
@ IN NS ns
ns IN A 127.0.0.54
www IN A 192.0.2.80
www IN AAAA 2001:db8:2::80
)";

std::string run(const std::string& command) {
  std::string out;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return "popen failed";
  for (char buffer[4096]; const size_t n = fread(buffer, 1, sizeof buffer, pipe);) out.append(buffer, n);
  pclose(pipe);
  return out;
}

pid_t spawn(std::vector<std::string> arguments, const std::string& log) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  if (freopen(log.c_str(), "a", stderr) == nullptr || freopen(log.c_str(), "a", stdout) == nullptr)
    _exit(126);
  std::vector<char*> argv;
  for (auto& each : arguments) argv.push_back(each.data());
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  _exit(127);
}

int stop(pid_t pid) {
  if (pid <= 0) return -1;
  kill(pid, SIGTERM);
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// Asks until the output is as expected; what it was last when it never became so.
std::string eventually(const std::string& command, const std::string& expected) {
  std::string seen;
  for (int i = 0; i < 100; ++i) {
    seen = run(command);
    if (seen.find(expected) != std::string::npos) return expected;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return seen;
}

void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

std::string big_txt() {
  std::string out = "big IN TXT";
  for (int i = 0; i < 10; ++i) out += " \"" + std::string(200, static_cast<char>('a' + i)) + "\"";
  return out + "\n";
}

class DnsServer : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    missing_ = find_missing();
    if (!missing_.empty()) return;
    char name[] = "/tmp/twt-dns-XXXXXX";
    folder_ = mkdtemp(name);
    if (!enter_namespaces()) return;
    start_nsd();
    server_ = start_server({"--manifests", folder_ + "/objects", "--metrics", "127.0.0.1:9153", "--upstream",
                            "127.0.0.55:5300", "--upstream", "127.0.0.54:5300"});
    ASSERT_EQ(eventually("curl -s 127.0.0.1:9153/ready", "OK"), "OK") << run("cat " + folder_ + "/*.log");
    ASSERT_EQ(eventually("dig @127.0.0.54 -p 5300 +short www.example.test", "192.0.2.80"), "192.0.2.80")
        << run("cat " + folder_ + "/*.log");
  }

  static void TearDownTestSuite() {
    stop(nsd_);
    if (server_ > 0) {
      EXPECT_EQ(stop(server_), 0);
    }
    if (!folder_.empty()) run("rm -rf " + folder_);
  }

  void SetUp() override {
    if (!missing_.empty()) GTEST_SKIP() << missing_;
  }

  static std::string find_missing() {
    if (geteuid() != 0) return "needs root (a network namespace of its own)";
    for (const char* tool : {"dig", "nsd", "ip", "curl", "getent"})
      if (run(std::string("command -v ") + tool).empty()) return std::string(tool) + " is not installed";
    return {};
  }

  // A network of our own, and a resolv.conf of our own for getent; both vanish with this process.
  static bool enter_namespaces() {
    write(folder_ + "/resolv.conf",
          "nameserver 10.96.0.2\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions "
          "ndots:5\n");
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 ||
        mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount((folder_ + "/resolv.conf").c_str(), "/etc/resolv.conf", nullptr, MS_BIND, nullptr) != 0) {
      missing_ = std::string("namespaces: ") + strerror(errno);
      return false;
    }
    run("ip link set lo up; ip addr add 10.96.0.2/32 dev lo; ip addr add 2001:db8:96::2/128 dev lo nodad");
    return true;
  }

  static void start_nsd() {
    write(folder_ + "/example.test", kZoneFile + big_txt());
    write(folder_ + "/reverse",
          "$ORIGIN 2.0.192.in-addr.arpa.\n$TTL 300\n@ IN SOA ns.example.test. h.example.test. 1 1 1 1 60\n"
          "@ IN NS ns.example.test.\n80 IN PTR www.example.test.\n");
    write(folder_ + "/nsd.conf",
          "server:\n ip-address: 127.0.0.54@5300\n username: \"\"\n chroot: \"\"\n database: \"\"\n"
          " zonesdir: " +
              folder_ + "\n pidfile: " + folder_ + "/nsd.pid\n xfrdfile: " + folder_ +
              "/xfrd\n"
              " zonelistfile: " +
              folder_ +
              "/zone.list\n"
              "remote-control:\n control-enable: no\n"
              "zone:\n name: example.test\n zonefile: example.test\n"
              "zone:\n name: 2.0.192.in-addr.arpa\n zonefile: reverse\n");
    nsd_ = spawn({"nsd", "-d", "-c", folder_ + "/nsd.conf"}, folder_ + "/nsd.log");
    run("mkdir " + folder_ + "/objects");
    write(folder_ + "/objects/objects.yaml", kManifest);
  }

  static pid_t start_server(std::vector<std::string> more, const std::string& port = "53") {
    std::vector<std::string> arguments = {
        std::string(getenv("THALWEG_BIN") ? getenv("THALWEG_BIN") : "build/bin") + "/thalweg-dns", "--listen",
        "0.0.0.0:" + port, "--listen", "[::]:" + port};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return spawn(arguments, folder_ + "/dns.log");
  }

  static std::string dig(const std::string& rest) { return run("dig @10.96.0.2 +tries=1 +time=5 " + rest); }
  static std::string metric(const std::string& name) {
    return run("curl -s 127.0.0.1:9153/metrics | grep '^" + name + "' | sed 's/.* //'");
  }

  static inline std::string missing_, folder_;
  static inline pid_t nsd_ = -1, server_ = -1;
};

void expect_in(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "expected: " << part << "\nin: " << text;
}

TEST_F(DnsServer, AnswersDigByUdpAndTcpFromTheAddressAsked) {
  for (const char* server : {"@10.96.0.2", "@127.0.0.1", "@2001:db8:96::2", "@::1"})
    for (const char* transport : {"+notcp", "+tcp"}) {
      const std::string dig = std::string("dig +short +tries=1 +time=5 ") + server + " " + transport + " ";
      EXPECT_EQ(run(dig + "web.default.svc.cluster.local"), "10.96.0.10\n") << dig;
      EXPECT_EQ(run(dig + "web.default.svc.cluster.local AAAA"), "2001:db8:96::10\n") << dig;
    }
  EXPECT_EQ(dig("+short db.default.svc.cluster.local"), "10.1.0.5\n");
  EXPECT_EQ(dig("+short _sql._tcp.db.default.svc.cluster.local SRV"),
            "0 100 5432 db-0.db.default.svc.cluster.local.\n");
  EXPECT_EQ(dig("+short -x 10.96.0.10"), "web.default.svc.cluster.local.\n");
  EXPECT_EQ(dig("+short -x 2001:db8:96::10"), "web.default.svc.cluster.local.\n");
  EXPECT_EQ(dig("+short -x 10.1.0.5"), "db-0.db.default.svc.cluster.local.\n");
  EXPECT_EQ(dig("+short dns-version.cluster.local TXT"), "\"1.1.0\"\n");
}

TEST_F(DnsServer, SaysWhatIsNotThere) {
  const auto nxdomain = dig("nope.default.svc.cluster.local");
  expect_in(nxdomain, "status: NXDOMAIN");
  expect_in(nxdomain, "flags: qr aa rd ra; QUERY: 1, ANSWER: 0, AUTHORITY: 1");
  expect_in(nxdomain, "IN\tSOA\tns.dns.cluster.local.");
  expect_in(dig("svc.cluster.local"), "status: NOERROR");
  expect_in(dig("WeB.default.svc.cluster.local TXT"), ";WeB.default.svc.cluster.local.");
  expect_in(dig("+norecurse www.example.test"), "status: REFUSED");
  expect_in(dig("CH TXT version.bind"), "status: REFUSED");
  expect_in(dig("+opcode=NOTIFY cluster.local SOA"), "status: NOTIMP");
  expect_in(dig("+edns=1 +noednsnegotiation web.default.svc.cluster.local"), "status: BADVERS");
}

TEST_F(DnsServer, ForwardsTheRestPastADeadUpstream) {
  EXPECT_EQ(dig("+short www.example.test"), "192.0.2.80\n");
  EXPECT_EQ(dig("+short +tcp www.example.test AAAA"), "2001:db8:2::80\n");
  EXPECT_EQ(dig("+short -x 192.0.2.80"), "www.example.test.\n");
  expect_in(dig("absent.example.test"), "status: NXDOMAIN");
  expect_in(dig("www.example.test TYPE65280"), "status: NOERROR");
  EXPECT_EQ(dig("+short alias.default.svc.cluster.local"), "www.example.test.\n192.0.2.80\n");
  EXPECT_EQ(dig("+short alias.default.svc.cluster.local CNAME"), "www.example.test.\n");
}

TEST_F(DnsServer, CarriesLargeRepliesByTcp) {
  const auto cut = dig("+ignore +noall +comments big.example.test TXT");
  expect_in(cut, "flags: qr tc rd ra");
  const auto whole = dig("+short big.example.test TXT");
  expect_in(whole, std::string(200, 'a'));
  expect_in(whole, std::string(200, 'j'));
}

TEST_F(DnsServer, AnswersFromTheCacheWithoutAskingAgain) {
  dig("+short www.example.test");
  const std::string asked = metric("coredns_forward_requests_total");
  const auto again = dig("+noall +answer WWW.example.test");
  expect_in(again, "192.0.2.80");
  EXPECT_EQ(metric("coredns_forward_requests_total"), asked);
  EXPECT_NE(metric("coredns_cache_hits_total{type=\"success\"}"), "0\n");
}

TEST_F(DnsServer, ServesTheResolverOfGlibc) {
  expect_in(run("getent ahostsv4 web"), "10.96.0.10");
  expect_in(run("getent ahostsv6 web.default"), "2001:db8:96::10");
  expect_in(run("getent ahostsv4 www.example.test"), "192.0.2.80");
  expect_in(run("getent hosts 10.1.0.5"), "db-0.db.default.svc.cluster.local");
  EXPECT_EQ(run("getent ahostsv4 nope"), "");
}

TEST_F(DnsServer, TakesOverChangesAndKeepsTheLastGoodState) {
  write(folder_ + "/objects/added.yaml", kAdded);
  const std::string added = "dig @10.96.0.2 +short added.default.svc.cluster.local";
  EXPECT_EQ(eventually(added, "10.96.0.77"), "10.96.0.77");
  write(folder_ + "/objects/added.yaml", "kind: Service\n  broken: [");
  EXPECT_EQ(eventually("cat " + folder_ + "/dns.log", "added.yaml:"), "added.yaml:");
  EXPECT_EQ(run(added), "10.96.0.77\n");
  unlink((folder_ + "/objects/added.yaml").c_str());
  EXPECT_EQ(eventually("dig @10.96.0.2 added.default.svc.cluster.local", "NXDOMAIN"), "NXDOMAIN");
}

TEST_F(DnsServer, IsServfailWhileTheClusterIsUnknown) {
  const pid_t lonely = start_server({"--api", "unix:" + folder_ + "/no.sock", "--upstream", "127.0.0.54:5300",
                                     "--metrics", "unix:" + folder_ + "/dns.sock"},
                                    "5353");
  const std::string dig = "dig -p 5353 @127.0.0.1 +tries=1 ";
  EXPECT_EQ(eventually(dig + "web.default.svc.cluster.local", "SERVFAIL"), "SERVFAIL");
  EXPECT_EQ(run(dig + "+short www.example.test"), "192.0.2.80\n");
  expect_in(
      run("curl -s -o /dev/null -w '%{http_code}' --unix-socket " + folder_ + "/dns.sock http://x/ready"),
      "503");
  EXPECT_EQ(stop(lonely), 0);
}

TEST_F(DnsServer, HoldsNoCapability) {
  const auto status = run("cat /proc/" + std::to_string(server_) + "/task/*/status");
  for (const char* set : {"CapPrm", "CapEff", "CapInh", "CapAmb"})
    expect_in(status, std::string(set) + ":\t0000000000000000");
  EXPECT_EQ(run("grep -L 'CapEff:.0000000000000000' /proc/" + std::to_string(server_) + "/task/*/status"),
            "");
  expect_in(status, "NoNewPrivs:\t1");
}

Fd connected(int type) {
  Fd fd(socket(AF_INET, type, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(53)};
  inet_pton(AF_INET, "10.96.0.2", &address.sin_addr);
  const timeval patience{5, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST_F(DnsServer, OutlivesGarbage) {
  std::mt19937 random(5);
  const Fd udp = connected(SOCK_DGRAM);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<uint8_t> bytes(random() % 3000);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    ::send(udp.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  }
  for (int i = 0; i < 200; ++i) {
    const Fd tcp = connected(SOCK_STREAM);
    std::vector<uint8_t> bytes(random() % 300);
    for (auto& byte : bytes) byte = static_cast<uint8_t>(random());
    ::send(tcp.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  EXPECT_EQ(dig("+short web.default.svc.cluster.local"), "10.96.0.10\n");
  EXPECT_EQ(dig("+short +tcp web.default.svc.cluster.local"), "10.96.0.10\n");
}

// Forwarded and own questions in one write, cut in the middle; every one is answered, in whatever order.
TEST_F(DnsServer, PipelinesOverTcp) {
  std::vector<uint8_t> stream;
  constexpr int kQueries = 100;  // more than may be outstanding
  for (int i = 0; i < kQueries; ++i) {
    auto query =
        test::query_bytes(i % 2 ? fmt::format("n{}.example.test", i) : "web.default.svc.cluster.local", kA);
    put_u16(query.data(), static_cast<uint16_t>(i));
    stream.push_back(0);
    stream.push_back(static_cast<uint8_t>(query.size()));
    stream.insert(stream.end(), query.begin(), query.end());
  }
  const Fd tcp = connected(SOCK_STREAM);
  const size_t half = stream.size() / 2 + 1;
  ASSERT_EQ(::send(tcp.get(), stream.data(), half, 0), static_cast<ssize_t>(half));
  ASSERT_EQ(::send(tcp.get(), stream.data() + half, stream.size() - half, 0),
            static_cast<ssize_t>(stream.size() - half));
  shutdown(tcp.get(), SHUT_WR);
  std::set<uint16_t> answered;
  uint8_t length[2], reply[4096];
  while (recv(tcp.get(), length, 2, MSG_WAITALL) == 2) {
    ASSERT_EQ(recv(tcp.get(), reply, get_u16(length), MSG_WAITALL), get_u16(length));
    const uint16_t id = get_u16(reply);
    EXPECT_EQ(reply[3] & 0xf, id % 2 ? 3 : 0) << id;
    answered.insert(id);
  }
  EXPECT_EQ(answered.size(), static_cast<size_t>(kQueries));
}

TEST_F(DnsServer, RefusesWrongFlags) {
  const std::string program =
      std::string(getenv("THALWEG_BIN") ? getenv("THALWEG_BIN") : "build/bin") + "/thalweg-dns ";
  expect_in(run(program + "--listen nonsense --manifests /tmp"), "nonsense");
  expect_in(run(program + "--listen 127.0.0.1:5354 --upstream 127.0.0.1:5354 --manifests /tmp"),
            "this server itself");
  expect_in(run("(" + program + "--listen 127.0.0.1:5354 --pods sometimes; echo status $?)"), "status 2\n");
  expect_in(run(program + "--help"), "EXIT STATUS");
}

}  // namespace
}  // namespace thalweg::dns
