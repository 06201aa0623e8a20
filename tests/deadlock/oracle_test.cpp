// tests/deadlock/oracle_test.cpp - the graph's verdict compared with what becomes of generated systems
// SPDX-License-Identifier: BSL-1.0
#include "simulator.hpp"

#include <support/catch.hpp>
#include <support/race.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

using ferry::detail::wait_graph;
using ferry::detail::wait_node;
using ferry_test::dice;
using ferry_test::op;
using ferry_test::plan;
using ferry_test::script;
using ferry_test::simulator;
using ferry_test::step;

namespace {
/// Systems of every feature, small enough that their parts get into each other's way.
class generator {
public:
    explicit generator(std::uint64_t seed, bool small = false) : dice_(seed), small_(small) {}

    plan make() {
        for (int i = 0; i < 8; ++i) dice_.roll(2);  // seeds that are alike begin alike
        plan made;
        closed_ = dice_.roll(3) > 0;
        const int loops = 1 + dice_.roll(small_ ? 2 : 3);
        for (int i = 0; i < loops; ++i) {
            const int how = dice_.roll(closed_ ? 9 : 12);
            made.loops.push_back(how < 9    ? plan::turned::by_a_thread
                                 : how < 11 ? plan::turned::by_nobody
                                            : plan::turned::bound_to_a_user);
        }
        const int pools = dice_.roll(3);
        for (int i = 0; i < pools; ++i) made.pools.push_back(1 + dice_.roll(2));
        made.most_leases = 1 + dice_.roll(2);
        made.promises = dice_.roll(4);
        const int users = dice_.roll(small_ ? 2 : 4);
        const int tasks = 1 + dice_.roll(small_ ? 2 : 4);
        for (int i = 0; i < tasks; ++i) made.tasks.push_back({dice_.roll(loops), task_script(small_ ? 1 : 3)});
        for (int i = 0; i < users; ++i) made.users.push_back(user_script(made.promises, i, users));
        if (users == 0) made.promises = closed_ ? 0 : made.promises;
        return made;
    }

private:
    script task_script(int depth) {
        script code;
        const int steps = 1 + dice_.roll(depth + 1);
        for (int i = 0; i < steps; ++i) code.push_back(task_step(depth));
        return code;
    }
    step task_step(int depth) {
        step made;
        made.which = dice_.roll(6);
        made.many = 1 + dice_.roll(3);
        made.flag = dice_.roll(6) == 0;
        static constexpr op flat[] = {op::acquire,    op::acquire,    op::acquire,       op::acquire,
                                      op::await_task, op::await_task, op::await_promise, op::await_promise,
                                      op::give_back,  op::yield,      op::keep,          op::fail};
        static constexpr op deep[] = {op::call_pool, op::call_pool, op::call_sensitive, op::call_sensitive,
                                      op::on_loop,   op::on_loop,   op::when_all,       op::when_any,
                                      op::group,     op::group,     op::shield,         op::timeout,
                                      op::timeout,   op::scope,     op::scope,          op::in_turn};
        static constexpr op open[] = {op::outside, op::detach, op::add_permits};
        if (!closed_ && dice_.roll(12) == 0) {
            made.what = open[dice_.roll(3)];
        } else if (depth == 0 || dice_.roll(2) == 0) {
            made.what = flat[dice_.roll(12)];
            if (closed_ && made.what == op::keep) made.what = op::yield;
        } else {
            made.what = deep[dice_.roll(16)];
        }
        switch (made.what) {
            case op::call_pool:
            case op::call_sensitive:
                made.bodies.push_back(thread_script(depth - 1, false));
                break;
            case op::in_turn:
                made.bodies.push_back(thread_script(depth - 1, true));
                break;
            case op::on_loop:
            case op::shield:
            case op::timeout:
            case op::scope:
                made.bodies.push_back(task_script(depth - 1));
                break;
            case op::when_all:
            case op::when_any:
            case op::group:
                for (int i = 0; i < 2; ++i) made.bodies.push_back(task_script(depth - 1));
                break;
            default:
                break;
        }
        return made;
    }
    script thread_script(int depth, bool in_turn) {
        script code;
        const int steps = dice_.roll(3);
        for (int i = 0; i < steps; ++i) {
            step made;
            made.which = dice_.roll(6);
            made.flag = dice_.roll(5) == 0;
            static constexpr op all[] = {op::block_on,  op::block_on, op::block_on_a, op::run,
                                         op::join_task, op::get,      op::fail};
            made.what = all[dice_.roll(7)];
            if (in_turn && (made.what == op::block_on || made.what == op::run)) made.what = op::block_on_a;
            const bool has_body = made.what == op::block_on || made.what == op::block_on_a || made.what == op::run;
            if (has_body && depth > 0) {
                made.bodies.push_back(task_script(depth - 1));
            } else if (has_body) {
                made.what = op::join_task;
            }
            code.push_back(made);
        }
        return code;
    }
    script user_script(int promises, int self, int users) {
        script code;
        script ends;
        for (int i = self; i < promises; i += users) {
            step one;
            one.which = i;
            one.what = op::keep;
            if (closed_ || dice_.roll(2) == 0) {
                one.what = op::declare;
                code.push_back(one);
                one.what = op::keep;
            }
            if (closed_ || dice_.roll(4) > 0) ends.push_back(one);
        }
        const script middle = thread_script(small_ ? 1 : 3, false);
        code.insert(code.end(), middle.begin(), middle.end());
        code.insert(code.end(), ends.begin(), ends.end());
        return code;
    }

    dice dice_;
    bool small_;
    bool closed_ = true;
};

class outcome {
public:
    std::string mismatch;  // empty: none
    bool deadlocked = false;
    bool closed = false;
    std::size_t moves = 0;
    std::size_t found_late = 0;
};

/// Follows one run to its end, or to where been_here() says that another one has come, and compares the verdicts with it.
template <class Choose, class BeenHere>
outcome follow(const plan& what, Choose&& choose, BeenHere&& been_here, int sample_one_in, dice& sampling) {
    outcome result;
    simulator world(what);
    std::vector<simulator::waiting> hopeless;
    wait_graph& graph = wait_graph::instance();
    const auto say = [&](const char* text, const simulator::waiting& about) {
        result.mismatch = std::string(text) + (about.is_thread ? " thread " : " task ") + std::to_string(about.place) +
                          " after " + std::to_string(result.moves) + " moves";
    };
    const auto known = [&](const simulator::waiting& one) {
        for (const simulator::waiting& each : hopeless) {
            if (each.is_thread == one.is_thread && each.place == one.place && each.moves == one.moves) return true;
        }
        return false;
    };
    for (;; ++result.moves) {
        const bool went_on = world.move(choose);
        for (const simulator::waiting& each : hopeless) {
            if (!world.has_moved(each)) continue;
            say("hopeless, but it moved:", each);
            return result;
        }
        const std::vector<simulator::waiting> waiting = world.who_waits();
        const std::lock_guard lock(wait_graph::mutex());
        std::vector<simulator::waiting> now;
        for (const simulator::waiting& each : waiting) {
            if (!graph.is_hopeless(*each.node)) continue;
            now.push_back(each);
            // A thread that serves a call during a hopeless wait may make that look better for as long as the call runs.
            if (!known(each)) hopeless.push_back(each);
        }
        if (went_on && been_here(world, hopeless)) return result;
        if (!now.empty() && (!went_on || sampling.roll(sample_one_in) == 0)) {
            simulator best = world.imagined();
            best.assume_the_best();
            for (const simulator::waiting& each : now) {
                if (!best.has_moved(each)) continue;
                say("hopeless, but it could move:", each);
                return result;
            }
        }
        if (went_on && result.moves < 2000) continue;
        if (went_on) {
            result.mismatch = "does not end";
            return result;
        }
        result.closed = !world.depends_on_the_world();
        simulator best = world.imagined();
        best.assume_the_best();
        for (const simulator::waiting& each : waiting) {
            if (result.closed && best.has_moved(each)) {
                say("the oracle disagrees with itself:", each);
                return result;
            }
            if (best.has_moved(each)) continue;
            result.deadlocked = true;
            if (!graph.is_hopeless(*each.node)) {
                ++result.found_late;
                if (!result.closed) continue;
                say("stuck, but not hopeless:", each);
                return result;
            }
            bool told = false;
            for (const wait_graph::gate& gate : graph.gates()) {
                told = told || (!gate.open && world.refused().count(gate.node) != 0);
            }
            if (told) continue;
            say("stuck, and nobody was told:", each);
            return result;
        }
        return result;
    }
}

outcome follow_seed(const plan& what, std::uint64_t seed) {
    dice choices(seed * 31 + 7);
    dice sampling(seed * 17 + 3);
    return follow(
        what, [&](int n) { return choices.roll(n); }, [](const auto&, const auto&) { return false; }, 4, sampling);
}

/// Whether some order of moves still shows it.
std::string still_wrong(const plan& what) {
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
        const outcome result = follow_seed(what, seed);
        if (!result.mismatch.empty()) return result.mismatch + " (order " + std::to_string(seed) + ")";
    }
    return "";
}

/// Every plan that is smaller by one agent or one step.
template <class Fn>
bool shrink_script(script& code, Fn still) {
    for (std::size_t i = 0; i < code.size(); ++i) {
        const script before = code;
        code.erase(code.begin() + static_cast<std::ptrdiff_t>(i));
        if (still()) return true;
        code = before;
        for (std::size_t body = 0; body < code[i].bodies.size(); ++body) {
            if (code[i].what == op::when_all || code[i].what == op::when_any ||
                (code[i].what == op::group && body > 0)) {
                code[i].bodies.erase(code[i].bodies.begin() + static_cast<std::ptrdiff_t>(body));
                if (!code[i].bodies.empty() && still()) return true;
                code = before;
            }
            if (shrink_script(code[i].bodies[body], still)) return true;
        }
        if (code[i].flag) {
            code[i].flag = false;
            if (still()) return true;
            code = before;
        }
    }
    return false;
}
std::string shrink(plan& what) {
    std::string why = still_wrong(what);
    if (why.empty()) return "the order of moves was not found again";
    const auto still = [&] {
        std::string again = still_wrong(what);
        if (again.empty()) return false;
        why = std::move(again);
        return true;
    };
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (std::size_t i = what.users.size(); i-- > 0 && !smaller;) {
            const std::vector<script> before = what.users;
            what.users.erase(what.users.begin() + static_cast<std::ptrdiff_t>(i));
            smaller = still();
            if (!smaller) what.users = before;
        }
        for (std::size_t i = what.tasks.size(); i-- > 0 && !smaller;)
            smaller = shrink_script(what.tasks[i].code, still);
        for (std::size_t i = what.users.size(); i-- > 0 && !smaller;) smaller = shrink_script(what.users[i], still);
    }
    return why + "\n" + what.text();
}

void compare(std::uint64_t first, std::uint64_t count) {
    std::size_t deadlocked = 0;
    std::size_t closed = 0;
    std::size_t moves = 0;
    std::size_t late = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        plan what = generator(seed).make();
        const outcome result = follow_seed(what, seed);
        if (!result.mismatch.empty()) {
            const std::string whole = what.text();
            FAIL("seed " << seed << ": " << result.mismatch << "\nshrunk: " << shrink(what) << "\nwhole:\n" << whole);
        }
        deadlocked += result.deadlocked;
        closed += result.closed;
        moves += result.moves;
        late += result.found_late;
    }
    std::printf("%llu systems, %zu moves: %zu deadlocked, %zu closed, %zu found late\n",
                static_cast<unsigned long long>(count), moves, deadlocked, closed, late);
    CHECK(deadlocked > count / 10);
    CHECK(deadlocked < count * 9 / 10);
}
class coverage {
public:
    std::size_t runs = 0;
    std::size_t states = 0;
};

/// Every order of the moves of one system, each run from its beginning up to a state that another order has led to: what
/// follows there was, or will be, followed from there. So every move from every state is made once, and compared.
coverage follow_every_order(const plan& what) {
    std::vector<std::pair<int, int>> path;  // choice, of how many
    std::unordered_set<std::string> seen;
    dice sampling(1);
    for (coverage done;;) {
        ++done.runs;
        std::size_t depth = 0;
        const auto choose = [&](int n) {
            if (depth == path.size()) path.emplace_back(0, n);
            return path[depth++].first;
        };
        const auto been_here = [&](const simulator& world, const std::vector<simulator::waiting>& hopeless) {
            return depth == path.size() && !seen.insert(world.state(hopeless)).second;
        };
        const outcome result = follow(what, choose, been_here, 4, sampling);
        if (!result.mismatch.empty()) FAIL("order " << done.runs << ": " << result.mismatch << "\n" << what.text());
        while (!path.empty() && path.back().first + 1 == path.back().second) path.pop_back();
        done.states = seen.size();
        if (path.empty()) return done;
        ++path.back().first;
    }
}

std::size_t steps_of(const script& code) {
    std::size_t count = code.size();
    for (const step& each : code) {
        for (const script& body : each.bodies) count += steps_of(body);
    }
    return count;
}
std::size_t steps_of(const plan& what) {
    std::size_t count = 0;
    for (const plan::root& each : what.tasks) count += steps_of(each.code);
    for (const script& each : what.users) count += steps_of(each);
    return count;
}

/// Of `count` systems, those of no more steps than that, in every order.
void compare_every_order(std::uint64_t first, std::uint64_t count, std::size_t most_steps) {
    coverage all;
    std::size_t systems = 0;
    std::size_t most = 0;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        const plan what = generator(seed, true).make();
        if (steps_of(what) > most_steps) continue;
        ++systems;
        const coverage one = follow_every_order(what);
        all.runs += one.runs;
        all.states += one.states;
        most = std::max(most, one.states);
    }
    std::printf("%llu small systems, every order of their moves: %zu states, %zu at most of one, %zu runs\n",
                static_cast<unsigned long long>(systems), all.states, most, all.runs);
    CHECK(systems > count / 3);
    CHECK(all.states > 10 * systems);
}
}  // namespace

TEST_CASE("the graph's verdict is what becomes of twenty thousand generated systems", "[deadlock][oracle][long]") {
    compare(1, 20'000);
}
TEST_CASE("the graph's verdict is what becomes of a hundred thousand generated systems", "[deadlock][oracle][.slow]") {
    compare(20'001, 100'000);
}
TEST_CASE("the graph's verdict is what becomes of a million generated systems", "[deadlock][oracle][.hours]") {
    compare(1'000'001, 1'000'000);
}
TEST_CASE("the graph's verdict is right in every order of the moves of small systems", "[deadlock][oracle][long]") {
    compare_every_order(1, 2'000, 5);
}
TEST_CASE("the graph's verdict is right in every order of the moves of many small systems",
          "[deadlock][oracle][.slow]") {
    compare_every_order(1, 300, 100);
}
