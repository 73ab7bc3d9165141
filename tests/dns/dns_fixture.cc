#include "dns_fixture.h"

namespace thalweg::dns::test {

namespace {

template <class T>
void put(kube::Store<T>& store, T object) {
  auto key = object.meta.key;
  store[key] = std::make_shared<const T>(std::move(object));
}

kube::Service service(const char* ns, const char* name) {
  kube::Service out;
  out.meta.key = {ns, name};
  return out;
}

kube::Endpoint endpoint(const char* ip, const char* hostname, bool ready = true) {
  kube::Endpoint out;
  out.addresses = {*Ip::parse(ip)};
  out.hostname = hostname;
  out.ready = ready;
  return out;
}

void add_web(kube::Cluster& cluster) {
  auto web = service("default", "web");
  web.cluster_ips = {*Ip::parse("10.96.0.10"), *Ip::parse("2001:db8:96::10")};
  web.ports = {{.name = "http", .port = 80}, {.name = "dns", .protocol = kube::Protocol::UDP, .port = 53}};
  put(cluster.services, web);
}

void add_db(kube::Cluster& cluster) {
  auto db = service("default", "db");
  db.headless = true;
  put(cluster.services, db);
  kube::EndpointSlice slice;
  slice.meta.key = {"default", "db-v4"};
  slice.service = "db";
  slice.ports = {{.name = "sql", .port = 5432}};
  slice.endpoints = {endpoint("10.1.0.5", "db-0"), endpoint("10.1.0.6", ""),
                     endpoint("10.1.0.7", "db-2", false)};
  put(cluster.endpoint_slices, slice);
  slice.meta.key.name = "db-v6";
  slice.v4 = false;
  slice.endpoints = {endpoint("2001:db8:1::5", "db-0")};
  put(cluster.endpoint_slices, slice);
}

void add_external(kube::Cluster& cluster, const char* name, const char* target) {
  auto alias = service("default", name);
  alias.type = kube::Service::Type::ExternalName;
  alias.external_name = target;
  put(cluster.services, alias);
}

}  // namespace

kube::Cluster small_cluster() {
  kube::Cluster cluster;
  for (const char* ns : {"default", "empty"}) {
    kube::Namespace object;
    object.meta.key.name = ns;
    put(cluster.namespaces, object);
  }
  add_web(cluster);
  add_db(cluster);
  add_external(cluster, "alias", "www.example.com");
  add_external(cluster, "inner", "web.default.svc.cluster.local");
  add_external(cluster, "loop", "loop.default.svc.cluster.local");
  add_external(cluster, "broken", "a..b");
  kube::Pod pod;
  pod.meta.key = {"default", "web-1"};
  pod.ips = {*Ip::parse("10.1.0.9"), *Ip::parse("2001:db8:1::9")};
  put(cluster.pods, pod);
  pod.meta.key.name = "gone";
  pod.finished = true;
  pod.ips = {*Ip::parse("10.1.0.99")};
  put(cluster.pods, pod);
  return cluster;
}

ZoneConfig small_config(PodNames pods) {
  return {.apex = *Name::parse("cluster.local"),
          .ttl_s = 5,
          .pods = pods,
          .name_servers = {*Ip::parse("10.96.0.2")},
          .serial = 7};
}

std::vector<uint8_t> query_bytes(const std::string& name, uint16_t type, uint16_t flags, uint16_t edns_size) {
  std::vector<uint8_t> out(600);
  Writer writer(out);
  writer.begin(0x1234, flags);
  writer.question(*Name::parse(name), type);
  if (edns_size != 0) writer.opt(false, Rcode::NoError, edns_size);
  out.resize(writer.size());
  return out;
}

Asked ask(const Zone& zone, const std::vector<uint8_t>& query, Transport transport) {
  Asked asked;
  asked.bytes.resize(kMaxMessage);
  Query parsed;
  const Parsed verdict = parse_query(query, parsed);
  asked.reply = answer(zone, verdict, parsed, query, transport, asked.bytes);
  asked.bytes.resize(asked.reply.size);
  if (asked.reply.size > 0) asked.text = message_text(asked.bytes);
  return asked;
}

Asked ask(const Zone& zone, const std::string& name, uint16_t type, Transport transport) {
  return ask(zone, query_bytes(name, type), transport);
}

}  // namespace thalweg::dns::test
