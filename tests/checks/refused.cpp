// tests/checks/refused.cpp - misuse that does not compile, and the words that say so: see refused.py
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <chrono>
#include <coroutine>
#include <functional>
#include <utility>
#include <vector>

namespace app = ferry::app;
using ferry::task;
using namespace std::chrono_literals;

namespace {
// Each line needs a type of its own: a compiler refuses a type once.
struct foreign_coroutine {
    struct promise_type {
        foreign_coroutine get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() {}
    };
};

template <int>
struct borrowed_value {
    using borrowed_until_next_await = void;
};
template <int N>
task<borrowed_value<N>> borrow() {
    co_return borrowed_value<N>();
}
template <int N>
task<borrowed_value<N>> borrow_in(ferry::task_group&) {
    co_return borrowed_value<N>();
}

int plain() { return 1; }
task<int> later() { co_return 1; }
int print_number(int number) { return number; }
int number_of(ferry::task_group&) { return 1; }
int print(app::send) { return 1; }
int listen(app::receive) { return 1; }
task<> forward(app::send) { co_return; }
task<> hear(app::receive) { co_return; }
task<> hear_all(app::receive&) { co_return; }

// clang-format off
task<> guards(ferry::async_mutex& m, ferry::async_shared_mutex& sm, ferry::semaphore& s) {
    co_await ferry::when_all(m.lock(), later());  // refused: return guards and permits directly from their primitive
    co_await ferry::when_any(s.acquire(), later());  // refused: return guards and permits directly from their primitive
    co_await ferry::timeout(1s, sm.lock());  // refused: return guards and permits directly from their primitive
    co_await ferry::try_timeout(1s, m.lock());  // refused: try_lock_for(d) or try_acquire_for(d)
    co_await ferry::as_result(s.acquire());  // refused: try_lock_for(d) or try_acquire_for(d)
}

task<> borrowed(ferry::event_loop& loop, ferry::task_group& group, ferry::net::socket& s) {
    co_await ferry::when_all(s.receive(), later());  // refused: use readable() or receive(own_buffer) here
    co_await ferry::when_any(borrow<1>(), later());  // refused: use readable() or receive(own_buffer) here
    co_await ferry::shield(borrow<2>());  // refused: use readable() or receive(own_buffer) here
    ferry::spawn(loop, borrow<3>());  // refused: use readable() or receive(own_buffer) here
    group.start(borrow<4>());  // refused: use readable() or receive(own_buffer) here
    co_await ferry::on(loop, borrow<5>());  // refused: use readable() or receive(own_buffer) here
    ferry::promise<borrowed_value<6>>().get_future();  // refused: cannot be kept in a future
    co_await ferry::with_task_group(borrow_in<7>);  // refused: the group awaits its children
    co_await ferry::with_cleanup(borrow<8>(), ferry::yield_now());  // refused: and the cleanup is one
}

task<> wrong_colour(ferry::event_loop& loop, ferry::task_group& group, std::vector<int> values) {
    co_await values;  // refused: this cannot be awaited
    co_await ferry::to_thread(later);  // refused: this function is a coroutine
    ferry::async_to_sync(plain)();  // refused: this function is not asynchronous
    loop.post(later);  // refused: this function is a coroutine
    loop.spawn(plain);  // refused: this function is not asynchronous
    group.start(print_number, 1);  // refused: this function is not asynchronous
    co_await ferry::with_task_group(number_of);  // refused: this function is not asynchronous
}

task<> handles(ferry::event_loop& loop, ferry::thread_pool& pool, app::receive receive, app::send send) {
    ferry::spawn(loop, forward, send);  // refused: group.start(...) in with_task_group starts a child that ends before
    loop.spawn(hear, receive);  // refused: group.start(...) in with_task_group starts a child that ends before
    ferry::spawn(hear_all, std::ref(receive));  // refused: group.start(...) in with_task_group starts a child that ends before
    ferry::spawn(loop, receive());  // refused: group.start(...) in with_task_group starts a child that ends before
    co_await ferry::on(loop, receive());  // refused: send here what the work over there returns
    co_await ferry::to_thread(print, send);  // refused: return from this call what is to be sent
    co_await ferry::to_thread(pool, listen, receive);  // refused: return from this call what is to be sent
    co_await ferry::sync_to_async(print)(send);  // refused: return from this call what is to be sent
}

task<> dead_messages(ferry::task_group& group, app::send send) {
    auto start = send(app::http_response_start(200));
    co_await start;  // refused: co_await it in the expression that makes it
    group.start(send(app::http_response_body("dead")));  // refused: send.owned(message)
}

foreign_coroutine elsewhere() {
    co_await ferry::sleep_for(1s);  // refused: only in a ferry coroutine
    co_await later();  // refused: only in a ferry coroutine
}
// clang-format on
}  // namespace
