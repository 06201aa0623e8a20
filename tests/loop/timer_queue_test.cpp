// tests/loop/timer_queue_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/loop/timer_queue.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <utility>
#include <vector>

using ferry::detail::timer_node;
using ferry::detail::timer_queue;
using time_point = timer_queue::time_point;
using namespace std::chrono_literals;

namespace {
class numbered : public timer_node {
public:
    numbered(std::vector<int>& fired, int id) : timer_node(&fire), fired_(fired), id_(id) {}
    /// Firing arms this one again, or disarms the other.
    void when_fired(timer_queue& queue, timer_node* arms, time_point at, timer_node* disarms) {
        queue_ = &queue;
        arms_ = arms;
        at_ = at;
        disarms_ = disarms;
    }

private:
    static void fire(timer_node& node) noexcept {
        numbered& self = static_cast<numbered&>(node);
        self.fired_.push_back(self.id_);
        if (self.arms_ != nullptr) self.queue_->arm(*self.arms_, self.at_);
        if (self.disarms_ != nullptr) self.queue_->disarm(*self.disarms_);
    }
    std::vector<int>& fired_;
    int id_;
    timer_queue* queue_ = nullptr;
    timer_node* arms_ = nullptr;
    timer_node* disarms_ = nullptr;
    time_point at_;
};
constexpr time_point at(int seconds) { return time_point(std::chrono::seconds(seconds)); }
}  // namespace

TEST_CASE("timers fire in the order of their deadlines, equal ones as they were armed", "[loop][timer_queue]") {
    std::vector<int> fired;
    numbered a(fired, 1), b(fired, 2), c(fired, 3), d(fired, 4);
    timer_queue queue;
    CHECK(queue.empty());
    CHECK(queue.next() == time_point::max());
    queue.arm(d, at(3));
    queue.arm(b, at(2));
    queue.arm(c, at(2));
    queue.arm(a, at(1));
    CHECK(queue.next() == at(1));
    CHECK(queue.fire_due(at(0), 100) == 0);
    CHECK(queue.fire_due(at(2), 100) == 3);
    CHECK(fired == std::vector<int>{1, 2, 3});
    CHECK(!c.armed());
    CHECK(d.armed());
    CHECK(queue.next() == at(3));
    CHECK(queue.fire_due(at(9), 100) == 1);
    CHECK(queue.empty());
}

TEST_CASE("a timer that is disarmed does not fire, one that is armed again fires at the new time",
          "[loop][timer_queue]") {
    std::vector<int> fired;
    numbered a(fired, 1), b(fired, 2);
    timer_queue queue;
    queue.disarm(a);  // not armed: nothing
    queue.arm(a, at(1));
    queue.arm(b, at(2));
    queue.disarm(a);
    CHECK(!a.armed());
    CHECK(queue.next() == at(2));
    queue.arm(a, at(5));
    queue.arm(a, at(3));
    queue.arm(b, at(3));  // behind a now
    CHECK(queue.fire_due(at(2), 100) == 0);
    CHECK(queue.fire_due(at(9), 100) == 2);
    CHECK(fired == std::vector<int>{1, 2});
}

TEST_CASE("fire_due fires as many as it may", "[loop][timer_queue]") {
    std::vector<int> fired;
    numbered a(fired, 1), b(fired, 2), c(fired, 3);
    timer_queue queue;
    for (numbered* node : {&a, &b, &c}) queue.arm(*node, at(1));
    CHECK(queue.fire_due(at(1), 2) == 2);
    CHECK(queue.fire_due(at(1), 2) == 1);
    CHECK(fired == std::vector<int>{1, 2, 3});
}

TEST_CASE("what fires may arm and disarm timers", "[loop][timer_queue]") {
    std::vector<int> fired;
    numbered a(fired, 1), b(fired, 2), c(fired, 3);
    timer_queue queue;
    for (numbered* node : {&a, &b, &c}) queue.arm(*node, at(1));
    a.when_fired(queue, &a, at(2), &b);
    CHECK(queue.fire_due(at(1), 100) == 2);
    CHECK(fired == std::vector<int>{1, 3});
    CHECK(queue.next() == at(2));
    queue.disarm(a);
}

TEST_CASE("the timer heap agrees with an ordered map over random work", "[loop][timer_queue]") {
    std::mt19937 random(20'240'601);
    std::vector<int> fired;
    std::deque<numbered> nodes;
    for (int id = 0; id < 300; ++id) nodes.emplace_back(fired, id);
    std::map<std::pair<time_point, std::uint64_t>, int> expected;
    std::vector<std::pair<time_point, std::uint64_t>> key(nodes.size());
    std::uint64_t order = 0;
    int now = 0;
    timer_queue queue;
    for (int step = 0; step < 20'000; ++step) {
        const std::size_t id = random() % nodes.size();
        if (nodes[id].armed()) expected.erase(key[id]);
        switch (random() % 4) {
            case 0:
            case 1:
                key[id] = {at(now + static_cast<int>(random() % 50)), order++};
                expected.emplace(key[id], static_cast<int>(id));
                queue.arm(nodes[id], key[id].first);
                break;
            case 2:
                queue.disarm(nodes[id]);
                break;
            default: {
                queue.disarm(nodes[id]);
                now += static_cast<int>(random() % 3);
                std::vector<int> due;
                while (!expected.empty() && expected.begin()->first.first <= at(now)) {
                    due.push_back(expected.begin()->second);
                    expected.erase(expected.begin());
                }
                fired.clear();
                queue.fire_due(at(now), 1'000);
                REQUIRE(fired == due);
            }
        }
        REQUIRE(queue.next() == (expected.empty() ? time_point::max() : expected.begin()->first.first));
    }
}

TEST_CASE("no duration is too long to become a deadline", "[loop][timer_queue]") {
    using ferry::detail::deadline_after;
    using ferry::detail::to_nanoseconds;
    CHECK(to_nanoseconds(1500us) == 1'500'000ns);
    CHECK(to_nanoseconds(std::chrono::duration<double, std::nano>(0.25)) == 1ns);  // never too short
    CHECK(to_nanoseconds(std::chrono::hours::max()) == std::chrono::nanoseconds::max());
    CHECK(to_nanoseconds(std::chrono::seconds::min()) == std::chrono::nanoseconds::min());
    CHECK(to_nanoseconds(std::chrono::duration<double>(1e300)) == std::chrono::nanoseconds::max());
    CHECK(deadline_after(at(5), 2s) == at(7));
    CHECK(deadline_after(at(5), -2s) == at(3));
    CHECK(deadline_after(at(5), std::chrono::nanoseconds::max()) == time_point::max());
}
