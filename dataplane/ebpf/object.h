// A compiled object file on its way into the kernel: opened by libbpf, given this build's tables, loaded.
// Used by program.cc; the verifier's words become the error.
#pragma once

#include <memory>

#include "base/result.h"
#include "dataplane/ebpf/objects.h"
#include "dataplane/ebpf/sets.h"

struct bpf_object;

namespace thalweg::dataplane {

struct CloseObject {
  void operator()(bpf_object* object) const;
};
using ObjectPtr = std::unique_ptr<bpf_object, CloseObject>;

Result<ObjectPtr> open_object(const ObjectFile& file);
// Maps of the same name as a table become that table; the object's own (constants) stay its own.
Result<> use_tables(bpf_object* object, const EbpfDatapath& tables);
// The programs look into these tables, too, and move what they find there (bpf/port/take_over.h).
Result<> take_over(bpf_object* object, const std::vector<OldTable>& old);
Result<> load_object(bpf_object* object, const char* name);

}  // namespace thalweg::dataplane
