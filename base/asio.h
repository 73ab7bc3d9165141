// Everything of Asio and Beast the project uses, in one header that is compiled once (target asio_pch).
// Include it from .cc files only; headers forward-declare with base/asio_fwd.h.
#pragma once

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/json.hpp>

#include "base/asio_fwd.h"
#include "base/log.h"
#include "base/result.h"
