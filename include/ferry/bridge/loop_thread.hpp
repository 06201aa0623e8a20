// ferry/bridge/loop_thread.hpp - a loop on a thread of its own, for programs that have none
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/async_to_sync.hpp>
#include <ferry/bridge/os_thread.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/this_thread.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <atomic>
#include <memory>
#include <string>

namespace ferry::inline FERRY_ABI {
/// Runs an event_loop in the background. A blocking program sends its asynchronous work there, and what lives on the
/// loop (connections, caches) survives between the calls.
///
///     ferry::loop_thread background;
///     background.make_default();                       // block_on and async_to_sync of plain threads go there
///     auto page = ferry::block_on(client.get("/"));
///
/// Ownership      Owns the thread and the loop. The destructor closes the loop, which cancels what still runs on it, and
///                joins; inside a loop's turn the thread ends in the background instead.
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
    /// Shared with the thread during its start only.
    class start {
    public:
        const char* name = nullptr;
        detail::thread_parker* starter = nullptr;
        ending* end = nullptr;
        std::atomic<event_loop*> loop{nullptr};
    };
    static void work(void* argument) noexcept;

    event_loop* loop_;
    ending* ending_;
    pthread_t thread_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline loop_thread::loop_thread(const char* name) {
    start begin;
    begin.name = name;
    begin.starter = &detail::thread_parker::of_this_thread();
    thread_ = detail::start_thread(&work, &begin, name);
    while ((loop_ = begin.loop.load(std::memory_order_acquire)) == nullptr) begin.starter->park();
    ending_ = begin.end;
}

/// The loop is published by the last touch of the starter's block; the parker is never freed.
inline void loop_thread::work(void* argument) noexcept {
    start& begin = *static_cast<start*>(argument);
    detail::this_thread().thread_name = begin.name;
    // Not on this stack: a forked child, where this thread is not, may reuse that while it still asks the loop.
    const std::unique_ptr<event_loop> loop(new event_loop);
    ending end(*loop);
    begin.end = &end;
    detail::thread_parker* const starter = begin.starter;
    begin.loop.store(loop.get(), std::memory_order_release);
    starter->unpark();
    while (!end.asked()) loop->run();
    loop->close();
}

inline loop_thread::~loop_thread() {
    static constinit std::atomic<bool> reported{false};
    const detail::loop_reference inbox(loop_->control());  // the loop may be gone as soon as the node is pushed
    if (inbox->left_behind()) return;                      // so is the thread
    detail::default_loop::remove(*inbox.get());
    [[maybe_unused]] const bool taken = inbox->push(*ending_);
    detail::join_or_hand_over(thread_, reported, "loop_thread");
}
}  // namespace ferry::inline FERRY_ABI
