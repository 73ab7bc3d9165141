#include "base/asio.h"
//
#include "kube/manifests.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/fd.h"
#include "kube/endpoints.h"

namespace fs = std::filesystem;

namespace thalweg::kube {

namespace {

constexpr int kMaxFolderDepth = 16;
constexpr uint32_t kWatched = IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE |
                              IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB;

// Tells whether a file is still the one that was read.
struct Stamp {
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t mtime_ns = 0;
  bool operator==(const Stamp&) const = default;
};

Stamp stamp_of(const struct stat& st) {
  return {st.st_ino, st.st_size, st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec};
}

Result<std::string> read_text(const std::string& path, size_t limit) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno(errno, "{}", path);
  std::string text;
  char chunk[65536];
  while (text.size() <= limit) {
    const ssize_t got = ::read(file.get(), chunk, sizeof chunk);
    if (got < 0) return fail_errno(errno, "{}: read", path);
    if (got == 0) break;
    text.append(chunk, static_cast<size_t>(got));
  }
  return text;
}

bool is_manifest(std::string_view name) {
  return !name.starts_with(".") &&
         (name.ends_with(".yaml") || name.ends_with(".yml") || name.ends_with(".json"));
}

// What was last read well from one file.
struct KnownFile {
  struct Entry {
    Object object;
    int line;
  };
  Stamp stamp;
  std::vector<Entry> entries;
  std::vector<std::string> errors;
};

// Keeps the last good version of what the new text has wrong.
void take_over(KnownFile& known, ManifestFile read) {
  known.errors = std::move(read.errors);
  if (read.broken) return;
  std::vector<KnownFile::Entry> entries;
  for (size_t i = 0; i < read.objects.size(); ++i)
    entries.push_back({std::move(read.objects[i]), read.lines[i]});
  const std::set<ObjectRef> refused(read.refused.begin(), read.refused.end());
  for (const auto& old : known.entries) {
    if (refused.contains(ref_of(old.object))) entries.push_back(old);
  }
  known.entries = std::move(entries);
}

class ManifestSource : public Source {
 private:
  // Runs what() only while this object lives and was not stopped since.
  template <class F>
  auto guarded(F what) {
    return [what, alive = std::weak_ptr<char>(alive_)](auto&&...) {
      if (!alive.expired()) what();
    };
  }

 public:
  ManifestSource(asio::io_context& io, ManifestOptions options)
      : options_(std::move(options)), root_(options_.path), inotify_(io), debounce_(io) {
    status_.where = "manifests " + options_.path;
  }
  ~ManifestSource() override { ManifestSource::stop(); }

  void start(OnChange on_change) override {
    on_change_ = std::move(on_change);
    open_inotify();
    asio::post(debounce_.get_executor(), guarded([this] { scan(); }));
  }

  void stop() override {
    alive_ = std::make_shared<char>();
    debounce_.cancel();
    boost::system::error_code ignored;
    inotify_.close(ignored);
  }

  SourceStatus status() const override { return status_; }

 private:
  void open_inotify() {
    const int fd = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0)
      return report(
          fmt::format("{}: inotify: {}: changes will not be seen", options_.path, std::strerror(errno)));
    inotify_.assign(fd);
    await_event();
  }

  void await_event() {
    inotify_.async_wait(asio::posix::stream_descriptor::wait_read, guarded([this] {
                          if (!inotify_.is_open()) return;
                          if (drain_events() && !scan_due_) schedule_scan();
                          await_event();
                        }));
  }

  // True when something a scan would see may have changed.
  bool drain_events() {
    alignas(inotify_event) char buffer[16384];
    bool changed = false;
    ssize_t got = 0;
    while ((got = ::read(inotify_.native_handle(), buffer, sizeof buffer)) > 0) {
      for (ssize_t at = 0; at < got;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        changed |= note_event(*event);
        at += static_cast<ssize_t>(sizeof *event + event->len);
      }
    }
    return changed;
  }

  bool note_event(const inotify_event& event) {
    if (event.mask & IN_Q_OVERFLOW) {
      being_written_.clear();
      return true;
    }
    if (event.mask & IN_IGNORED) return folders_.erase(event.wd), true;
    const auto folder = folders_.find(event.wd);
    if (folder == folders_.end()) return false;
    const std::string name = event.len ? event.name : "";
    const std::string path = folder->second + "/" + name;
    // The folder above is watched for the root being replaced, nothing else in it matters; a mounted
    // ConfigMap is replaced by its link "..data".
    if (event.wd == parent_wd_ && name != root_.filename() && !name.starts_with("..")) return false;
    // A file being rewritten in place may stand there half or empty: it counts when its writer closes it.
    if (event.mask & IN_MODIFY) {
      if (is_manifest(name)) being_written_.insert(path);
      return false;
    }
    being_written_.erase(path);
    if (!(event.mask & IN_CREATE) || (event.mask & IN_ISDIR)) return true;
    struct stat st {};  // a new plain file is announced again when closed; a link is not
    return ::lstat(path.c_str(), &st) == 0 && (S_ISLNK(st.st_mode) || st.st_nlink > 1);
  }

  void schedule_scan() {
    scan_due_ = true;
    debounce_.expires_after(std::chrono::milliseconds(options_.debounce_ms));
    debounce_.async_wait(guarded([this] {
      scan_due_ = false;
      scan();
    }));
  }

  int watch(const std::string& folder) {
    if (!inotify_.is_open()) return -1;
    const int wd = ::inotify_add_watch(inotify_.native_handle(), folder.c_str(), kWatched | IN_ONLYDIR);
    if (wd >= 0) {
      folders_[wd] = folder;
    } else if (errno != ENOENT && errno != ENOTDIR) {
      scan_errors_.push_back(fmt::format("{}: cannot be watched: {}", folder, std::strerror(errno)));
    }
    return wd;
  }

  // Watches first, then reads: what changes meanwhile is announced afterwards.
  void scan() {
    scan_errors_.clear();
    const auto parent = root_.parent_path();
    parent_wd_ = watch(parent.empty() ? "." : parent.string());
    std::set<std::string> names;
    if (list_root(names)) {
      std::erase_if(files_, [&](const auto& file) { return !names.contains(file.first); });
      for (const auto& name : names) refresh(name);
    }
    status_.last_event = std::chrono::system_clock::now();
    merge();
  }

  // False when the root is not there: what was read from it stays.
  bool list_root(std::set<std::string>& names) {
    struct stat st {};
    if (::stat(options_.path.c_str(), &st) < 0) {
      scan_errors_.push_back(fmt::format("{}: {}", options_.path, std::strerror(errno)));
      return false;
    }
    if (S_ISDIR(st.st_mode)) {
      list_folder(options_.path, 0, names);
    } else {
      names.insert(options_.path);
    }
    return true;
  }

  void list_folder(const std::string& folder, int depth, std::set<std::string>& names) {
    watch(folder);
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      const std::string name = at->path().filename().string();
      if (name.starts_with(".")) continue;
      std::error_code ignored;
      if (at->is_directory(ignored) && !at->is_symlink(ignored)) {
        if (depth < kMaxFolderDepth) list_folder(folder + "/" + name, depth + 1, names);
      } else if (is_manifest(name)) {
        add_name(folder + "/" + name, names);
      }
    }
    if (error) scan_errors_.push_back(fmt::format("{}: {}", folder, error.message()));
  }

  void add_name(std::string name, std::set<std::string>& names) {
    if (names.size() < options_.limits.files) {
      names.insert(std::move(name));
    } else if (names.size() == options_.limits.files) {
      scan_errors_.push_back(
          fmt::format("{}: more than {} files: the rest is not read", options_.path, options_.limits.files));
    }
  }

  void refresh(const std::string& name) {
    auto known = files_.find(name);
    if (known != files_.end() && being_written_.contains(name)) return;
    struct stat st {};
    if (::stat(name.c_str(), &st) < 0) {
      files_.erase(name);  // gone since it was listed
      return;
    }
    if (!S_ISREG(st.st_mode)) return;
    if (known != files_.end() && known->second.stamp == stamp_of(st)) return;
    if (known == files_.end()) known = files_.emplace(name, KnownFile()).first;
    known->second.stamp = stamp_of(st);
    const auto text = read_text(name, options_.limits.file_bytes);
    if (!text) {
      known->second.errors = {text.error().message};
      known->second.stamp = {};
      return;
    }
    take_over(known->second, read_manifest(name, *text, options_.limits, wants(Kind::Secret)));
  }

  bool wants(Kind kind) const { return std::ranges::find(options_.kinds, kind) != options_.kinds.end(); }

  // All files together → the new cluster; what differs from the old one goes out as one batch.
  void merge() {
    Cluster next;
    std::vector<std::string> errors = scan_errors_;
    std::map<ObjectRef, std::string> places;
    for (const auto& [name, file] : files_) {
      errors.insert(errors.end(), file.errors.begin(), file.errors.end());
      for (const auto& [object, line] : file.entries) {
        const std::string place = fmt::format("{}:{}", name, line);
        const auto [first, fresh] = places.emplace(ref_of(object), place);
        if (fresh) {
          put(next, object);
        } else {
          errors.push_back(fmt::format("{}: {}: already written at {}: left out here", place,
                                       first->first.str(), first->second));
        }
      }
    }
    for (auto& slice : derive_endpoint_slices(next)) put(next, slice);
    report_new(errors);
    publish(next);
  }

  void publish(const Cluster& next) {
    std::vector<ObjectRef> changed;
    for (const auto& ref : refs(cluster_)) {
      if (wants(ref.kind) && !find(next, ref) && erase(cluster_, ref)) changed.push_back(ref);
    }
    for (const auto& ref : refs(next)) {
      if (wants(ref.kind) && put(cluster_, *find(next, ref))) changed.push_back(ref);
    }
    if (changed.empty() && status_.synced) return;
    status_.synced = true;
    status_.events += changed.size();
    on_change_(cluster_, changed);
  }

  // An error stands until its file changes; it is said once.
  void report_new(const std::vector<std::string>& errors) {
    for (const auto& error : errors) {
      if (!standing_errors_.contains(error)) report(error);
    }
    standing_errors_ = {errors.begin(), errors.end()};
  }

  void report(const std::string& error) {
    ++status_.errors;
    status_.last_error = error;
    if (options_.on_error) options_.on_error(error);
  }

  ManifestOptions options_;
  fs::path root_;
  OnChange on_change_;
  asio::posix::stream_descriptor inotify_;
  asio::steady_timer debounce_;
  bool scan_due_ = false;
  int parent_wd_ = -1;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  std::map<int, std::string> folders_;   // by watch descriptor
  std::set<std::string> being_written_;  // modified and not yet closed
  std::map<std::string, KnownFile> files_;
  std::vector<std::string> scan_errors_;
  std::set<std::string> standing_errors_;
  Cluster cluster_;
  SourceStatus status_;
};

}  // namespace

std::unique_ptr<Source> make_manifest_source(asio::io_context& io, ManifestOptions options) {
  while (options.path.size() > 1 && options.path.ends_with("/")) options.path.pop_back();
  return std::make_unique<ManifestSource>(io, std::move(options));
}

}  // namespace thalweg::kube
