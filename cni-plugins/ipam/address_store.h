// The addresses given out of a network, as files that the reference's host-local reads and writes, too: a
// folder DATADIR/NETWORK with a file for each address ("CONTAINER\r\nIFNAME"), last_reserved_ip.N for each
// range set, and `lock` (flock(2)). Used by host-local.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"
#include "cni-plugins/cni.h"

namespace thalweg::cni {

class AddressStore {
 public:
  // Holds the folder's lock as long as it lives. Made where there is none.
  static Result<AddressStore> open(const std::string& data_dir, const std::string& network);
  // Of a folder that is there; none: nothing has been given out of that network.
  static Result<std::optional<AddressStore>> open_existing(const std::string& data_dir,
                                                           const std::string& network);

  // False: somebody has it.
  Result<bool> reserve(const Ip& ip, const Attachment& owner);
  Result<> remember_last(size_t range_set, const Ip& ip);
  std::optional<Ip> last(size_t range_set) const;

  struct Given {
    Ip ip;
    Attachment owner;  // ifname "": written by a release before 0.7 of the reference
  };
  // In no order. A file without an owner is nobody's, and removed: its writer was ended in the middle, since
  // whoever writes holds the lock.
  Result<std::vector<Given>> given();
  Result<> release(const Ip& ip);

 private:
  AddressStore(std::string folder, Fd lock) : folder_(std::move(folder)), lock_(std::move(lock)) {}
  static Result<AddressStore> lock(std::string folder);
  std::string folder_;
  Fd lock_;
};

bool owns(const Attachment& owner, const Attachment& asking);

}  // namespace thalweg::cni
