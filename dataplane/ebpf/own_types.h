// The types of this build's tables, from the BTF of the compiled programs. Read once; used where tables are
// made (maps.cc) and where another build's are compared with them (sets.cc).
#pragma once

#include <array>

#include "bpf/abi.h"
#include "dataplane/ebpf/layout.h"

namespace thalweg::dataplane {

class OwnTypes {
 public:
  static Result<OwnTypes> read();
  TypeRef key(table_id table) const { return {types_.get(), keys_[table]}; }
  TypeRef value(table_id table) const { return {types_.get(), values_[table]}; }
  int kernel_fd() const;

 private:
  BtfPtr types_;
  std::array<uint32_t, TABLES> keys_{}, values_{};
};

Result<const OwnTypes*> own_types();

}  // namespace thalweg::dataplane
