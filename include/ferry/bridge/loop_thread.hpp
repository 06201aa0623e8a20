// ferry/bridge/loop_thread.hpp - a loop on a thread of its own, for programs that have none
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/os_thread.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/deadlock/thread_wait.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <atomic>
#include <memory>
#include <source_location>

#include <pthread.h>

namespace ferry::inline FERRY_ABI {
/// Runs an event_loop in the background. A blocking program sends its asynchronous work there, and what lives on the
/// loop (connections, caches) survives between the calls.
///
///     ferry::loop_thread background;
///     background.make_default();                       // block_on and async_to_sync of plain threads go there
///     auto page = ferry::block_on(client.get("/"));
///
/// Ownership      Owns the thread and the loop. The destructor closes the loop, which cancels what still runs on it, and
///                waits for the thread, which is reported when it takes longer than hang_after(). Inside a loop's turn, or
///                where the wait could never end (a report says so), the thread ends in the background instead.
/// Thread-safety  loop() and make_default() on any thread.
/// Errors         The constructor throws std::system_error when the thread cannot be started.
class loop_thread {
public:
    explicit loop_thread(const char* name = "ferry-loop");
    ~loop_thread();
    loop_thread(const loop_thread&) = delete;
    loop_thread& operator=(const loop_thread&) = delete;

    [[nodiscard]] event_loop& loop() noexcept { return *loop_; }
    /// Makes it the loop that block_on uses on threads which come from no loop; until it is destroyed, or another one
    /// takes its place.
    void make_default() { detail::default_loop::install(detail::loop_reference(loop_->control())); }

private:
    /// The destructor's word to the thread, on whose stack it lies. Anyone may stop() the loop; only this ends the
    /// thread.
    class ending final : public detail::ready_node {
    public:
        explicit ending(event_loop& loop) noexcept : loop_(loop) {
            run = [](ready_node& node) noexcept {
                ending& self = static_cast<ending&>(node);
                self.asked_ = true;
                self.loop_.stop();
            };
        }
        [[nodiscard]] bool asked() const noexcept { return asked_; }

    private:
        event_loop& loop_;
        bool asked_ = false;
    };
    /// Shared with the thread, which may outlive this object; whoever lets go last deletes it.
    ///
    /// The thread writes what it is, then loop (release); it reads the watcher after the destructor's word has come through
    /// the loop's inbox, and its last touch but release() is ended (release).
    class life {
    public:
        explicit life(const char* of_thread) noexcept : name(of_thread) {}
        void release() noexcept {
            if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
        }

        const char* const name;
        detail::thread_parker* watcher = &detail::thread_parker::of_this_thread();
        ending* end = nullptr;
        detail::node_reference record;
        std::atomic<event_loop*> loop{nullptr};
        std::atomic<bool> ended{false};

    private:
        std::atomic<int> references_{2};
    };
    static void work(void* argument) noexcept;
    void join();

    life* life_;
    event_loop* loop_;
    pthread_t thread_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline loop_thread::loop_thread(const char* name) {
    std::unique_ptr<life> begun(new life(name));
    thread_ = detail::start_thread(&work, begun.get(), name);
    life_ = begun.release();
    while ((loop_ = life_->loop.load(std::memory_order_acquire)) == nullptr) life_->watcher->park();
}

inline void loop_thread::work(void* argument) noexcept {
    life& self = *static_cast<life*>(argument);
    detail::this_thread().thread_name = self.name;
    detail::wait_node& record = detail::record_of_this_thread();
    record.set_name(self.name);
    self.record = detail::node_reference(&record);
    {
        // Not on this stack: a forked child, where this thread is not, may reuse that while it still asks the loop.
        const std::unique_ptr<event_loop> loop(new event_loop);
        ending end(*loop);
        self.end = &end;
        detail::thread_parker* const starter = self.watcher;
        self.loop.store(loop.get(), std::memory_order_release);
        starter->unpark();  // a parker is never freed
        while (!end.asked()) loop->run(std::source_location());
        loop->close(std::source_location());
    }
    detail::thread_parker* const watcher = self.watcher;
    self.ended.store(true, std::memory_order_release);
    watcher->unpark();
    self.release();
}

/// The wait is a ferry wait, and serves as such. Where it could never end, the thread ends in the background.
inline void loop_thread::join() {
    detail::thread_wait here("loop_thread::~loop_thread", life_->name, life_->record, std::source_location());
    try {
        detail::wait_until(here.in_destructor(), [this] { return life_->ended.load(std::memory_order_acquire); });
    } catch (const deadlock_error& hopeless) {
        detail::report(hopeless.report().text());
        ::pthread_detach(thread_);
        return;
    }
    ::pthread_join(thread_, nullptr);
}

inline loop_thread::~loop_thread() {
    static constinit std::atomic<bool> reported{false};
    const detail::loop_reference inbox(loop_->control());  // the loop may be gone as soon as the node is pushed
    if (inbox->left_behind()) return;                      // so is the thread, and what it shares stays as it is
    detail::default_loop::remove(*inbox.get());
    life_->watcher = &detail::thread_parker::of_this_thread();
    [[maybe_unused]] const bool taken = inbox->push(*life_->end);
    if (!detail::handed_over(thread_, reported, "loop_thread")) join();
    life_->release();
}
}  // namespace ferry::inline FERRY_ABI
