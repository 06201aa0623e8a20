// ferry/bridge/thread_pool.hpp - threads for blocking code
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/os_thread.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sched.h>

namespace ferry::inline FERRY_ABI {
/// More calls were made than the pool's queue may hold.
class queue_full : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Threads that run blocking calls in the order they arrive. Threads start when there is work and none is idle.
///
/// Ownership      Destroying it closes it and joins its threads; inside a loop's turn, or on one of its own threads, they
///                end in the background. The default pool lives until the process ends.
/// Thread-safety  Every member, on any thread; the destructor like any destructor.
/// Errors         A call for a closed pool, or in a forked child for one of its parent's, throws closed_error; one beyond
///                the queue's limit queue_full.
/// Cost           One lock for each call and end of call; a worker is woken only if it sleeps.
class thread_pool {
public:
    static constexpr std::size_t default_queue_limit = 65536;

    /// At most `threads` threads, named "NAME/0", "NAME/1"...; the name is a literal or outlives the pool.
    explicit thread_pool(std::size_t threads = default_size(), const char* name = "pool",
                         std::size_t queue_limit = default_queue_limit);
    ~thread_pool();
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;

    /// The pool that to_thread uses when none is named.
    [[nodiscard]] static thread_pool& default_pool();
    /// min(32, usable processors + 4).
    [[nodiscard]] static std::size_t default_size() noexcept;

    /// Refuses new calls; those still queued end in closed_error, those that run go on.
    void close() noexcept { shared_->close(); }

    [[nodiscard]] const char* name() const noexcept { return shared_->name; }
    [[nodiscard]] std::size_t max_threads() const noexcept { return shared_->max_threads; }
    /// Calls that wait for a thread, and threads there are now.
    [[nodiscard]] std::size_t queued() const { return shared_->read(&shared::queued); }
    [[nodiscard]] std::size_t threads() const { return shared_->read(&shared::started); }

    // For ferry's awaiters.
    enum class submission : unsigned char { accepted, closed, full, left_behind };
    class ticket;

private:
    class shared;
    struct worker {
        detail::thread_parker* parker = nullptr;
        worker* next_idle = nullptr;
        std::string name;
        shared* pool = nullptr;
    };

    /// Outlives the pool object until its last worker has left.
    class shared {
    public:
        ~shared() { record.release(); }
        shared(std::size_t most, const char* pool_name, std::size_t limit)
            : name(pool_name), max_threads(std::max<std::size_t>(most, 1)), queue_limit(limit) {
            detail::process::begin();
            record.set_name(name);
            update_record();
        }
        /// In the wait graph: its threads, and whether there may be another one.
        void update_record() noexcept {
            record.set_flags(started < max_threads ? detail::wait_node::open : detail::wait_node::flags{0});
        }
        /// Was the pool made before a fork? Its threads are not in this process, and its mutex may be locked for ever.
        [[nodiscard]] bool left_behind() const noexcept { return generation != detail::process::generation(); }
        submission submit(detail::call& job) noexcept;
        bool withdraw(detail::call& job) noexcept;
        void close() noexcept;
        [[nodiscard]] std::size_t read(std::size_t shared::*what) {
            if (left_behind()) return 0;
            const std::lock_guard lock(mutex);
            return this->*what;
        }
        void release() noexcept {
            if (references.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
        }

        const char* const name;
        const std::size_t max_threads;
        const std::size_t queue_limit;
        const std::uint32_t generation = detail::process::generation();
        std::atomic<std::size_t> references{1};
        std::mutex mutex;                            // guards everything below
        detail::intrusive_list<detail::call> queue;  // oldest first
        std::size_t queued = 0;
        std::size_t started = 0;
        detail::wait_node& record = detail::wait_node::acquire(detail::wait_node::kind::pool);
        worker* idle = nullptr;  // most recently active first: its caches are warm
        bool closing = false;
        std::vector<pthread_t> threads;

    private:
        bool start_worker() noexcept;
        static void work(void* self) noexcept;
        detail::call* next(worker& self) noexcept;
        void take_out(detail::call& job) noexcept {
            queue.erase(job);
            job.queued = false;
            --queued;
        }
    };

    shared* shared_;
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

    [[nodiscard]] submission submit(thread_pool& pool, detail::call& job) noexcept {
        pool_ = pool.shared_;
        pool_->references.fetch_add(1, std::memory_order_relaxed);
        return pool_->submit(job);
    }
    /// True when the job was still queued: it will not run, and is the caller's again.
    [[nodiscard]] bool withdraw(detail::call& job) noexcept { return pool_->withdraw(job); }

private:
    shared* pool_ = nullptr;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline thread_pool::thread_pool(std::size_t threads, const char* name, std::size_t queue_limit)
    : shared_(new shared(threads, name, queue_limit)) {}

inline thread_pool::~thread_pool() {
    static constinit std::atomic<bool> reported{false};
    if (shared_->left_behind()) return;
    close();
    std::vector<pthread_t> threads;
    {
        const std::lock_guard lock(shared_->mutex);
        threads.swap(shared_->threads);
    }
    for (pthread_t thread : threads) detail::join_or_hand_over(thread, reported, "thread_pool");
    shared_->release();
}

inline thread_pool& thread_pool::default_pool() { return detail::process_wide<thread_pool>::get(); }

inline std::size_t thread_pool::default_size() noexcept {
    cpu_set_t usable;
    CPU_ZERO(&usable);
    const int count = ::sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 1;
    return std::min<std::size_t>(32, static_cast<std::size_t>(count) + 4);
}

inline thread_pool::submission thread_pool::shared::submit(detail::call& job) noexcept {
    if (left_behind()) return submission::left_behind;
    detail::thread_parker* sleeper = nullptr;
    {
        const std::lock_guard lock(mutex);
        if (closing) return submission::closed;
        if (queued >= queue_limit) return submission::full;
        // A thread that cannot be started is no error while another one will come to the job.
        if (idle == nullptr && started < max_threads && !start_worker() && started == 0) return submission::full;
        queue.push_back(job);
        job.waits_for(&record);
        job.queued = true;
        ++queued;
        if (idle != nullptr) sleeper = std::exchange(idle, idle->next_idle)->parker;
    }
    if (sleeper != nullptr) sleeper->unpark();
    return submission::accepted;
}

inline bool thread_pool::shared::withdraw(detail::call& job) noexcept {
    const std::lock_guard lock(mutex);
    if (!job.queued) return false;
    take_out(job);
    return true;
}

inline void thread_pool::shared::close() noexcept {
    if (left_behind()) return;
    detail::intrusive_list<detail::call> refused;
    std::vector<detail::thread_parker*> sleepers;
    {
        const std::lock_guard lock(mutex);
        if (std::exchange(closing, true)) return;
        while (detail::call* job = queue.front()) {
            take_out(*job);
            refused.push_back(*job);
        }
        for (; idle != nullptr; idle = idle->next_idle) sleepers.push_back(idle->parker);
    }
    for (detail::thread_parker* sleeper : sleepers) sleeper->unpark();
    while (detail::call* job = refused.pop_front()) job->refuse();
}

/// Called with the lock held.
inline bool thread_pool::shared::start_worker() noexcept {
    try {
        worker* const made = new worker;
        made->pool = this;
        made->name = std::string(name) + "/" + std::to_string(started);
        threads.reserve(threads.size() + 1);
        references.fetch_add(1, std::memory_order_relaxed);
        try {
            threads.push_back(detail::start_thread(&work, made, made->name));
        } catch (...) {
            references.fetch_sub(1, std::memory_order_relaxed);
            delete made;
            throw;
        }
        ++started;
        update_record();
        return true;
    } catch (const std::exception&) {
        return false;
    }
}

inline void thread_pool::shared::work(void* argument) noexcept {
    worker* const self = static_cast<worker*>(argument);
    detail::thread_state& thread = detail::this_thread();
    thread.thread_name = self->name.c_str();
    self->parker = &detail::thread_parker::of_this_thread();
    detail::wait_node& record = detail::record_of_this_thread();
    {
        const std::lock_guard lock(self->pool->mutex);
        self->pool->record.add_member(record);
    }
    while (detail::call* job = self->pool->next(*self)) {
        job->run_here();
    }
    {
        const std::lock_guard lock(self->pool->mutex);
        self->pool->record.remove_member(record);
    }
    thread.thread_name = nullptr;
    self->pool->release();
    delete self;
}

/// Waits for a job; null when the pool is closed.
///
/// A worker that finds nothing puts itself on the idle list under the same lock under which jobs are queued, so whoever
/// queues the next job sees it there; who takes it off the list wakes it, once. Tokens left from other waits make it
/// look again, which is why it must not be on the list already.
inline detail::call* thread_pool::shared::next(worker& self) noexcept {
    for (;;) {
        {
            const std::lock_guard lock(mutex);
            worker** link = &idle;
            while (*link != nullptr && *link != &self) link = &(*link)->next_idle;
            const bool listed = *link == &self;
            if (detail::call* job = queue.front()) {
                take_out(*job);
                if (listed) *link = self.next_idle;
                return job;
            }
            if (closing) return nullptr;
            if (!listed) self.next_idle = std::exchange(idle, &self);
        }
        self.parker->park();
    }
}
}  // namespace ferry::inline FERRY_ABI
