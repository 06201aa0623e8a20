// ferry/loop/signals.hpp - POSIX signals as something to await
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/process.hpp>
#include <ferry/loop/detail/one_loop.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Who listens to signals in this process. The handler only reads atomics and writes one byte to each listener's pipe,
/// both of which a signal handler may do; a pipe that is full already holds what its listener needs to wake up.
class signal_listeners {
public:
    static constexpr std::size_t capacity = 64;
    static constexpr int highest = 64;

    /// Registers the pipe for the signal; the first listener of a signal installs the handler.
    static void add(int number, int pipe);
    /// The last one restores what was there before. When it returns, no handler on any thread writes to the pipe.
    static void remove(int number, int pipe) noexcept;

private:
    struct slot {
        std::atomic<int> signal{0};
        std::atomic<int> pipe{-1};
    };
    struct table {
        std::mutex mutex;  // guards everything but what the handler reads: the atomics in slots
        std::array<slot, capacity> slots;
        std::atomic<int> in_handler{0};  // threads that may be about to write to a pipe they have read from a slot
        std::array<struct sigaction, highest + 1> before{};
        std::array<int, highest + 1> listeners{};

        /// A forked child shares the pipes with its parent: its signals must not arrive there. It gets the handling
        /// back that was there before.
        void left_behind() noexcept {
            for_handler().store(nullptr, std::memory_order_release);
            for (int number = 1; number <= highest; ++number) {
                const std::size_t index = static_cast<std::size_t>(number);
                if (listeners[index] > 0) ::sigaction(number, &before[index], nullptr);
            }
        }
    };
    static table& all() { return process_wide<table>::get(); }
    static std::atomic<table*>& for_handler() noexcept {
        static constinit std::atomic<table*> pointer{nullptr};
        return pointer;
    }
    static void on_signal(int number) noexcept;
};
}  // namespace detail

/// Delivers the named signals to a task instead of to a handler.
///
///     ferry::signals stop(loop, {SIGINT, SIGTERM});
///     int number = co_await stop.wait();
///
/// From construction to destruction the signals do nothing else: a second SIGINT does not kill either. Several objects,
/// on any loops, each get every signal. Equal signals that arrive before wait() may be delivered as one.
///
/// Ownership      Restores the former handling of a signal when the last object that names it is destroyed.
/// Thread-safety  wait() on the loop's thread. The signal may be delivered to any thread.
/// Errors         std::system_error when the kernel refuses the signal or a descriptor; std::length_error beyond 64
///                registrations in the process. wait() throws cancelled.
class signals {
public:
    signals(event_loop& loop, std::initializer_list<int> numbers);
    ~signals();
    signals(const signals&) = delete;
    signals& operator=(const signals&) = delete;

    class awaiter;
    /// The number of the next signal. A checkpoint. One task waits at a time (asserted).
    [[nodiscard]] awaiter wait() noexcept;

private:
    class pipe_watch final : public io_watch {
    public:
        pipe_watch(int descriptor, signals& owner) noexcept : io_watch(descriptor), owner_(owner) {}
        void on_ready(bool readable, bool writable) noexcept override;
        [[nodiscard]] bool wants_readable() const noexcept override { return owner_.waiting_ != nullptr; }
        [[nodiscard]] bool wants_writable() const noexcept override { return false; }

    private:
        signals& owner_;
    };
    class pipe_pair {
    public:
        pipe_pair();
        ~pipe_pair();
        pipe_pair(const pipe_pair&) = delete;
        pipe_pair& operator=(const pipe_pair&) = delete;
        int ends[2];
    };

    void unregister() noexcept;

    event_loop& loop_;
    pipe_pair pipe_;
    pipe_watch watch_;
    std::array<int, detail::signal_listeners::capacity> numbers_{};
    std::size_t count_ = 0;
    awaiter* waiting_ = nullptr;
};

// ---- implementation ----------------------------------------------------------------------------------------------
class signals::awaiter : public detail::leaf_awaiter<awaiter> {
public:
    static constexpr const char* what = "signals";
    explicit awaiter(signals& owner) noexcept : owner_(owner) {}
    bool try_complete() noexcept {
        std::uint8_t number = 0;
        if (::read(owner_.pipe_.ends[0], &number, 1) != 1) return false;
        number_ = number;
        return true;
    }
    void link() noexcept {
        detail::one_loop(owner_.loop_).check(task());
        FERRY_ASSERT(owner_.waiting_ == nullptr, "two tasks wait on one signals object");
        owner_.waiting_ = this;
    }
    static void withdraw(detail::waiter& self) noexcept {
        static_cast<awaiter&>(self).owner_.waiting_ = nullptr;
        self.task().wake_interrupted();
    }
    int finish() const noexcept { return number_; }

private:
    signals& owner_;
    int number_ = 0;
};

inline signals::pipe_pair::pipe_pair() {
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        throw std::system_error(errno, std::system_category(), "ferry: signals: pipe2");
    }
}
inline signals::pipe_pair::~pipe_pair() {
    ::close(ends[0]);
    ::close(ends[1]);
}

inline signals::signals(event_loop& loop, std::initializer_list<int> numbers)
    : loop_(loop), watch_(pipe_.ends[0], *this) {
    if (numbers.size() > numbers_.size()) throw std::length_error("ferry: signals: too many numbers");
    loop_.watch(watch_);
    try {
        for (int number : numbers) {
            detail::signal_listeners::add(number, pipe_.ends[1]);
            numbers_[count_++] = number;
        }
    } catch (...) {
        unregister();
        throw;
    }
}

inline signals::~signals() {
    FERRY_ASSERT(waiting_ == nullptr, "signals destroyed while a task waits for one");
    unregister();
}

inline void signals::unregister() noexcept {
    if (loop_.control().left_behind()) return;  // a forked child has never registered them
    while (count_ > 0) detail::signal_listeners::remove(numbers_[--count_], pipe_.ends[1]);
    loop_.unwatch(watch_);
}

inline signals::awaiter signals::wait() noexcept { return awaiter(*this); }

inline void signals::pipe_watch::on_ready(bool, bool) noexcept {
    if (awaiter* const waiting = std::exchange(owner_.waiting_, nullptr)) waiting->retry();
}

namespace detail {
inline void signal_listeners::add(int number, int pipe) {
    if (number < 1 || number > highest) throw std::system_error(EINVAL, std::system_category(), "ferry: signals");
    table& listeners = all();
    const std::lock_guard lock(listeners.mutex);
    for_handler().store(&listeners, std::memory_order_release);
    for (slot& free : listeners.slots) {
        if (free.signal.load(std::memory_order_relaxed) != 0) continue;
        free.pipe.store(pipe, std::memory_order_relaxed);
        free.signal.store(number, std::memory_order_release);  // the handler reads signal, then pipe
        const std::size_t index = static_cast<std::size_t>(number);
        if (listeners.listeners[index]++ > 0) return;
        struct sigaction action {};
        action.sa_handler = &on_signal;
        action.sa_flags = SA_RESTART;
        sigfillset(&action.sa_mask);
        if (::sigaction(number, &action, &listeners.before[index]) == 0) return;
        const int error = errno;
        --listeners.listeners[index];
        free.signal.store(0, std::memory_order_release);
        throw std::system_error(error, std::system_category(), "ferry: signals: sigaction");
    }
    throw std::length_error("ferry: signals: more than 64 registrations in this process");
}

inline void signal_listeners::remove(int number, int pipe) noexcept {
    table& listeners = all();
    const std::lock_guard lock(listeners.mutex);
    const std::size_t index = static_cast<std::size_t>(number);
    if (--listeners.listeners[index] == 0) ::sigaction(number, &listeners.before[index], nullptr);
    for (slot& used : listeners.slots) {
        if (used.signal.load(std::memory_order_relaxed) != number ||
            used.pipe.load(std::memory_order_relaxed) != pipe) {
            continue;
        }
        used.signal.store(0, std::memory_order_seq_cst);  // a handler either sees this or is seen below
        used.pipe.store(-1, std::memory_order_relaxed);
        break;
    }
    while (listeners.in_handler.load(std::memory_order_seq_cst) != 0) ::sched_yield();
}

inline void signal_listeners::on_signal(int number) noexcept {
    const int saved = errno;
    if (table* const listeners = for_handler().load(std::memory_order_acquire)) {
        listeners->in_handler.fetch_add(1, std::memory_order_seq_cst);
        for (const slot& entry : listeners->slots) {
            if (entry.signal.load(std::memory_order_seq_cst) != number) continue;
            const std::uint8_t byte = static_cast<std::uint8_t>(number);
            [[maybe_unused]] const auto written = ::write(entry.pipe.load(std::memory_order_relaxed), &byte, 1);
        }
        listeners->in_handler.fetch_sub(1, std::memory_order_seq_cst);
    }
    errno = saved;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
