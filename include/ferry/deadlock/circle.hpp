// ferry/deadlock/circle.hpp - puts a circle of waits into words: who, where, and the way out
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/deadlock/wait_graph.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The gates of a hopeless question, one after another as each is closed because of the next, until they repeat. Lives
/// as long as the graph's lock is held and no other question is asked.
class circle {
public:
    explicit circle(const wait_graph& graph) : graph_(graph) {
        std::vector<bool> seen(graph.gates().size());
        for (std::size_t at = 0; !seen[at]; at = next(at)) {
            seen[at] = true;
            path_.push_back(at);
        }
        const std::size_t again = next(path_.back());
        while (path_[begin_] != again) ++begin_;
    }

    /// Who is in the circle itself, and not only before it.
    template <class Fn>
    void for_each_node(Fn fn) const {
        for (std::size_t i = begin_; i < path_.size(); ++i) fn(gate(i).asked, *gate(i).node);
    }
    [[nodiscard]] deadlock_error error() const;
    /// A line of a task or thread that waits.
    [[nodiscard]] static std::string line_of(const wait_node& node);

private:
    using role = wait_graph::role;
    using kind = wait_node::kind;
    class words {
    public:
        const char* kind;
        const char* whom;  // the wait would be for
        const char* advice;
    };

    [[nodiscard]] const wait_graph::gate& gate(std::size_t step) const { return graph_.gates()[path_[step]]; }
    /// A task's wait says more than the state of its loop.
    [[nodiscard]] std::size_t next(std::size_t index) const {
        std::size_t found = graph_.closed_input(index);
        graph_.for_each_input(index, [&](std::size_t input) {
            const wait_graph::gate& one = graph_.gates()[input];
            if (!one.open && one.asked == role::wait_ends) found = input;
        });
        return found;
    }
    [[nodiscard]] words choose_words() const;
    [[nodiscard]] std::vector<std::string> chain() const;
    static void add_lines(std::vector<std::string>& lines, const wait_graph& graph, std::size_t index);
    static std::string what_it_waits_for(const wait_node& waiting);
    static std::string where(const wait_node& node);

    const wait_graph& graph_;
    std::vector<std::size_t> path_;
    std::size_t begin_ = 0;  // of the circle, in the path
};

/// The error of a wait that its own thread would have to end.
[[nodiscard]] deadlock_error own_wait_error(const std::string& call, const char* whom, std::string line,
                                            const std::string& advice);
/// "task load_user", "thread db/0", "the main thread"...
[[nodiscard]] std::string name_of(const wait_node& node);
/// Lines that say for whom it waits, and that one in turn. With the graph's lock held; true at one time each.
[[nodiscard]] std::string chain_of_waits(const wait_node& from);

// ---- implementation ----------------------------------------------------------------------------------------------
inline std::string name_of(const wait_node& node) {
    const char* const name = node.name();
    if (node.what() == wait_node::kind::task) return "task " + short_name(name);
    if (node.what() == wait_node::kind::thread) {
        if (name != nullptr) return "thread " + std::string(name);
        if (node.amount() == static_cast<std::size_t>(::getpid())) return "the main thread";
        return "thread " + std::to_string(node.amount());
    }
    if (node.what() == wait_node::kind::pool) return "pool \"" + std::string(name == nullptr ? "?" : name) + "\"";
    return name == nullptr ? "?" : name;
}

inline std::string circle::where(const wait_node& node) {
    if (node.line() == 0 || node.file() == nullptr) return "";
    return " (" + std::string(node.file()) + ":" + std::to_string(node.line()) + ")";
}

inline std::string circle::what_it_waits_for(const wait_node& waiting) {
    const wait_node* const whom = waiting.needs();
    if (whom == nullptr) return "";
    switch (whom->what()) {
        case kind::call: {
            const wait_node* const place = whom->needs();
            if (place == nullptr) return "its call";
            if (place->what() == kind::thread && whom->has(wait_node::begun)) {
                return "its call, which " + name_of(*place) + " runs";
            }
            if (place->what() == kind::thread)
                return "its thread-sensitive call, which only " + name_of(*place) + " may run";
            std::size_t threads = 0;
            for (const wait_node* each = place->first_member(); each != nullptr; each = each->next_member()) ++threads;
            if (place->what() == kind::limit) {
                return "its turn at the limiter (all " + std::to_string(threads) + " calls are in use)";
            }
            return "a free worker of " + name_of(*place) + " (all " + std::to_string(threads) + " busy)";
        }
        case kind::lock: {
            std::string holders;
            for (const wait_node* each = whom->first_member(); each != nullptr; each = each->next_member()) {
                if (each->needs() == nullptr) continue;
                holders.append(holders.empty() ? "" : ", ").append(name_of(*each->needs()));
            }
            return "the " + name_of(*whom) + " that " + (holders.empty() ? "nobody" : holders) + " holds";
        }
        case kind::family:
            return "its children";
        case kind::promise:
            return whom->needs() == nullptr ? "a promise"
                                            : "a result that " + name_of(*whom->needs()) + " has promised";
        case kind::loop:
            return "a loop";
        default:
            return name_of(*whom);
    }
}

inline std::string circle::line_of(const wait_node& node) {
    const char* const in = node.waits_in();
    const std::string whom = what_it_waits_for(node);
    return name_of(node) + (in == nullptr ? std::string(" goes on running") : " waits in " + std::string(in)) +
           (whom.empty() ? "" : " for " + whom) + where(node);
}

inline std::string chain_of_waits(const wait_node& from) {
    std::string text;
    const wait_node* node = &from;
    for (int lines = 0; node != nullptr && lines < 10; node = node->needs()) {
        if (node->what() != wait_node::kind::task && node->what() != wait_node::kind::thread) continue;
        text.append(text.empty() ? "  " : "\n  ").append(circle::line_of(*node));
        ++lines;
    }
    return text;
}

/// What a gate adds to the story: tasks and threads have a line, the rest is named in the lines of those who wait for it.
inline void circle::add_lines(std::vector<std::string>& lines, const wait_graph& graph, std::size_t index) {
    const wait_graph::gate& self = graph.gates()[index];
    const wait_node& node = *self.node;
    if (self.asked != role::goes_on) return;
    if (node.what() == kind::pool) {
        graph.for_each_input(index, [&](std::size_t worker) { add_lines(lines, graph, worker); });
        return;
    }
    std::string line;
    if (node.what() == kind::task && node.needs() == nullptr) {
        const wait_node* const loop = node.within();
        const wait_node* const thread = loop == nullptr ? nullptr : loop->needs();
        line = name_of(node) + " is on the loop of " + (thread == nullptr ? "?" : name_of(*thread)) +
               ", which does not come to it";
    } else if (node.what() == kind::task || node.what() == kind::thread) {
        line = line_of(node);
    } else {
        return;
    }
    for (const std::string& before : lines) {
        if (before == line) return;
    }
    lines.push_back(std::move(line));
}

inline std::vector<std::string> circle::chain() const {
    std::vector<std::string> lines;
    for (const std::size_t index : path_) add_lines(lines, graph_, index);
    return lines;
}

inline circle::words circle::choose_words() const {
    std::size_t tasks = 0;
    std::size_t threads = 0;
    std::size_t loops = 0;
    bool pool = false;
    bool lock = false;
    bool serves = false;
    for_each_node([&](role asked, const wait_node& node) {
        tasks += node.what() == kind::task && asked == role::goes_on;
        threads += node.what() == kind::thread;
        loops += node.what() == kind::loop;
        pool = pool || node.what() == kind::pool;
        lock = lock || node.what() == kind::lock;
        serves = serves || asked == role::serves;
    });
    if (pool) {
        return {
            "pool-exhaustion", "a thread that is waiting for it",
            "give the pool more threads or a higher max_spare, or have its calls return what is to be awaited instead "
            "of blocking for it"};
    }
    if (lock && threads > 0) {
        return {"async-mutex", "a holder that is waiting for it",
                "release the guard before the blocking call, or pass what it protects to the call"};
    }
    if (lock) {
        return {"async-mutex-cycle", "a holder that is waiting for it",
                "take the two in the same order everywhere, or release one before waiting for the other"};
    }
    if (serves) {
        return {"thread-sensitive", "a thread that is waiting for it",
                "make that thread's wait outside of the loop's turn, where it serves such calls"};
    }
    if (loops > 1) {
        return {"loop-cycle", "a loop whose thread is waiting for it",
                "co_await on(loop, task) instead of blocking inside a turn"};
    }
    if (threads == 0 && tasks == 1) {
        return {"self-await", "itself", "a task cannot await its own result: await it from another one"};
    }
    if (threads == 0) {
        return {"await-cycle", "a task that is waiting for it", "let one of them go on without the other's result"};
    }
    return {"wait-cycle", "somebody who is waiting for it",
            "let one of them go on without the other: co_await instead of "
            "blocking, or wait with a time limit"};
}

/// The short and the long text.
[[nodiscard]] inline deadlock_error make_deadlock_error(const char* kind, const std::string& wait,
                                                        const std::string& raised_in, const char* whom,
                                                        std::vector<std::string> lines, const std::string& advice) {
    static constinit std::atomic<unsigned> ids{0};
    std::string what = "deadlock: " + wait + " would wait for " + whom;
    std::string text = "ferry: DEADLOCK prevented  kind=";
    text.append(kind).append("  id=").append(std::to_string(ids.fetch_add(1, std::memory_order_relaxed) + 1));
    text.append("  pid=").append(std::to_string(::getpid())).append("\n  raised in : ").append(raised_in);
    text.append("\n  because   : it would wait for ").append(whom).append("\n  chain     :");
    std::size_t number = 0;
    for (const std::string& line : lines) {
        what.append("\n  ").append(line);
        text.append("\n    ").append(std::to_string(++number)).append(" ").append(line);
    }
    what.append("\n  ").append(advice);
    text.append("\n  advice    : ").append(advice);
    return deadlock_error(what, wait_report(kind, std::move(lines), std::move(text)));
}

inline deadlock_error own_wait_error(const std::string& call, const char* whom, std::string line,
                                     const std::string& advice) {
    return make_deadlock_error("same-thread", call, call, whom, {std::move(line)}, advice);
}

inline deadlock_error circle::error() const {
    const words said = choose_words();
    const wait_node& start = *graph_.gates()[0].node;
    const char* const in = start.waits_in();
    const std::string wait = std::string(in == nullptr ? "a wait" : in) + " in " + name_of(start);
    return make_deadlock_error(said.kind, wait, wait + where(start), said.whom, chain(), said.advice);
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
