// The tables of a running agent as the command line sees them: GET /v1/tables, read into memory and into a
// native engine. Used by why.cc.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "bpf/port/native.h"
#include "dataplane/intent/intent.h"
#include "policy/rules.h"

namespace thalweg::cli {

struct FreeNative {
  void operator()(native* engine) const { native_free(engine); }
};
using Engine = std::unique_ptr<native, FreeNative>;

struct Tables {
  std::string node_name;
  dataplane::Intent rows;
  uint64_t generation = 0;
  policy::Names names;
};

// From the JSON the agent answers with.
Result<Tables> read_tables(std::string_view json);
Result<Engine> load_engine(const Tables& tables);
// The route of the longest prefix that covers the address; null: none (the world).
const route* route_of(const Tables& tables, const Ip& ip);

}  // namespace thalweg::cli
