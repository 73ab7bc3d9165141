#include "base/asio.h"
//
#include "kube/serve.h"

#include <set>

namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace thalweg::kube {

namespace {

constexpr size_t kWriteBytes = 65536;  // gathered before a write; the most a client has buffered here
constexpr size_t kEventsAtOnce = 256;
constexpr size_t kMaxBody = 65536;  // of a request; only GET has a meaning, and it has none
constexpr uint32_t kHandshakeMs = 10'000;

using Plain = beast::basic_stream<asio::generic::stream_protocol>;
using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;

auto into(boost::system::error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

class Client {
 public:
  virtual ~Client() = default;
  virtual void close() = 0;
  virtual void wake() = 0;
};

}  // namespace

struct ListWatchServer::Core {
  Core(asio::io_context& io, std::shared_ptr<asio::ssl::context> tls, RelayOptions options,
       uint64_t first_version, std::shared_ptr<Tamper> tamper)
      : io(io),
        acceptor(io),
        pause(io),
        tls(std::move(tls)),
        options(options),
        tamper(std::move(tamper)),
        history(options.history, first_version) {}

  asio::io_context& io;
  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor;
  asio::steady_timer pause;
  std::shared_ptr<asio::ssl::context> tls;
  RelayOptions options;
  std::shared_ptr<Tamper> tamper;
  History history;
  bool ready = false;
  bool stopped = false;
  RelayStats stats;
  std::set<Client*> clients;
};

namespace {

// One connection. Stream: plain, or TLS over it.
template <class Stream, class CoreT>
class Session : public Client, public std::enable_shared_from_this<Session<Stream, CoreT>> {
 public:
  Session(std::shared_ptr<CoreT> core, Stream stream)
      : core_(std::move(core)), stream_(std::move(stream)), wakeup_(core_->io) {
    core_->clients.insert(this);
    ++core_->stats.clients;
  }
  ~Session() override {
    core_->clients.erase(this);
    --core_->stats.clients;
  }

  void close() override {
    beast::get_lowest_layer(stream_).close();
    wakeup_.cancel();
  }
  void wake() override { wakeup_.cancel(); }

  asio::awaitable<void> run() {
    boost::system::error_code error;
    if constexpr (!std::is_same_v<Stream, Plain>) {
      lowest().expires_after(Millis(kHandshakeMs));
      co_await stream_.async_handshake(asio::ssl::stream_base::server, into(error));
    }
    while (!error && !core_->stopped) {
      http::request_parser<http::string_body> parser;
      parser.header_limit(8192);
      parser.body_limit(kMaxBody);
      lowest().expires_after(Millis(core_->options.idle_timeout_ms));
      co_await http::async_read(stream_, buffer_, parser, into(error));
      if (error) break;
      ++core_->stats.requests;
      keep_alive_ = parser.get().keep_alive();
      const bool good = co_await answer(parser.get());
      if (!good || !keep_alive_) break;
    }
    lowest().close();
  }

 private:
  Plain& lowest() { return beast::get_lowest_layer(stream_); }

  // False: the connection is of no more use.
  asio::awaitable<bool> answer(const http::request<http::string_body>& request) {
    const std::string method(request.method_string());
    const std::string target(request.target());
    auto parsed = parse_list_watch(method, target);
    std::optional<ApiRefusal> refusal;
    if (!parsed) {
      ++core_->stats.bad_requests;
      refusal = parsed.error();
    } else if (!core_->ready) {
      refusal = ApiRefusal{503, "ServiceUnavailable", "the objects are not all here yet", 1};
    } else {
      request_ = *parsed;
      if (core_->tamper) refusal = core_->tamper->admit(request[http::field::authorization]);
      if (core_->tamper && !refusal) refusal = core_->tamper->refuse(request_);
      if (!refusal) refusal = too_old();
    }
    bool good = false;
    if (refusal) {
      good = co_await send_refusal(*refusal);
    } else if (!request_.name.empty()) {
      good = co_await send_object();
    } else if (request_.watch) {
      good = co_await send_watch();
    } else {
      good = co_await send_list();
    }
    co_return good;
  }

  std::optional<ApiRefusal> too_old() {
    const auto version = request_.watch ? request_.resource_version : request_.continue_version;
    const bool any = !version || (request_.watch && *version == 0);  // a watch from wherever it begins
    if (any || core_->history.reaches(request_.kind, *version)) return std::nullopt;
    ++core_->stats.expired;
    return expired(*version);
  }

  asio::awaitable<bool> send_whole(int status, std::string body, std::optional<uint32_t> retry_after_s) {
    http::response<http::string_body> response(static_cast<http::status>(status), 11);
    response.set(http::field::content_type, "application/json");
    if (retry_after_s) response.set(http::field::retry_after, std::to_string(*retry_after_s));
    if (status == 405) response.set(http::field::allow, "GET");
    response.keep_alive(keep_alive_);
    response.body() = std::move(body);
    response.prepare_payload();
    boost::system::error_code error;
    lowest().expires_after(Millis(core_->options.write_timeout_ms));
    co_await http::async_write(stream_, response, into(error));
    co_return written(error);
  }

  asio::awaitable<bool> send_refusal(ApiRefusal refusal) {
    const bool good = co_await send_whole(refusal.code, refusal.json() + "\n", refusal.retry_after_s);
    co_return good;
  }

  asio::awaitable<bool> send_object() {
    const auto found = core_->history.get({request_.kind, {request_.ns, request_.name}});
    std::string body = (found ? item_json(*found) : not_found().json()) + "\n";
    const bool good = co_await send_whole(found ? 200 : 404, std::move(body), {});
    co_return good;
  }

  ApiRefusal not_found() const {
    return {
        404, "NotFound", fmt::format("{} \"{}\" not found", info(request_.kind).plural, request_.name), {}};
  }

  asio::awaitable<bool> send_header() {
    http::response<http::empty_body> response(http::status::ok, 11);
    response.set(http::field::content_type, "application/json");
    response.keep_alive(keep_alive_);
    response.chunked(true);
    http::response_serializer<http::empty_body> serializer(response);
    boost::system::error_code error;
    lowest().expires_after(Millis(core_->options.write_timeout_ms));
    co_await http::async_write_header(stream_, serializer, into(error));
    co_return written(error);
  }

  asio::awaitable<bool> send_chunk(std::string_view bytes) {
    boost::system::error_code error;
    lowest().expires_after(Millis(core_->options.write_timeout_ms));
    co_await asio::async_write(stream_, http::make_chunk(asio::buffer(bytes)), into(error));
    co_return written(error);
  }

  asio::awaitable<bool> send_end() {
    boost::system::error_code error;
    lowest().expires_after(Millis(core_->options.write_timeout_ms));
    co_await asio::async_write(stream_, http::make_chunk_last(), into(error));
    co_return written(error);
  }

  bool written(const boost::system::error_code& error) {
    if (error == beast::error::timeout) ++core_->stats.slow_clients;
    return !error;
  }

  // Parts go out in writes of kWriteBytes; nothing else is buffered for a client.
  asio::awaitable<bool> send_parts(std::vector<std::string> parts) {
    if (core_->tamper) {
      const bool good = co_await send_tampered(core_->tamper->deliver(request_, std::move(parts)));
      co_return good;
    }
    std::string gathered;
    for (const auto& part : parts) {
      gathered += part;
      if (gathered.size() < kWriteBytes) continue;
      const bool good = co_await send_chunk(gathered);
      if (!good) co_return false;
      gathered.clear();
    }
    const bool good = gathered.empty() || co_await send_chunk(gathered);
    co_return good;
  }

  asio::awaitable<bool> send_tampered(std::vector<Tamper::Piece> pieces) {
    for (const auto& piece : pieces) {
      if (piece.wait_ms) co_await sleep(Millis(piece.wait_ms));
      const bool good = piece.bytes.empty() || co_await send_chunk(piece.bytes);
      if (!good || piece.cut) co_return false;
      while (piece.hang && !core_->stopped && !gone_) co_await sleep(std::chrono::hours(1));
    }
    co_return !gone_;
  }

  asio::awaitable<void> sleep(Clock::duration time) {
    boost::system::error_code ignored;
    wakeup_.expires_after(time);
    co_await wakeup_.async_wait(into(ignored));
  }

  std::string shown(const History::Versioned& item) {
    std::string text = item_json(item);
    return core_->tamper ? core_->tamper->object(request_, std::move(text)) : text;
  }

  asio::awaitable<bool> send_list() {
    const uint64_t version = request_.continue_version.value_or(core_->history.version());
    const auto page =
        core_->history.list(request_.kind, version, request_.continue_after, request_.limit, request_.ns);
    bool good = co_await send_header();
    // Encoded some at a time: a large list is never one text.
    std::vector<std::string> parts{list_head(request_, page)};
    for (size_t i = 0; good && i < page.items.size(); ++i) {
      parts.push_back((i ? "," : "") + shown(page.items[i]));
      if (parts.size() < kEventsAtOnce) continue;
      good = co_await send_parts(std::exchange(parts, {}));
    }
    parts.push_back(list_tail());
    good = good && co_await send_parts(std::move(parts));
    good = good && co_await send_end();
    co_return good;
  }

  // A readable watch connection is one that was closed (or speaks out of turn).
  void await_hangup() {
    gone_ = false;
    lowest().socket().async_wait(asio::socket_base::wait_read,
                                 [self = this->shared_from_this()](const boost::system::error_code& error) {
                                   if (error) return;
                                   self->gone_ = true;
                                   self->wakeup_.cancel();
                                 });
  }

  asio::awaitable<bool> send_watch() {
    ++core_->stats.watches;
    bool good = co_await send_header();
    if (good) await_hangup();
    good = good && co_await tell_events();
    --core_->stats.watches;
    if (good) lowest().socket().cancel();
    good = good && co_await send_end();
    co_return good;
  }

  // Without a version: what there is as ADDED, as the API server does.
  asio::awaitable<bool> tell_present() {
    position_ = core_->history.version();
    const auto page = core_->history.list(request_.kind, position_, {}, 0, request_.ns);
    std::vector<std::string> parts;
    bool good = true;
    for (size_t i = 0; good && i < page.items.size(); ++i) {
      parts.push_back(event_json("ADDED", shown(page.items[i])));
      if (parts.size() == kEventsAtOnce) good = co_await send_parts(std::exchange(parts, {}));
    }
    good = good && co_await send_parts(std::move(parts));
    co_return good;
  }

  // True: the watch ended as it should. The client holds a position in the history, never a queue.
  asio::awaitable<bool> tell_events() {
    position_ = request_.resource_version.value_or(0);
    bool good = position_ != 0 || co_await tell_present();
    const uint32_t limit_s = core_->options.max_watch_s;
    const auto end =
        Clock::now() + std::chrono::seconds(std::min(request_.timeout_s.value_or(limit_s), limit_s));
    auto bookmark = Clock::now() + Millis(core_->options.bookmark_ms);
    while (good && !gone_ && !core_->stopped && Clock::now() < end) {
      if (!core_->history.reaches(request_.kind, position_)) {
        ++core_->stats.expired;
        good = co_await send_chunk(event_json("ERROR", expired(position_).json()));
        co_return good;
      }
      const bool told = told_all();
      if (!told) {
        good = co_await tell_some();
      } else if (Clock::now() >= bookmark) {
        good = co_await tell_bookmark();
        bookmark = Clock::now() + Millis(core_->options.bookmark_ms);
      } else {
        co_await sleep(std::min(bookmark, end) - Clock::now());
      }
    }
    good = good && !gone_ && !core_->stopped;
    good = good && co_await tell_bookmark();
    co_return good;
  }

  bool told_all() {
    if (!core_->history.since(request_.kind, position_, 1).empty()) return false;
    position_ = core_->history.version();
    return true;
  }

  asio::awaitable<bool> tell_some() {
    std::vector<std::string> parts;
    for (const auto* event : core_->history.since(request_.kind, position_, kEventsAtOnce)) {
      position_ = event->now.version;
      if (!request_.ns.empty() && meta_of(event->now.object).key.ns != request_.ns) continue;
      constexpr std::string_view kTypes[] = {"ADDED", "MODIFIED", "DELETED"};
      parts.push_back(event_json(kTypes[static_cast<size_t>(event->type)], shown(event->now)));
    }
    const bool good = co_await send_parts(std::move(parts));
    co_return good;
  }

  asio::awaitable<bool> tell_bookmark() {
    const bool good = !request_.bookmarks || co_await send_chunk(bookmark_json(request_.kind, position_));
    co_return good;
  }

  std::shared_ptr<CoreT> core_;
  Stream stream_;
  asio::steady_timer wakeup_;
  beast::flat_buffer buffer_{65536};
  ListWatchRequest request_;
  bool keep_alive_ = true;
  bool gone_ = false;
  uint64_t position_ = 0;  // of a watch: everything up to this version was told
};

template <class Stream, class CoreT>
void serve(const std::shared_ptr<CoreT>& core, Stream stream) {
  auto session = std::make_shared<Session<Stream, CoreT>>(core, std::move(stream));
  asio::co_spawn(
      core->io, [session] { return session->run(); }, asio::detached);
}

// Said without waiting: a crowd of clients costs nothing.
void turn_away(asio::generic::stream_protocol::socket socket) {
  constexpr std::string_view kBusy =
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
  (void)::send(socket.native_handle(), kBusy.data(), kBusy.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

template <class CoreT>
asio::awaitable<void> accept_clients(std::shared_ptr<CoreT> core) {
  while (!core->stopped) {
    boost::system::error_code error;
    asio::generic::stream_protocol::socket socket(core->io);
    co_await core->acceptor.async_accept(socket, into(error));
    if (core->stopped) co_return;
    if (error) {  // out of descriptors: the crowd passes
      core->pause.expires_after(Millis(100));
      co_await core->pause.async_wait(into(error));
    } else if (core->clients.size() >= core->options.max_clients) {
      ++core->stats.refused_clients;
      turn_away(std::move(socket));
    } else if (core->tls) {
      serve(core, asio::ssl::stream<Plain>(Plain(std::move(socket)), *core->tls));
    } else {
      serve(core, Plain(std::move(socket)));
    }
  }
}

}  // namespace

ListWatchServer::ListWatchServer(asio::io_context& io, Fd listening, std::shared_ptr<asio::ssl::context> tls,
                                 RelayOptions options, uint64_t first_version, std::shared_ptr<Tamper> tamper)
    : core_(std::make_shared<Core>(io, std::move(tls), options, first_version, std::move(tamper))) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  ::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &length);
  core_->acceptor.assign(asio::generic::stream_protocol(address.ss_family, 0), listening.release());
}

ListWatchServer::~ListWatchServer() { stop(); }

void ListWatchServer::start() {
  asio::co_spawn(
      core_->io, [core = core_] { return accept_clients(core); }, asio::detached);
}

void ListWatchServer::stop() {
  core_->stopped = true;
  boost::system::error_code ignored;
  core_->acceptor.close(ignored);
  core_->pause.cancel();
  drop_clients();
}

void ListWatchServer::drop_clients() {
  for (auto* client : core_->clients) client->close();
}

History& ListWatchServer::history() { return core_->history; }

void ListWatchServer::announce() {
  core_->ready = true;
  for (auto* client : core_->clients) client->wake();
}

RelayStats ListWatchServer::stats() const { return core_->stats; }

}  // namespace thalweg::kube
