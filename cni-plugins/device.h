// A network device of the host as configurations name it: by its name, its MAC address, its place in sysfs,
// or its address on a bus. Used by host-device.
#pragma once

#include <string>

#include "base/link.h"
#include "cni-plugins/fields.h"

namespace thalweg::cni {

struct Device {
  std::string name;  // the first of these that is set is what it is known by
  std::string mac;
  std::string kernel_path;  // below /sys/devices/
  std::string pci;          // "0000:00:1f.6"
  std::string auxiliary;    // "mlx5_core.sf.4"
  bool named() const { return !(name + mac + kernel_path + pci + auxiliary).empty(); }
};
// device, hwaddr, kernelpath, pciBusID and runtimeConfig.deviceID, which is of either bus.
Device read_device(Fields& fields);

Outcome<nl::Link> find_device(nl::Socket& host, const Device& device);

// Its driver gives it to a program (DPDK), not to the kernel's network: there is no link.
bool is_for_programs(const Device& device);

}  // namespace thalweg::cni
