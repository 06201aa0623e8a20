// tests/support/cancel_everywhere.hpp - runs a scenario once for each of its steps, and cancels it exactly there
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/combine.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/shield.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>

#include "support/stepping_loop.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace ferry_test {
/// What one scenario happens in: the primitive, who awaits it, and the other side, which may end that wait.
///
/// A run makes a world, awaits it inside up to three wrappers, cancels at one step, and asks the world what is wrong.
class world {
public:
    explicit world(bool contended) noexcept : contended_(contended) {}
    world(const world&) = delete;
    world& operator=(const world&) = delete;
    virtual ~world() = default;

    /// What the wrappers are put around: awaits the primitive once and yields 1.
    ferry::task<int> awaited() {
        ++begun_;
        const in_use waits(waiting_);
        const int value = co_await use();
        ++delivered_;
        co_return value;
    }
    /// The other side ends the wait; once, and only of a contended world.
    void complete() {
        if (!contended_ || std::exchange(completed_, true)) return;
        other_side();
    }
    // The task has ended. Each of the three steps is followed by whatever it makes ready.
    void end() noexcept { ended_ = true; }
    /// Does somebody still wait who should have been served when the task gave up?
    [[nodiscard]] virtual bool keeps_others_waiting() const { return false; }
    /// complete(), then: whoever waits still gets what it needs to end.
    virtual void let_go() {}

    [[nodiscard]] bool contended() const noexcept { return contended_; }
    [[nodiscard]] bool waiting() const noexcept { return waiting_; }
    [[nodiscard]] int begun() const noexcept { return begun_; }
    [[nodiscard]] int delivered() const noexcept { return delivered_; }

    /// Has what the task waits for happened, so that only its resumption is missing?
    [[nodiscard]] virtual bool completed() const { return completed_; }
    /// Runs something beside the loop. True when it did.
    virtual bool step_beside() { return false; }
    /// A thread works for the scenario: time stands still, and patience is needed.
    [[nodiscard]] virtual bool busy() const { return false; }
    /// After the end: what was not released, lost or made twice; empty if nothing.
    [[nodiscard]] virtual std::string wrong() { return {}; }

    // Which of the general rules this primitive is exempt from, each for a reason that it states.
    bool is_checkpoint = true;       // throws on entry, before it takes anything
    bool is_withdrawn = true;        // from the cancellation on nothing is delivered that had not completed
    bool ends_at_once = true;        // a cancelled wait ends without the other side
    bool delivers_completed = true;  // what completed before the cancellation is delivered

protected:
    virtual ferry::task<int> use() = 0;
    virtual void other_side() {}
    [[nodiscard]] bool ended() const noexcept { return ended_; }
    /// For those who wait beside the task, and behind it.
    ferry::task<> until_it_waits() const {
        while (!waiting_ && !ended_) co_await ferry::yield_now();
    }

private:
    class in_use {
    public:
        explicit in_use(bool& flag) noexcept : flag_(flag) { flag_ = true; }
        ~in_use() { flag_ = false; }
        in_use(const in_use&) = delete;
        in_use& operator=(const in_use&) = delete;

    private:
        bool& flag_;
    };

    bool contended_;
    bool completed_ = false;
    bool waiting_ = false;
    bool ended_ = false;
    int begun_ = 0;
    int delivered_ = 0;
};

using make_world = std::unique_ptr<world> (*)(stepping_loop&);
template <class World, auto... How>
std::unique_ptr<world> make(stepping_loop& loop) {
    return std::make_unique<World>(loop, How...);
}

enum class wrapper { timeout, when_any, shield, group };
/// What cancels: the root scope, the deadline of the innermost timeout, both of them, the innermost group's cancel().
enum class cancelled_by { outside, deadline, deadline_then_outside, outside_then_deadline, group };
enum class other_side { later, just_before, just_after };

namespace wrappers {
constexpr std::chrono::nanoseconds soon = std::chrono::milliseconds(10);  // the deadline that is let pass
constexpr std::chrono::nanoseconds late = std::chrono::hours(1);

/// `over` is set once it has thrown timeout_error.
inline ferry::task<int> in_timeout(std::chrono::nanoseconds limit, ferry::task<int> inner, bool& over) {
    try {
        co_return co_await ferry::timeout(limit, std::move(inner));
    } catch (const ferry::timeout_error&) {
        over = true;
        throw;
    }
}
inline ferry::task<int> in_when_any(ferry::event_loop& loop, ferry::task<int> inner) {
    ferry::event never(loop);
    auto first = co_await ferry::when_any(std::move(inner), never.wait());
    co_return first.get<0>().value();
}
inline ferry::task<int> in_shield(ferry::task<int> inner) { co_return co_await ferry::shield(std::move(inner)); }
inline ferry::task<> store(ferry::task<int> inner, int& value) { value = co_await std::move(inner); }
/// Thrown where a group returns although its child did not do its work: somebody called cancel().
class group_cancelled {};

/// `open` says where the group is while it lives; null if nobody wants to know.
inline ferry::task<int> in_group(ferry::task<int> inner, ferry::task_group** open) {
    int value = 0;
    const auto body = [&](ferry::task_group& group) -> ferry::task<> {
        if (open != nullptr) *open = &group;
        group.start(store(std::move(inner), value));
        co_return;
    };
    try {
        co_await ferry::with_task_group(body);
    } catch (...) {
        if (open != nullptr) *open = nullptr;
        throw;
    }
    if (open != nullptr) *open = nullptr;
    if (value == 0) throw group_cancelled();
    co_return value;
}
}  // namespace wrappers

/// One way to run a scenario. The first wrapper is the outermost.
struct plan {
    std::vector<wrapper> nest;
    cancelled_by source = cancelled_by::outside;
    other_side other = other_side::later;
    std::size_t at = static_cast<std::size_t>(-1);  // the step before which it is cancelled; never

    /// The index of the innermost wrapper of that kind; nest.size() where there is none.
    [[nodiscard]] std::size_t innermost(wrapper kind) const noexcept {
        for (std::size_t index = nest.size(); index-- > 0;) {
            if (nest[index] == kind) return index;
        }
        return nest.size();
    }
    [[nodiscard]] bool has_deadline() const noexcept {
        return source != cancelled_by::outside && source != cancelled_by::group;
    }
    [[nodiscard]] bool from_outside() const noexcept {
        return source != cancelled_by::deadline && source != cancelled_by::group;
    }
    /// Can it be run: is there something that cancels so?
    [[nodiscard]] bool is_possible() const noexcept {
        if (source == cancelled_by::group) return innermost(wrapper::group) < nest.size();
        return !has_deadline() || innermost(wrapper::timeout) < nest.size();
    }
    [[nodiscard]] bool has_shield(std::size_t from, std::size_t to) const noexcept {
        for (std::size_t index = from; index < to; ++index) {
            if (nest[index] == wrapper::shield) return true;
        }
        return false;
    }
    /// Is there a shield between the primitive and everything that cancels?
    [[nodiscard]] bool shielded() const noexcept {
        const std::size_t nearest = source == cancelled_by::group ? innermost(wrapper::group)
                                    : has_deadline()              ? innermost(wrapper::timeout)
                                                                  : 0;
        return has_shield(nearest, nest.size());
    }
    /// Is there none between the root and the primitive, or the timeout that asks for the reason?
    [[nodiscard]] bool outside_reaches(std::size_t index) const noexcept {
        return from_outside() && !has_shield(0, index);
    }
    [[nodiscard]] std::string text() const {
        static constexpr const char* names[] = {"timeout", "when_any", "shield", "group"};
        static constexpr const char* sources[] = {"cancelled", "deadline passed", "deadline passed, then cancelled",
                                                  "cancelled, then deadline passed", "group.cancel()"};
        std::string result = sources[static_cast<std::size_t>(source)];
        result += " before step " + (at == static_cast<std::size_t>(-1) ? std::string("-") : std::to_string(at));
        if (other == other_side::just_before) result += ", completed just before that";
        if (other == other_side::just_after) result += ", completed just after that";
        result += " in";
        for (wrapper each : nest) result += std::string(" ") + names[static_cast<std::size_t>(each)];
        return result;
    }
};

/// How much was run, in this process; printed at its end.
class cancellation_points {
public:
    static cancellation_points& of_this_process() {
        static cancellation_points all;
        return all;
    }
    ~cancellation_points() {
        std::printf("cancel_everywhere: %zu scenarios in %zu nestings, %zu cancellation points\n", scenarios, nestings,
                    points);
    }
    std::size_t scenarios = 0;
    std::size_t nestings = 0;
    std::size_t points = 0;
};

/// One scenario, run by one plan.
class cancellation_run {
public:
    cancellation_run(make_world make, plan how) : make_(make), how_(std::move(how)) {}

    /// Returns what was wrong; empty if nothing.
    std::string run() {
        const std::size_t threads = threads_now();
        const std::int64_t frames = ferry::detail::frame_allocator::live();
        {
            stepping_loop loop;
            const std::unique_ptr<world> scenario = make_(loop);
            contended_ = scenario->contended();
            drive(loop, *scenario);
        }
        if (ferry::detail::frame_allocator::live() != frames) {
            // A thread of an earlier test that has ended meanwhile handed back what it had kept: then this says nothing.
            if (problems_.empty() && have_changed(threads)) return cancellation_run(make_, how_).run();
            fail("frames are left");
        }
        return problems_;
    }
    /// Did it still run at the step at which it was to be cancelled?
    [[nodiscard]] bool was_cancelled() const noexcept { return cancelled_; }
    [[nodiscard]] bool was_contended() const noexcept { return contended_; }

private:
    enum class ending { none, value, cancelled, timeout, group, other };

    static std::size_t threads_now() {
        std::size_t count = 0;
        for ([[maybe_unused]] const auto& each : std::filesystem::directory_iterator("/proc/self/task")) ++count;
        return count;
    }
    /// A thread hands back its frames just before it is gone.
    static bool have_changed(std::size_t threads) {
        for (int i = 0; i < 10'000; ++i) {
            if (threads_now() != threads) return true;
            std::this_thread::yield();
        }
        return false;
    }

    void fail(const std::string& what) {
        if (problems_.empty()) problems_ = how_.text() + ":";
        problems_ += " " + what + ";";
    }

    ferry::task<int> wrapped(stepping_loop& loop, world& scenario) {
        ferry::task<int> whole = scenario.awaited();
        for (std::size_t index = how_.nest.size(); index-- > 0;) {
            const bool innermost = index == how_.innermost(how_.nest[index]);
            switch (how_.nest[index]) {
                case wrapper::timeout:
                    whole = wrappers::in_timeout(innermost && how_.has_deadline() ? wrappers::soon : wrappers::late,
                                                 std::move(whole), timeout_over_);
                    break;
                case wrapper::when_any:
                    whole = wrappers::in_when_any(loop, std::move(whole));
                    break;
                case wrapper::shield:
                    whole = wrappers::in_shield(std::move(whole));
                    break;
                case wrapper::group:
                    whole = wrappers::in_group(std::move(whole), innermost ? &open_ : nullptr);
                    break;
            }
        }
        return whole;
    }
    ferry::task<> observed(ferry::task<int> whole) {
        try {
            value_ = co_await std::move(whole);
            ending_ = ending::value;
        } catch (const ferry::cancelled&) {
            ending_ = ending::cancelled;
        } catch (const ferry::timeout_error&) {
            ending_ = ending::timeout;
        } catch (const wrappers::group_cancelled&) {
            ending_ = ending::group;
        } catch (...) {
            ending_ = ending::other;
        }
        try {
            co_await ferry::yield_now();
        } catch (const ferry::cancelled&) {
            next_throws_ = true;
        }
    }

    void drive(stepping_loop& loop, world& scenario) {
        stepping_loop::main_task main(loop, observed(wrapped(loop, scenario)));
        for (std::size_t step = 0; !main.ended(); ++step) {
            if (step == how_.at) cancel(loop, scenario, main);
            while (!do_step(loop, scenario) && !go_on(loop, scenario)) {}
        }
        judge(scenario);
        scenario.end();
        while (do_step(loop, scenario)) {}
        if (scenario.keeps_others_waiting()) fail("the one behind was not served when the task gave up");
        scenario.complete();
        while (do_step(loop, scenario) || scenario.busy()) {}
        scenario.let_go();
        while (do_step(loop, scenario)) {}
        if (!loop.timers().empty()) fail("a timer is left");
        const std::string wrong = scenario.wrong();
        if (!wrong.empty()) fail(wrong);
    }
    static bool do_step(stepping_loop& loop, world& scenario) {
        const bool here = loop.step();
        return scenario.step_beside() || here;
    }
    /// Nothing is ready: the other side acts, or time passes. False when a thread is still to be waited for.
    bool go_on(stepping_loop& loop, world& scenario) {
        if (scenario.contended() && !std::exchange(other_side_acted_, true)) {
            needed_other_side_ = cancelled_;
            scenario.complete();
            return true;
        }
        if (scenario.busy()) {
            std::this_thread::yield();
            return false;
        }
        if (loop.step_in_time()) return true;
        std::fprintf(stderr, "cancel_everywhere: it never ends: %s\n", how_.text().c_str());
        std::abort();  // its frames cannot be destroyed
    }
    void cancel(stepping_loop& loop, world& scenario, stepping_loop::main_task& main) {
        if (how_.other == other_side::just_before) complete(scenario);
        cancelled_ = true;
        waited_ = scenario.waiting();
        delivered_before_ = scenario.delivered() == 1;
        completed_ = scenario.completed();
        over_before_ = timeout_over_;
        if (how_.source == cancelled_by::group && open_ != nullptr) open_->cancel();
        if (how_.source == cancelled_by::outside_then_deadline) main.root_scope().cancel();
        if (how_.has_deadline()) loop.pass(wrappers::soon);
        if (how_.from_outside()) main.root_scope().cancel();  // twice does nothing
        if (how_.other == other_side::just_after) complete(scenario);
    }
    void complete(world& scenario) {
        other_side_acted_ = true;
        scenario.complete();
    }

    void judge(world& scenario) {
        if (scenario.begun() != 1) fail("it began " + std::to_string(scenario.begun()) + " times");
        const bool delivered = scenario.delivered() == 1;
        // The error, and whose it is.
        const ending expected = delivered ? ending::value : reason();
        static constexpr const char* names[] = {"nothing",       "a value",        "cancelled",
                                                "timeout_error", "group.cancel()", "another error"};
        if (ending_ != expected) {
            fail(std::string("it ended in ") + names[static_cast<std::size_t>(ending_)] + " instead of " +
                 names[static_cast<std::size_t>(expected)]);
        }
        if (ending_ == ending::value && value_ != 1) fail("the value is " + std::to_string(value_));
        if (next_throws_ != (cancelled_ && how_.from_outside())) fail("the next checkpoint is wrong");
        if (!cancelled_) {
            if (!delivered && !how_.has_deadline()) fail("nobody cancelled it, but it was not delivered");
            return;
        }
        // What the cancellation must have ended, and what it must not.
        if (how_.shielded()) {
            if (!delivered) fail("a shield let the cancellation through");
        } else if (!waited_) {
            const bool still_to_come = how_.outside_reaches(how_.nest.size()) && !delivered_before_;
            if (scenario.is_checkpoint && still_to_come && delivered)
                fail("it took something although it was cancelled");
        } else if (!completed_) {
            if (scenario.is_withdrawn && delivered) fail("it was delivered after the cancellation");
            if (scenario.ends_at_once && needed_other_side_) fail("it did not end until it was completed");
        } else if (scenario.delivers_completed && !delivered) {
            fail("what had completed was lost");
        }
    }

    [[nodiscard]] ending reason() const noexcept {
        if (how_.source == cancelled_by::group) return ending::group;
        if (!how_.has_deadline()) return ending::cancelled;
        const bool outer_too = cancelled_ && !over_before_ && how_.outside_reaches(how_.innermost(wrapper::timeout));
        return outer_too ? ending::cancelled : ending::timeout;
    }

    make_world make_;
    plan how_;
    ferry::task_group* open_ = nullptr;
    std::string problems_;
    ending ending_ = ending::none;
    int value_ = 0;
    bool contended_ = false;
    bool timeout_over_ = false;
    bool next_throws_ = false;
    bool other_side_acted_ = false;
    bool needed_other_side_ = false;
    // At the cancellation:
    bool cancelled_ = false;
    bool waited_ = false;
    bool completed_ = false;
    bool delivered_before_ = false;
    bool over_before_ = false;
};

/// Every nesting of `depth` wrappers.
inline std::vector<std::vector<wrapper>> nestings(std::size_t depth) {
    std::vector<std::vector<wrapper>> result{{}};
    for (; depth > 0; --depth) {
        std::vector<std::vector<wrapper>> deeper;
        for (const std::vector<wrapper>& nest : result) {
            for (wrapper each : {wrapper::timeout, wrapper::when_any, wrapper::shield, wrapper::group}) {
                deeper.push_back(nest);
                deeper.back().push_back(each);
            }
        }
        result = std::move(deeper);
    }
    return result;
}

/// Runs the scenario in that nesting: once undisturbed, then once for each step, cancelled before it, by everything that
/// can cancel it, with the other side acting later, just before and just after. Returns what was wrong.
inline std::string cancel_at_every_step(make_world make, const std::vector<wrapper>& nest) {
    cancellation_points& count = cancellation_points::of_this_process();
    ++count.nestings;
    std::string problems;
    bool contended = false;
    const auto run = [&](plan how) {
        cancellation_run one(make, std::move(how));
        const std::string wrong = one.run();
        if (!wrong.empty() && problems.size() < 2000) problems += "\n    " + wrong;
        contended = one.was_contended();
        return one.was_cancelled();
    };
    plan how;
    how.nest = nest;
    run(how);
    for (cancelled_by source : {cancelled_by::outside, cancelled_by::deadline, cancelled_by::deadline_then_outside,
                                cancelled_by::outside_then_deadline, cancelled_by::group}) {
        how.source = source;
        if (!how.is_possible()) continue;
        for (other_side other : {other_side::later, other_side::just_before, other_side::just_after}) {
            how.other = other;
            if (other != other_side::later && !contended) continue;
            for (how.at = 0; run(how); ++how.at) ++count.points;
        }
    }
    return problems;
}

/// The scenario alone, and in every nesting up to three deep; with FERRY_SEED, which is there to be run with many seeds,
/// in another eighth of the deepest ones for each seed.
inline std::string cancel_everywhere(make_world make) {
    ++cancellation_points::of_this_process().scenarios;
    const char* const seed = std::getenv("FERRY_SEED");
    std::string problems;
    for (std::size_t depth = 0; depth <= 3; ++depth) {
        std::size_t number = seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10);
        for (const std::vector<wrapper>& nest : nestings(depth)) {
            if (seed != nullptr && depth == 3 && number++ % 8 != 0) continue;
            problems += cancel_at_every_step(make, nest);
        }
    }
    return problems;
}
}  // namespace ferry_test
