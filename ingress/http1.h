// HTTP/1.1 on a Stream: heads and bodies read with Beast's parsers out of one bounded buffer, and bodies
// written.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "ingress/message.h"
#include "ingress/refusal.h"
#include "ingress/stream.h"

namespace thalweg::ingress {

// The reading end of one connection. Knows nothing of routes; keeps what came too early for the next message.
class Reader {
 public:
  Reader(Stream& stream, size_t max_head_bytes);
  ~Reader();

  // Waits for the first byte of a message. 0: the other end has finished.
  Task<Result<size_t>> wait();
  // Whole heads only; their text is checked before it is parsed. A deadline that passes is HeadTimeout.
  Task<Refusal> read_head(RequestHead& head);
  Task<Refusal> read_head(ResponseHead& head);

  // After sanitize has decided the framing of the head just read.
  void start_body(Framing framing, uint64_t length);
  // Some bytes of the body; 0 at its end. EBADMSG: the body is malformed or was cut.
  Task<Result<size_t>> read_body(std::span<char> into);
  bool body_done() const;
  // Bytes that are here already, read from the wire and not taken yet.
  std::string_view buffered() const;
  void consume(size_t n);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The writing end of one message: head and first bytes leave in one write.
class Writer {
 public:
  Writer(Stream& stream, std::string head, Framing framing)
      : stream_(stream), pending_(std::move(head)), chunked_(framing == Framing::Chunked) {}
  Task<Result<>> send(std::string_view bytes);
  Task<Result<>> flush();
  Task<Result<>> finish();  // once, at the end of the body

 private:
  Stream& stream_;
  std::string pending_;
  bool chunked_;
};

}  // namespace thalweg::ingress
