// tests/deadlock/wait_graph_test.cpp - each rule of the verdict alone, and verdicts while others write
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/wait_graph.hpp>
#include <support/catch.hpp>
#include <support/race.hpp>

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>

using ferry::detail::node_reference;
using ferry::detail::wait_graph;
using ferry::detail::wait_node;
using ferry_test::dice;
using kind = wait_node::kind;
using role = wait_graph::role;

namespace {
constexpr wait_node::flags cancellable = wait_node::cancellable;

/// Nodes of a system that a test writes by hand: on `loop`, which `turner` turns.
class drawing {
public:
    drawing() : turner(thread()), loop(make(kind::loop)) { loop.wait_for(node_reference(&turner)); }
    ~drawing() {
        for (wait_node* each : made_) each->release();
    }
    drawing(const drawing&) = delete;
    drawing& operator=(const drawing&) = delete;

    wait_node& make(kind what) {
        made_.push_back(&wait_node::acquire(what));
        return *made_.back();
    }
    wait_node& task() {
        wait_node& made = make(kind::task);
        made.set_within(&loop);
        return made;
    }
    wait_node& thread() {
        wait_node& made = make(kind::thread);
        made.set_within(nullptr);
        return made;
    }
    wait_node& family_of(wait_node& parent, std::initializer_list<wait_node*> members) {
        wait_node& made = make(kind::family);
        made.wait_for(node_reference(&parent));
        made.set_scope(parent.scope());
        for (wait_node* each : members) {
            each->set_scope(&made);
            made.add_member(*each);
        }
        return made;
    }
    wait_node& held_by(wait_node& lock, const wait_node& holder, std::size_t amount = 1) {
        wait_node& made = make(kind::holding);
        made.set_amount(amount);
        made.wait_for(node_reference(&holder));
        lock.add_member(made);
        return made;
    }
    wait_node& lock(std::size_t free = 0) {
        wait_node& made = make(kind::lock);
        made.set_amount(free);
        return made;
    }

private:
    std::vector<wait_node*> made_;

public:
    wait_node& turner;
    wait_node& loop;
};

void wait(wait_node& who, const wait_node& whom, wait_node::flags how = 0) { who.wait_for(node_reference(&whom), how); }
void wants(wait_node& who, const wait_node& lock, std::size_t amount, wait_node::flags how = cancellable) {
    who.set_amount(amount);
    wait(who, lock, how);
}
bool hopeless(const wait_node& node, role asked = role::goes_on) {
    const std::lock_guard lock(wait_graph::mutex());
    return wait_graph::instance().is_hopeless(node, asked);
}
}  // namespace

TEST_CASE("wait_graph: a wait is hopeless when it leads back to itself, and not before", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& a = d.task();
    wait_node& b = d.task();
    wait_node& c = d.task();
    wait(a, b);
    wait(b, c);
    CHECK_FALSE(hopeless(a));
    wait(c, a);
    CHECK(hopeless(a));
    CHECK(hopeless(c));
    c.wait_is_over();
    CHECK_FALSE(hopeless(a));
}

TEST_CASE("wait_graph: a task that waits for itself is hopeless", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& a = d.task();
    wait(a, a, cancellable);
    CHECK(hopeless(a));
}

TEST_CASE("wait_graph: whom a wait was for and who has ended since is waited for by nobody", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& a = d.task();
    wait_node& b = wait_node::acquire(kind::task);
    b.set_within(&d.loop);
    wait(a, b);
    wait(b, a);
    CHECK(hopeless(a));
    b.release();
    CHECK_FALSE(hopeless(a));
    wait_node& again = wait_node::acquire(kind::task);  // the same node, another one's
    REQUIRE(&again == &b);
    again.set_within(&d.loop);
    wait(again, a);
    CHECK_FALSE(hopeless(a));
    again.release();
}

TEST_CASE("wait_graph: a pool needs any of its threads", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& pool = d.make(kind::pool);
    wait_node& one = d.thread();
    wait_node& two = d.thread();
    wait_node& job = d.make(kind::call);
    wait_node& task = d.task();
    pool.add_member(one);
    pool.add_member(two);
    wait(job, pool);
    wait(task, job, cancellable);
    wait(one, task);
    CHECK_FALSE(hopeless(one));
    wait(two, task);
    CHECK(hopeless(one));
    CHECK(hopeless(task));
    pool.set_flags(wait_node::open);
    CHECK_FALSE(hopeless(task));
}

TEST_CASE("wait_graph: who joins a pool needs all of its threads", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& pool = d.make(kind::pool);
    wait_node& first = d.make(kind::thread);
    wait_node& second = d.make(kind::thread);
    wait_node& joiner = d.make(kind::thread);
    pool.add_member(first);
    pool.add_member(second);
    wait(joiner, pool, wait_node::joins);
    CHECK_FALSE(hopeless(joiner));
    wait(second, joiner);
    CHECK(hopeless(joiner));
    CHECK(hopeless(second));
    CHECK_FALSE(hopeless(pool));  // a call in its queue has the other one
    pool.set_flags(wait_node::open);
    CHECK(hopeless(joiner));  // a thread that may yet come helps nobody who waits for all to go
    pool.remove_member(second);
    CHECK_FALSE(hopeless(joiner));
}

TEST_CASE("wait_graph: a thread that was started for a pool and has not come yet counts as able to come",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& pool = d.make(kind::pool);
    wait_node& job = d.make(kind::call);
    wait_node& task = d.task();
    wait(job, pool);
    wait(task, job);
    pool.set_flags(wait_node::open);
    CHECK_FALSE(hopeless(task));
}

TEST_CASE("wait_graph: a join needs all children", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& parent = d.task();
    wait_node& one = d.task();
    wait_node& two = d.task();
    wait_node& family = d.family_of(parent, {&one, &two});
    wait(parent, family, wait_node::joins);
    CHECK_FALSE(hopeless(parent));
    wait(one, parent);  // cannot be cancelled
    CHECK(hopeless(parent));
    CHECK(hopeless(family, role::all_end));
    CHECK_FALSE(hopeless(two));
}

TEST_CASE("wait_graph: a sibling that goes on may end a wait that can be cancelled", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& parent = d.task();
    wait_node& one = d.task();
    wait_node& two = d.task();
    wait_node& family = d.family_of(parent, {&one, &two});
    wait(parent, family, wait_node::joins);
    wait(one, parent, cancellable);
    CHECK_FALSE(hopeless(one));
    CHECK(family.is_relied_upon());
    family.remove_member(two);
    CHECK(hopeless(one));
    family.set_flags(wait_node::open);  // its cancellation is on its way
    CHECK_FALSE(hopeless(one));
}

TEST_CASE("wait_graph: the cancellation that follows a refusal may end all waits inside, up to the next shield",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& whole = d.task();
    wait_node& child = d.task();
    wait_node& shielded = d.task();
    wait_node& waiter = d.thread();
    whole.set_scope(&whole);
    wait_node& family = d.family_of(whole, {&child, &shielded});
    shielded.set_scope(nullptr);
    wait(whole, family, wait_node::joins);
    wait(child, child, cancellable);
    wait(shielded, shielded, cancellable);
    wait(waiter, whole, wait_node::refusable);
    CHECK(hopeless(child));
    {
        const std::lock_guard lock(wait_graph::mutex());
        waiter.cancels = &whole;
        waiter.refuse(nullptr);
    }
    CHECK_FALSE(hopeless(child));
    CHECK(hopeless(shielded));
    CHECK(hopeless(whole));  // it waits for both
    waiter.cancels = nullptr;
}

TEST_CASE("wait_graph: the body around children may end their waits", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& parent = d.task();
    wait_node& child = d.task();
    d.family_of(parent, {&child});
    wait(child, child, cancellable);
    CHECK_FALSE(hopeless(child));
    wait(parent, child);
    CHECK(hopeless(child));
}

TEST_CASE("wait_graph: a shield lets no cancellation in", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& parent = d.task();
    wait_node& deadline = d.make(kind::deadline);
    deadline.set_within(&d.loop);
    parent.set_scope(&deadline);
    wait_node& child = d.task();
    wait_node& alone = d.family_of(parent, {&child});
    wait(parent, alone, wait_node::joins);
    wait(child, parent, cancellable);
    CHECK_FALSE(hopeless(child));
    alone.set_scope(nullptr);
    CHECK(hopeless(child));
}

TEST_CASE("wait_graph: a deadline counts while its loop can come to it, and once it has fired",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& a = d.task();
    wait_node& deadline = d.make(kind::deadline);
    deadline.set_within(&d.loop);
    deadline.set_scope(nullptr);
    a.set_scope(&deadline);
    wait(a, a, cancellable);
    CHECK_FALSE(hopeless(a));
    wait(a, a);
    CHECK(hopeless(a));

    wait_node& elsewhere = d.make(kind::loop);
    wait_node& other = d.make(kind::task);
    other.set_within(&elsewhere);
    other.set_scope(&deadline);
    wait(other, other, cancellable);
    CHECK_FALSE(hopeless(other));
    wait(d.turner, other, wait_node::in_turn);  // nobody comes to the deadline any more
    CHECK(hopeless(other));
    deadline.set_flags(wait_node::open);
    CHECK_FALSE(hopeless(other));
}

TEST_CASE("wait_graph: a limit of its own ends a wait, and can be left out of account", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& one = d.thread();
    wait_node& task = d.task();
    wait(task, one);
    wait(one, task, wait_node::timed);
    CHECK_FALSE(hopeless(one));
    CHECK_FALSE(hopeless(task));
    const std::lock_guard lock(wait_graph::mutex());
    CHECK(wait_graph::instance().is_hopeless_without_limit(one));
    CHECK_FALSE(wait_graph::instance().is_hopeless(one));
}

TEST_CASE("wait_graph: of a lock, enough has to come back", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& lock = d.lock(1);
    wait_node& big = d.task();
    wait_node& small = d.task();
    wait_node& first = d.task();
    d.held_by(lock, big, 3);
    d.held_by(lock, small, 1);
    wait(lock, first);
    wait(big, first);
    wants(first, lock, 2);
    CHECK_FALSE(hopeless(first));  // one is free, one comes back
    wants(first, lock, 3);
    CHECK(hopeless(first));
    lock.set_amount(2);
    CHECK_FALSE(hopeless(first));
    lock.set_amount(3);
    wait(small, first);
    CHECK_FALSE(hopeless(first));  // it is being given to it
    lock.set_amount(0);
    CHECK(hopeless(first));
    lock.set_flags(wait_node::open);
    CHECK_FALSE(hopeless(first));
}

TEST_CASE("wait_graph: who waits behind the first needs both its going and enough for itself",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& lock = d.lock();
    wait_node& holder = d.task();
    wait_node& other = d.task();
    wait_node& first = d.task();
    wait_node& second = d.task();
    d.held_by(lock, holder, 1);
    d.held_by(lock, other, 2);
    wait(lock, first);
    wants(first, lock, 2, cancellable | wait_node::timed);
    wants(second, lock, 3);
    CHECK_FALSE(hopeless(second));
    wait(holder, second);  // the first one goes, by its limit or not, but that is not enough for the second
    CHECK_FALSE(hopeless(first));
    CHECK(hopeless(second));
    wants(second, lock, 2);
    CHECK_FALSE(hopeless(second));
    wants(first, lock, 3);
    CHECK(hopeless(second));  // it is never its turn
}

TEST_CASE("wait_graph: a holder that has ended or was never known leaves the lock to chance",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& lock = d.lock();
    wait_node& first = d.task();
    wait_node& held = d.held_by(lock, first);
    wait(lock, first);
    wants(first, lock, 1);
    CHECK(hopeless(first));
    held.wait_is_over();
    CHECK_FALSE(hopeless(first));
}

TEST_CASE("wait_graph: tasks of a loop need its thread, or that its thread turns it while it waits",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& a = d.task();
    wait(d.turner, a, wait_node::in_turn);
    CHECK(hopeless(d.turner));
    CHECK(hopeless(a));
    wait(d.turner, a);
    d.turner.set_within(&d.loop);
    CHECK_FALSE(hopeless(d.turner));
    wait_node& upper = d.make(kind::loop);
    d.turner.set_within(&upper);  // a frame above drives another loop; this one is buried
    CHECK(hopeless(d.turner));
    wait_node& b = d.make(kind::task);
    b.set_within(&upper);
    wait(upper, d.turner);
    wait(d.turner, b);
    CHECK_FALSE(hopeless(a));  // it will be dug out
}

TEST_CASE("wait_graph: a loop that nobody turns can be turned by anybody, a bound one only by its thread",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& loop = d.make(kind::loop);
    wait_node& a = d.make(kind::task);
    a.set_within(&loop);
    wait_node& one = d.thread();
    wait(one, a);
    CHECK_FALSE(hopeless(one));
    wait(loop, one, wait_node::bound);
    one.set_within(&loop);
    CHECK(hopeless(one));
    one.wait_is_over();
    CHECK_FALSE(hopeless(a));
}

TEST_CASE("wait_graph: a call waits for a thread that serves, unless that waits inside a turn",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& home = d.thread();
    wait_node& job = d.make(kind::call);
    wait_node& a = d.task();
    wait(job, home);
    wait(a, job, cancellable);
    wait(home, a);
    CHECK_FALSE(hopeless(a));
    wait(home, a, wait_node::in_turn);
    CHECK(hopeless(a));
    wait(home, a);
    wait(job, home, wait_node::begun);
    CHECK(hopeless(a));
}

TEST_CASE("wait_graph: a cancellation passes through a call into the task beneath, and does not end the call",
          "[deadlock][wait_graph]") {
    drawing d;
    wait_node& deadline = d.make(kind::deadline);
    deadline.set_within(&d.loop);
    wait_node& a = d.task();
    wait_node& worker = d.thread();
    wait_node& job = d.make(kind::call);
    wait_node& beneath = d.task();
    a.set_scope(&deadline);
    wait(a, job, cancellable);
    job.set_scope(&deadline);
    wait(job, worker, wait_node::begun);
    wait(worker, beneath);
    beneath.set_scope(&job);
    wait(beneath, a, cancellable);
    CHECK_FALSE(hopeless(a));
    wait(worker, a);  // a future's wait instead
    CHECK(hopeless(a));
}

TEST_CASE("wait_graph: a cancellation ends the wait for a call that may be left behind", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& deadline = d.make(kind::deadline);
    deadline.set_within(&d.loop);
    wait_node& a = d.task();
    wait_node& worker = d.thread();
    wait_node& job = d.make(kind::call);
    a.set_scope(&deadline);
    wait(a, job, cancellable);
    wait(job, worker, wait_node::begun);
    wait(worker, a);
    CHECK(hopeless(a));
    wait(job, worker, wait_node::begun | cancellable);
    CHECK_FALSE(hopeless(a));
}

TEST_CASE("wait_graph: a promise that nobody has declared can be kept by anybody", "[deadlock][wait_graph]") {
    drawing d;
    wait_node& promise = d.make(kind::promise);
    wait_node& one = d.thread();
    wait(one, promise);
    CHECK_FALSE(hopeless(one));
    wait(promise, one);
    CHECK(hopeless(one));
    CHECK(hopeless(promise));
}

TEST_CASE("wait_graph: what is longer than a walk goes counts as able to go on", "[deadlock][wait_graph]") {
    drawing d;
    std::vector<wait_node*> ring;
    for (int i = 0; i < 60'000; ++i) ring.push_back(&d.make(kind::holding));
    for (std::size_t i = 0; i < ring.size(); ++i) wait(*ring[i], *ring[(i + 1) % ring.size()]);
    CHECK(hopeless(*ring[0]));
    for (int i = 0; i < 60'000; ++i) ring.push_back(&d.make(kind::holding));
    for (std::size_t i = 0; i < ring.size(); ++i) wait(*ring[i], *ring[(i + 1) % ring.size()]);
    CHECK_FALSE(hopeless(*ring[0]));
}

namespace {
/// Waits that lead only from a later node to an earlier one, of which the first goes on.
void random_acyclic_waits(std::size_t count, std::uint64_t seed) {
    constexpr int most = 60;
    drawing d;
    dice random(seed);
    std::vector<wait_node*> nodes;
    wait_node& lock = d.lock();
    wait_node& pool = d.make(kind::pool);
    for (int i = 0; i < most; ++i) {
        const int what = random.roll(4);
        nodes.push_back(what == 0   ? &d.thread()
                        : what == 1 ? &d.make(kind::call)
                        : what == 2 ? &d.make(kind::promise)
                                    : &d.task());
    }
    pool.add_member(*nodes[0]);
    d.held_by(lock, *nodes[0]);
    std::size_t wrong = 0;
    std::size_t done = 0;
    while (done < count) {
        const int at = 1 + random.roll(most - 1);
        wait_node& who = *nodes[static_cast<std::size_t>(at)];
        const int whom = random.roll(at + 2);
        const bool is_task = who.what() == kind::task;
        if (whom < at) {
            const wait_node& to = *nodes[static_cast<std::size_t>(whom)];
            wait(who, to,
                 to.what() == kind::call ? wait_node::flags{0} : static_cast<wait_node::flags>(random.roll(2)));
        } else if (whom == at || !is_task) {
            wait(who, pool);
        } else {
            wants(who, lock, 1);
        }
        wrong += hopeless(who);
        ++done;
        if (random.roll(8) == 0) who.wait_is_over();
    }
    CHECK(wrong == 0);
}
}  // namespace

TEST_CASE("wait_graph: two hundred thousand random acyclic waits are let pass", "[deadlock][wait_graph]") {
    random_acyclic_waits(200'000, 1);
}
TEST_CASE("wait_graph: two million random acyclic waits are let pass", "[deadlock][wait_graph][.slow]") {
    random_acyclic_waits(2'000'000, 2);
}
TEST_CASE("wait_graph: twenty million random acyclic waits are let pass", "[deadlock][wait_graph][.slow]") {
    random_acyclic_waits(20'000'000, 3);
}

namespace {
/// Each thread has nodes of its own, which wait for those of lower rank, its own or another thread's; so there never is a
/// circle, at any time, though each link is written while others read it.
void moving_waits(int rounds) {
    constexpr int threads = 3;
    constexpr int ranks = 40;
    drawing d;
    std::vector<wait_node*> nodes;
    for (int i = 0; i < ranks * threads; ++i) nodes.push_back(&d.task());
    std::atomic<std::size_t> wrong{0};
    const auto writer = [&](int self) {
        dice random(static_cast<std::uint64_t>(self) + 1);
        for (int round = 0; round < rounds; ++round) {
            const int rank = 1 + random.roll(ranks - 1);
            wait_node& who = *nodes[static_cast<std::size_t>(rank * threads + self)];
            const wait_node& whom =
                *nodes[static_cast<std::size_t>(random.roll(rank) * threads + random.roll(threads))];
            wait(who, whom, static_cast<wait_node::flags>(random.roll(2)));
            if (random.roll(16) == 0) std::this_thread::yield();
            if (random.roll(4) == 0) random.dawdle();
            if (hopeless(who)) wrong.fetch_add(1, std::memory_order_relaxed);
            if (random.roll(3) == 0) who.wait_is_over();
        }
    };
    ferry_test::race([&] { writer(0); }, [&] { writer(1); }, [&] { writer(2); });
    CHECK(wrong.load() == 0);
}

/// Tasks on a ring, of which at most all but one wait, ever others: looked at one after the other they would all be seen
/// waiting.
void chasing_waits(int rounds) {
    constexpr std::size_t size = 6;
    drawing d;
    std::vector<wait_node*> ring;
    for (std::size_t i = 0; i < size; ++i) ring.push_back(&d.task());
    std::atomic<bool> stop{false};
    std::atomic<std::size_t> wrong{0};
    const auto mover = [&] {
        dice random(5);
        std::size_t gap = 0;
        for (std::size_t i = 1; i < size; ++i) wait(*ring[i], *ring[(i + 1) % size]);
        for (int round = 0; round < rounds; ++round) {
            const std::size_t next = (gap + 1 + static_cast<std::size_t>(random.roll(size - 1))) % size;
            ring[next]->wait_is_over();
            if (random.roll(32) == 0) std::this_thread::yield();
            wait(*ring[gap], *ring[(gap + 1) % size]);
            gap = next;
        }
        stop.store(true);
    };
    const auto looker = [&] {
        dice random(7);
        while (!stop.load()) {
            if (hopeless(*ring[static_cast<std::size_t>(random.roll(size))])) wrong.fetch_add(1);
        }
    };
    ferry_test::race(mover, looker, looker);
    CHECK(wrong.load() == 0);
}

/// The protocol of those who begin a wait: the links first, then the lock and the question.
void closing_circles(int rounds) {
    constexpr std::size_t closers = 3;
    drawing d;
    std::vector<wait_node*> ring;
    for (std::size_t i = 0; i < closers; ++i) ring.push_back(&d.task());
    std::barrier<> together(static_cast<std::ptrdiff_t>(closers));
    std::atomic<std::size_t> told{0};
    std::atomic<std::size_t> wrong_rounds{0};
    const auto closer = [&](std::size_t self) {
        dice random(self + 11);
        for (int round = 0; round < rounds; ++round) {
            random.dawdle();
            wait(*ring[self], *ring[(self + 1) % closers], cancellable);
            if (random.roll(8) == 0) std::this_thread::yield();
            {
                const std::lock_guard lock(wait_graph::mutex());
                if (wait_graph::instance().is_hopeless(*ring[self])) {
                    told.fetch_add(1);
                    ring[self]->wait_is_over();  // it is refused, and goes on
                }
            }
            together.arrive_and_wait();
            if (self == 0 && told.exchange(0) != 1) wrong_rounds.fetch_add(1);
            ring[self]->wait_is_over();
            together.arrive_and_wait();
        }
    };
    ferry_test::race([&] { closer(0); }, [&] { closer(1); }, [&] { closer(2); });
    CHECK(wrong_rounds.load() == 0);
}
}  // namespace

TEST_CASE("wait_graph: links that move meanwhile close no circle that never was", "[deadlock][wait_graph][mt]") {
    moving_waits(5'000);
    chasing_waits(20'000);
}
TEST_CASE("wait_graph: of threads that close a circle together exactly one is told", "[deadlock][wait_graph][mt]") {
    closing_circles(10'000);
}
