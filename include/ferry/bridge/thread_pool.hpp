// ferry/bridge/thread_pool.hpp - threads for blocking code
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/pool_end.hpp>
#include <ferry/bridge/detail/pool_state.hpp>
#include <ferry/bridge/detail/pool_threads.hpp>
#include <ferry/bridge/detail/process_end.hpp>
#include <ferry/bridge/pool_observer.hpp>
#include <ferry/bridge/thread_pool_options.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/report.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

namespace ferry::inline FERRY_ABI {
namespace detail {
class default_pool;
}

/// More calls were made than the pool's queue may hold.
class queue_full : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Threads that run blocking calls in the order they arrive. Threads start when there is work and none is idle, and end when
/// they have been idle for a while. While a call is blocked in a wait of ferry's, such as block_on, another thread works in
/// its place (thread_pool_options::max_spare), since what it waits for may need this pool.
///
/// Ownership      Destroying it closes it and waits for its threads; a wait beyond hang_after() is reported, with the calls
///                that keep it. Inside a loop's turn, on one of its own threads, or where the wait could never end (a report
///                says so), they end in the background instead. The
///                default pool lives until the process ends, which waits for its calls (exit_wait()).
/// Thread-safety  Every member, on any thread; the destructor like any destructor.
/// Errors         A call for a closed pool, or in a forked child for one of its parent's, throws closed_error; one beyond
///                the queue's limit queue_full, unless the pool lets it wait; std::system_error when the pool's first thread
///                cannot be started.
/// Cost           A call takes no lock while threads look for calls, or all are busy; its thread takes one. A thread is woken
///                only if it sleeps.
class thread_pool {
public:
    static constexpr std::size_t default_queue_limit = thread_pool_options::default_queue_limit;

    explicit thread_pool(const thread_pool_options& options) : state_(new detail::pool_state(options)) {}
    /// At most `threads` calls at a time; the name is a literal or outlives the pool.
    explicit thread_pool(std::size_t threads = default_size(), const char* name = "pool",
                         std::size_t queue_limit = default_queue_limit)
        : thread_pool(thread_pool_options().size(threads).name(name).queue_limit(queue_limit)) {}
    ~thread_pool();
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    /// The pool that to_thread uses when none is named.
    [[nodiscard]] static thread_pool& default_pool();
    /// Gives that pool other options. Once, before it is used for the first time; throws std::logic_error afterwards.
    static void configure_default(const thread_pool_options& options);
    /// min(32, usable processors + 4).
    [[nodiscard]] static std::size_t default_size() noexcept { return thread_pool_options::default_size(); }

    /// Refuses new calls; those still queued end in closed_error, those that run go on.
    void close() noexcept { state_->close(); }

    [[nodiscard]] const char* name() const noexcept { return state_->name(); }
    /// Calls that run at a time, and threads but for the spare ones.
    [[nodiscard]] std::size_t max_threads() const noexcept { return state_->size(); }
    /// Calls that wait for a thread, and threads there are now.
    [[nodiscard]] std::size_t queued() const noexcept { return metrics().queued; }
    [[nodiscard]] std::size_t threads() const noexcept { return metrics().threads; }
    /// The pool at this moment. Cost: a look at each of its threads.
    [[nodiscard]] pool_metrics metrics() const noexcept { return state_->metrics(); }

    // For ferry's awaiters.
    class ticket;

private:
    friend class detail::default_pool;
    detail::pool_state* state_;
};

/// A call's hold on the pool it was submitted to. A task may be cancelled when the pool of its call is gone already:
/// the call was refused, has just ended, or runs on in the background.
class thread_pool::ticket {
public:
    ticket() noexcept = default;
    ~ticket() {
        if (pool_ != nullptr) pool_->release();
    }
    ticket(const ticket&) = delete;
    ticket& operator=(const ticket&) = delete;

    /// Null when it is on its way, else why it is not.
    [[nodiscard]] std::exception_ptr submit(thread_pool& pool, detail::call& made) noexcept {
        pool_ = pool.state_;
        pool_->retain();
        const auto answer = pool_->submit(made);
        return answer == detail::pool_state::submission::accepted ? nullptr : refusal(answer);
    }
    /// True when the job was still queued: it will not run, and is the caller's again.
    [[nodiscard]] bool withdraw(detail::call& made) noexcept { return pool_->withdraw(made); }

private:
    [[nodiscard]] std::exception_ptr refusal(detail::pool_state::submission answer) const noexcept;

    detail::pool_state* pool_ = nullptr;
};

namespace detail {
/// The default pool of this process. It is never destroyed: its threads may outlive the statics.
class default_pool final : public process_end::part {
public:
    default_pool() : pool(options()) {}
    void has_been_chosen() { process_end::include(*this); }
    static void configure(const thread_pool_options& wanted) {
        std::unique_ptr<const thread_pool_options> copy(new thread_pool_options(wanted));
        const thread_pool_options* none = nullptr;
        if (!configured().compare_exchange_strong(none, copy.get())) {
            throw std::logic_error("ferry: the default pool is configured a second time");
        }
        copy.release();  // forked children use it, too
        if (used_by() == process::generation()) {
            throw std::logic_error(
                "ferry: the default pool is in use; configure it before the first call of to_thread");
        }
    }

    thread_pool pool;

private:
    void refuse() noexcept override { pool.close(); }
    bool wait(process_end::time_point deadline) override {
        pool_end left(*pool.state_);
        const bool in_time = left.wait(deadline);
        if (in_time && !left.is_own_thread()) {
            left.join_last();
        } else {
            left.let_go();
        }
        return in_time;
    }
    [[nodiscard]] std::string who() const override { return pool_end(*pool.state_).who(); }
    static thread_pool_options options() {
        used_by() = process::generation();
        const thread_pool_options* const wanted = configured().load();
        return wanted == nullptr ? thread_pool_options() : *wanted;
    }
    static std::atomic<const thread_pool_options*>& configured() noexcept {
        static constinit std::atomic<const thread_pool_options*> options{nullptr};
        return options;
    }
    /// The generation of the process that has used its default pool.
    static std::atomic<std::uint32_t>& used_by() noexcept {
        static constinit std::atomic<std::uint32_t> generation{UINT32_MAX};
        return generation;
    }
};
}  // namespace detail

// ---- implementation ----------------------------------------------------------------------------------------------
inline thread_pool::~thread_pool() {
    static constinit std::atomic<bool> reported{false};
    if (state_->left_behind()) return;
    state_->close();
    detail::pool_end end(*state_);
    if (end.is_own_thread()) {
        end.let_go();
    } else if (detail::may_block_here()) {
        end.join("thread_pool::~thread_pool");
    } else {
        end.let_go();
        if (!reported.exchange(true, std::memory_order_relaxed)) detail::report_destruction_in_turn("thread_pool");
    }
    state_->release();
}

inline thread_pool& thread_pool::default_pool() { return detail::process_wide<detail::default_pool>::get().pool; }

inline void thread_pool::configure_default(const thread_pool_options& options) {
    detail::default_pool::configure(options);
}

inline std::exception_ptr thread_pool::ticket::refusal(detail::pool_state::submission answer) const noexcept {
    using submission = detail::pool_state::submission;
    const std::string pool = std::string("pool \"") + pool_->name() + "\"";
    if (answer == submission::closed) {
        return std::make_exception_ptr(closed_error("to_thread: " + pool + " is closed"));
    }
    if (answer == submission::left_behind) {
        return std::make_exception_ptr(
            closed_error("to_thread: " + pool + " belongs to the process that forked this one; make another one here"));
    }
    if (answer == submission::no_thread) {
        return std::make_exception_ptr(
            std::system_error(EAGAIN, std::system_category(), "to_thread: " + pool + " cannot start a thread"));
    }
    return std::make_exception_ptr(queue_full(
        "to_thread: " + pool +
        " has no room for another call: give it more threads or a longer queue, or make fewer calls at a time"));
}
}  // namespace ferry::inline FERRY_ABI
