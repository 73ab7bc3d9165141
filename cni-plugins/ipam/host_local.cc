// host-local: addresses out of ranges, the next free one of each, kept in files on this host.
#include <algorithm>

#include "base/file.h"
#include "cni-plugins/arguments.h"
#include "cni-plugins/delegate.h"
#include "cni-plugins/fields.h"
#include "cni-plugins/ipam/address_store.h"
#include "cni-plugins/ipam/ranges.h"
#include "cni-plugins/ipam/resolv_conf.h"
#include "cni-plugins/plugins.h"

namespace thalweg::cni {

namespace {

constexpr std::string_view kDefaultDataDir = "/var/lib/cni/networks";

struct Config {
  std::string data_dir, resolv_conf;
  std::vector<RangeSet> sets;
  std::vector<Route> routes;
  std::vector<Ip> wanted;  // must be given, each out of the set that holds it
};

// Of the reference, "ips" may be "192.0.2.1" or "192.0.2.1/24"; the length is the range's own.
void want(Fields& fields, std::string_view key, std::vector<Ip>& wanted) {
  for (const std::string& text : fields.texts(key)) {
    const auto ip = Ip::parse(std::string_view(text).substr(0, text.find('/')));
    ip ? wanted.push_back(*ip) : fields.refuse(key, ip.error().message);
  }
}

void read_sets(Fields& fields, std::string_view key, std::vector<RangeSet>& sets) {
  for (auto& list : fields.objects_of_lists(key)) {
    RangeSet& set = sets.emplace_back();
    for (Fields& range : list) set.ranges.push_back(read_range(range));
  }
}

Outcome<Config> read_config(const Request& request) {
  Fields fields(request.config);
  Fields ipam = fields.object("ipam"), runtime = fields.object("runtimeConfig"),
         args = fields.object("args").object("cni");
  Config out{.data_dir = ipam.absolute_path("dataDir"), .resolv_conf = ipam.absolute_path("resolvConf")};
  if (!fields.has("ipam")) fields.refuse("ipam", "is required");
  if (out.data_dir.empty()) out.data_dir = kDefaultDataDir;
  read_sets(runtime, "ipRanges", out.sets);
  if (ipam.has("subnet")) out.sets.push_back({{read_range(ipam)}});
  read_sets(ipam, "ranges", out.sets);
  out.routes = ipam.routes("routes");
  const auto env = TRY(read_arguments(request.args, {"IP"}));
  if (const auto ip = env.find("IP"); ip != env.end())
    out.wanted.push_back(
        TRY(under(kInvalidEnvironment, Ip::parse(ip->second.substr(0, ip->second.find('/'))))));
  want(args, "ips", out.wanted);
  want(runtime, "ips", out.wanted);
  TRY(fields.done());
  if (out.sets.empty()) return refuse(kInvalidConfig, "ipam: no ranges");
  if (const std::string fault = fault_in(out.sets); !fault.empty())
    return refuse(kInvalidConfig, "ipam: " + fault);
  return out;
}

Outcome<AddressStore> open_store(const Config& config, const Request& request) {
  return under(kIoFailure, AddressStore::open(config.data_dir, request.network));
}

// The one asked for, or the next free one.
Outcome<Ip> give(AddressStore& store, const RangeSet& set, size_t number, std::optional<Ip> wanted,
                 const Attachment& owner) {
  if (wanted) {
    if (*wanted == set.find(*wanted)->gateway)
      return refuse(kPluginFailure, fmt::format("{} is the gateway of its subnet", *wanted));
    if (!TRY(under(kIoFailure, store.reserve(*wanted, owner))))
      return refuse(kPluginFailure, fmt::format("{} is not free in {}", *wanted, set.str()));
  } else {
    wanted = TRY(under(
        kIoFailure, walk(set, store.last(number), [&](const Ip& ip) { return store.reserve(ip, owner); })));
    if (!wanted) return refuse(kPluginFailure, fmt::format("no address is free in {}", set.str()));
  }
  Undo undo([&] { (void)store.release(*wanted); });
  TRY(under(kIoFailure, store.remember_last(number, *wanted)));
  undo.keep();
  return *wanted;
}

Outcome<> check_has_none(AddressStore& store, const std::vector<RangeSet>& sets, const Attachment& owner) {
  for (const auto& given : TRY(under(kIoFailure, store.given())))
    if (owns(given.owner, owner))
      for (const RangeSet& set : sets)
        if (set.find(given.ip))
          return refuse(kPluginFailure, fmt::format("{} has {} already", owner.container_id, given.ip));
  return {};
}

std::optional<Ip> take_wanted(std::vector<Ip>& wanted, const RangeSet& set) {
  const auto it = std::find_if(wanted.begin(), wanted.end(), [&](const Ip& ip) { return set.find(ip); });
  if (it == wanted.end()) return std::nullopt;
  const Ip ip = *it;
  std::erase(wanted, ip);
  return ip;
}

Outcome<CniResult> add(const Request& request) {
  Config config = TRY(read_config(request));
  CniResult result{.routes = config.routes};
  if (!config.resolv_conf.empty()) result.dns = TRY(under(kIoFailure, read_resolv_conf(config.resolv_conf)));
  const Attachment owner{request.container_id, request.ifname};
  AddressStore store = TRY(open_store(config, request));
  TRY(check_has_none(store, config.sets, owner));
  Undo undo([&] {
    for (const AddressConfig& each : result.ips) (void)store.release(each.ip);
  });
  for (size_t i = 0; i < config.sets.size(); ++i) {
    const RangeSet& set = config.sets[i];
    const Ip ip = TRY(give(store, set, i, take_wanted(config.wanted, set), owner));
    const Range* range = set.find(ip);
    result.ips.push_back({.ip = ip, .length = range->subnet.family_length(), .gateway = range->gateway});
  }
  if (!config.wanted.empty())
    return refuse(kPluginFailure, fmt::format("no range holds {}", fmt::join(config.wanted, ", ")));
  undo.keep();
  return result;
}

// What is not in `keep` of those given out.
Outcome<> release_unless(const Request& request, const std::function<bool(const Attachment&)>& keep) {
  Fields fields(request.config);
  std::string data_dir = fields.object("ipam").absolute_path("dataDir");
  TRY(fields.done());
  if (data_dir.empty()) data_dir = kDefaultDataDir;
  auto store = TRY(under(kIoFailure, AddressStore::open_existing(data_dir, request.network)));
  if (!store) return {};
  for (const auto& given : TRY(under(kIoFailure, store->given())))
    if (!keep(given.owner)) TRY(under(kIoFailure, store->release(given.ip)));
  return {};
}

Outcome<> del(const Request& request) {
  return release_unless(request, [&](const Attachment& owner) {
    return !owns(owner, {request.container_id, request.ifname});
  });
}

Outcome<> gc(const Request& request) {
  return release_unless(request, [&](const Attachment& owner) {
    return std::any_of(request.valid_attachments.begin(), request.valid_attachments.end(),
                       [&](const Attachment& valid) { return owns(owner, valid); });
  });
}

Outcome<> check(const Request& request) {
  const Config config = TRY(read_config(request));
  AddressStore store = TRY(open_store(config, request));
  for (const auto& given : TRY(under(kIoFailure, store.given())))
    if (owns(given.owner, {request.container_id, request.ifname})) return {};
  return refuse(kPluginFailure,
                fmt::format("{} has no address of {}", request.container_id, request.network));
}

// Full is not broken, but ADD would fail: 51 where there is none, 50 would say that pods are cut off.
Outcome<> status(const Request& request) {
  const Config config = TRY(read_config(request));
  AddressStore store = TRY(under(kNotAvailableLimited, AddressStore::open(config.data_dir, request.network)));
  auto given = TRY(under(kNotAvailableLimited, store.given()));
  for (const RangeSet& set : config.sets) {
    const auto is_free = [&](const Ip& ip) -> Result<bool> {
      return std::none_of(given.begin(), given.end(), [&](const auto& each) { return each.ip == ip; });
    };
    if (!TRY(walk(set, store.last(static_cast<size_t>(&set - config.sets.data())), is_free)))
      return refuse(kNotAvailableLimited, fmt::format("no address is free in {}", set.str()));
  }
  return {};
}

}  // namespace

Plugin host_local_plugin() { return {"host-local", add, del, check, gc, status}; }

}  // namespace thalweg::cni
