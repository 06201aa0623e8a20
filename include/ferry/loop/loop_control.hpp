// ferry/loop/loop_control.hpp - what other threads touch of a loop: its inbox, its wake descriptor, its closed flag
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/core/process.hpp>
#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/park.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
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
/// One word, the inbox, says all: it is empty, or has nodes, or is empty while the loop sleeps, or is sealed.
/// Why no wake-up is lost: the loop sleeps only after it has changed the word from empty to asleep. Whatever is pushed
/// before makes that fail; whoever pushes next has to replace that very mark, and writes to the descriptor.
/// Why a push costs one exchange: who did not replace the mark has nothing to do afterwards. Nor may it touch this block
/// then, since the loop may have run the node, ended and gone away; who is going to replace it holds a reference first.
/// Why a node is run once: the inbox is taken whole, by exchange, by the only thread that takes.
class loop_control final : public remote_inbox, public wakeable {
public:
    loop_control(event_loop& loop, const wait_node& record) noexcept : loop_(&loop), record_(&record) {
        process::begin();
    }
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
    /// The loop in the wait graph.
    [[nodiscard]] const node_reference& record() const noexcept { return record_; }
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
            if (head == asleep_mark()) [[unlikely]]
                return push_and_signal(node);
            node.next = head;
        } while (!inbox_.compare_exchange_weak(head, &node, std::memory_order_release, std::memory_order_relaxed));
        return true;
    }
    /// Makes a sleeping loop look at whatever was stored before this call. The fence is prepare_sleep()'s other half:
    /// either that load here finds the mark, or the loop's look after it finds what was stored.
    [[gnu::noinline]] void wake() noexcept override {  // or GCC 12 warns of a null that cannot be
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (end_sleep()) signal();
    }

    // The loop's side.
    /// Asked by nodes that have arrived; there is a loop as long as nodes are run.
    [[nodiscard]] event_loop& loop() const noexcept { return *loop_; }
    /// Takes in what was pushed so far; take_received() hands it out, oldest first.
    void receive() noexcept {
        if (is_node(inbox_.load(std::memory_order_relaxed))) {
            append(inbox_.exchange(nullptr, std::memory_order_acquire));
        }
    }
    /// At most so many; the last one's link leads to what is left.
    [[nodiscard]] ready_list take_received(std::size_t most) noexcept {
        ready_list taken;
        if (most == 0 || received_.first == nullptr) return taken;
        taken.first = taken.last = received_.first;
        while (--most > 0 && taken.last->next != nullptr) taken.last = taken.last->next;
        received_.first = taken.last->next;
        return taken;
    }
    void refuse_new_work() noexcept { closed_.store(true, std::memory_order_release); }
    /// Refuses everything from now on, and takes in what was pushed before.
    void seal() noexcept {
        ready_node* const newest = inbox_.exchange(sealed_mark(), std::memory_order_acq_rel);
        if (is_node(newest)) append(newest);
    }
    [[nodiscard]] bool has_mail() const noexcept {
        return received_.first != nullptr || is_node(inbox_.load(std::memory_order_relaxed));
    }
    /// Announces that the loop is about to sleep. False when it must not: something arrived meanwhile.
    [[nodiscard]] bool prepare_sleep() noexcept {
        if (received_.first != nullptr) return false;
        ready_node* found = nullptr;
        // Release: whoever finds the mark (acquire, in both places) also finds the descriptor that was made before.
        inbox_.compare_exchange_strong(found, asleep_mark(), std::memory_order_release, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);  // wake()'s other half
        return !is_node(found);
    }
    /// The loop's thread goes elsewhere between two turns: from now on a push signals the descriptor, as what has arrived
    /// already does.
    void leave_asleep() noexcept {
        if (!prepare_sleep()) signal();
    }
    /// True when it was asleep.
    bool end_sleep() noexcept {
        ready_node* mark = asleep_mark();
        return inbox_.load(std::memory_order_relaxed) == mark &&
               inbox_.compare_exchange_strong(mark, nullptr, std::memory_order_acquire, std::memory_order_relaxed);
    }

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

    // No node lies there, and every copy of ferry in the process knows them, whoever's the loop is.
    static ready_node* sealed_mark() noexcept { return reinterpret_cast<ready_node*>(std::uintptr_t{1}); }
    static ready_node* asleep_mark() noexcept { return reinterpret_cast<ready_node*>(std::uintptr_t{2}); }
    static bool is_node(const ready_node* head) noexcept {
        return head != nullptr && head != asleep_mark() && head != sealed_mark();
    }
    /// From newest first to oldest first, behind what is still to be handed out.
    void append(ready_node* newest) noexcept {
        ready_node* oldest = nullptr;
        for (ready_node* node = newest; node != nullptr;) {
            ready_node* const older = node->next;
            node->next = std::exchange(oldest, node);
            node = older;
        }
        (received_.first == nullptr ? received_.first : received_.last->next) = oldest;
        received_.last = newest;
    }
    bool push_and_signal(ready_node& node) noexcept;
    void signal() noexcept {
        if (left_behind()) return;  // the descriptor is shared: it would wake the parent's loop
        const std::uint64_t one = 1;
        // It fails only when the counter is about to overflow, and then the descriptor is readable anyway.
        [[maybe_unused]] const auto written =
            ::write(wake_descriptor_.load(std::memory_order_acquire), &one, sizeof one);
    }

    event_loop* const loop_;
    const node_reference record_;
    const std::uint32_t generation_ = process::generation();
    std::atomic<std::uint32_t> references_{1};
    std::atomic<bool> closed_{false};
    std::atomic<int> wake_descriptor_{-1};
    // What others push to, and what the loop takes from on the way: a cache line each.
    alignas(64) std::atomic<ready_node*> inbox_{nullptr};  // newest first, or a mark
    alignas(64) ready_list received_;                      // the loop's
};

/// A counted reference to a loop_control.
class loop_reference {
public:
    loop_reference() noexcept = default;
    /// The block of a loop that is being made.
    [[nodiscard]] static loop_reference of_new_block(event_loop& loop, const wait_node& record) {
        loop_reference first;
        first.control_ = new loop_control(loop, record);
        return first;
    }
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

// ---- implementation ----------------------------------------------------------------------------------------------
[[gnu::noinline]] inline bool loop_control::push_and_signal(ready_node& node) noexcept {
    const loop_reference keep(*this);  // the descriptor is needed when the loop may have gone
    node.next = nullptr;
    ready_node* mark = asleep_mark();
    if (!inbox_.compare_exchange_strong(mark, &node, std::memory_order_acq_rel, std::memory_order_relaxed)) {
        return push(node);  // somebody else has woken it
    }
    signal();
    return true;
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
