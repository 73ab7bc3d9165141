#include "base/asio.h"
//
#include "ingress/http1.h"

#include "ingress/sanitize.h"

namespace thalweg::ingress {

namespace {

namespace beast_http = boost::beast::http;
using boost::system::error_code;
using RequestParser = beast_http::request_parser<beast_http::buffer_body>;
using ResponseParser = beast_http::response_parser<beast_http::buffer_body>;

constexpr size_t kReadBytes = 16 << 10;

template <class Fields>
Headers copy_fields(const Fields& fields) {
  Headers headers;
  for (const auto& field : fields)
    headers.add({field.name_string().data(), field.name_string().size()},
                {field.value().data(), field.value().size()});
  return headers;
}

Refusal to_refusal(const error_code& code) {
  if (code == beast_http::error::bad_version) return Refusal::BadVersion;
  if (code == beast_http::error::header_limit) return Refusal::HeadTooLarge;
  if (code == beast_http::error::bad_content_length || code == beast_http::error::multiple_content_length ||
      code == beast_http::error::bad_transfer_encoding)
    return Refusal::AmbiguousLength;
  return Refusal::BadSyntax;
}

}  // namespace

struct Reader::Impl {
  Impl(Stream& from, size_t max_bytes) : stream(from), max_head_bytes(max_bytes), buffer(max_bytes) {}

  Task<Result<size_t>> fill() {
    const size_t room = std::min(kReadBytes, buffer.max_size() - buffer.size());
    if (room == 0) co_return std::unexpected(Error{"buffer full", EMSGSIZE});
    const auto space = buffer.prepare(room);
    auto got = co_await stream.read_some({static_cast<char*>(space.data()), space.size()});
    if (got) buffer.commit(*got);
    co_return got;
  }

  std::string_view text() const {
    return {static_cast<const char*>(buffer.cdata().data()), buffer.cdata().size()};
  }

  // Until the empty line is here; its length in `size`.
  Task<Refusal> gather_head(size_t& size) {
    for (size_t searched = 0;;) {
      while (text().starts_with("\r\n")) buffer.consume(2);  // RFC 9112 §2.2
      const auto end = text().find("\r\n\r\n", searched);
      if (end != std::string_view::npos) {
        size = end + 4;
        co_return Refusal::None;
      }
      if (text().size() >= max_head_bytes) co_return Refusal::HeadTooLarge;
      searched = text().size() < 3 ? 0 : text().size() - 3;
      auto got = co_await fill();
      if (!got) co_return got.error().code == ETIMEDOUT ? Refusal::HeadTimeout : Refusal::ClientGone;
      if (*got == 0) co_return Refusal::ClientGone;
    }
  }

  template <class Parser>
  Task<Refusal> parse_head(std::optional<Parser>& parser) {
    size_t size = 0;
    const Refusal gathered = co_await gather_head(size);
    if (gathered != Refusal::None) co_return gathered;
    const Refusal checked = check_head_text(text().substr(0, size));
    if (checked != Refusal::None) co_return checked;
    parser.emplace();
    parser->header_limit(static_cast<uint32_t>(max_head_bytes));
    parser->body_limit(boost::none);
    error_code code;
    parser->put(asio::buffer(text().data(), size), code);
    buffer.consume(size);
    co_return !code && parser->is_header_done() ? Refusal::None : to_refusal(code);
  }

  // What the buffer holds of a chunked body, decoded; 0 when more must be read first.
  template <class Parser>
  Result<size_t> decode(Parser& parser, std::span<char> into) {
    parser.eager(true);
    auto& body = parser.get().body();
    body = {.data = into.data(), .size = into.size(), .more = true};
    error_code code;
    buffer.consume(parser.put(buffer.data(), code));
    if (code && code != beast_http::error::need_more && code != beast_http::error::need_buffer)
      return std::unexpected(Error{code.message(), EBADMSG});
    if (parser.is_done()) framing = Framing::None;
    return into.size() - body.size;
  }

  Task<Result<size_t>> read_chunked(std::span<char> into) {
    for (;;) {
      if (buffer.size() > 0) {
        auto decoded = request ? decode(*request, into) : decode(*response, into);
        if (!decoded || *decoded > 0 || framing == Framing::None) co_return decoded;
      }
      auto got = co_await fill();
      if (!got) co_return got;
      if (*got == 0) co_return std::unexpected(Error{"cut in the middle of a body", EBADMSG});
    }
  }

  // Bytes that stand for themselves: first what is buffered, then straight from the stream.
  Task<Result<size_t>> read_plain(std::span<char> into) {
    if (framing == Framing::Length && into.size() > left) into = into.first(left);
    size_t n = std::min(into.size(), buffer.size());
    if (n > 0) {
      std::memcpy(into.data(), buffer.cdata().data(), n);
      buffer.consume(n);
    } else {
      auto got = co_await stream.read_some(into);
      if (!got) co_return got;
      n = *got;
    }
    if (n == 0 && framing == Framing::Length)
      co_return std::unexpected(Error{"cut in the middle of a body", EBADMSG});
    if (framing == Framing::Length) left -= n;
    if (n == 0 || (framing == Framing::Length && left == 0)) framing = Framing::None;
    co_return n;
  }

  Stream& stream;
  size_t max_head_bytes;
  boost::beast::flat_buffer buffer;
  std::optional<RequestParser> request;
  std::optional<ResponseParser> response;
  Framing framing = Framing::None;  // of what is left of the body
  uint64_t left = 0;
};

Reader::Reader(Stream& stream, size_t max_head_bytes)
    : impl_(std::make_unique<Impl>(stream, max_head_bytes)) {}
Reader::~Reader() = default;

Task<Result<size_t>> Reader::wait() {
  if (impl_->buffer.size() > 0) co_return impl_->buffer.size();
  co_return co_await impl_->fill();
}

Task<Refusal> Reader::read_head(RequestHead& head) {
  const Refusal refusal = co_await impl_->parse_head(impl_->request);
  if (refusal != Refusal::None) co_return refusal;
  const auto& message = impl_->request->get();
  head.method = std::string(message.method_string());
  head.target = std::string(message.target());
  head.version = static_cast<int>(message.version());
  head.headers = copy_fields(message);
  co_return Refusal::None;
}

Task<Refusal> Reader::read_head(ResponseHead& head) {
  const Refusal refusal = co_await impl_->parse_head(impl_->response);
  if (refusal != Refusal::None) co_return refusal;
  const auto& message = impl_->response->get();
  head.status = static_cast<int>(message.result_int());
  head.reason = std::string(message.reason());
  head.version = static_cast<int>(message.version());
  head.headers = copy_fields(message);
  co_return Refusal::None;
}

void Reader::start_body(Framing framing, uint64_t length) {
  impl_->framing = framing == Framing::Length && length == 0 ? Framing::None : framing;
  impl_->left = length;
}

Task<Result<size_t>> Reader::read_body(std::span<char> into) {
  if (impl_->framing == Framing::None) co_return 0;
  if (impl_->framing == Framing::Chunked) co_return co_await impl_->read_chunked(into);
  co_return co_await impl_->read_plain(into);
}

bool Reader::body_done() const { return impl_->framing == Framing::None; }
std::string_view Reader::buffered() const { return impl_->text(); }
void Reader::consume(size_t n) { impl_->buffer.consume(n); }

Task<Result<>> Writer::send(std::string_view bytes) {
  const std::string head = std::exchange(pending_, {});
  if (!chunked_) co_return co_await stream_.write({head, bytes});
  const std::string size = fmt::format("{:x}\r\n", bytes.size());
  co_return co_await stream_.write({head, size, bytes, "\r\n"});
}

Task<Result<>> Writer::flush() {
  if (pending_.empty()) co_return Result<>();
  const std::string head = std::exchange(pending_, {});
  co_return co_await stream_.write({head});
}

Task<Result<>> Writer::finish() {
  if (chunked_) pending_ += "0\r\n\r\n";
  return flush();
}

}  // namespace thalweg::ingress
