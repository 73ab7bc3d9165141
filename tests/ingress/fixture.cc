#include "fixture.h"

#include <fmt/format.h>

namespace thalweg::ingress::test {

namespace {

std::string indented(const std::string& text, const std::string& by) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    out += by + text.substr(at, end - at) + "\n";
    if (end == text.npos) break;
    at = end + 1;
  }
  return out;
}

}  // namespace

// web: both endpoints; solo: one; dead: a closed port and one; empty: none; gone: no Service.
Scene::Scene() {
  objects.write("services.yaml", service("web", {one.port(), two.port()}) + service("solo", {one.port()}) +
                                     service("dead", {closed_port(), one.port()}) +
                                     service("down", {closed_port()}) + service("empty", {}));
  objects.write(
      "ingresses.yaml",
      ingress("a", "a.example", "/", "solo", "cert-a") + ingress("web", "web.example", "/", "web") +
          ingress("wild", "*.wild.example", "/", "solo", "cert-wild") +
          ingress("dead", "dead.example", "/", "dead") + ingress("down", "down.example", "/", "down") +
          ingress("empty", "empty.example", "/", "empty") + ingress("gone", "gone.example", "/", "gone") +
          ingress("path", "path.example", "/app", "solo"));
}

void Scene::start_on(const std::vector<std::string>& source, const std::vector<std::string>& more) {
  std::vector<std::string> args = {"--http",      "127.0.0.1:0", "--https",      "127.0.0.1:0", "--metrics",
                                   "127.0.0.1:0", "--secrets",   secrets.path(), "--class",     "thalweg"};
  args.insert(args.end(), source.begin(), source.end());
  args.insert(args.end(), more.begin(), more.end());
  program = std::make_unique<Program>(args);
  ASSERT_TRUE(program->ready()) << program->log();
}

std::string Scene::http(const std::string& host) const {
  return fmt::format("http://{}:{}", host, program->port("http"));
}
std::string Scene::https(const std::string& host) const {
  return fmt::format("https://{}:{}", host, program->port("https"));
}

Outcome Scene::curl(const std::string& url, std::vector<std::string> more) const {
  more.insert(more.begin(),
              {"curl", "-sS", "--noproxy", "*", "--max-time", "60", "--connect-to",
               url.starts_with("https") ? fmt::format("::127.0.0.1:{}", program->port("https"))
                                        : fmt::format("::127.0.0.1:{}", program->port("http"))});
  more.push_back(url);
  return run(more);
}

std::unique_ptr<Wire> Scene::connect() const {
  return std::make_unique<Wire>(connect_to(program->port("http")));
}

std::string Scene::raw(const std::string& bytes) const {
  const auto wire = connect();
  wire->send(bytes);
  return wire->rest();
}

std::string Scene::service(const std::string& name, const std::vector<uint16_t>& ports) {
  std::string text = fmt::format(
      "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {0}, namespace: default}}\n"
      "spec: {{clusterIP: 10.96.0.9, ports: [{{name: http, port: 80, protocol: TCP}}]}}\n",
      name);
  for (const uint16_t port : ports)
    text += fmt::format(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {0}-{1}\n  namespace: "
        "default\n"
        "  labels: {{kubernetes.io/service-name: {0}}}\naddressType: IPv4\n"
        "ports: [{{name: http, port: {1}, protocol: TCP}}]\n"
        "endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]\n",
        name, port);
  return text;
}

std::string Scene::ingress(const std::string& name, const std::string& host, const std::string& path,
                           const std::string& service, const std::string& tls_secret) {
  std::string text = fmt::format(
      "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {}, namespace: default}}\n"
      "spec:\n  ingressClassName: thalweg\n  rules:\n  - host: \"{}\"\n    http:\n      paths:\n"
      "      - {{path: {}, pathType: Prefix, backend: {{service: {{name: {}, port: {{number: 80}}}}}}}}\n",
      name, host, path, service);
  if (!tls_secret.empty())
    text += fmt::format("  tls: [{{hosts: [\"{}\"], secretName: {}}}]\n", host, tls_secret);
  return text;
}

std::string Scene::secret(const std::string& name, const std::string& certificate, const std::string& key) {
  return fmt::format(
      "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {}, namespace: default}}\ntype: "
      "kubernetes.io/tls\n"
      "stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
      name, indented(certificate, "    "), indented(key, "    "));
}

}  // namespace thalweg::ingress::test
