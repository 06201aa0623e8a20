// ferry/loop/loop_control.hpp - what other threads touch of a loop: its inbox, its wake descriptor, its closed flag
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/process.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Reference-counted, so that it outlives its loop: a late post finds it closed instead of finding freed memory.
///
/// Thread-safety  push(), wake() and the reference count: any thread that holds a reference. The rest: the loop's.
///
/// Why no wake-up is lost: push() links the node, then reads sleeping_; prepare_sleep() sets sleeping_, then reads the
/// inbox. Both have a sequentially consistent fence between the two, so at least one of them sees the other's write:
/// either the loop finds the node and does not sleep, or the pusher finds it sleeping and writes to the descriptor.
/// Why a node is run once: the inbox is taken whole, by exchange, by the only thread that takes. After push() the node
/// belongs to the loop; the pusher goes on only with its own reference to this block.
class loop_control final : public remote_inbox {
public:
    explicit loop_control(event_loop& loop) noexcept : loop_(&loop) { process::begin(); }
    loop_control(const loop_control&) = delete;
    loop_control& operator=(const loop_control&) = delete;

    void retain() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
    void release() noexcept override {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    /// Hands new work to the loop. False, and the node stays the caller's, once the loop is closing.
    [[nodiscard]] bool push_new(ready_node& node) noexcept {
        return !closed_.load(std::memory_order_acquire) && push(node);
    }
    /// Was the loop made before a fork, by the parent of this process? Then nobody here may run it or hand it anything.
    [[nodiscard]] bool left_behind() const noexcept { return generation_ != process::generation(); }
    /// Why new work was refused.
    [[nodiscard]] const char* refusal() const noexcept {
        return left_behind() ? "the loop belongs to the process that forked this one; make another one here"
                             : "the loop is closed";
    }
    /// Hands a node to the loop, which runs it on its own thread after what is ready there. A loop that is closing
    /// still takes the nodes of its own waiting tasks; false, and the node stays the caller's, once all of them have
    /// ended.
    [[nodiscard]] bool push(ready_node& node) noexcept override {
        if (left_behind()) return false;
        ready_node* head = inbox_.load(std::memory_order_relaxed);
        do {
            if (head == sealed_mark()) return false;
            node.next = head;
        } while (!inbox_.compare_exchange_weak(head, &node, std::memory_order_release, std::memory_order_relaxed));
        wake();
        return true;
    }
    void wake() noexcept {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        // Acquire: whoever sees the loop asleep also sees the descriptor that it made before it fell asleep.
        if (sleeping_.load(std::memory_order_relaxed) && sleeping_.exchange(false, std::memory_order_acquire)) signal();
    }

    // The loop's side.
    /// Asked by nodes that have arrived; there is a loop as long as nodes are run.
    [[nodiscard]] event_loop& loop() const noexcept { return *loop_; }
    /// Takes in what was pushed so far; next_received() hands it out, oldest first, and null at its end.
    void receive() noexcept {
        ready_node* const newest = inbox_.load(std::memory_order_relaxed);
        if (newest == nullptr || newest == sealed_mark()) return;
        append(inbox_.exchange(nullptr, std::memory_order_acquire));
    }
    [[nodiscard]] ready_node* next_received() noexcept {
        ready_node* const node = received_;
        if (node != nullptr) received_ = node->next;
        return node;
    }
    void refuse_new_work() noexcept { closed_.store(true, std::memory_order_release); }
    /// Refuses everything from now on, and takes in what was pushed before.
    void seal() noexcept { append(inbox_.exchange(sealed_mark(), std::memory_order_acq_rel)); }
    [[nodiscard]] bool has_mail() const noexcept {
        ready_node* const head = inbox_.load(std::memory_order_relaxed);
        return received_ != nullptr || (head != nullptr && head != sealed_mark());
    }
    /// Announces that the loop is about to sleep. False when it must not: something arrived meanwhile.
    [[nodiscard]] bool prepare_sleep() noexcept {
        sleeping_.store(true, std::memory_order_release);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!has_mail()) return true;
        sleeping_.store(false, std::memory_order_relaxed);
        return false;
    }
    /// The loop's thread goes elsewhere between two turns: from now on a push signals the descriptor, as what has arrived
    /// already does.
    void leave_asleep() noexcept {
        if (prepare_sleep()) return;
        sleeping_.store(true, std::memory_order_release);
        wake();
    }
    void end_sleep() noexcept { sleeping_.store(false, std::memory_order_relaxed); }
    /// Takes the signal away again, for a poller that would report it for ever.
    void clear_signal() noexcept {
        std::uint64_t count = 0;
        [[maybe_unused]] const auto taken =
            ::read(wake_descriptor_.load(std::memory_order_relaxed), &count, sizeof count);
    }

    /// The descriptor that wake() writes to; made on first use, which is before the loop's first sleep.
    [[nodiscard]] int wake_descriptor() {
        int descriptor = wake_descriptor_.load(std::memory_order_relaxed);
        if (descriptor < 0) {
            descriptor = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            if (descriptor < 0) throw std::system_error(errno, std::system_category(), "ferry: eventfd");
            wake_descriptor_.store(descriptor, std::memory_order_release);
        }
        return descriptor;
    }

private:
    ~loop_control() {
        const int descriptor = wake_descriptor_.load(std::memory_order_relaxed);
        if (descriptor >= 0) ::close(descriptor);
    }

    static ready_node* sealed_mark() noexcept {
        static constinit ready_node mark;
        return &mark;
    }
    /// From newest first to oldest first, behind what is still to be handed out.
    void append(ready_node* newest) noexcept {
        if (newest == nullptr) return;
        ready_node* oldest = nullptr;
        for (ready_node* node = newest; node != nullptr;) {
            ready_node* const older = node->next;
            node->next = std::exchange(oldest, node);
            node = older;
        }
        (received_ == nullptr ? received_ : last_received_->next) = oldest;
        last_received_ = newest;
    }
    void signal() noexcept {
        if (left_behind()) return;  // the descriptor is shared: it would wake the parent's loop
        const std::uint64_t one = 1;
        // It fails only when the counter is about to overflow, and then the descriptor is readable anyway.
        [[maybe_unused]] const auto written =
            ::write(wake_descriptor_.load(std::memory_order_acquire), &one, sizeof one);
    }

    event_loop* const loop_;
    std::atomic<std::uint32_t> references_{1};
    const std::uint32_t generation_ = process::generation();
    std::atomic<bool> sleeping_{false};
    std::atomic<bool> closed_{false};
    std::atomic<int> wake_descriptor_{-1};
    std::atomic<ready_node*> inbox_{nullptr};  // newest first; sealed_mark() in the end
    ready_node* received_ = nullptr;           // oldest first; the loop's alone, like last_received_
    ready_node* last_received_ = nullptr;      // means something while there are received ones
};

/// A counted reference to a loop_control.
class loop_reference {
public:
    loop_reference() noexcept = default;
    explicit loop_reference(loop_control& control) noexcept : control_(&control) { control.retain(); }
    loop_reference(const loop_reference& other) noexcept : control_(other.control_) {
        if (control_ != nullptr) control_->retain();
    }
    loop_reference(loop_reference&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
    loop_reference& operator=(loop_reference other) noexcept {
        std::swap(control_, other.control_);
        return *this;
    }
    ~loop_reference() {
        if (control_ != nullptr) control_->release();
    }
    [[nodiscard]] loop_control* get() const noexcept { return control_; }
    loop_control* operator->() const noexcept { return control_; }
    explicit operator bool() const noexcept { return control_ != nullptr; }

private:
    loop_control* control_ = nullptr;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
