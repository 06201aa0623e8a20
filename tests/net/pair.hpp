// tests/net/pair.hpp - two ends of one TCP connection on the loopback interface
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/address.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/listener.hpp>
#include <ferry/net/socket.hpp>

#include <utility>

namespace ferry_test {
/// The accepted end, then the connected one.
using socket_pair = std::pair<ferry::net::socket, ferry::net::socket>;

inline ferry::task<socket_pair> connected_pair() {
    ferry::net::listener door(*ferry::event_loop::current(), ferry::net::address("127.0.0.1", 0));
    ferry::net::socket connected = co_await ferry::net::connect(door.local());
    ferry::net::socket accepted = co_await door.accept();
    co_return socket_pair(std::move(accepted), std::move(connected));
}
}  // namespace ferry_test
