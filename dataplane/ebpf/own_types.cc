#include "dataplane/ebpf/own_types.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "dataplane/ebpf/objects.h"
#include "dataplane/intent/intent.h"

namespace thalweg::dataplane {

int OwnTypes::kernel_fd() const { return btf__fd(types_.get()); }

Result<OwnTypes> OwnTypes::read() {
  const ObjectFile file = object_file("tc");
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = file.name);
  bpf_object* object = bpf_object__open_mem(file.bytes, file.size, &options);
  if (object == nullptr) return fail_errno(errno, "open the programs {}", file.name);
  OwnTypes own;
  uint32_t size = 0;
  const void* bytes = btf__raw_data(bpf_object__btf(object), &size);  // its sections have their sizes now
  own.types_.reset(bytes == nullptr ? nullptr : btf__new(bytes, size));
  size_t found = 0;
  for (size_t id = 0; id < TABLES; ++id) {
    const bpf_map* map =
        bpf_object__find_map_by_name(object, ("tw_" + std::string(kTables[id].name)).c_str());
    if (map == nullptr) continue;
    own.keys_[id] = bpf_map__btf_key_type_id(map);
    own.values_[id] = bpf_map__btf_value_type_id(map);
    ++found;
  }
  bpf_object__close(object);
  if (!own.types_ || found != TABLES) return fail("the programs {} do not tell their types", file.name);
  if (const int error = btf__load_into_kernel(own.types_.get()))
    return fail_errno(-error, "tell the kernel the tables' types");
  return own;
}

Result<const OwnTypes*> own_types() {
  static Result<OwnTypes> own = OwnTypes::read();
  if (!own) return std::unexpected(own.error());
  return &*own;
}

}  // namespace thalweg::dataplane
