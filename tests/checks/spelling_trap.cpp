// tests/checks/spelling_trap.cpp - what GCC 11 and 12 would destroy twice, and what they do not: see spelling_trap.py
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge.hpp>

#include "bridge/tracer.hpp"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <source_location>
#include <string>
#include <utility>

using ferry::task;
using ferry_test::tracer;

namespace {
// Each line marked below needs a type of its own: a compiler refuses a type once.
template <int Id>
struct row {  // an aggregate
    tracer key;
    std::string text;
};
class column {
public:
    explicit column(tracer key) : key_(std::move(key)) {}
    [[nodiscard]] int key() const { return key_.value(); }
    int operator()(int more) const { return key_.value() + more; }

private:
    tracer key_;
};
struct point {  // an aggregate, trivial to destroy
    int x;
    int y;
};

template <int Id>
int key_of(const row<Id>& given) {
    return given.key.value();
}
int key_in(const column& given) { return given.key(); }
int size_of(const std::string& text) { return static_cast<int>(text.size()); }
int call(const std::function<int()>& fn) { return fn(); }
int sum_of(point given) { return given.x + given.y; }
template <int Id>
task<int> key_later(const row<Id>& given) {
    co_await ferry::yield_now();
    co_return given.key.value();
}
template <int Id>
task<int> key_in_group(ferry::task_group&, const row<Id>& given) {
    co_return given.key.value();
}
task<int> size_later(const std::string& text) {
    co_await ferry::yield_now();
    co_return size_of(text);
}

void expect(int got, int wanted, const std::source_location& where = std::source_location::current()) {
    if (got == wanted) return;
    std::printf("line %u: got %d instead of %d\n", static_cast<unsigned>(where.line()), got, wanted);
    std::exit(1);
}

task<> to_thread_forms(tracer two, ferry::thread_pool& pool) {
    int got = 0;
    // clang-format off
    got = co_await ferry::to_thread([two] { return two.value(); }); expect(got, 2);  // refused
    got = co_await ferry::to_thread([two = tracer(2)] { return two.value(); }); expect(got, 2);  // refused
    got = co_await ferry::to_thread([two](auto more) { return two.value() + more; }, 1); expect(got, 3);  // refused
    got = co_await ferry::to_thread(pool, [two] { return two.value(); }); expect(got, 2);  // refused
    got = co_await ferry::to_thread(key_of<1>, row<1>{tracer(2), "a"}); expect(got, 2);  // refused
    got = co_await ferry::to_thread(pool, key_of<2>, row<2>{tracer(2), "b"}); expect(got, 2);  // refused
    got = co_await ferry::to_thread(call, [two] { return two.value(); }); expect(got, 2);  // refused
    got = co_await ferry::sync_to_async([two]() mutable { return two.value(); })(); expect(got, 2);  // refused
    got = co_await ferry::sync_to_async(call)([two] { return two.value() + 1; }); expect(got, 3);  // refused
    got = co_await ferry::sync_to_async(key_of<3>).on(pool)(row<3>{tracer(2), "c"}); expect(got, 2);  // refused
    // clang-format on

    got = co_await ferry::to_thread([](const tracer& given) { return given.value(); }, two);
    expect(got, 2);
    got = co_await ferry::to_thread([&two] { return two.value(); });
    expect(got, 2);
    got = co_await ferry::to_thread(
        pool, [&](int more) { return two.value() + more; }, 1);
    expect(got, 3);
    const auto named = [two] { return two.value(); };
    got = co_await ferry::to_thread(named);
    expect(got, 2);
    got = co_await ferry::to_thread(call, named);
    expect(got, 2);
    auto leaving = [two] { return two.value(); };
    got = co_await ferry::to_thread(ferry::moved(leaving));
    expect(got, 2);
    row<0> named_row{tracer(2), "named"};
    got = co_await ferry::to_thread(key_of<0>, named_row);
    expect(got, 2);
    got = co_await ferry::to_thread(key_of<0>, std::cref(named_row));
    expect(got, 2);
    got = co_await ferry::to_thread(pool, key_of<0>, ferry::moved(named_row));
    expect(got, 2);
    got = co_await ferry::to_thread(key_in, column(tracer(2)));
    expect(got, 2);
    got = co_await ferry::to_thread(column(tracer(2)), 1);
    expect(got, 3);
    got = co_await ferry::to_thread(size_of, std::string("a text that is longer than any small buffer"));
    expect(got, 43);
    got = co_await ferry::to_thread(sum_of, point{1, 2});
    expect(got, 3);
    const std::function<int()> erased = named;
    got = co_await ferry::to_thread(erased);
    expect(got, 2);
    got = co_await ferry::to_thread(call, std::function<int()>(named));
    expect(got, 2);
    const auto adaptor = ferry::sync_to_async(named).on(pool);
    got = co_await adaptor();
    expect(got, 2);
    got = co_await ferry::sync_to_async(size_of)(std::string("a text that is longer than any small buffer"));
    expect(got, 43);
}

task<> spawn_forms(tracer two) {
    ferry::event_loop& loop = *ferry::event_loop::current();
    int got = 0;
    // clang-format off
    got = co_await ferry::spawn([two]() -> task<int> { co_return two.value(); }); expect(got, 2);  // refused
    got = co_await ferry::spawn(loop, [two]() -> task<int> { co_return two.value(); }); expect(got, 2);  // refused
    got = co_await ferry::spawn(key_later<4>, row<4>{tracer(2), "a"}); expect(got, 2);  // refused
    got = co_await ferry::spawn(loop, key_later<5>, row<5>{tracer(2), "b"}); expect(got, 2);  // refused
    // clang-format on

    got = co_await ferry::spawn([](const tracer& given) -> task<int> { co_return given.value(); }, two);
    expect(got, 2);
    got = co_await ferry::spawn(loop, [&two]() -> task<int> { co_return two.value(); });
    expect(got, 2);
    auto named = [two]() -> task<int> { co_return two.value(); };
    got = co_await ferry::spawn(named);
    expect(got, 2);
    got = co_await ferry::spawn(loop, ferry::moved(named));
    expect(got, 2);
    row<0> named_row{tracer(2), "named"};
    got = co_await ferry::spawn(key_later<0>, ferry::moved(named_row));
    expect(got, 2);
    got = co_await ferry::spawn(size_later, std::string("a text that is longer than any small buffer"));
    expect(got, 43);
}

task<> group_forms(tracer two) {
    int got = 0;
    // clang-format off
    co_await ferry::with_task_group([two](auto&) -> task<> { co_return expect(two.value(), 2); });  // refused
    got = co_await ferry::with_task_group(key_in_group<6>, row<6>{tracer(2), "a"}); expect(got, 2);  // refused
    const auto body = [&](ferry::task_group& group) -> task<> {
        group.start([two, &got]() -> task<> { got += two.value(); co_return; });  // refused
        group.start(key_later<7>, row<7>{tracer(2), "b"});  // refused
        // clang-format on
        group.start([&]() -> task<> {
            got += two.value();
            co_return;
        });
        auto named = [two, &got]() -> task<> {
            got += two.value();
            co_return;
        };
        group.start(named);
        group.start(ferry::moved(named));
        group.start(size_later, std::string("a text that is longer than any small buffer"));
        co_return;
    };
    got = 0;
    co_await ferry::with_task_group(body);
    if (got != 6) expect(got, 8);  // with the child that GCC 11 and 12 refuse
    auto owning = [two](ferry::task_group&) -> task<int> { co_return two.value(); };
    got = co_await ferry::with_task_group(owning);
    expect(got, 2);
    got = co_await ferry::with_task_group(ferry::moved(owning));
    expect(got, 2);
    got = co_await ferry::with_task_group([&two](ferry::task_group&) -> task<int> { co_return two.value(); });
    expect(got, 2);
}
task<> queue_forms() {
    ferry::bounded_queue<row<7>> queue(*ferry::event_loop::current(), 8);
    // clang-format off
    co_await queue.push(row<7>{tracer(2), "a"});  // refused
    // clang-format on
    row<7> named{tracer(2), "named"};
    co_await queue.push(named);
    co_await queue.push(ferry::moved(named));
    const row<7> popped = co_await queue.pop();
    expect(popped.key.value(), 2);
    ferry::bounded_queue<tracer> safe(*ferry::event_loop::current(), 8);
    co_await safe.push(tracer(3));
    const tracer item = co_await safe.pop();
    expect(item.value(), 3);
}
}  // namespace

int main() {
    {
        ferry::thread_pool pool(1);
        ferry::run(to_thread_forms(tracer(2), pool));
        ferry::run(spawn_forms(tracer(2)));
        ferry::run(group_forms(tracer(2)));
        ferry::run(queue_forms());
    }
    expect(static_cast<int>(tracer::live()), 0);
}
