// ferry/bridge/thread_pool_options.hpp - how large a pool is, how long its threads stay, and what runs around its calls
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

#include <sched.h>

namespace ferry::inline FERRY_ABI {
class pool_observer;
namespace detail {
class pool_state;
}

/// What a call gets for which a pool's queue has no room.
enum class full_queue : unsigned char {
    refuse,  // queue_full
    wait,    // its task waits for room, after those that do so already; a cancellation ends that
};

namespace detail {
/// A user's function without arguments, shared by its copies: std::function costs every user compile time.
class hook {
public:
    hook() noexcept = default;
    template <class Fn>
    explicit hook(Fn fn) : held_(std::make_shared<held<Fn>>(std::move(fn))) {}
    [[nodiscard]] explicit operator bool() const noexcept { return held_ != nullptr; }
    void operator()() const { held_->run(); }

private:
    class runnable {
    public:
        virtual ~runnable() = default;
        virtual void run() = 0;
    };
    template <class Fn>
    class held final : public runnable {
    public:
        explicit held(Fn&& fn) : fn_(std::move(fn)) {}
        void run() override { fn_(); }

    private:
        Fn fn_;
    };
    std::shared_ptr<runnable> held_;
};
}  // namespace detail

/// The options of a thread_pool, chained:
///
///     ferry::thread_pool db(ferry::thread_pool_options().name("db").size(5).when_full(ferry::full_queue::wait));
///
/// Hooks run on the pool's threads, several of them at the same time, and may block. What on_thread_start or before_call
/// throws is thrown by the call that is about to run, which does not run then; after on_thread_start the next call on
/// that thread tries again. on_thread_end and after_call must not throw: that terminates the process.
class thread_pool_options {
public:
    using milliseconds = std::chrono::milliseconds;
    static constexpr std::size_t default_queue_limit = 65536;
    static constexpr std::size_t default_max_spare = 64;

    thread_pool_options() noexcept : size_(default_size()) {}
    /// min(32, usable processors + 4).
    [[nodiscard]] static std::size_t default_size() noexcept {
        cpu_set_t usable;
        CPU_ZERO(&usable);
        const int count = ::sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 1;
        return std::min<std::size_t>(32, static_cast<std::size_t>(count) + 4);
    }

    /// So many calls run at a time, at least one. Default: default_size().
    thread_pool_options& size(std::size_t threads) noexcept { return set(size_, std::max<std::size_t>(threads, 1)); }
    /// The threads are called "NAME/0", "NAME/1"...; a literal, or it outlives the pool. Default "pool".
    thread_pool_options& name(const char* text) noexcept { return set(name_, text); }
    /// Calls that may wait for a thread. Default 65536.
    thread_pool_options& queue_limit(std::size_t calls) noexcept { return set(queue_limit_, calls); }
    /// What a call gets beyond that. Default: refuse.
    thread_pool_options& when_full(full_queue answer) noexcept { return set(when_full_, answer); }
    /// Threads beyond the size, which work while others of the pool are blocked in waits of ferry's, such as block_on: what
    /// those wait for may need this pool. When they go on, more calls than the size run for a moment. 0 where that must
    /// not be: a pool of one thread then runs one call at a time, and a wait that needs the pool itself is a deadlock.
    /// Default 64.
    thread_pool_options& max_spare(std::size_t threads) noexcept { return set(max_spare_, threads); }
    /// A thread beyond the size ends after it was idle for so long. Default 2 s.
    thread_pool_options& spare_linger(milliseconds idle) noexcept { return set(spare_linger_, idle); }
    /// Any other thread ends after it was idle for so long; milliseconds::max() means never. Default 10 s.
    thread_pool_options& idle_end(milliseconds idle) noexcept { return set(idle_end_, idle); }

    /// Runs on each thread before its first call.
    template <class Fn>
    thread_pool_options& on_thread_start(Fn fn) {
        return set(thread_start_, detail::hook(std::move(fn)));
    }
    /// Runs at the end of each thread that has come to run a call, with on_thread_start behind it.
    template <class Fn>
    thread_pool_options& on_thread_end(Fn fn) {
        return set(thread_end_, detail::hook(noexcept_hook(std::move(fn))));
    }
    /// Runs before each call.
    template <class Fn>
    thread_pool_options& before_call(Fn fn) {
        return set(before_call_, detail::hook(std::move(fn)));
    }
    /// Runs after each call that has run, whether it returned or threw, before its task goes on.
    template <class Fn>
    thread_pool_options& after_call(Fn fn) {
        return set(after_call_, detail::hook(noexcept_hook(std::move(fn))));
    }
    /// Told of each call; it outlives the pool, and its threads. Implies measured().
    thread_pool_options& observer(pool_observer& who) noexcept {
        observer_ = &who;
        return set(measured_, true);
    }
    /// metrics() tells times, too: three looks at the clock for each call, a fifth more for one that does nothing else.
    /// Default: counts only.
    thread_pool_options& measured(bool wanted = true) noexcept { return set(measured_, wanted); }

private:
    friend class thread_pool;
    friend class detail::pool_state;

    template <class T>
    thread_pool_options& set(T& option, std::type_identity_t<T> chosen) noexcept {
        option = std::move(chosen);
        return *this;
    }
    template <class Fn>
    class noexcept_hook {
    public:
        explicit noexcept_hook(Fn&& fn) : fn_(std::move(fn)) {}
        void operator()() noexcept { fn_(); }

    private:
        Fn fn_;
    };

    std::size_t size_;
    const char* name_ = "pool";
    std::size_t queue_limit_ = default_queue_limit;
    std::size_t max_spare_ = default_max_spare;
    milliseconds spare_linger_{2'000};
    milliseconds idle_end_{10'000};
    detail::hook thread_start_;
    detail::hook thread_end_;
    detail::hook before_call_;
    detail::hook after_call_;
    pool_observer* observer_ = nullptr;
    full_queue when_full_ = full_queue::refuse;
    bool measured_ = false;
};
}  // namespace ferry::inline FERRY_ABI
