// The inside of a Proxy: one Session a client's connection, and what they share on their loop. For proxy.cc,
// which has the phases, and accept.cc, which opens sessions. Include base/asio.h first.
#pragma once

#include <list>
#include <memory>
#include <set>
#include <string>

#include "ingress/exchange.h"
#include "ingress/proxy.h"

namespace thalweg::ingress {

class Session;

struct Proxy::Impl {
  Impl(asio::io_context& loop, const Snapshot<Routing>& from, const ProxyLimits& bounds,
       const Counters& totals)
      : io(loop),
        routing(from),
        limits(bounds),
        counters(totals),
        upstream(loop, deadlines, bounds.upstream),
        tick(loop) {}

  Task<> accept(asio::ip::tcp::acceptor& acceptor, bool tls);
  void open(asio::ip::tcp::socket socket, bool tls);
  void arm_tick();

  asio::io_context& io;
  const Snapshot<Routing>& routing;
  const ProxyLimits limits;
  const Counters& counters;
  Deadlines deadlines;
  Upstream upstream;
  std::list<asio::ip::tcp::acceptor> acceptors;
  std::set<Session*> sessions;
  std::shared_ptr<const RouteTable> pruned;  // the table the pool was last compared with
  asio::steady_timer tick;
  bool draining = false;
  bool stopping = false;
};

// Another coroutine beside this one; joined before what it uses goes away.
class Beside {
 public:
  explicit Beside(const asio::any_io_executor& executor) : done_(executor, Clock::time_point::max()) {}
  void start(Task<> task) {
    running_ = true;
    asio::co_spawn(done_.get_executor(), std::move(task), [this](std::exception_ptr) {
      running_ = false;
      done_.cancel();
    });
  }
  Task<> join() {
    while (running_) co_await done_.async_wait(asio::as_tuple(asio::use_awaitable));
  }

 private:
  asio::steady_timer done_;
  bool running_ = false;
};

class Session {
 public:
  Session(Proxy::Impl& proxy, std::unique_ptr<Stream> stream, bool tls)
      : proxy_(proxy),
        limits_(proxy.limits),
        stream_(std::move(stream)),
        reader_(*stream_, limits_.max_head_bytes),
        client_{stream_->peer().str(), tls},
        uploading_(proxy.io.get_executor()) {
    proxy_.sessions.insert(this);
    proxy_.counters.open_connections.add(1);
  }
  ~Session() {
    proxy_.sessions.erase(this);
    proxy_.counters.open_connections.add(-1);
  }

  Task<> run();
  void end_if_idle() {
    if (idle_) stream_->cancel();
  }

 private:
  Task<bool> exchange();
  // The phases. None: go on; else why the request ends here.
  Task<bool> secure();
  Task<bool> wait();
  Task<Refusal> read_head(Exchange& x);
  Refusal route(Exchange& x);
  Task<Refusal> connect(Exchange& x);
  Task<Refusal> send_request(Exchange& x);
  Task<Refusal> read_response_head(Exchange& x);
  Task<Refusal> stream_response(Exchange& x);
  void account(const Exchange& x);

  Task<Refusal> ask(Exchange& x);
  Task<> upload(Exchange& x);
  Task<Refusal> upload_some(Exchange& x, Writer& writer, std::span<char> buffer);
  Task<> stop_upload(Exchange& x);
  Task<Refusal> stream_body(Exchange& x, Writer& writer);
  Task<Refusal> tunnel(Exchange& x);
  Task<> pump(Reader& from, Stream& in, Stream& out, uint64_t& bytes);
  std::string response_head(Exchange& x);
  Task<> answer(Exchange& x);
  Task<Result<>> tell(Stream::Pieces pieces);
  void give_back(Exchange& x);

  Proxy::Impl& proxy_;
  const ProxyLimits& limits_;
  std::unique_ptr<Stream> stream_;
  Reader reader_;
  Client client_;
  Beside uploading_;
  bool idle_ = false;
  bool cut_ = false;  // the last response is not whole, and the client must not think it is
};

}  // namespace thalweg::ingress
