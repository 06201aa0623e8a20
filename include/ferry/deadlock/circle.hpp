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
#include <exception>
#include <new>
#include <string>
#include <string_view>
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
    /// What is thrown where `told`, who is in the circle or leads to it, waits.
    [[nodiscard]] deadlock_error error(const wait_node& told) const;
    /// A line of a task or thread that waits.
    [[nodiscard]] static std::string line_of(const wait_node& node);

private:
    using role = wait_graph::role;
    using kind = wait_node::kind;
    class words {
    public:
        const char* kind;
        const char* whom;  // the wait would be for
        std::string advice;
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
    [[nodiscard]] static words words_for_pool(const wait_node& pool);
    [[nodiscard]] static words words_for_locks(const wait_node& lock, std::size_t tasks, bool blocks, bool joins);
    [[nodiscard]] std::vector<std::string> chain(const wait_node& told) const;
    [[nodiscard]] std::vector<std::string> held() const;
    static void add_lines(std::vector<std::string>& lines, const wait_graph& graph, std::size_t index);

    const wait_graph& graph_;
    std::vector<std::size_t> path_;
    std::size_t begin_ = 0;  // of the circle, in the path
};

/// What is thrown where a wait can never end and there is no memory for the words. It is there before it is needed: made
/// when the graph is asked for the first time, before it looks.
[[nodiscard]] const std::exception_ptr& refusal_without_words();
/// What is thrown where `told` waits, who is in the circle of the last question, or leads to it.
[[nodiscard]] std::exception_ptr refusal_of(const circle& found, const wait_node& told) noexcept;
[[nodiscard]] std::exception_ptr refusal_of(const wait_graph& graph, const wait_node& told) noexcept;
/// The error of a wait that its own thread would have to end.
[[nodiscard]] deadlock_error own_wait_error(const std::string& call, const char* whom, std::string line,
                                            const std::string& advice);
/// "task load_user", "thread db/0", "the main thread"...
[[nodiscard]] std::string name_of(const wait_node& node);
/// What it does: "sync_to_async(query_user)", "block_on(load_user)", "async_mutex::lock"...
[[nodiscard]] std::string operation_of(const wait_node& waiting);
/// "app.cpp:12", or nothing where that is not known.
[[nodiscard]] std::string place_of(const wait_node& node);

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

/// "app.cpp:12", or nothing without a line.
[[nodiscard]] inline std::string place_in_source(const char* file, std::uint32_t line) {
    return line == 0 || file == nullptr ? "" : std::string(file) + ":" + std::to_string(line);
}
inline std::string place_of(const wait_node& node) { return place_in_source(node.file(), node.line()); }

inline std::string operation_of(const wait_node& waiting) {
    const char* const in = waiting.waits_in();
    if (in == nullptr) return "a wait";
    const std::string name = in;
    const wait_node* const whom = waiting.needs();
    if (whom == nullptr) return name;
    if (whom->what() == wait_node::kind::call) {  // one with a name of its own waits in that
        return name.starts_with("to_thread") ? name : "sync_to_async(" + name + ")";
    }
    if (whom->what() == wait_node::kind::task) return name + "(" + short_name(whom->name()) + ")";
    return whom->what() == wait_node::kind::promise ? name + "(promise)" : name;
}

/// "a free thread of pool "db" (4 of 4 busy)"
[[nodiscard]] inline std::string place_in_pool(const wait_node& pool) {
    std::size_t threads = 0;
    for (const wait_node* each = pool.first_member(); each != nullptr; each = each->next_member()) ++threads;
    const std::string count = std::to_string(threads);
    return "a free thread of " + name_of(pool) + " (" + count + " of " + count + " busy)";
}

/// "the async_mutex that task a has held since app.cpp:12"
[[nodiscard]] inline std::string lock_and_holders(const wait_node& lock, const wait_node* waiting) {
    std::string holders;
    for (const wait_node* each = lock.first_member(); each != nullptr; each = each->next_member()) {
        const wait_node* const holder = each->needs();
        if (holder == nullptr) continue;
        holders.append(holders.empty() ? "" : ", and ").append(holder == waiting ? "it" : name_of(*holder));
        holders.append(holder == waiting ? " has held itself" : " has held");
        if (each->line() != 0) holders.append(" since ").append(place_of(*each));
    }
    return "the " + name_of(lock) + (holders.empty() ? "" : " that " + holders);
}

/// For whom a task or thread waits; empty where nobody is known.
[[nodiscard]] inline std::string needs_in_words(const wait_node& waiting) {
    using kind = wait_node::kind;
    const wait_node* const whom = waiting.needs();
    if (whom == nullptr) return "";
    const wait_node* const place = whom->needs();
    switch (whom->what()) {
        case kind::call:
            if (place == nullptr) return "its call";
            if (place->what() == kind::limit) return "its turn at a limiter, all of whose calls are in use";
            if (place->what() != kind::thread) return place_in_pool(*place);
            if (whom->has(wait_node::begun)) return "its call, which " + name_of(*place) + " runs";
            return "its thread-sensitive call, which only " + name_of(*place) + " may run";
        case kind::lock:
            return lock_and_holders(*whom, &waiting);
        case kind::family:
            return "its children";
        case kind::promise:
            return place == nullptr ? "a promise" : "a result that " + name_of(*place) + " has promised";
        case kind::loop:
            return "a loop";
        case kind::pool:
            return "the threads of " + name_of(*whom);
        default:
            return name_of(*whom);
    }
}

inline std::string circle::line_of(const wait_node& node) {
    const char* const in = node.waits_in();  // once: of one that is not in the circle it may change
    if (in == nullptr) return name_of(node) + " goes on running";
    const wait_node* const needed = node.needs();
    const bool is_call = needed != nullptr && needed->what() == kind::call;
    const std::string whom = needs_in_words(node);
    const std::string where = place_of(node);
    return name_of(node) + " waits in " + (is_call ? operation_of(node) : std::string(in)) +
           (where.empty() ? "" : " (" + where + ")") + (whom.empty() ? "" : " for " + whom);
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

/// Whoever is told comes first.
inline std::vector<std::string> circle::chain(const wait_node& told) const {
    std::size_t first = begin_;
    while (first < path_.size() && gate(first).node != &told) ++first;
    std::vector<std::string> lines;
    if (first == path_.size()) {
        for (const std::size_t index : path_) add_lines(lines, graph_, index);
        return lines;
    }
    for (std::size_t i = first; i < path_.size(); ++i) add_lines(lines, graph_, path_[i]);
    for (std::size_t i = begin_; i < first; ++i) add_lines(lines, graph_, path_[i]);
    return lines;
}

/// Each lock of the circle, and who holds it since where.
inline std::vector<std::string> circle::held() const {
    std::vector<std::string> lines;
    for_each_node([&](role, const wait_node& node) {
        if (node.what() == kind::lock) lines.push_back(lock_and_holders(node, nullptr));
    });
    return lines;
}

inline circle::words circle::words_for_pool(const wait_node& pool) {
    constexpr const char* whom = "a thread that is waiting for it";
    const std::string name = pool.name() == nullptr ? "" : pool.name();
    if (name == "leases") {
        return {"pool-exhaustion", whom,
                "raise thread_sensitive_scope::set_max_leases(), or end the scope before waiting for what opens "
                "another one"};
    }
    std::size_t threads = 0;
    for (const wait_node* each = pool.first_member(); each != nullptr; each = each->next_member()) ++threads;
    return {"pool-exhaustion", whom,
            "give " + name_of(pool) +
                (threads == 1 ? " a second thread" : " more than " + std::to_string(threads) + " threads") +
                " (size, or max_spare), or let the call return, and have the task co_await what it blocks for"};
}

inline circle::words circle::words_for_locks(const wait_node& lock, std::size_t tasks, bool blocks, bool joins) {
    const bool is_mutex = std::string_view(lock.name()) != "semaphore";
    const std::string it = is_mutex ? "guard" : "permit";
    if (blocks) {
        return {"async-mutex", "a holder that is waiting for it",
                "give the " + it + " back before the call that blocks, or hand that call what it needs as arguments"};
    }
    if (tasks == 1) {
        return {
            "async-mutex-cycle", "itself",
            is_mutex
                ? "a mutex is locked once: pass the guard's owner on, or split the function into one that locks and "
                  "one that is called with the mutex locked"
                : "acquire all that is needed at once, with acquire(n)"};
    }
    if (joins) {
        return {"async-mutex-cycle", "a holder that is waiting for it",
                "give the " + it + " back before waiting for the children, or let them do without it"};
    }
    return {"async-mutex-cycle", "a holder that is waiting for it",
            is_mutex
                ? "lock the mutexes in the same order everywhere, or give one back before waiting for the other"
                : "acquire all that is needed at once, with acquire(n), or give permits back before waiting for more"};
}

/// Does it wait in a destructor?
[[nodiscard]] inline bool ends_somebody(const wait_node& node) {
    const char* const in = node.what() == wait_node::kind::thread ? node.waits_in() : nullptr;
    return in != nullptr && std::string_view(in).find('~') != std::string_view::npos;
}

inline circle::words circle::choose_words() const {
    std::size_t tasks = 0;
    std::size_t threads = 0;
    std::size_t loops = 0;
    const wait_node* pool = nullptr;
    const wait_node* lock = nullptr;
    bool serves = false;
    bool joins = false;
    bool ends = false;
    for_each_node([&](role asked, const wait_node& node) {
        ends = ends || ends_somebody(node);
        tasks += node.what() == kind::task && asked == role::goes_on;
        threads += node.what() == kind::thread;
        loops += node.what() == kind::loop;
        if (node.what() == kind::pool && asked != role::all_end) pool = &node;
        if (node.what() == kind::lock) lock = &node;
        joins = joins || node.what() == kind::family;
        serves = serves || asked == role::serves;
    });
    if (ends) {
        return {"join", "a thread that is waiting for it",
                "end it outside of what its own threads and tasks wait for, such as a call of theirs"};
    }
    if (pool != nullptr) return words_for_pool(*pool);
    if (lock != nullptr) return words_for_locks(*lock, tasks, threads > 0, joins);
    if (serves) {
        return {"thread-sensitive", "a thread that is waiting for it",
                "co_await instead of blocking inside the loop's turn, where that thread serves no calls, or block in "
                "to_thread"};
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
            "let one of them go on without the other: co_await instead of blocking, or wait with a time limit"};
}

/// The short and the long text.
[[nodiscard]] inline deadlock_error make_deadlock_error(const char* kind, const std::string& wait,
                                                        const std::string& raised_in, const char* whom,
                                                        std::vector<std::string> lines,
                                                        const std::vector<std::string>& held,
                                                        const std::string& advice) {
    static constinit std::atomic<unsigned> ids{0};
    std::string what = "deadlock: " + wait + " would wait for " + whom;
    std::string text = "ferry: DEADLOCK prevented  kind=";
    text.append(kind).append("  id=").append(std::to_string(ids.fetch_add(1, std::memory_order_relaxed) + 1));
    text.append("  pid=").append(std::to_string(::getpid())).append("\n  raised in : ").append(raised_in);
    text.append("\n  because   : ").append(wait).append(" would wait for ").append(whom).append("\n  chain     :");
    std::size_t number = 0;
    for (const std::string& line : lines) {
        what.append("\n  ").append(line);
        text.append("\n    ").append(std::to_string(++number)).append(" ").append(line);
    }
    for (const std::string& line : held) text.append("\n  held      : ").append(line);
    what.append("\n  ").append(advice);
    text.append("\n  advice    : ").append(advice);
    return deadlock_error(what, wait_report(kind, std::move(lines), std::move(text)));
}

inline deadlock_error own_wait_error(const std::string& call, const char* whom, std::string line,
                                     const std::string& advice) {
    std::string raised_in = line;
    return make_deadlock_error("same-thread", call, raised_in, whom, {std::move(line)}, {}, advice);
}

inline deadlock_error circle::error(const wait_node& told) const {
    const words said = choose_words();
    std::string raised_in = name_of(told);
    if (const std::string where = place_of(told); !where.empty()) raised_in += " at " + where;
    if (told.what() == kind::thread) raised_in += " (tid " + std::to_string(told.amount()) + ")";
    return make_deadlock_error(said.kind, operation_of(told), raised_in, said.whom, chain(told), held(), said.advice);
}

inline const std::exception_ptr& refusal_without_words() {
    static const std::exception_ptr made = std::make_exception_ptr(
        deadlock_error("deadlock: this wait would be for somebody who is waiting for it (no memory is left to say who)",
                       wait_report("wait-cycle", {},
                                   "ferry: DEADLOCK prevented  kind=wait-cycle\n"
                                   "  because   : no memory is left to say who waits for whom")));
    return made;
}

inline std::exception_ptr refusal_of(const circle& found, const wait_node& told) noexcept {
    try {
        return std::make_exception_ptr(found.error(told));
    } catch (const std::bad_alloc&) {
        return refusal_without_words();
    }
}
inline std::exception_ptr refusal_of(const wait_graph& graph, const wait_node& told) noexcept {
    try {
        return refusal_of(circle(graph), told);
    } catch (const std::bad_alloc&) {
        return refusal_without_words();
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
