// Makes one deadlock after another, and shows what ferry says to each instead of hanging.
//   ./deadlock_tour          prints what was tried, and the error that refused it: who waits for whom, and the way out
//   ./deadlock_tour long     prints the report with its stable keys, as a log would have it

#include <ferry/bridge.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <string_view>
#include <thread>

using ferry::event_loop;
using ferry::task;

namespace {
bool in_full = false;
/// Runs it, and prints the error.
template <class Run>
void show(const char* title, Run run) {
    try {
        run();
        std::printf("# %s\n(nothing was refused)\n\n", title);
    } catch (const ferry::deadlock_error& error) {
        std::printf("# %s\n%s\n\n", title, in_full ? error.report().text().c_str() : error.what());
    }
}

int query_user() { return 42; }
ferry::thread_pool db(ferry::thread_pool_options().name("db").size(1).max_spare(0));

task<int> load_user() {
    auto query = ferry::sync_to_async(&query_user).on(db).named("query_user");
    co_return co_await query();
}
int render_page() { return ferry::block_on(load_user()); }
task<> block_on_own_loop(event_loop& loop) {
    ferry::block_on(loop, load_user());  // the way out: co_await load_user()
    co_return;
}
task<> call_that_needs_its_pool() { co_await ferry::to_thread(db, &render_page); }

task<> save(ferry::async_mutex& rows) { ferry::async_mutex::guard held = co_await rows.lock(); }
task<> save_both(ferry::async_mutex& first, ferry::async_mutex& second) {
    ferry::async_mutex::guard outer = co_await first.lock();
    co_await ferry::yield_now();
    ferry::async_mutex::guard inner = co_await second.lock();
}
task<> import(ferry::async_mutex& rows) {
    ferry::async_mutex::guard held = co_await rows.lock();
    const auto save_row = [&] { ferry::block_on(save(rows)); };
    co_await ferry::to_thread(db, save_row);
}
task<> save_all(ferry::async_mutex& rows) {
    ferry::async_mutex::guard held = co_await rows.lock();
    co_await ferry::when_all(save(rows), ferry::sleep_for(std::chrono::milliseconds(1)));
}
task<> await_itself(ferry::shared_future<void>& own) { co_await own; }

void two_threads() {
    ferry::promise<int> mine;
    ferry::promise<int> theirs;
    ferry::future<int> my_result = mine.get_future();
    ferry::future<int> their_result = theirs.get_future();
    const auto keep = [](ferry::promise<int>& promise, ferry::future<int>& needed) {
        promise.produced_by_this_thread();
        try {
            promise.set_value(needed.get());
        } catch (const ferry::deadlock_error&) {
            promise.set_exception(std::current_exception());
        }
    };
    std::thread other([&] { keep(theirs, my_result); });
    keep(mine, their_result);
    other.join();
    (my_result.valid() ? my_result : their_result).get();
}
}  // namespace

int main(int argc, char* argv[]) {
    in_full = argc > 1 && std::string_view(argv[1]) == "long";
    event_loop loop;
    ferry::async_mutex rows(loop);
    ferry::async_mutex journal(loop);
    show("A task blocks on the loop that runs it", [&] { loop.run(block_on_own_loop(loop)); });
    show("A call blocks for what needs its own pool of one thread", [&] { loop.run(call_that_needs_its_pool()); });
    show("A task holds a mutex over a call that blocks for it", [&] { loop.run(import(rows)); });
    show("Two tasks take two mutexes in opposite orders", [&] {
        loop.run(ferry::when_all(save_both(rows, journal).named("transfer"), save_both(journal, rows).named("audit")));
    });
    show("A task holds a mutex that its child wants", [&] { loop.run(save_all(rows)); });
    show("A task awaits its own result", [&] {
        ferry::shared_future<void> own;
        own = ferry::spawn(loop, await_itself(own)).share();
        loop.run_until_idle();
        own.get();
    });
    show("Two threads wait for each other's promise", &two_threads);
}
