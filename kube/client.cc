#include "base/asio.h"
//
#include "kube/client.h"

#include <set>

#include "kube/connection.h"
#include "kube/decode.h"

namespace json = boost::json;

namespace thalweg::kube {

namespace {

constexpr size_t kMaxStatusBytes = 65536;
constexpr size_t kMaxRememberedErrors = 1024;

using Clock = std::chrono::steady_clock;

std::string percent_encode(std::string_view text) {
  std::string out;
  for (const unsigned char c : text) {
    const bool plain = std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~';
    out += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return out;
}

// metadata.KEY as text, or nothing.
std::string meta_text(const json::value& object, std::string_view key) {
  const auto* meta = object.is_object() ? object.get_object().if_contains("metadata") : nullptr;
  const auto* text = meta && meta->is_object() ? meta->get_object().if_contains(key) : nullptr;
  return text && text->is_string() ? std::string(text->get_string()) : std::string();
}

std::string member_text(const json::value& object, std::string_view key) {
  const auto* text = object.is_object() ? object.get_object().if_contains(key) : nullptr;
  return text && text->is_string() ? std::string(text->get_string().subview(0, 300)) : std::string();
}

std::optional<watch_input::EventType> event_type(std::string_view text) {
  using watch_input::EventType;
  if (text == "ADDED") return EventType::Added;
  if (text == "MODIFIED") return EventType::Modified;
  if (text == "DELETED") return EventType::Deleted;
  return std::nullopt;
}

class KindWatch;

// What all kinds share: the cluster, who listens, and whether everything was stopped.
struct Core : std::enable_shared_from_this<Core> {
  Core(asio::io_context& io, ApiSourceOptions given) : io(io), options(std::move(given)) {
    status.where = options.api.where();
  }

  void apply(Kind kind, const WatchOutput& out);
  void flush();
  void report(const std::string& text) {
    if (stopped) return;
    ++status.errors;
    status.last_error = text;
    if (options.on_error) options.on_error(text);
  }
  void lost(Kind kind, const std::string& text);
  void found(Kind kind);

  asio::io_context& io;
  ApiSourceOptions options;
  Source::OnChange on_change;
  bool stopped = false;
  Cluster cluster;
  std::set<Kind> listed;
  std::set<Kind> away;  // kinds that cannot reach the server
  std::vector<ObjectRef> changed;
  bool flush_due = false;
  SourceStatus status;
  std::vector<std::shared_ptr<KindWatch>> watches;
};

void Core::apply(Kind kind, const WatchOutput& out) {
  status.last_event = std::chrono::system_clock::now();
  for (const auto& change : out.changes) {
    const ObjectRef ref{kind, change.key};
    if (change.object ? put(cluster, *change.object) : erase(cluster, ref)) changed.push_back(ref);
  }
  if (out.listed) listed.insert(kind);
  if (!status.synced) changed.clear();  // the first batch names everything there is
  const bool complete = listed.size() == options.kinds.size();
  if (flush_due || !complete || (status.synced && changed.empty())) return;
  flush_due = true;  // what else is already read goes out with it
  asio::post(io, [self = shared_from_this()] { self->flush(); });
}

void Core::flush() {
  flush_due = false;
  if (stopped) return;
  const auto batch = status.synced ? std::exchange(changed, {}) : refs(cluster);
  changed.clear();
  status.synced = true;
  status.events += batch.size();
  on_change(cluster, batch);
}

// Every kind has a connection of its own; that all of them fail is one event.
void Core::lost(Kind kind, const std::string& text) {
  if (stopped) return;
  ++status.errors;
  status.last_error = text;
  const bool first = away.empty();
  away.insert(kind);
  const auto& tell = options.on_away ? options.on_away : options.on_error;
  if (first && tell) tell(text);
}

void Core::found(Kind kind) {
  if (away.erase(kind) > 0 && away.empty() && !stopped && options.on_back) options.on_back();
}

// Runs the state machine of one kind over one connection.
class KindWatch : public std::enable_shared_from_this<KindWatch> {
 public:
  KindWatch(Core& core, Kind kind, uint32_t seed)
      : core_(core),
        kind_(info(kind)),
        state_(core.options.watch, seed),
        connection_(core.io.get_executor(), core.options.api, core.options.user_agent,
                    {core.options.connect_ms, core.options.answer_ms}),
        timer_(core.io) {}

  // core keeps what this refers to alive as long as the coroutine is.
  asio::awaitable<void> run(std::shared_ptr<Core> core) {
    WatchNext next = feed(watch_input::Start{});
    while (!core->stopped) {
      if (const auto* wait = std::get_if<watch_next::Wait>(&next)) {
        boost::system::error_code ignored;
        timer_.expires_after(std::chrono::milliseconds(wait->ms));
        co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
        if (!core->stopped) next = feed(watch_input::Timer{});
      } else if (const auto* list = std::get_if<watch_next::List>(&next)) {
        const watch_next::List what = *list;
        next = co_await fetch_page(what);
      } else if (const auto* watch = std::get_if<watch_next::Watch>(&next)) {
        const watch_next::Watch what = *watch;
        next = co_await follow(what);
      } else {
        co_return;  // the state machine always has a next step after an end
      }
    }
  }

  void stop() {
    timer_.cancel();
    connection_.stop();
  }

 private:
  WatchNext feed(WatchInput input) {
    WatchOutput out = step(state_, std::move(input));
    if (!core_.stopped) core_.apply(kind_.kind, out);
    return std::move(out.next);
  }

  // An outage is said once, not once a try.
  WatchNext failed(const std::string& why, int status = 0, std::optional<uint32_t> retry_after_s = {}) {
    const std::string text = fmt::format("{}: {}", kind_.plural, why);
    if (text != standing_error_) core_.report(text);
    return give_up(text, status, retry_after_s);
  }

  // The server is away: nothing answers, or one that is still starting (503).
  WatchNext lost(const std::string& why, int status = 0, std::optional<uint32_t> retry_after_s = {}) {
    const std::string text = fmt::format("{}: {}", kind_.plural, why);
    if (text != standing_error_ || !core_.away.contains(kind_.kind)) core_.lost(kind_.kind, text);
    return give_up(text, status, retry_after_s);
  }

  WatchNext give_up(const std::string& text, int status, std::optional<uint32_t> retry_after_s) {
    standing_error_ = text;
    connection_.close();
    return feed(watch_input::Failed{status, retry_after_s});
  }

  std::string target(const std::string& query) const {
    const bool core_group = kind_.group_version == "v1";
    const char* only_tls = kind_.kind == Kind::Secret ? "&fieldSelector=type%3Dkubernetes.io%2Ftls" : "";
    return fmt::format("{}/{}/{}/{}?{}{}", core_.options.api.base_path, core_group ? "api" : "apis",
                       kind_.group_version, kind_.plural, query, only_tls);
  }

  asio::awaitable<WatchNext> refused(Connection::Response response) {
    std::string body;
    const auto idle = std::chrono::milliseconds(core_.options.list_idle_ms);
    while (body.size() < kMaxStatusBytes) {
      auto part = co_await connection_.read_body(idle);
      if (!part || part->empty()) break;
      body.append(*part);
    }
    json::error_code error;
    const auto status = json::parse(body, error);
    std::string message = error ? "" : member_text(status, "message");
    const auto why = fmt::format("{} answered {} {}", core_.options.api.where(), response.status, message);
    if (response.status == 503) co_return lost(why, response.status, response.retry_after_s);
    co_return failed(why, response.status, response.retry_after_s);
  }

  asio::awaitable<WatchNext> fetch_page(watch_next::List list) {
    std::string query = fmt::format("limit={}", list.limit);
    if (!list.continue_token.empty()) query += "&continue=" + percent_encode(list.continue_token);
    auto response = co_await connection_.get(target(query));
    if (!response) co_return lost(response.error().message);
    if (response->status != 200) {
      auto next = co_await refused(*response);
      co_return next;
    }
    JsonStream stream(JsonStream::Shape::List, list_callbacks(), core_.options.limits);
    page_ = {};
    auto read = co_await read_all(stream, core_.options.list_idle_ms);
    if (!read) co_return broken(read.error());
    if (!stream.at_end() || page_.resource_version.empty()) co_return failed("the list ended before its end");
    standing_error_.clear();
    core_.found(kind_.kind);
    co_return feed(std::exchange(page_, {}));
  }

  // A body that could not be read, or was no JSON: the second is no outage.
  WatchNext broken(const Error& error) {
    return connection_.lost() ? lost(error.message) : failed(error.message);
  }

  // Until the body's end, a failure, or an event that ends the watch.
  asio::awaitable<Result<>> read_all(JsonStream& stream, uint32_t idle_ms) {
    while (true) {
      auto part = co_await connection_.read_body(std::chrono::milliseconds(idle_ms));
      if (!part) co_return std::unexpected(part.error());
      if (core_.stopped) co_return fail("stopped");
      if (part->empty() || after_event_) co_return Result<>();
      auto written = stream.write(*part);
      if (!written) co_return written;
      if (after_event_) co_return Result<>();
    }
  }

  JsonStream::Callbacks list_callbacks() {
    return {.piece =
                [this](std::string_view member, json::value piece) {
                  if (member == "items" && piece.is_object()) take_item(piece);
                  if (member == "metadata") note_page(piece);
                },
            .oversized =
                [this](std::string_view member, const PieceName& name) {
                  if (member != "items") return;
                  report_oversized(name);
                  feed(watch_input::BadItem{key_of(name)});
                },
            .end = {}};
  }

  void note_page(const json::value& meta) {
    page_.resource_version = member_text(meta, "resourceVersion");
    const auto* token = meta.is_object() ? meta.get_object().if_contains("continue") : nullptr;
    if (token && token->is_string()) page_.continue_token = token->get_string();
  }

  void take_item(const json::value& piece) {
    auto object = decode(kind_.kind, piece);
    if (object) {
      feed(watch_input::Item{std::move(*object)});
    } else {
      report_bad(peek_ref(kind_.kind, piece).key, meta_text(piece, "resourceVersion"), object.error().str());
      feed(watch_input::BadItem{peek_ref(kind_.kind, piece).key});
    }
  }

  asio::awaitable<WatchNext> follow(watch_next::Watch watch) {
    const auto query = fmt::format("watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
                                   percent_encode(watch.resource_version), watch.timeout_s);
    auto response = co_await connection_.get(target(query));
    if (!response) co_return lost(response.error().message);
    if (response->status != 200) {
      auto next = co_await refused(*response);
      co_return next;
    }
    feed(watch_input::Opened{});
    core_.found(kind_.kind);
    const auto opened = Clock::now();
    JsonStream stream(JsonStream::Shape::Watch, watch_callbacks(), core_.options.limits);
    after_event_.reset();
    auto read = co_await read_all(stream, core_.options.watch_idle_ms);
    if (after_event_) {
      WatchNext next = std::move(*after_event_);
      after_event_.reset();
      co_return next;
    }
    if (!read) co_return broken(read.error());
    if (!stream.at_end()) co_return failed("the watch ended within an event");
    const auto open = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - opened);
    co_return feed(watch_input::Closed{static_cast<uint64_t>(open.count())});
  }

  JsonStream::Callbacks watch_callbacks() {
    event_type_.clear();
    event_object_ = nullptr;
    event_oversized_.reset();
    return {.piece =
                [this](std::string_view member, json::value piece) {
                  if (member == "type" && piece.is_string()) event_type_ = piece.get_string();
                  if (member == "object") event_object_ = std::move(piece);
                },
            .oversized =
                [this](std::string_view member, PieceName name) {
                  if (member == "object") event_oversized_ = std::move(name);
                },
            .end = [this] { end_event(); }};
  }

  void end_event() {
    const std::string type = std::exchange(event_type_, {});
    const json::value object = std::exchange(event_object_, nullptr);
    const auto oversized = std::exchange(event_oversized_, std::nullopt);
    if (after_event_) return;  // the rest of a stream that is given up
    if (type == "ERROR") return end_by_error(object);
    if (type == "BOOKMARK") {
      feed(watch_input::Bookmark{meta_text(object, "resourceVersion")});
    } else if (const auto known = event_type(type); !known) {
      after_event_ = failed("an event of unknown type " + json::serialize(json::string(type.substr(0, 40))));
    } else if (oversized) {
      report_oversized(*oversized);
      feed(watch_input::BadEvent{*known, key_of(*oversized), oversized->resource_version});
    } else {
      take_event(*known, object);
    }
    if (!after_event_) standing_error_.clear();
  }

  void take_event(watch_input::EventType type, const json::value& value) {
    auto object = decode(kind_.kind, value);
    if (object) {
      feed(watch_input::Event{type, std::move(*object)});
      return;
    }
    const std::string version = meta_text(value, "resourceVersion");
    const ObjectKey key = peek_ref(kind_.kind, value).key;
    if (type != watch_input::EventType::Deleted) report_bad(key, version, object.error().str());
    feed(watch_input::BadEvent{type, key, version});
  }

  void end_by_error(const json::value& status) {
    const auto* code = status.is_object() ? status.get_object().if_contains("code") : nullptr;
    const int number = code && code->is_int64() ? static_cast<int>(code->get_int64()) : 0;
    connection_.close();
    // The version being too old is the protocol's ordinary course, no error.
    after_event_ = number == 410
                       ? feed(watch_input::Failed{410, {}})
                       : failed(fmt::format("watch: {} {}", number, member_text(status, "message")), number);
  }

  ObjectKey key_of(const PieceName& name) const {
    return {kind_.namespaced && name.ns.empty() ? "default" : name.ns, name.name};
  }

  void report_oversized(const PieceName& name) {
    report_bad(key_of(name), name.resource_version,
               fmt::format("{}: larger than {} bytes", ObjectRef{kind_.kind, key_of(name)}.str(),
                           core_.options.limits.piece_bytes));
  }

  // Once a version of the object, however often it is listed.
  void report_bad(const ObjectKey& key, const std::string& version, const std::string& text) {
    if (reported_.size() >= kMaxRememberedErrors) reported_.clear();
    if (reported_.emplace(key, version).second) core_.report(text + "; its last good version stays");
  }

  Core& core_;
  const KindInfo& kind_;
  WatchState state_;
  Connection connection_;
  asio::steady_timer timer_;
  watch_input::PageEnd page_;  // of the page being read
  std::string event_type_;     // of the event being read
  json::value event_object_;
  std::optional<PieceName> event_oversized_;
  std::optional<WatchNext> after_event_;  // an event ended the watch
  std::string standing_error_;
  std::set<std::pair<ObjectKey, std::string>> reported_;
};

class ApiSource : public Source {
 public:
  ApiSource(asio::io_context& io, ApiSourceOptions options)
      : core_(std::make_shared<Core>(io, std::move(options))) {}
  ~ApiSource() override { ApiSource::stop(); }

  void start(OnChange on_change) override {
    core_->on_change = std::move(on_change);
    std::random_device device;
    uint32_t seed = core_->options.seed ? core_->options.seed : device();
    for (const Kind kind : core_->options.kinds) {
      auto watch = std::make_shared<KindWatch>(*core_, kind, ++seed);
      core_->watches.push_back(watch);
      asio::co_spawn(
          core_->io, [watch, core = core_] { return watch->run(core); }, asio::detached);
    }
  }

  void stop() override {
    if (std::exchange(core_->stopped, true)) return;
    for (const auto& watch : core_->watches) watch->stop();
    core_->watches.clear();
  }

  SourceStatus status() const override { return core_->status; }

 private:
  std::shared_ptr<Core> core_;
};

}  // namespace

std::unique_ptr<Source> make_api_source(asio::io_context& io, ApiSourceOptions options) {
  return std::make_unique<ApiSource>(io, std::move(options));
}

}  // namespace thalweg::kube
