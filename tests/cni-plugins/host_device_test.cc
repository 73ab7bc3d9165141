// host-device: a veth's end stands for the device, a folder for sysfs, and there and back it goes.
#include <filesystem>

#include "base/link_move.h"
#include "tests/cni-plugins/links.h"

namespace thalweg {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

struct HostDeviceTest : LinksTest {
  void SetUp() override {
    LinksTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(nl::create_veth(host(), {.name = "dev0", .mac = kMac, .peer_name = "far0"}));
    ASSERT_TRUE(nl::set_up(host(), nl::link_by_name(host(), "dev0")->index));
  }
  nl::Socket& host() { return runtime->host.socket(); }
  nl::Socket& pod() { return runtime->pod.socket(); }
  std::string device(const std::string& more = "") {
    return config("host-device", R"(,"device":"dev0")" + more);
  }

  // As runtime->call, with that folder as /sys.
  Answer call_with_sys(const std::string& command, const std::string& config) {
    const std::string file = runtime->folder + "/host-device";
    EXPECT_TRUE(
        write_atomically(file,
                         fmt::format("#!/bin/sh\nexec unshare -m sh -c 'mount --bind {} /sys && exec {}'\n",
                                     sys(), runtime->path + "/host-device"),
                         0755));
    return runtime->host.netns()
        .run([&]() -> Result<Answer> {
          return call_plugin(file, runtime->path,
                             {.command = command, .config = config, .netns = runtime->pod.path()},
                             runtime->folder);
        })
        .value();
  }
  std::string sys() { return runtime->folder + "/sys"; }

  static constexpr nl::Mac kMac{2, 0, 0, 0, 0, 0x55};
};

TEST_F(HostDeviceTest, ThereAndBack) {
  const Answer added = runtime->add(device());
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_FALSE(has_link(runtime->host, "dev0"));
  const nl::Link eth0 = nl::link_by_name(pod(), "eth0").value();
  EXPECT_EQ(eth0.mac, kMac);
  EXPECT_TRUE(eth0.up);
  EXPECT_EQ(nl::link_alias(pod(), eth0.index).value(), "dev0");
  EXPECT_TRUE(has_address(runtime->pod, "eth0", "2001:db8::2"));
  EXPECT_EQ(added.body.at("interfaces").at(0).at("mac"), "02:00:00:00:00:55");
  repeats_and_ends(device(), added);
  const nl::Link dev0 = nl::link_by_name(host(), "dev0").value();
  EXPECT_EQ(dev0.mac, kMac);
  EXPECT_FALSE(dev0.up) << "as the reference leaves it";
  EXPECT_EQ(nl::link_alias(host(), dev0.index).value(), "");
}

TEST_F(HostDeviceTest, AFailedAddBringsItBackAsItWas) {
  const Answer refused = runtime->add(bare("host-device", R"(,"device":"dev0","ipam":{"type":"absent"})"));
  EXPECT_THAT(refused.msg(), HasSubstr("CNI_PATH"));
  EXPECT_EQ(links(runtime->pod), 1u);
  const nl::Link dev0 = nl::link_by_name(host(), "dev0").value();
  EXPECT_TRUE(dev0.up);
  EXPECT_EQ(nl::link_alias(host(), dev0.index).value(), "");
}

TEST_F(HostDeviceTest, WithoutIpamAndByItsMac) {
  const std::string text = bare("host-device", R"(,"hwaddr":"02:00:00:00:00:55")");
  const Answer added = runtime->add(text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_FALSE(added.body.contains("ips"));
  EXPECT_TRUE(nl::link_by_name(pod(), "eth0")->up);
  EXPECT_EQ(runtime->check(text, added).exit, 0);
  ASSERT_TRUE(nl::set_mac(pod(), nl::link_by_name(pod(), "eth0")->index, nl::mac_from("other")));
  check_finds(text, added, "MAC");
  EXPECT_EQ(runtime->del(text).exit, 0);
  EXPECT_TRUE(has_link(runtime->host, "dev0"));
}

TEST_F(HostDeviceTest, WhatIsNotTheHostsStays) {
  ASSERT_TRUE(nl::create_veth(pod(), {.name = "eth0", .peer_name = "other"}));
  EXPECT_THAT(runtime->del(device()).msg(), HasSubstr("no alias"));
  ASSERT_TRUE(nl::delete_link(pod(), std::string("eth0")));
  ASSERT_EQ(runtime->add(device()).exit, 0);
  ASSERT_TRUE(nl::create_veth(host(), {.name = "dev0", .peer_name = "another"}));
  EXPECT_THAT(runtime->del(device()).msg(), HasSubstr("another dev0"));
  EXPECT_TRUE(has_link(runtime->pod, "eth0"));
  EXPECT_EQ(given(), 0u) << "its addresses are free even so";
  ASSERT_TRUE(nl::delete_link(host(), std::string("dev0")));
  EXPECT_EQ(runtime->del(device()).exit, 0);
  EXPECT_EQ(nl::link_by_name(host(), "dev0")->mac, kMac);
}

TEST_F(HostDeviceTest, ByItsPlaceInSysfs) {
  for (const char* folder :
       {"/devices/virtual/x", "/bus/pci/devices/0000:00:1f.6", "/bus/pci/devices/0000:00:03.0/virtio1",
        "/bus/auxiliary/devices/mlx5_core.sf.4"})
    fs::create_directories(sys() + folder + "/net/dev0");
  for (const char* field :
       {R"(,"kernelpath":"/sys/devices/virtual/x")", R"(,"pciBusID":"0000:00:1f.6")",
        R"(,"pciBusID":"0000:00:03.0")", R"(,"runtimeConfig":{"deviceID":"0000:00:1f.6"})",
        R"(,"runtimeConfig":{"deviceID":"mlx5_core.sf.4"},"pciBusID":"0000:00:99.0")"}) {
    const std::string text = bare("host-device", field);
    EXPECT_EQ(call_with_sys("ADD", text).exit, 0) << field;
    EXPECT_EQ(nl::link_by_name(pod(), "eth0")->mac, kMac) << field;
    EXPECT_EQ(call_with_sys("DEL", text).exit, 0) << field;
    EXPECT_TRUE(has_link(runtime->host, "dev0")) << field;
  }
  const Answer absent = call_with_sys("ADD", bare("host-device", R"(,"pciBusID":"0000:00:07.0")"));
  EXPECT_THAT(absent.msg(), HasSubstr("pciBusID: no network device"));
}

TEST_F(HostDeviceTest, ForDpdkItHasAddressesAndNoLink) {
  fs::create_directories(sys() + "/bus/pci/drivers/vfio-pci");
  fs::create_directories(sys() + "/bus/pci/devices/0000:00:05.0");
  fs::create_symlink("../../drivers/vfio-pci", sys() + "/bus/pci/devices/0000:00:05.0/driver");
  const std::string text = config("host-device", R"(,"pciBusID":"0000:00:05.0")");
  const Answer added = call_with_sys("ADD", text);
  ASSERT_EQ(added.exit, 0) << added.out;
  EXPECT_EQ(links(runtime->pod), 1u);
  EXPECT_EQ(added.body.at("interfaces").at(0).at("name"), "eth0");
  EXPECT_EQ(added.body.at("ips").at(0).at("address"), "192.0.2.2/24");
  EXPECT_EQ(call_with_sys("CHECK", Runtime::with(text, "prevResult", added.body)).exit, 0);
  EXPECT_EQ(call_with_sys("DEL", text).exit, 0);
  EXPECT_EQ(given(), 0u);
}

TEST_F(HostDeviceTest, Refuses) {
  refuses(config("host-device"), "device: is missing");
  refuses(config("host-device", R"(,"device":"a/b")"), "device");
  refuses(config("host-device", R"(,"device":"gone")"), "device: link gone");
  refuses(config("host-device", R"(,"hwaddr":"nonsense")"), "hwaddr");
  refuses(config("host-device", R"(,"hwaddr":"02:00:00:00:00:99")"), "hwaddr: no link");
  refuses(config("host-device", R"(,"kernelpath":"/sys/devices/../../etc")"), "kernelpath");
  refuses(config("host-device", R"(,"kernelpath":"/etc")"), "kernelpath");
  refuses(config("host-device", R"(,"pciBusID":"../../../etc")"), "pciBusID");
  refuses(config("host-device", R"(,"runtimeConfig":{"deviceID":"../x"})"), "runtimeConfig.deviceID");
  EXPECT_TRUE(has_link(runtime->host, "dev0"));
  EXPECT_EQ(runtime->call({.command = "STATUS", .config = config("host-device")}).exit, 0)
      << "no device is told then";
}

}  // namespace
}  // namespace thalweg
