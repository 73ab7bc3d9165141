// The life of a connection and of a request, phase by phase: read Session::exchange() first.
#include "base/asio.h"
//
#include "ingress/session.h"
#include "ingress/stream.h"

namespace thalweg::ingress {

namespace {

constexpr int kMaxInterim = 16;  // 1xx responses before one final response

// What went wrong with a read of the service's head, told from our client's side.
Refusal upstream_refusal(Refusal refusal) {
  if (refusal == Refusal::None) return refusal;
  if (refusal == Refusal::HeadTimeout) return Refusal::ResponseTimeout;
  return refusal == Refusal::ClientGone ? Refusal::UpstreamClosed : Refusal::BadResponse;
}

}  // namespace

// The life of a request.
Task<bool> Session::exchange() {
  Exchange x;
  x.refusal = co_await read_head(x);
  if (x.refusal == Refusal::None) x.refusal = sanitize(x.request, client_);
  if (x.refusal == Refusal::None) x.refusal = route(x);
  if (x.refusal == Refusal::None) apply(x.route->filters, Side::Request, x.request.headers);
  if (x.refusal == Refusal::None)
    x.refusal = co_await ask(x);  // connect, send, hear the head of the response
  if (x.refusal == Refusal::None) x.refusal = co_await stream_response(x);
  co_await stop_upload(x);
  cut_ = x.refusal == Refusal::UpstreamCut;
  if (x.refusal != Refusal::None) co_await answer(x);
  give_back(x);
  account(x);
  co_return x.keep_client;
}

// The life of a connection.
Task<> Session::run() {
  if (client_.tls) {
    const bool secured = co_await secure();
    if (!secured) co_return;
  }
  for (bool more = true; more;) {
    more = co_await wait();
    if (!more) break;
    more = co_await exchange();
  }
  if (!proxy_.stopping && !cut_) (void)co_await stream_->finish();
  if (cut_) stream_->abort();
}

Task<bool> Session::secure() {
  stream_->expire_after(limits_.head_timeout_ms);
  const auto routing = proxy_.routing.get();
  auto secured = Result<>(fail("no certificates"));
  if (routing->certificates && routing->certificates->context() != nullptr)
    secured = co_await stream_->handshake(routing->certificates->context(), routing->certificates);
  if (!secured) proxy_.counters.handshakes_failed.add();
  co_return secured.has_value();
}

// Between requests: until the first byte of the next.
Task<bool> Session::wait() {
  if (proxy_.draining && reader_.buffered().empty()) co_return false;
  stream_->expire_after(limits_.idle_timeout_ms);
  idle_ = true;
  const auto got = co_await reader_.wait();
  idle_ = false;
  co_return got.has_value() && *got > 0;
}

Task<Refusal> Session::read_head(Exchange& x) {
  stream_->expire_after(limits_.head_timeout_ms);
  const Refusal refusal = co_await reader_.read_head(x.request);
  x.head_read = refusal != Refusal::ClientGone;
  co_return refusal;
}

Refusal Session::route(Exchange& x) {
  x.routes = proxy_.routing.get()->routes;
  reader_.start_body(x.request.framing, x.request.length);
  x.keep_client = x.request.keep_alive && reader_.body_done();
  x.route = x.routes->find(x.request.host, x.request.path);
  if (x.route == nullptr) return Refusal::NoRoute;
  x.backend = &x.routes->backends()[x.route->backend];
  if (!x.backend->exists) return Refusal::NoBackend;
  return x.backend->endpoints.empty() ? Refusal::NoEndpoints : Refusal::None;
}

// Connect, send, hear; again only when nothing can have been done by the service: a kept connection that
// turned out to be dead, for a method that may be repeated.
Task<Refusal> Session::ask(Exchange& x) {
  for (unsigned tries = 1;; ++tries) {
    Refusal refusal = co_await connect(x);
    if (refusal != Refusal::None) co_return refusal;
    const bool repeatable = x.upstream->reused && idempotent(x.request.method) && reader_.body_done();
    refusal = co_await send_request(x);
    if (refusal == Refusal::None) refusal = co_await read_response_head(x);
    if (refusal == Refusal::None) co_return refusal;
    if (x.upload_refusal != Refusal::None) co_return x.upload_refusal;
    if (refusal != Refusal::UpstreamClosed || !repeatable || tries >= limits_.max_tries) co_return refusal;
    proxy_.counters.retries.add();
  }
}

Task<Refusal> Session::connect(Exchange& x) {
  Refusal refusal = Refusal::ConnectFailed;
  for (std::vector<Endpoint> tried; tried.size() < limits_.max_tries;) {
    const auto endpoint = proxy_.upstream.choose(*x.backend, tried);
    if (!endpoint) break;
    if (!tried.empty()) proxy_.counters.retries.add();
    x.endpoint = *endpoint;
    x.upstream = proxy_.upstream.reuse(*endpoint);
    (x.upstream ? proxy_.counters.upstream_reuses : proxy_.counters.upstream_connects).add();
    if (x.upstream) co_return Refusal::None;
    auto opened = co_await proxy_.upstream.connect(*endpoint);
    if (opened) {
      x.upstream = std::move(*opened);
      co_return Refusal::None;
    }
    proxy_.counters.upstream_failures.add();
    refusal = opened.error().code == ETIMEDOUT ? Refusal::ConnectTimeout : Refusal::ConnectFailed;
    tried.push_back(*endpoint);
  }
  co_return refusal;
}

// A body goes on its way beside us, so that an early response (or "100 Continue") is heard while it is sent.
Task<Refusal> Session::send_request(Exchange& x) {
  if (!reader_.body_done()) {
    x.uploaded = false;
    uploading_.start(upload(x));
    co_return Refusal::None;
  }
  x.upstream->stream->expire_after(limits_.body_timeout_ms);
  Writer writer(*x.upstream->stream, serialize(x.request), Framing::None);
  const auto sent = co_await writer.flush();
  co_return sent ? Refusal::None : Refusal::UpstreamClosed;
}

Task<> Session::upload(Exchange& x) {
  Writer writer(*x.upstream->stream, serialize(x.request), x.request.framing);
  Refusal refusal = Refusal::None;
  // With "Expect: 100-continue" the body only comes once the service has seen the head.
  if (reader_.buffered().empty()) {
    const auto sent = co_await writer.flush();
    if (!sent) refusal = Refusal::UpstreamClosed;
  }
  const auto buffer = std::make_unique<char[]>(limits_.body_buffer_bytes);
  while (refusal == Refusal::None && !reader_.body_done() && !x.abandoned)
    refusal = co_await upload_some(x, writer, {buffer.get(), limits_.body_buffer_bytes});
  if (refusal == Refusal::None && reader_.body_done()) {
    const auto sent = co_await writer.finish();
    x.uploaded = sent.has_value();
    x.upstream->stream->expire_after(limits_.response_timeout_ms);
  }
  // A service that stops reading may still answer: only a fault of the client's ends the exchange.
  if (refusal == Refusal::None || refusal == Refusal::UpstreamClosed) co_return;
  x.upload_refusal = refusal;
  x.upstream->stream->cancel();
}

Task<Refusal> Session::upload_some(Exchange& x, Writer& writer, std::span<char> buffer) {
  stream_->expire_after(limits_.body_timeout_ms);
  const auto got = co_await reader_.read_body(buffer);
  if (!got && got.error().code == ETIMEDOUT) co_return Refusal::BodyTimeout;
  if (!got)
    co_return got.error().code == EBADMSG || got.error().code == EMSGSIZE ? Refusal::BadBody
                                                                          : Refusal::ClientGone;
  if (*got == 0) co_return Refusal::None;
  x.request_bytes += *got;
  x.upstream->stream->expire_after(limits_.response_timeout_ms);
  const auto sent = co_await writer.send({buffer.data(), *got});
  co_return sent ? Refusal::None : Refusal::UpstreamClosed;
}

// Whatever of the upload is still under way ends here; its connections then carry nothing else.
Task<> Session::stop_upload(Exchange& x) {
  x.abandoned = true;
  if (!x.uploaded) {
    stream_->cancel();
    if (x.upstream) x.upstream->stream->cancel();
  }
  co_await uploading_.join();
}

Task<Refusal> Session::read_response_head(Exchange& x) {
  for (int interim = 0; interim < kMaxInterim && x.upload_refusal == Refusal::None; ++interim) {
    x.upstream->stream->expire_after(limits_.response_timeout_ms);
    Refusal refusal = upstream_refusal(co_await x.upstream->reader.read_head(x.response));
    if (refusal == Refusal::None) refusal = sanitize(x.response, x.request);
    if (refusal != Refusal::None) co_return refusal;
    if (x.response.status / 100 != 1 || x.response.status == 101) co_return Refusal::None;
    if (x.request.version < 11) continue;
    const std::string head = serialize(x.response);
    const auto told = co_await tell({head});
    if (!told) co_return Refusal::ClientGone;
  }
  co_return Refusal::BadResponse;
}

Task<Refusal> Session::stream_response(Exchange& x) {
  x.upstream->reader.start_body(x.response.framing, x.response.length);
  apply(x.route->filters, Side::Response, x.response.headers);
  std::string head = response_head(x);  // decides the framing the client gets
  Writer writer(*stream_, std::move(head), x.response.framing);
  x.status = x.response.status;
  if (x.status != 101) co_return co_await stream_body(x, writer);
  const auto told = co_await writer.flush();
  co_return told ? co_await tunnel(x) : Refusal::ClientGone;
}

// A body that ends with its connection is chunked for a client that can read that.
std::string Session::response_head(Exchange& x) {
  ResponseHead& head = x.response;
  x.keep_client =
      x.request.keep_alive && x.uploaded && reader_.body_done() && !proxy_.draining && head.status != 101;
  if (head.framing == Framing::Chunked || head.framing == Framing::UntilClose) {
    head.framing = x.request.version >= 11 ? Framing::Chunked : Framing::UntilClose;
    if (x.request.version < 11) x.keep_client = false;
  }
  if (head.headers.find("Date") == nullptr) head.headers.add("Date", http_date());
  if (!x.keep_client && head.status != 101) head.headers.add("Connection", "close");
  if (x.keep_client && x.request.version < 11) head.headers.add("Connection", "keep-alive");
  return serialize(head);
}

Task<Refusal> Session::stream_body(Exchange& x, Writer& writer) {
  Reader& from = x.upstream->reader;
  std::unique_ptr<char[]> buffer;
  if (!from.body_done()) buffer = std::make_unique<char[]>(limits_.body_buffer_bytes);
  while (!from.body_done()) {
    if (from.buffered().empty()) {
      stream_->expire_after(limits_.body_timeout_ms);
      const auto told = co_await writer.flush();
      if (!told) co_return Refusal::ClientGone;
    }
    x.upstream->stream->expire_after(limits_.body_timeout_ms);
    const auto got = co_await from.read_body({buffer.get(), limits_.body_buffer_bytes});
    if (!got) co_return Refusal::UpstreamCut;
    if (*got == 0) continue;
    x.response_bytes += *got;
    stream_->expire_after(limits_.body_timeout_ms);
    const auto told = co_await writer.send({buffer.get(), *got});
    if (!told) co_return Refusal::ClientGone;
  }
  stream_->expire_after(limits_.body_timeout_ms);
  const auto told = co_await writer.finish();
  co_return told ? Refusal::None : Refusal::ClientGone;
}

// After "101 Switching Protocols": bytes both ways until either side ends.
Task<Refusal> Session::tunnel(Exchange& x) {
  proxy_.counters.tunnels.add();
  Beside back(proxy_.io.get_executor());
  back.start(pump(x.upstream->reader, *x.upstream->stream, *stream_, x.response_bytes));
  co_await pump(reader_, *stream_, *x.upstream->stream, x.request_bytes);
  co_await back.join();
  co_return Refusal::None;
}

Task<> Session::pump(Reader& from, Stream& in, Stream& out, uint64_t& bytes) {
  for (;;) {
    in.expire_after(limits_.tunnel_timeout_ms);
    const auto got = co_await from.wait();
    if (!got || *got == 0) break;
    const auto ready = from.buffered();
    out.expire_after(limits_.tunnel_timeout_ms);
    const auto sent = co_await out.write({ready});
    if (!sent) break;
    bytes += ready.size();
    from.consume(ready.size());
  }
  in.cancel();  // a tunnel with one open end is of no use
  out.cancel();
}

Task<Result<>> Session::tell(Stream::Pieces pieces) {
  stream_->expire_after(limits_.body_timeout_ms);
  return stream_->write(pieces);
}

// Our own short answer, unless the response has begun or nobody is there.
Task<> Session::answer(Exchange& x) {
  if (x.status != 0 || describe(x.refusal).status == 0) {
    x.keep_client = false;
    co_return;
  }
  x.keep_client = x.keep_client && x.uploaded && !proxy_.draining;
  x.status = describe(x.refusal).status;
  const std::string response = refusal_response(x);
  const auto told = co_await tell({response});
  if (!told) x.keep_client = false;
}

// The connection to the service goes back to the pool when nothing is left on it.
void Session::give_back(Exchange& x) {
  if (!x.upstream || x.refusal != Refusal::None || !x.uploaded || !x.response.keep_alive || x.status == 101)
    return;
  if (x.upstream->reader.body_done() && x.upstream->reader.buffered().empty())
    proxy_.upstream.keep(std::move(x.upstream));
}

void Session::account(const Exchange& x) {
  const Counters& counters = proxy_.counters;
  if (!x.head_read) return;
  if (x.refusal != Refusal::None) counters.refusal(x.refusal).add();
  counters.responses[std::min(x.status / 100, 5)].add();
  counters.request_bytes.add(static_cast<double>(x.request_bytes));
  counters.response_bytes.add(static_cast<double>(x.response_bytes));
  counters.seconds.observe(x.seconds());
  if (limits_.access_log) log_access(x, client_);
}

}  // namespace thalweg::ingress
