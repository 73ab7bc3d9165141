// libmnl does the framing and the attributes; asking, answering and dumping again are here.
#include "base/netlink.h"

#include <libmnl/libmnl.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace thalweg::nl {

namespace {
constexpr int kMaxDumps = 8;
constexpr time_t kTimeoutSeconds = 10;
constexpr size_t kReceiveBytes = 64 << 10;  // the kernel fills dump packets up to 32 KiB
}  // namespace

// ---- Message

Message::Message(uint16_t type, uint16_t flags) : buffer_(kMaxBytes / sizeof(uint64_t)) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer_.data());
  header->nlmsg_type = type;
  header->nlmsg_flags = NLM_F_REQUEST | flags;
}

nlmsghdr* Message::raw() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }

bool Message::fits(size_t size) {
  if (MNL_ALIGN(raw()->nlmsg_len) + MNL_ALIGN(size) + MNL_ATTR_HDRLEN <= kMaxBytes) return true;
  overflowed_ = true;
  return false;
}

// Called first on an empty message, where every header fits.
void* Message::extra(size_t size) { return mnl_nlmsg_put_extra_header(raw(), size); }

void Message::put(uint16_t type, const void* data, size_t size) {
  if (fits(size)) mnl_attr_put(raw(), type, size, data);
}
void Message::put_u8(uint16_t type, uint8_t value) { put(type, &value, sizeof value); }
void Message::put_u16(uint16_t type, uint16_t value) { put(type, &value, sizeof value); }
void Message::put_u32(uint16_t type, uint32_t value) { put(type, &value, sizeof value); }
void Message::put_be16(uint16_t type, uint16_t value) { put_u16(type, __builtin_bswap16(value)); }
void Message::put_str(uint16_t type, std::string_view value) {
  const std::string terminated(value);
  put(type, terminated.c_str(), terminated.size() + 1);
}
void Message::put_ip(uint16_t type, const Ip& ip) {
  ip.is_v4() ? put(type, ip.v4_bytes(), 4) : put(type, ip.bytes().data(), 16);
}

Message::Nest::Nest(Message& message, uint16_t type, const void* header, size_t header_size)
    : message_(message), start_(message.raw()->nlmsg_len) {
  message_.put(type, header, header_size);
}

// The nest was put with its header as payload; now its length grows over all that was put since.
Message::Nest::~Nest() {
  if (message_.overflowed_) return;
  auto* bytes = reinterpret_cast<char*>(message_.raw());
  reinterpret_cast<nlattr*>(bytes + start_)->nla_len = message_.raw()->nlmsg_len - start_;
}

// ---- Attributes

Attributes::Attributes(const nlmsghdr& message, size_t header_size) {
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(&message));
  for (auto* attr = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(&message, header_size));
       mnl_attr_ok(attr, end - reinterpret_cast<const char*>(attr)); attr = mnl_attr_next(attr))
    take(attr);
}

Attributes::Attributes(const nlattr* nest) {
  if (!nest) return;
  const auto* end = reinterpret_cast<const char*>(nest) + mnl_attr_get_len(nest);
  for (auto* attr = static_cast<const nlattr*>(mnl_attr_get_payload(nest));
       mnl_attr_ok(attr, end - reinterpret_cast<const char*>(attr)); attr = mnl_attr_next(attr))
    take(attr);
}

void Attributes::take(const nlattr* attr) {
  const uint16_t type = mnl_attr_get_type(attr);
  if (type > 1023) return;  // no family we read has such
  if (type >= attrs_.size()) attrs_.resize(type + 1);
  attrs_[type] = attr;
}

std::optional<uint32_t> Attributes::u32(uint16_t type) const {
  const nlattr* attr = get(type);
  if (!attr || mnl_attr_get_payload_len(attr) < sizeof(uint32_t)) return std::nullopt;
  return mnl_attr_get_u32(attr);
}

std::string_view Attributes::bytes(uint16_t type) const {
  const nlattr* attr = get(type);
  if (!attr) return {};
  return {static_cast<const char*>(mnl_attr_get_payload(attr)), mnl_attr_get_payload_len(attr)};
}

std::string_view Attributes::str(uint16_t type) const {
  const std::string_view text = bytes(type);
  return text.substr(0, text.find('\0'));
}

std::optional<Ip> Attributes::ip(uint16_t type) const {
  const std::string_view text = bytes(type);
  if (text.size() == 4) return Ip::from_v4_bytes(text.data());
  if (text.size() == 16) return Ip::from_v6_bytes(text.data());
  return std::nullopt;
}

void for_each(const nlattr* nest, const std::function<void(uint16_t, std::string_view)>& take) {
  if (!nest) return;
  const auto* end = reinterpret_cast<const char*>(nest) + mnl_attr_get_len(nest);
  for (auto* attr = static_cast<const nlattr*>(mnl_attr_get_payload(nest));
       mnl_attr_ok(attr, end - reinterpret_cast<const char*>(attr)); attr = mnl_attr_next(attr))
    take(mnl_attr_get_type(attr),
         {static_cast<const char*>(mnl_attr_get_payload(attr)), mnl_attr_get_payload_len(attr)});
}

// ---- Socket

Result<Socket> Socket::open(int protocol) {
  Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!fd) return fail_errno(errno, "open netlink socket");
  const int on = 1;
  // Refusals in words (extack), without our own request quoted back; strict dumps filter in the kernel.
  for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK})
    ::setsockopt(fd.get(), SOL_NETLINK, option, &on, sizeof on);
  const timeval timeout = {kTimeoutSeconds, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  sockaddr_nl address = {.nl_family = AF_NETLINK};
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) < 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0)
    return fail_errno(errno, "bind netlink socket");
  return Socket(std::move(fd), address.nl_pid);
}

Result<Socket> Socket::open_in(const Netns& netns, int protocol) {
  return netns.run([&] { return open(protocol); });
}

Result<> Socket::send(Message& message) {
  if (message.overflowed()) return fail_errno(E2BIG, "netlink request");
  message.raw()->nlmsg_seq = ++sequence_;
  sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (::sendto(fd_.get(), message.raw(), message.raw()->nlmsg_len, 0, reinterpret_cast<sockaddr*>(&kernel),
               sizeof kernel) < 0)
    return fail_errno(errno, "send netlink request");
  return {};
}

namespace {

Error refusal(const nlmsghdr& message) {
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(&message));
  std::string words;
  if (message.nlmsg_flags & NLM_F_ACK_TLVS)
    words = Attributes(message, sizeof(nlmsgerr)).str(NLMSGERR_ATTR_MSG);
  std::string text = std::strerror(-error->error);
  if (!words.empty()) text += fmt::format(" ({})", words);
  return {std::move(text), -error->error};
}

// Reads one packet of the kernel; others' packets (any process may send to our port) are passed over.
Result<size_t> receive_packet(int fd, std::vector<char>& buffer) {
  for (;;) {
    sockaddr_nl from = {};
    iovec io = {buffer.data(), buffer.size()};
    msghdr packet = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &io, .msg_iovlen = 1};
    const ssize_t n = ::recvmsg(fd, &packet, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return fail_errno(ETIMEDOUT, "await netlink answer");
    if (n < 0) return fail_errno(errno, "receive netlink answer");
    if (packet.msg_flags & MSG_TRUNC) return fail_errno(EMSGSIZE, "receive netlink answer");
    if (from.nl_pid == 0) return n;
  }
}

}  // namespace

// Reads until the answer to the request sent last is complete. Again: rows were lost or moved meanwhile.
Result<Socket::End> Socket::receive(const std::function<void(const nlmsghdr&)>& on_reply) {
  std::vector<char> buffer(kReceiveBytes);
  bool disturbed = false;
  for (;;) {
    auto packet = receive_packet(fd_.get(), buffer);
    if (!packet && packet.error().code == ENOBUFS) return End::Again;
    int left = static_cast<int>(TRY(std::move(packet)));
    for (auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_seq != sequence_ || message->nlmsg_pid != port_) continue;
      if (message->nlmsg_flags & NLM_F_DUMP_INTR) disturbed = true;
      if (message->nlmsg_type == NLMSG_ERROR) {
        if (static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error != 0)
          return std::unexpected(refusal(*message));
        return End::Done;
      }
      if (message->nlmsg_type == NLMSG_DONE) return disturbed ? End::Again : End::Done;
      on_reply(*message);
    }
  }
}

// A request whose answer was lost half way: the rest of it must not be read as the next one's.
void Socket::drain() {
  std::vector<char> buffer(kReceiveBytes);
  while (::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT) >= 0 || errno == ENOBUFS ||
         errno == EINTR)
    continue;
}

Result<> Socket::transact(Message& message) {
  return ask(message, [](const nlmsghdr&) {});
}

Result<> Socket::ask(Message& message, const std::function<void(const nlmsghdr&)>& on_reply) {
  message.raw()->nlmsg_flags |= NLM_F_ACK;
  TRY(send(message));
  if (TRY(receive(on_reply)) == End::Done) return {};
  return fail_errno(ENOBUFS, "await netlink answer");
}

// One number for all of them: the answers are counted, not told apart. They are there when send returns, each
// refusal among them; nothing was done if there is any.
Result<> Socket::transact_all(std::vector<Message>& messages) {
  std::string packet;
  ++sequence_;
  size_t answers = 0;
  for (Message& message : messages) {
    if (message.overflowed()) return fail_errno(E2BIG, "netlink request");
    message.raw()->nlmsg_seq = sequence_;
    answers += (message.raw()->nlmsg_flags & NLM_F_ACK) != 0;
    packet.append(reinterpret_cast<const char*>(message.raw()), message.raw()->nlmsg_len);
    packet.resize(NLMSG_ALIGN(packet.size()), '\0');
  }
  sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  if (::sendto(fd_.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&kernel),
               sizeof kernel) < 0)
    return fail_errno(errno, "send netlink requests");
  Result<> first;
  for (size_t i = 0; i < answers && first; ++i) {
    auto end = receive([](const nlmsghdr&) {});
    if (!end) first = std::unexpected(end.error());
  }
  if (!first) drain();
  return first;
}

Result<> Socket::dump_raw(Message& message, const std::function<void()>& restart,
                          const std::function<void(const nlmsghdr&)>& on_row) {
  message.raw()->nlmsg_flags |= NLM_F_DUMP;
  for (int i = 0; i < kMaxDumps; ++i) {
    restart();
    TRY(send(message));
    if (TRY(receive(on_row)) == End::Done) return {};
    drain();
  }
  return fail_errno(EBUSY, "netlink dump: changed under {} dumps", kMaxDumps);
}

}  // namespace thalweg::nl
