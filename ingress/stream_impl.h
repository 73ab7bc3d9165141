// The inside of a Stream, for those who open one: upstream.cc connects, proxy.cc accepts. Include base/asio.h
// first.
#pragma once

#include <memory>
#include <optional>

#include "ingress/stream.h"

namespace thalweg::ingress {

struct Stream::Impl {
  explicit Impl(boost::asio::ip::tcp::socket opened) : socket(std::move(opened)) {}
  boost::asio::ip::tcp::socket socket;
  std::optional<boost::asio::ssl::stream<boost::asio::ip::tcp::socket&>> tls;
  std::shared_ptr<const void> certificates;
  Ip peer;
};

Ip to_ip(const boost::asio::ip::address& address);
boost::asio::ip::tcp::endpoint to_endpoint(const Endpoint& endpoint);

}  // namespace thalweg::ingress
