// tests/core/cancel_scope_test.cpp - the tree that a cancellation runs down
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/cancellation.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/spawn.hpp>

#include "support/catch.hpp"

#include <utility>
#include <vector>

using ferry::cancelled;
using ferry::task;
using ferry::detail::cancel_scope;
using ferry::detail::current_task;
using ferry::detail::logical_task;

namespace {
/// A cancel scope around what follows in a coroutine.
class entered_scope : public cancel_scope {
public:
    explicit entered_scope(logical_task& task, bool shielded = false)
        : cancel_scope(task, &task.scope(), shielded), task_(task) {
        task.enter(*this);
    }
    ~entered_scope() { task_.leave(*this); }

private:
    logical_task& task_;
};

/// Did the awaitable end in `cancelled`?
template <class Awaitable>
task<bool> ends_cancelled(Awaitable what) {
    try {
        co_await std::move(what);
    } catch (const cancelled&) {
        co_return true;
    }
    co_return false;
}
}  // namespace

TEST_CASE("a cancellation runs down the scopes, never up", "[core][cancellation]") {
    ferry::event_loop loop;
    const auto body = [&]() -> task<> {
        logical_task& self = co_await current_task();
        entered_scope outer(self);
        cancel_scope sibling(self, &outer);
        entered_scope inner(self);
        entered_scope innermost(self);
        inner.cancel();
        CHECK(innermost.cancelled());
        CHECK(!innermost.requested());
        CHECK(innermost.cancelled_from_outside());
        CHECK(inner.requested());
        CHECK(!inner.cancelled_from_outside());
        CHECK(!outer.cancelled());
        CHECK(!sibling.cancelled());
        CHECK(!self.root_scope().cancelled());
        outer.cancel();
        outer.cancel();
        CHECK(sibling.cancelled());
        CHECK(inner.cancelled_from_outside());
        cancel_scope late(self, &innermost);
        CHECK(late.cancelled());  // a scope that is made inside a cancelled one is cancelled
        sibling.cancel();
        CHECK(sibling.requested());  // by itself too, now
        CHECK(sibling.cancelled_from_outside());
    };
    loop.run(body());
}

TEST_CASE("a shielded scope does not hear of a cancellation around it", "[core][cancellation]") {
    ferry::event_loop loop;
    ferry::event go(loop);
    std::vector<int> reached;
    const auto body = [&]() -> task<> {
        logical_task& self = co_await current_task();
        entered_scope outer(self);
        loop.post([&] {
            outer.cancel();
            loop.post([&go] { go.set(); });
        });
        {
            entered_scope shield(self, true);
            entered_scope inside(self);
            co_await go.wait();
            CHECK(!inside.cancelled());
            CHECK(!shield.cancelled_from_outside());
            reached.push_back(1);
            shield.cancel();
            if (co_await ends_cancelled(ferry::yield_now())) reached.push_back(2);
        }
        if (co_await ends_cancelled(ferry::yield_now())) reached.push_back(3);
    };
    loop.run(body());
    CHECK(reached == std::vector<int>{1, 2, 3});
}

TEST_CASE("cancelling an outer scope ends a wait deep inside, once", "[core][cancellation]") {
    ferry::event_loop loop;
    ferry::event never(loop);
    int ended = 0;
    cancel_scope* outermost = nullptr;
    const auto body = [&]() -> task<> {
        logical_task& self = co_await current_task();
        entered_scope outer(self);
        outermost = &outer;
        entered_scope middle(self);
        entered_scope inner(self);
        ended += co_await ends_cancelled(never.wait());
    };
    auto done = ferry::spawn(loop, body());
    loop.run_until_idle();
    CHECK(ended == 0);
    outermost->cancel();
    CHECK(ended == 0);  // nothing resumes inside cancel()
    outermost->cancel();
    loop.run_until_idle();
    CHECK(ended == 1);
    CHECK(done.is_ready());
}
