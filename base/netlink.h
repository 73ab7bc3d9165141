// Thin netlink over libmnl: a Message is bytes being built, a Socket asks and answers. What the messages mean
// is in link.h. Used by the agent, the CNI plugins and the demo.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/netns.h"
#include "base/result.h"

namespace thalweg::nl {

class Message {
 public:
  static constexpr size_t kMaxBytes = 8192;

  // NLM_F_REQUEST is added.
  explicit Message(uint16_t type, uint16_t flags = 0);

  // Appends the family's fixed header (ifinfomsg, rtmsg, …), zeroed. Once, before any attribute.
  template <class Header>
  Header& header() {
    return *static_cast<Header*>(extra(sizeof(Header)));
  }

  void put(uint16_t type, const void* data, size_t size);
  void put_u8(uint16_t type, uint8_t value);
  void put_u16(uint16_t type, uint16_t value);
  void put_u32(uint16_t type, uint32_t value);
  void put_be16(uint16_t type, uint16_t value);
  void put_str(uint16_t type, std::string_view value);  // with its NUL
  void put_ip(uint16_t type, const Ip& ip);             // 4 or 16 bytes, by family

  // { auto info = m.nest(IFLA_LINKINFO); … } the attribute closes with the scope.
  class Nest {
   public:
    Nest(Message& message, uint16_t type, const void* header, size_t header_size);
    ~Nest();
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

   private:
    Message& message_;
    size_t start_;
  };
  [[nodiscard]] Nest nest(uint16_t type) { return Nest(*this, type, nullptr, 0); }
  // A nest that opens with a fixed header (VETH_INFO_PEER holds an ifinfomsg).
  template <class Header>
  [[nodiscard]] Nest nest(uint16_t type, const Header& header) {
    return Nest(*this, type, &header, sizeof(header));
  }

  nlmsghdr* raw();
  bool overflowed() const { return overflowed_; }

 private:
  void* extra(size_t size);
  bool fits(size_t size);
  std::vector<uint64_t> buffer_;  // 8-byte words: netlink wants alignment
  bool overflowed_ = false;
};

// Attributes of a received message, by type; the last of a type wins. Valid as long as the message.
class Attributes {
 public:
  Attributes(const nlmsghdr& message, size_t header_size);
  explicit Attributes(const nlattr* nest);

  const nlattr* get(uint16_t type) const { return type < attrs_.size() ? attrs_[type] : nullptr; }
  bool has(uint16_t type) const { return get(type) != nullptr; }
  std::optional<uint32_t> u32(uint16_t type) const;
  std::string_view str(uint16_t type) const;
  std::optional<Ip> ip(uint16_t type) const;  // 4 or 16 bytes
  std::string_view bytes(uint16_t type) const;

 private:
  void take(const nlattr* attr);
  std::vector<const nlattr*> attrs_;
};

// Every attribute of a nest in its order, also many of one type.
void for_each(const nlattr* nest, const std::function<void(uint16_t type, std::string_view bytes)>& take);

// One netlink socket in one namespace; not for two threads at once. Each call waits at most 10 s.
class Socket {
 public:
  static Result<Socket> open(int protocol = 0 /* NETLINK_ROUTE */);
  static Result<Socket> open_in(const Netns& netns, int protocol = 0);

  // Sends and awaits the ack. An error's code is the kernel's errno, its text the kernel's own words
  // (extack).
  Result<> transact(Message& message);
  // As transact, for a request that answers with one message before its ack.
  Result<> ask(Message& message, const std::function<void(const nlmsghdr&)>& on_reply);

  // All or nothing: requests of a protocol that takes batches (nfnetlink), as one packet. Waits for the
  // answers to those with NLM_F_ACK; fails as the first that is refused.
  Result<> transact_all(std::vector<Message>& messages);

  // Every row of a dump, through `decode` (nullopt: not wanted). When the kernel says the table changed
  // meanwhile (NLM_F_DUMP_INTR) or the buffer ran over (ENOBUFS), it is dumped again, at most 8 times.
  template <class Row>
  Result<std::vector<Row>> dump(Message& message,
                                const std::function<std::optional<Row>(const nlmsghdr&)>& decode) {
    std::vector<Row> rows;
    TRY(dump_raw(
        message, [&] { rows.clear(); },
        [&](const nlmsghdr& reply) {
          if (auto row = decode(reply)) rows.push_back(std::move(*row));
        }));
    return rows;
  }

 private:
  explicit Socket(Fd fd, uint32_t port) : fd_(std::move(fd)), port_(port) {}
  enum class End { Done, Again };
  Result<> dump_raw(Message& message, const std::function<void()>& restart,
                    const std::function<void(const nlmsghdr&)>& on_row);
  Result<> send(Message& message);
  Result<End> receive(const std::function<void(const nlmsghdr&)>& on_reply);
  void drain();
  Fd fd_;
  uint32_t port_ = 0;
  uint32_t sequence_ = 0;
};

}  // namespace thalweg::nl
