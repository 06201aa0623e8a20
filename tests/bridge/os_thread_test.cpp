// tests/bridge/os_thread_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge/os_thread.hpp>
#include <ferry/deadlock/allowance.hpp>
#include <ferry/loop/event_loop.hpp>

#include "bridge/progress.hpp"
#include "bridge/reports.hpp"
#include "support/catch.hpp"

#include <atomic>
#include <string>
#include <thread>

#include <pthread.h>

using ferry::event_loop;
using ferry_test::progress;

namespace {
/// What the threads of these tests do, and what they notice.
class witness {
public:
    static void note_name(void* self) noexcept {
        char name[16] = {};
        static_cast<witness*>(self)->named.wait_for();
        ::pthread_getname_np(::pthread_self(), name, sizeof name);
        static_cast<witness*>(self)->name = name;
    }
    static void end_when_told(void* self) noexcept {
        witness& mine = *static_cast<witness*>(self);
        mine.release.wait_for();
        mine.over = true;
        mine.ended.advance();
    }
    static void join_itself(void* self) noexcept {
        witness& mine = *static_cast<witness*>(self);
        mine.release.wait_for();
        mine.was_handed_over = ferry::detail::handed_over(::pthread_self(), mine.reported, "witness");
        mine.ended.advance();
    }
    [[nodiscard]] pthread_t start(void (*body)(void*) noexcept) {
        return ferry::detail::start_thread(body, this, "a-name-of-twenty-two");
    }

    progress named;
    progress release;
    progress ended;
    std::string name;
    std::atomic<bool> over{false};
    std::atomic<bool> was_handed_over{false};
    std::atomic<bool> reported{false};
};
}  // namespace

TEST_CASE("a thread bears the first 15 letters of its name", "[bridge][os_thread]") {
    witness seen;
    const pthread_t thread = seen.start(&witness::note_name);
    seen.named.advance();
    ::pthread_join(thread, nullptr);
    CHECK(seen.name == "a-name-of-twent");
}

TEST_CASE("outside of a turn a thread may be joined", "[bridge][os_thread]") {
    const ferry_test::reports reports;
    witness seen;
    const pthread_t thread = seen.start(&witness::end_when_told);
    seen.release.advance();
    CHECK(!ferry::detail::handed_over(thread, seen.reported, "witness"));
    ::pthread_join(thread, nullptr);
    CHECK(reports.count() == 0);
}

TEST_CASE("inside a turn nobody joins: the threads end by themselves, and the first one is reported",
          "[bridge][os_thread]") {
    const ferry_test::reports reports;
    witness seen;
    event_loop loop;
    loop.post([&] {
        for (int i = 0; i < 3; ++i) {
            const pthread_t thread = seen.start(&witness::end_when_told);
            CHECK(ferry::detail::handed_over(thread, seen.reported, "witness"));
        }
        CHECK(!seen.over);
    });
    loop.run_until_idle();
    CHECK(reports.count() == 1);
    CHECK(reports.mention("a witness is destroyed inside a turn"));
    seen.release.advance();
    seen.ended.wait_for(3);
}

TEST_CASE("allow_blocking lets a turn join", "[bridge][os_thread]") {
    const ferry_test::reports reports;
    witness seen;
    event_loop loop;
    loop.post([&] {
        const ferry::allow_blocking ok("the thread ends at once");
        const pthread_t thread = seen.start(&witness::end_when_told);
        seen.release.advance();
        CHECK(!ferry::detail::handed_over(thread, seen.reported, "witness"));
        ::pthread_join(thread, nullptr);
    });
    loop.run_until_idle();
    CHECK(reports.count() == 0);
}

TEST_CASE("a thread that would have to join itself ends by itself", "[bridge][os_thread]") {
    const ferry_test::reports reports;
    witness seen;
    static_cast<void>(seen.start(&witness::join_itself));
    seen.release.advance();
    seen.ended.wait_for();
    CHECK(seen.was_handed_over);
    CHECK(reports.count() == 0);
}
