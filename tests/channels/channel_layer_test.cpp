// tests/channels/channel_layer_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/channels/channel_layer.hpp>
#include <ferry/channels/in_memory_layer.hpp>
#include <ferry/loop/event_loop.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using ferry::value;

namespace {
ferry::task<std::string> say_in_room(ferry::channel_layer& layer) {
    const std::string mine = layer.new_channel("chat");
    co_await layer.group_add("room", mine);
    co_await layer.group_send("room", value::object().set("type", "say").set("text", "hello"));
    const value message = co_await layer.receive(mine);
    co_await layer.group_discard("room", mine);
    co_await layer.close();
    co_return message.at("text").as_text();
}
}  // namespace

TEST_CASE("a layer's options have the usual defaults and can be chained", "[channels][channel_layer]") {
    constexpr ferry::channel_layer_options usual;
    CHECK(usual.capacity() == 100);
    CHECK(usual.expiry() == 60s);
    CHECK(usual.group_expiry() == 24h);

    const auto chosen = ferry::channel_layer_options().capacity(7).expiry(1500ms).group_expiry(2h);
    CHECK(chosen.capacity() == 7);
    CHECK(chosen.expiry() == 1500ms);
    CHECK(chosen.group_expiry() == 2h);
}

TEST_CASE("a message is a map without the key that layers reserve", "[channels][channel_layer]") {
    ferry::check_message(value::object());
    ferry::check_message(value::object().set("type", "say").set("asgi_channel", 1));
    REQUIRE_THROWS_AS(ferry::check_message(value()), std::invalid_argument);
    REQUIRE_THROWS_AS(ferry::check_message(value("text")), std::invalid_argument);
    REQUIRE_THROWS_AS(ferry::check_message(value::list()), std::invalid_argument);
    REQUIRE_THROWS_AS(ferry::check_message(value::object().set("__asgi_channel__", "a")), std::invalid_argument);
}

TEST_CASE("a program can use a layer knowing only its interface", "[channels][channel_layer]") {
    const std::unique_ptr<ferry::channel_layer> layer = std::make_unique<ferry::in_memory_layer>();
    ferry::event_loop loop;
    CHECK(loop.run(say_in_room(*layer)) == "hello");
    CHECK(layer->counters() == ferry::layer_counters{1, 1, 0, 0});
}
