// ferry/bridge/detail/sensitive_threads.hpp - threads for thread-sensitive calls: those that scopes lease, and the last resort
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/home_thread.hpp>
#include <ferry/bridge/detail/homes.hpp>
#include <ferry/bridge/detail/sensitive_end.hpp>
#include <ferry/bridge/os_thread.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/judge.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/wait_options.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <source_location>
#include <string>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The home that a thread_sensitive_scope opens: a queue that a leased thread serves, from its first call to its end.
class scope_home final : public queue_home, public list_hook<scope_home> {
public:
    /// `opener`: the task or thread that will end it.
    explicit scope_home(const node_reference& opener) noexcept : queue_home(queue_, nullptr), opener_(opener) {}
    ~scope_home() {
        if (end_ != nullptr) end_->release();
    }

private:
    friend class leased_threads;
    thread_parker* find_thread() noexcept override;
    [[nodiscard]] bool has_own_thread() const noexcept override { return true; }

    sensitive_queue queue_;
    const node_reference opener_;
    wait_node* end_ = nullptr;  // for which its thread waits; guarded by the mutex of homes
    bool waiting_ = false;      // for a thread; guarded by the mutex of homes
};

/// The threads that scopes lease, at most so many at a time; scopes wait for one in the order of their first calls.
///
/// A thread keeps its scope until that is retired and its queue is empty, then takes the next one that waits, or sleeps
/// for a while and ends. So in steady state no thread is started, and nobody waits for one to end.
///
/// Thread-safety  Every member, on any thread. The mutex of homes guards everything.
class leased_threads {
public:
    static constexpr std::size_t default_most = 32;

    leased_threads() {
        record_.set_name("leases");
        update_record();  // the first scope waits for a thread before there is any
    }
    [[nodiscard]] static leased_threads& instance() noexcept { return process_wide<leased_threads>::get(); }

    void set_most(std::size_t threads) noexcept;
    [[nodiscard]] std::size_t running() noexcept {
        const std::lock_guard lock(homes::mutex());
        return running_;
    }
    /// A scope ends: its queue is empty and will stay so.
    void end(scope_home& scope) noexcept;

private:
    friend class scope_home;
    class worker : public list_hook<worker> {
    public:
        thread_parker* parker = nullptr;
        const wait_node* record = nullptr;
        scope_home* scope = nullptr;
        bool idle = false;  // on the list; neither idle nor with a scope it was told to end
    };
    static constexpr std::chrono::seconds linger{10};

    // With the mutex held.
    thread_parker* lease_to(scope_home& scope) noexcept;
    void give(worker& self, scope_home& scope) noexcept;
    bool start_worker() noexcept;

    static void work(void* owner) noexcept;
    bool wait_for_scope(worker& self) noexcept;
    void serve(worker& self) noexcept;

    /// In the wait graph: its threads, and whether another one may join them, or has been started and will.
    void update_record() noexcept { record_.set_flags(in_graph_ < most_ ? wait_node::open : wait_node::flags{0}); }

    wait_node& record_ = wait_node::acquire(wait_node::kind::pool);
    intrusive_list<scope_home> waiting_;
    intrusive_list<worker> idle_;
    std::size_t running_ = 0;
    std::size_t in_graph_ = 0;  // of those that run
    std::size_t most_ = default_most;
    std::size_t names_ = 0;
};

/// The process's one sensitive thread: started by the first call for which there is no other home, it never ends.
class last_resort_home final : public queue_home {
public:
    last_resort_home() noexcept : queue_home(queue_, nullptr) {}

private:
    thread_parker* find_thread() noexcept override;
    [[nodiscard]] bool has_own_thread() const noexcept override { return true; }
    static void work(void* self) noexcept;

    sensitive_queue queue_;
    bool started_ = false;  // guarded by the mutex of homes
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline queue_home& last_resort() { return process_wide<last_resort_home>::get(); }

inline thread_parker* last_resort_home::find_thread() noexcept {
    if (std::exchange(started_, true)) return nullptr;  // it is on its way, and will look
    try {
        ::pthread_detach(start_thread(&work, this, "ferry-sensitive"));
    } catch (const std::exception&) {
        FERRY_ASSERT(false, "no thread can be started for thread-sensitive calls");
    }
    return nullptr;
}

inline void last_resort_home::work(void* argument) noexcept {
    last_resort_home& self = *static_cast<last_resort_home*>(argument);
    this_thread().thread_name = "ferry-sensitive";
    home_thread& thread = home_thread::of_this_thread();
    const home_thread::own_thread named(thread, "ferry-sensitive");
    const home_thread::lent_queue queue(thread, self.queue_);
    const home_thread::serving serving(thread);
    homes::attach(self.queue_, thread_parker::of_this_thread());
    wait_until([generation = process::generation()] { return process::generation() != generation; });
    report_child_of_a_call();
}

inline thread_parker* scope_home::find_thread() noexcept { return leased_threads::instance().lease_to(*this); }

inline thread_parker* leased_threads::lease_to(scope_home& scope) noexcept {
    if (scope.waiting_) return nullptr;
    if (scope.end_ == nullptr) {
        scope.end_ = &wait_node::acquire(wait_node::kind::holding);
        scope.end_->set_name("its end");
        scope.end_->wait_for(scope.opener_);
    }
    homes::set_place(scope.queue(), record_);
    if (worker* const free = idle_.pop_front()) {
        free->idle = false;
        give(*free, scope);
        return free->parker;
    }
    scope.retain();  // the list's, then the worker's
    scope.waiting_ = true;
    waiting_.push_back(scope);
    if (running_ < most_) start_worker();
    return nullptr;
}

inline void leased_threads::set_most(std::size_t threads) noexcept {
    const std::lock_guard lock(homes::mutex());
    most_ = std::max<std::size_t>(threads, 1);
    update_record();
    for (scope_home* each = waiting_.front(); each != nullptr && running_ < most_;
         each = intrusive_list<scope_home>::next(*each)) {
        if (!start_worker()) break;
    }
    for (; running_ > most_; --running_) {
        worker* const surplus = idle_.pop_front();
        if (surplus == nullptr) break;
        surplus->idle = false;
        surplus->parker->unpark();
    }
    update_record();
}

/// From here on that thread is the scope's, so that nobody looks for a second one before it has begun to serve.
inline void leased_threads::give(worker& self, scope_home& scope) noexcept {
    if (scope.waiting_) {
        waiting_.erase(scope);
        scope.waiting_ = false;
    } else {
        scope.retain();
    }
    self.scope = &scope;
    homes::set_owner(scope.queue(), *self.parker, *self.record);
}

/// A thread that cannot be started is no error while another one will come to the scope.
inline bool leased_threads::start_worker() noexcept {
    try {
        ::pthread_detach(start_thread(&work, this, "ferry-lease/" + std::to_string(names_)));
        ++names_;
        ++running_;
        return true;
    } catch (const std::exception&) {
        FERRY_ASSERT(running_ > 0, "no thread can be started for thread-sensitive calls");
        return false;
    }
}

inline void leased_threads::work(void* argument) noexcept {
    leased_threads& owner = *static_cast<leased_threads*>(argument);
    this_thread().thread_name = "ferry-lease";
    worker self;
    self.parker = &thread_parker::of_this_thread();
    wait_node& record = record_of_this_thread();
    self.record = &record;
    {
        const std::lock_guard lock(homes::mutex());
        owner.record_.add_member(record);
        ++owner.in_graph_;
        owner.update_record();
    }
    {
        const home_thread::own_thread named(home_thread::of_this_thread(), "ferry-lease");
        const std::uint32_t generation = process::generation();
        while (owner.wait_for_scope(self)) {
            owner.serve(self);
            if (process::generation() != generation) return report_child_of_a_call();
        }
    }
    {
        const std::lock_guard lock(homes::mutex());
        owner.record_.remove_member(record);
        --owner.in_graph_;
        owner.update_record();
    }
    inspect_waits(owner.record_, nullptr);  // who waits for a thread may have been let wait because of this one
}

/// False when there was none for a while: the thread ends.
///
/// A worker that finds none is put on the idle list under the mutex under which scopes look for one; whoever takes it off
/// gives it a scope there and wakes it.
inline bool leased_threads::wait_for_scope(worker& self) noexcept {
    {
        const std::lock_guard lock(homes::mutex());
        if (scope_home* const next = waiting_.front(); next != nullptr && running_ <= most_) {
            give(self, *next);
            return true;
        }
        if (running_ > most_) {
            --running_;
            return false;
        }
        self.idle = true;
        idle_.push_back(self);
    }
    const auto until = thread_parker::clock::now() + linger;
    for (;;) {
        const bool in_time = self.parker->park_until(until);
        const std::lock_guard lock(homes::mutex());
        if (self.scope != nullptr) return true;
        if (!self.idle) return false;
        if (in_time) continue;
        idle_.erase(self);
        --running_;
        return false;
    }
}

inline void leased_threads::serve(worker& self) noexcept {
    scope_home& scope = *std::exchange(self.scope, nullptr);
    const node_reference end(scope.end_);  // which was there before the lease
    home_thread& thread = home_thread::of_this_thread();
    {
        const home_thread::lent_queue queue(thread, scope.queue());
        const home_thread::serving serving(thread);
        do {
            thread_wait end_of_scope("thread_sensitive_scope", "its end", end,
                                     wait_options(std::source_location()).patient());
            wait_until(end_of_scope.not_refusable(), [&scope] { return scope.has_gone(); });
        } while (!scope.made_before_fork() && !homes::detach(scope.queue()));
    }
    scope.release();
}

inline void leased_threads::end(scope_home& scope) noexcept {
    if (scope.made_before_fork()) return;             // its threads and lists are the parent's
    if (scope.is_unshared()) return scope.release();  // no thread has it, and no task that may still call
    {
        const std::lock_guard lock(homes::mutex());
        if (scope.end_ != nullptr) scope.end_->wait_is_over();
    }
    homes::retire(scope);
    thread_parker* serving = nullptr;
    bool listed = false;
    {
        const std::lock_guard lock(homes::mutex());
        serving = homes::owner_of(scope.queue());
        listed = std::exchange(scope.waiting_, false);
        if (listed) waiting_.erase(scope);
    }
    if (serving != nullptr) serving->unpark();
    if (listed) scope.release();
    scope.release();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
