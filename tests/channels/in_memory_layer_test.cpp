// tests/channels/in_memory_layer_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/channels/in_memory_layer.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using ferry::channel_layer_options;
using ferry::in_memory_layer;
using ferry::layer_counters;
using ferry::value;

namespace {
value numbered(int n) { return value::object().set("n", n); }
int number(const value& message) { return static_cast<int>(message.at("n").as_int()); }

/// A layer, and one loop in virtual time that uses it.
class scene {
public:
    explicit scene(const channel_layer_options& options = {}) : layer(options) {}

    void send(const std::string& channel, int n) { loop.run(layer.send(channel, numbered(n))); }
    bool refuses(const std::string& channel, int n) {
        try {
            send(channel, n);
        } catch (const ferry::channel_full&) {
            return true;
        }
        return false;
    }
    int receive(const std::string& channel) { return number(loop.run(layer.receive(channel))); }
    /// What is unread now, in order; the rest of a receiver that finds nothing is cancelled.
    std::vector<int> receive_all(const std::string& channel) {
        std::vector<int> found;
        for (;;) {
            try {
                found.push_back(number(loop.run(ferry::timeout(0s, layer.receive(channel)))));
            } catch (const ferry::timeout_error&) {
                return found;
            }
        }
    }
    /// A task that receives, waiting if there is nothing.
    ferry::future<value> start_receive(const std::string& channel) {
        auto started = ferry::spawn(loop, layer.receive(channel));
        loop.run_until_idle();
        return started;
    }
    void add(const std::string& group, const std::string& channel) { loop.run(layer.group_add(group, channel)); }
    void discard(const std::string& group, const std::string& channel) {
        loop.run(layer.group_discard(group, channel));
    }
    void send_group(const std::string& group, int n) { loop.run(layer.group_send(group, numbered(n))); }
    std::vector<std::string> members(const std::string& group) { return loop.run(layer.group_members(group)); }
    std::size_t size(const std::string& group) { return loop.run(layer.group_size(group)); }

    in_memory_layer layer;
    ferry::virtual_clock clock;
    ferry::event_loop loop{clock};
};

using numbers = std::vector<int>;
using names = std::vector<std::string>;

ferry::task<> note_received(in_memory_layer& layer, std::vector<int>& got) {
    const value message = co_await layer.receive("a");
    got.push_back(number(message));
}
ferry::task<> note_cancelled(in_memory_layer& layer, std::vector<int>& got) {
    try {
        co_await note_received(layer, got);
    } catch (const ferry::cancelled&) {
        got.push_back(-1);
        throw;
    }
}
/// Its child has been handed the message, but has not run since, when it is cancelled.
ferry::task<> send_then_cancel(ferry::task_group& group, in_memory_layer& layer, std::vector<int>& got) {
    group.start(note_cancelled(layer, got));
    co_await ferry::yield_now();
    co_await layer.send("a", numbered(1));
    group.cancel();
}
ferry::task<> cancel_then_send(ferry::task_group& group, in_memory_layer& layer, std::vector<int>& got) {
    group.start(note_cancelled(layer, got));
    co_await ferry::yield_now();
    group.cancel();
    co_await layer.send("a", numbered(1));
}
ferry::task<> receive_then_checkpoint(in_memory_layer& layer, std::vector<int>& got) {
    got.push_back(number(co_await layer.receive("a")));
    co_await ferry::yield_now();
    got.push_back(-1);
}
}  // namespace

TEST_CASE("messages of a channel are received in the order in which they were sent", "[channels][in_memory_layer]") {
    scene s;
    for (int n : {1, 2, 3}) s.send("a", n);
    s.send("b", 10);
    CHECK(s.receive("a") == 1);
    CHECK(s.receive("b") == 10);
    CHECK(s.receive_all("a") == numbers{2, 3});
}

TEST_CASE("receive waits for a message that comes later", "[channels][in_memory_layer]") {
    scene s;
    auto received = s.start_receive("a");
    s.send("b", 1);
    s.loop.run_until_idle();
    CHECK(!received.is_ready());
    s.send("a", 2);
    s.loop.run_until_idle();
    REQUIRE(received.is_ready());
    CHECK(number(received.get()) == 2);
}

TEST_CASE("of several receivers the one that has waited longest gets a message", "[channels][in_memory_layer]") {
    scene s;
    auto first = s.start_receive("a");
    auto second = s.start_receive("a");
    s.send("a", 1);
    s.loop.run_until_idle();
    CHECK(first.is_ready());
    CHECK(!second.is_ready());
    s.send("a", 2);
    s.send("a", 3);
    s.loop.run_until_idle();
    CHECK(number(first.get()) == 1);
    REQUIRE(second.is_ready());
    CHECK(number(second.get()) == 2);
    CHECK(s.receive_all("a") == numbers{3});
}

TEST_CASE("a full channel refuses a message until one has been received", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().capacity(2));
    s.send("a!1", 1);
    s.send("a!1", 2);
    CHECK(s.refuses("a!1", 3));
    CHECK(!s.refuses("a!2", 10));  // each full name counts for itself
    CHECK(s.receive("a!1") == 1);
    CHECK(!s.refuses("a!1", 4));
    CHECK(s.refuses("a!1", 5));
    CHECK(s.receive_all("a!1") == numbers{2, 4});
}

TEST_CASE("channel_full names the channel and the capacity", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().capacity(1));
    s.send("jobs", 1);
    std::string text;
    try {
        s.send("jobs", 2);
    } catch (const ferry::channel_full& error) {
        text = error.what();
    }
    CHECK(text.find("send(jobs)") != std::string::npos);
    CHECK(text.find("1 messages") != std::string::npos);
}

TEST_CASE("without capacity only a waiting receiver gets a message", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().capacity(0));
    CHECK(s.refuses("a", 1));
    auto received = s.start_receive("a");
    CHECK(!s.refuses("a", 2));
    CHECK(s.refuses("a", 3));  // the receiver has its message, though it has not run since
    s.loop.run_until_idle();
    CHECK(number(received.get()) == 2);
}

TEST_CASE("an unread message is dropped when its time is over", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().expiry(60s));
    s.send("a", 1);
    s.clock.advance(30s);
    s.send("a", 2);
    s.clock.advance(30s - 1ns);
    s.send("a", 3);
    SECTION("not before") { CHECK(s.receive_all("a") == numbers{1, 2, 3}); }
    SECTION("then it alone") {
        s.clock.advance(1ns);
        CHECK(s.receive_all("a") == numbers{2, 3});
        CHECK(s.layer.counters() == layer_counters{3, 2, 0, 1});
    }
    SECTION("then all that came before it") {
        s.clock.advance(30s + 1ns);
        CHECK(s.receive_all("a") == numbers{3});
        CHECK(s.layer.counters() == layer_counters{3, 1, 0, 2});
    }
    SECTION("and at last all") {
        s.clock.advance(60s);
        CHECK(s.receive_all("a") == numbers{});
        CHECK(s.layer.counters() == layer_counters{3, 0, 0, 3});
    }
}

TEST_CASE("expired messages do not take up capacity", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().capacity(4).expiry(60s));
    for (const char* channel : {"older", "a"}) {
        for (int n : {1, 2, 3, 4}) s.send(channel, n);
    }
    CHECK(s.refuses("a", 5));
    s.clock.advance(60s);
    CHECK(!s.refuses("a", 6));
    CHECK(s.layer.counters() == layer_counters{9, 0, 1, 6});  // all of its own, and two of the older ones
    for (int n : {7, 8, 9}) CHECK(!s.refuses("a", n));
    CHECK(s.refuses("a", 10));
    CHECK(s.receive_all("a") == numbers{6, 7, 8, 9});
    CHECK(s.layer.counters() == layer_counters{12, 4, 2, 8});
}

TEST_CASE("what nobody reads goes away as other channels are used, two for one", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().expiry(60s));
    for (int n = 0; n < 5; ++n) s.send("abandoned." + std::to_string(n), n);
    s.clock.advance(60s);
    const auto dropped = [&] { return s.layer.counters().dropped_expired; };
    CHECK(dropped() == 0);
    s.send("a", 1);
    CHECK(dropped() == 2);
    s.send("a", 2);
    CHECK(dropped() == 4);
    s.send("a", 3);
    CHECK(dropped() == 5);
    CHECK(s.receive_all("a") == numbers{1, 2, 3});
}

TEST_CASE("messages and memberships may last for ever", "[channels][in_memory_layer]") {
    scene s(
        channel_layer_options().expiry(std::chrono::nanoseconds::max()).group_expiry(std::chrono::nanoseconds::max()));
    s.clock.advance(1h);
    s.add("room", "a");
    s.send("a", 1);
    s.clock.advance(24h * 365);
    CHECK(s.size("room") == 1);
    CHECK(s.receive_all("a") == numbers{1});
}

TEST_CASE("a group's members all get its messages, until they are discarded", "[channels][in_memory_layer]") {
    scene s;
    for (const char* channel : {"a", "b", "c"}) s.add("room", channel);
    s.add("other", "d");
    s.send_group("room", 1);
    s.discard("room", "b");
    s.send_group("room", 2);
    s.send_group("nobody", 3);
    CHECK(s.receive_all("a") == numbers{1, 2});
    CHECK(s.receive_all("b") == numbers{1});
    CHECK(s.receive_all("c") == numbers{1, 2});
    CHECK(s.receive_all("d") == numbers{});
}

TEST_CASE("adding and discarding twice is the same as once", "[channels][in_memory_layer]") {
    scene s;
    CHECK(s.size("room") == 0);
    s.discard("room", "a");
    s.add("room", "a");
    s.add("room", "b");
    s.discard("room", "c");
    CHECK(s.members("room") == names{"a", "b"});
    s.add("room", "a");
    CHECK(s.members("room") == names{"b", "a"});
    CHECK(s.size("room") == 2);
    s.send_group("room", 1);
    CHECK(s.receive_all("a") == numbers{1});
    s.discard("room", "a");
    s.discard("room", "a");
    CHECK(s.members("room") == names{"b"});
    s.discard("room", "b");
    CHECK(s.size("room") == 0);
    CHECK(s.members("room").empty());
}

TEST_CASE("a membership ends when it was not renewed in time", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().group_expiry(10s));
    s.add("room", "a");
    s.add("room", "b");
    s.add("room", "c");
    s.clock.advance(6s);
    s.add("room", "b");
    CHECK(s.size("room") == 3);
    s.clock.advance(4s - 1ns);
    CHECK(s.members("room") == names{"a", "c", "b"});
    s.clock.advance(1ns);
    SECTION("its size and members say so") {
        CHECK(s.size("room") == 1);
        CHECK(s.members("room") == names{"b"});
    }
    SECTION("a message to the group passes it over") {
        s.send_group("room", 1);
        CHECK(s.receive_all("a") == numbers{});
        CHECK(s.receive_all("b") == numbers{1});
    }
    SECTION("it can be made again") {
        s.add("room", "a");
        CHECK(s.members("room") == names{"b", "a"});
    }
    SECTION("the group can end altogether and be made again") {
        s.clock.advance(6s);
        CHECK(s.size("room") == 0);
        s.add("room", "d");
        CHECK(s.members("room") == names{"d"});
    }
    SECTION("other groups clear away what is left of it") {
        s.clock.advance(6s);
        for (const char* channel : {"x", "y"}) s.add("other", channel);
        CHECK(s.size("room") == 0);
        CHECK(s.members("other") == names{"x", "y"});
    }
}

TEST_CASE("a message to a group passes full members over and counts them", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().capacity(1));
    for (const char* channel : {"a", "b", "c"}) s.add("room", channel);
    s.send("b", 1);
    auto waiting = s.start_receive("c");
    s.send_group("room", 2);
    CHECK(s.layer.counters() == layer_counters{3, 1, 1, 0});
    CHECK(s.receive_all("a") == numbers{2});
    CHECK(s.receive_all("b") == numbers{1});
    s.loop.run_until_idle();
    CHECK(number(waiting.get()) == 2);
}

TEST_CASE("the receivers of one group message share its content", "[channels][in_memory_layer]") {
    scene s;
    for (const char* channel : {"a", "b"}) s.add("room", channel);
    s.loop.run(s.layer.group_send("room", value::object().set("text", std::string(1000, 'x'))));
    value a = s.loop.run(s.layer.receive("a"));
    const value b = s.loop.run(s.layer.receive("b"));
    CHECK(&a.at("text").as_text() == &b.at("text").as_text());
    a.set("text", "changed");
    CHECK(b.at("text").as_text() == std::string(1000, 'x'));
}

TEST_CASE("a cancelled receive leaves the message to the next one", "[channels][in_memory_layer]") {
    scene s;
    numbers got;
    s.loop.run(ferry::with_task_group(cancel_then_send, std::ref(s.layer), std::ref(got)));
    CHECK(got == numbers{-1});
    CHECK(s.receive_all("a") == numbers{1});
    CHECK(s.layer.counters() == layer_counters{1, 1, 0, 0});
}

TEST_CASE("a message handed over before the cancellation is received", "[channels][in_memory_layer][order]") {
    scene s;
    numbers got;
    s.loop.run(ferry::with_task_group(send_then_cancel, std::ref(s.layer), std::ref(got)));
    CHECK(got == numbers{1});
    CHECK(s.receive_all("a") == numbers{});
}

TEST_CASE("a message on its way from another loop is received in spite of a cancellation",
          "[channels][in_memory_layer]") {
    scene s;
    ferry::event_loop other(s.clock);
    numbers got;
    auto ended = ferry::spawn(s.loop, ferry::timeout(1s, receive_then_checkpoint(s.layer, got)));
    s.loop.run_until_idle();
    other.run(s.layer.send("a", numbered(1)));  // the task is in the inbox of its loop
    CHECK(got.empty());
    s.clock.advance(1s);
    s.loop.run_until_idle();  // a turn cancels what is due before it runs what came in
    CHECK(got == numbers{1});
    REQUIRE_THROWS_AS(ended.get(), ferry::timeout_error);
}

TEST_CASE("a receiver that gives up in the middle leaves the others in order", "[channels][in_memory_layer]") {
    scene s;
    auto first = s.start_receive("a");
    auto second = ferry::spawn(s.loop, ferry::timeout(1s, s.layer.receive("a")));
    s.loop.run_until_idle();
    auto third = s.start_receive("a");
    s.clock.advance(1s);
    s.loop.run_until_idle();
    REQUIRE_THROWS_AS(second.get(), ferry::timeout_error);
    s.send("a", 1);
    s.send("a", 3);
    s.loop.run_until_idle();
    CHECK(number(first.get()) == 1);
    CHECK(number(third.get()) == 3);
}

TEST_CASE("flush drops messages and groups, and receivers go on waiting", "[channels][in_memory_layer]") {
    scene s;
    auto received = s.start_receive("waiting");
    s.send("a", 1);
    s.send("b", 2);
    s.add("room", "a");
    s.loop.run(s.layer.flush());
    CHECK(s.receive_all("a") == numbers{});
    CHECK(s.receive_all("b") == numbers{});
    CHECK(s.size("room") == 0);
    CHECK(!received.is_ready());
    s.add("room", "waiting");
    s.send_group("room", 3);
    s.loop.run_until_idle();
    CHECK(number(received.get()) == 3);
}

TEST_CASE("drop_channel drops what is unread there, and nothing else", "[channels][in_memory_layer]") {
    scene s;
    s.send("a", 1);
    s.send("a", 2);
    s.send("b", 3);
    s.add("room", "a");
    s.loop.run(s.layer.drop_channel("a"));
    CHECK(s.receive_all("a") == numbers{});
    CHECK(s.receive_all("b") == numbers{3});
    CHECK(s.size("room") == 1);
    s.loop.run(s.layer.drop_channel("never-used"));
    REQUIRE_THROWS_AS(s.loop.run(s.layer.drop_channel("not a name")), std::invalid_argument);
}

TEST_CASE("close wakes every receiver with closed_error", "[channels][in_memory_layer]") {
    scene s;
    ferry::event_loop other(s.clock);
    auto first = s.start_receive("a");
    auto second = s.start_receive("a");
    auto third = ferry::spawn(other, s.layer.receive("b"));
    other.run_until_idle();
    s.loop.run(s.layer.close());
    s.loop.run_until_idle();
    other.run_until_idle();
    REQUIRE_THROWS_AS(first.get(), ferry::closed_error);
    REQUIRE_THROWS_AS(second.get(), ferry::closed_error);
    REQUIRE_THROWS_AS(third.get(), ferry::closed_error);
}

TEST_CASE("a closed layer refuses every use but another close", "[channels][in_memory_layer]") {
    scene s;
    s.send("a", 1);
    s.add("room", "a");
    s.loop.run(s.layer.close());
    s.loop.run(s.layer.close());
    REQUIRE_THROWS_AS(s.send("a", 1), ferry::closed_error);
    REQUIRE_THROWS_AS(s.receive("a"), ferry::closed_error);
    REQUIRE_THROWS_AS(s.add("room", "a"), ferry::closed_error);
    REQUIRE_THROWS_AS(s.discard("room", "a"), ferry::closed_error);
    REQUIRE_THROWS_AS(s.send_group("room", 1), ferry::closed_error);
    REQUIRE_THROWS_AS(s.members("room"), ferry::closed_error);
    REQUIRE_THROWS_AS(s.size("room"), ferry::closed_error);
    REQUIRE_THROWS_AS(s.loop.run(s.layer.flush()), ferry::closed_error);
    CHECK(s.layer.counters() == layer_counters{1, 0, 0, 0});
}

TEST_CASE("every call refuses names and messages that no layer takes", "[channels][in_memory_layer]") {
    scene s;
    REQUIRE_THROWS_AS(s.send("a\n", 1), std::invalid_argument);
    REQUIRE_THROWS_AS(s.receive("a b"), std::invalid_argument);
    REQUIRE_THROWS_AS(s.add("a!b", "a"), std::invalid_argument);
    REQUIRE_THROWS_AS(s.add("room", ""), std::invalid_argument);
    REQUIRE_THROWS_AS(s.discard("a!b", "a"), std::invalid_argument);
    REQUIRE_THROWS_AS(s.discard("room", "!a"), std::invalid_argument);
    REQUIRE_THROWS_AS(s.send_group("", 1), std::invalid_argument);
    REQUIRE_THROWS_AS(s.members("a!"), std::invalid_argument);
    REQUIRE_THROWS_AS(s.size("room\n"), std::invalid_argument);
    REQUIRE_THROWS_AS(s.loop.run(s.layer.send("a", value(1))), std::invalid_argument);
    REQUIRE_THROWS_AS(s.loop.run(s.layer.group_send("room", value())), std::invalid_argument);
    CHECK(s.layer.counters() == layer_counters{});
}

TEST_CASE("new channels have a valid name that nobody else has", "[channels][in_memory_layer]") {
    in_memory_layer layer;
    in_memory_layer other;
    std::set<std::string> seen;
    for (int i = 0; i < 1000; ++i) {
        seen.insert(layer.new_channel("specific"));
        seen.insert(other.new_channel("specific"));
    }
    CHECK(seen.size() == 2000);
    CHECK(std::all_of(seen.begin(), seen.end(),
                      [](const std::string& name) { return name.starts_with("specific.inmemory!"); }));
    REQUIRE_THROWS_AS(layer.new_channel("a b"), std::invalid_argument);
    REQUIRE_THROWS_AS(layer.new_channel("a!b"), std::invalid_argument);
    REQUIRE_THROWS_AS(layer.new_channel(std::string(90, 'a')), std::invalid_argument);
}

TEST_CASE("the counters say what became of every message", "[channels][in_memory_layer]") {
    scene s(channel_layer_options().capacity(2).expiry(10s));
    for (const char* channel : {"a", "b"}) s.add("room", channel);
    CHECK(s.layer.counters() == layer_counters{});
    s.send_group("room", 1);
    s.send_group("room", 2);
    CHECK(s.layer.counters() == layer_counters{4, 0, 0, 0});
    s.send_group("room", 3);
    CHECK(s.refuses("a", 4));
    CHECK(s.layer.counters() == layer_counters{4, 0, 3, 0});
    CHECK(s.receive("a") == 1);
    CHECK(s.layer.counters() == layer_counters{4, 1, 3, 0});
    s.clock.advance(10s);
    CHECK(s.receive_all("a") == numbers{});
    CHECK(s.receive_all("b") == numbers{});
    CHECK(s.layer.counters() == layer_counters{4, 1, 3, 3});
    auto waiting = s.start_receive("a");
    s.send_group("room", 5);
    CHECK(s.layer.counters() == layer_counters{6, 2, 3, 3});
}

// ---- several loops, each on its own thread -------------------------------------------
namespace {
/// Sends until it is accepted.
ferry::task<> send_all(in_memory_layer& layer, int sender, int count, const std::vector<std::string>& channels) {
    for (int n = 0; n < count; ++n) {
        for (const std::string& channel : channels) {
            for (bool accepted = false; !accepted;) {
                try {
                    co_await layer.send(channel, value::object().set("from", sender).set("n", n));
                    accepted = true;
                } catch (const ferry::channel_full&) {}
                if (!accepted) co_await ferry::yield_now();
            }
        }
    }
}

/// True when each sender's messages came in its order, none missing.
ferry::task<bool> receive_in_order(in_memory_layer& layer, const std::string& channel, std::size_t senders, int count) {
    std::vector<int> next(senders, 0);
    bool in_order = true;
    for (int left = count * static_cast<int>(senders); left > 0; --left) {
        const value message = co_await layer.receive(channel);
        int& expected = next[static_cast<std::size_t>(message.at("from").as_int())];
        in_order = number(message) == expected++ && in_order;
    }
    co_return in_order;
}

/// Receives with so little patience that many cancellations meet a message.
ferry::task<> receive_impatiently(in_memory_layer& layer, std::atomic<int>& left, std::vector<int>& got) {
    while (left.load() > 0) {
        try {
            got.push_back(number(co_await ferry::timeout(5us, layer.receive("a"))));
            --left;
        } catch (const ferry::timeout_error&) {}
    }
}

ferry::task<int> receive_until_closed(in_memory_layer& layer, const std::string& channel) {
    int count = 0;
    try {
        for (;; ++count) co_await layer.receive(channel);
    } catch (const ferry::closed_error&) {}
    co_return count;
}

ferry::task<> send_to_group(in_memory_layer& layer, int sender, int count) {
    for (int n = 0; n < count; ++n) {
        co_await layer.group_send("room", value::object().set("from", sender).set("n", n));
        co_await ferry::yield_now();
    }
}

ferry::task<> join_and_leave(in_memory_layer& layer, int count) {
    for (int n = 0; n < count; ++n) {
        const std::string passing = layer.new_channel("passing");
        co_await layer.group_add("crowd", passing);
        co_await layer.group_send("crowd", value::object().set("n", n));
        co_await layer.receive(passing);
        co_await layer.group_discard("crowd", passing);
    }
}
}  // namespace

TEST_CASE("loops on several threads exchange messages in order and lose none", "[channels][in_memory_layer][mt]") {
    constexpr int count = 2000;
    const names channels{"a", "b"};
    in_memory_layer layer(channel_layer_options().capacity(8));
    std::vector<std::thread> threads;
    for (int sender : {0, 1}) {
        threads.emplace_back([&, sender] { ferry::event_loop().run(send_all(layer, sender, count, channels)); });
    }
    bool a_in_order = false;
    bool b_in_order = false;
    threads.emplace_back([&] { a_in_order = ferry::event_loop().run(receive_in_order(layer, "a", 2, count)); });
    threads.emplace_back([&] { b_in_order = ferry::event_loop().run(receive_in_order(layer, "b", 2, count)); });
    for (std::thread& thread : threads) thread.join();
    CHECK(a_in_order);
    CHECK(b_in_order);
    const layer_counters total = layer.counters();
    CHECK(total.sent == 4 * count);
    CHECK(total.delivered == 4 * count);
    CHECK(total.dropped_expired == 0);
}

TEST_CASE("cancellations that race with messages lose none and double none", "[channels][in_memory_layer][mt]") {
    constexpr int count = 4000;
    in_memory_layer layer(channel_layer_options().capacity(4));
    std::atomic<int> left{count};
    numbers first;
    numbers second;
    std::thread one([&] { ferry::event_loop().run(receive_impatiently(layer, left, first)); });
    std::thread two([&] { ferry::event_loop().run(receive_impatiently(layer, left, second)); });
    ferry::event_loop().run(send_all(layer, 0, count, {"a"}));
    one.join();
    two.join();
    numbers all = first;
    all.insert(all.end(), second.begin(), second.end());
    std::sort(all.begin(), all.end());
    numbers expected;
    for (int n = 0; n < count; ++n) expected.push_back(n);
    CHECK(all == expected);
    CHECK(layer.counters().delivered == count);
}

TEST_CASE("members on several threads get every message to their group", "[channels][in_memory_layer][mt]") {
    constexpr int count = 1000;
    in_memory_layer layer(channel_layer_options().capacity(2 * count));
    for (const char* channel : {"a", "b"}) ferry::event_loop().run(layer.group_add("room", channel));
    std::vector<std::thread> threads;
    bool a_in_order = false;
    bool b_in_order = false;
    threads.emplace_back([&] { a_in_order = ferry::event_loop().run(receive_in_order(layer, "a", 2, count)); });
    threads.emplace_back([&] { b_in_order = ferry::event_loop().run(receive_in_order(layer, "b", 2, count)); });
    for (int sender : {0, 1}) {
        threads.emplace_back([&, sender] { ferry::event_loop().run(send_to_group(layer, sender, count)); });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(a_in_order);
    CHECK(b_in_order);
    CHECK(layer.counters() == layer_counters{4 * count, 4 * count, 0, 0});
}

TEST_CASE("channels can join and leave a group on several threads", "[channels][in_memory_layer][mt]") {
    in_memory_layer layer;
    std::thread one([&] { ferry::event_loop().run(join_and_leave(layer, 1000)); });
    ferry::event_loop().run(join_and_leave(layer, 1000));
    one.join();
    CHECK(ferry::event_loop().run(layer.group_size("crowd")) == 0);
    CHECK(layer.counters().delivered == 2000);
}

TEST_CASE("close on one thread ends the receivers on others", "[channels][in_memory_layer][mt]") {
    constexpr int count = 500;
    in_memory_layer layer(channel_layer_options().capacity(count));
    int first = 0;
    int second = 0;
    std::thread one([&] { first = ferry::event_loop().run(receive_until_closed(layer, "a")); });
    std::thread two([&] { second = ferry::event_loop().run(receive_until_closed(layer, "a")); });
    ferry::event_loop().run(send_all(layer, 0, count, {"a"}));
    ferry::event_loop().run(layer.close());
    one.join();
    two.join();
    CHECK(layer.counters().sent == count);
    CHECK(layer.counters().delivered == static_cast<std::uint64_t>(first + second));
}
