#include "dataplane/agent/moved.h"

#include <netinet/in.h>

namespace thalweg::dataplane {

Result<> MovedRows::adopt(const Datapath& datapath) {
  for (const auto& row : TRY(datapath.dump(TABLE_moved)))
    values_[from_bytes<__u32>(row.key)] = from_bytes<__u32>(row.value);
  return {};
}

void MovedRows::note(const Intent& before, const Change& change) {
  if (change.table == TABLE_members && change.op == Change::Op::Delete) {
    const auto gone = from_bytes<member_key>(change.key);
    if (gone.service.protocol == IPPROTO_UDP) owed_.insert(moved_row(&gone.address, gone.port));
    return;
  }
  // Flows from outside may now be of a backend that is the inside's alone.
  if (change.table != TABLE_services || change.op != Change::Op::Put) return;
  const auto key = from_bytes<service_key>(change.key);
  const auto now = from_bytes<service>(change.value);
  const auto old = before.services.find(key);
  if (key.protocol != IPPROTO_UDP || old == before.services.end()) return;
  if (!(now.flags & SERVICE_APART) || old->second.flags & SERVICE_APART) return;
  for (backend_key at{key, 0, INSIDE}; at.slot < now.backends[INSIDE]; ++at.slot)
    if (const auto slot = before.backends.find(at); slot != before.backends.end())
      owed_.insert(moved_row(&slot->second.address, slot->second.port));
}

Result<> MovedRows::raise(Datapath& datapath) {
  if (owed_.empty()) return {};
  std::vector<Change> changes;
  for (const uint32_t row : owed_)
    changes.push_back(
        {TABLE_moved, Change::Op::Put, to_bytes(__u32{row}), to_bytes(__u32{values_[row] + 1})});
  TRY(context(datapath.apply(changes), "tell UDP flows that their backends moved"));
  for (const uint32_t row : std::exchange(owed_, {})) ++values_[row];
  return {};
}

}  // namespace thalweg::dataplane
