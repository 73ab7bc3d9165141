// Names of Asio for headers, so that a header costs nothing to include.
#pragma once

namespace boost::asio {
class io_context;
namespace ssl {
class context;
}
}  // namespace boost::asio

namespace thalweg {
namespace asio = boost::asio;
}
