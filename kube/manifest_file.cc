// One manifest's text → objects and errors. The pure half of kube/manifests.
#include <algorithm>

#include "kube/decode.h"
#include "kube/endpoints.h"
#include "kube/field.h"
#include "kube/manifests.h"
#include "kube/yaml.h"

namespace json = boost::json;

namespace thalweg::kube {

namespace {

constexpr size_t kMaxErrors = 100;

// Collects what one file holds.
class Reader {
 public:
  Reader(std::string_view file, const ManifestLimits& limits, bool with_secrets)
      : file_(file), limits_(limits), with_secrets_(with_secrets) {}

  ManifestFile read(std::string_view text) {
    if (text.size() > limits_.file_bytes) {
      refuse_file(0, fmt::format("larger than {} bytes", limits_.file_bytes));
    } else if (file_.ends_with(".json")) {
      read_json(text);
    } else {
      read_yaml(text);
    }
    return std::move(out_);
  }

 private:
  void read_yaml(std::string_view text) {
    const auto documents = parse_yaml(text, {.values = limits_.values, .depth = limits_.depth});
    if (!documents) return refuse_file(documents.error().line, documents.error().what);
    for (const auto& document : *documents) read_object(document.value, document.lines);
  }

  void read_json(std::string_view text) {
    json::parse_options options;
    options.max_depth = limits_.depth;
    json::stream_parser parser(json::storage_ptr(), options);
    json::error_code error;
    const size_t end = parser.write_some(text.data(), text.size(), error);
    if (!error && text.find_first_not_of(" \t\r\n", end) != std::string_view::npos)
      error = json::error::extra_data;
    if (!error) parser.finish(error);
    if (error) return refuse_file(1 + std::ranges::count(text.substr(0, end), '\n'), error.message());
    const auto value = parser.release();
    read_object(value, {1, {}});
  }

  void read_object(const json::value& value, const Lines& lines) {
    FieldError error(value);
    const Field root(error, value);
    const std::string kind_name = root["kind"].required_string();
    const std::string api_version = root["apiVersion"].required_string();
    if (error.failed())
      return refuse(lines.line, (error.path().empty() ? "" : error.path() + ": ") + error.what());
    if (kind_name.ends_with("List") && root["items"].present()) return read_list(value, lines, kind_name);
    const auto kind = find_kind(api_version, kind_name);
    if (!kind) return refuse(line_of(value, lines, "apiVersion"), kind.error().message);
    if (!*kind) return log::debug("manifest: a kind not read here", {{"file", file_}, {"kind", kind_name}});
    read_kind(**kind, value, lines);
  }

  void read_kind(Kind kind, const json::value& value, const Lines& lines) {
    if (kind == Kind::Secret && !with_secrets_) return;
    const auto object = decode(kind, value);
    if (!object) {
      out_.refused.push_back(peek_ref(kind, value));
      return refuse(line_of(value, lines, object.error().path), object.error().str());
    }
    out_.objects.push_back(*object);
    out_.lines.push_back(lines.line);
  }

  // A List's items name their own kinds; those of a PodList may leave it out.
  void read_list(const json::value& value, const Lines& lines, const std::string& list_kind) {
    const auto& object = value.get_object();
    const auto* items = object.at("items").if_array();
    if (!items) return refuse(line_of(value, lines, "items"), list_kind + ": items: expected a list");
    const size_t at = static_cast<size_t>(object.find("items") - object.begin());
    static const Lines kNoLines;
    for (size_t i = 0; i < items->size(); ++i) {
      const bool known = at < lines.children.size() && i < lines.children[at].children.size();
      const Lines& here = known ? lines.children[at].children[i] : kNoLines;
      if (list_kind == "List" || is_named((*items)[i])) {
        read_object((*items)[i], here);
      } else {
        const auto kind = find_kind(std::string_view(object.at("apiVersion").get_string()),
                                    std::string_view(list_kind).substr(0, list_kind.size() - 4));
        if (kind && *kind) read_kind(**kind, (*items)[i], here);
      }
    }
  }

  static bool is_named(const json::value& item) {
    return item.is_object() && item.get_object().contains("kind");
  }

  void refuse_file(int64_t line, std::string_view what) {
    refuse(static_cast<int>(line), what);
    out_.broken = true;
  }

  void refuse(int line, std::string_view what) {
    if (out_.errors.size() == kMaxErrors)
      out_.errors.push_back(fmt::format("{}: further errors left out", file_));
    if (out_.errors.size() > kMaxErrors) return;
    out_.errors.push_back(line ? fmt::format("{}:{}: {}", file_, line, what)
                               : fmt::format("{}: {}", file_, what));
  }

  std::string_view file_;
  const ManifestLimits& limits_;
  bool with_secrets_;
  ManifestFile out_;
};

}  // namespace

ManifestFile read_manifest(std::string_view file_name, std::string_view text, const ManifestLimits& limits,
                           bool with_secrets) {
  return Reader(file_name, limits, with_secrets).read(text);
}

Result<Cluster> cluster_from_yaml(std::string_view yaml) {
  const ManifestFile file = read_manifest("yaml", yaml);
  if (!file.errors.empty()) return fail("{}", file.errors.front());
  Cluster cluster;
  for (size_t i = 0; i < file.objects.size(); ++i) {
    const auto ref = ref_of(file.objects[i]);
    if (find(cluster, ref)) return fail("yaml:{}: {} stands twice", file.lines[i], ref.str());
    put(cluster, file.objects[i]);
  }
  for (const auto& slice : derive_endpoint_slices(cluster)) put(cluster, slice);
  return cluster;
}

}  // namespace thalweg::kube
