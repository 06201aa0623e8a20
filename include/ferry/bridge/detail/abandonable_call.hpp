// ferry/bridge/detail/abandonable_call.hpp - a blocking call that may be left behind
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/destination.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/context.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/home.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/result.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/loop_control.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Can a value of that type refer to the frame that it was made in, and say so?
template <class T>
inline constexpr bool is_reference_wrapper = requires(T value) {
    typename T::type;
    { value.get() } -> std::same_as<typename T::type&>;
    value.operator typename T::type &();
};

/// The call itself, in a block that the awaiter and the thread that runs it share.
///
/// One word says who has it: nobody yet, the result is there, or the task has gone. The thread changes it to `ended` when
/// it has stored the outcome, the loop to `abandoned` when the task is cancelled; whoever comes first decides, for good:
/// either the thread wakes the task, or it drops the outcome. A call that is left behind has no loop any more, so that block_on in
/// it goes elsewhere.
template <class Fn, class... Args>
class abandonable_block final : public call {
public:
    using result_type = std::remove_cv_t<std::invoke_result_t<Fn, Args...>>;

    template <class F, class... A>
    explicit abandonable_block(destination where, F&& fn, A&&... args)
        : call(wait_node::cancellable), where_(where), fn_(std::forward<F>(fn)), args_(std::forward<A>(args)...) {}
    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { frame_allocator::deallocate(block, size); }

    // The awaiter's.
    /// Null when it is on its way.
    [[nodiscard]] std::exception_ptr submit(logical_task& waiting, event_loop& from) noexcept {
        this->is_awaited_by(waiting);
        loop_ = loop_reference(from.control());
        made_at_ = waiting.home();
        node_ = &waiting;
        context_ = waiting.context();
        name = waiting.name();
        retain();
        const std::exception_ptr refused = where_.submit(*this);
        if (refused != nullptr) release();
        return refused;
    }
    /// True when it was still queued and will not run.
    [[nodiscard]] bool withdraw() noexcept {
        if (!where_.withdraw(*this)) return false;
        release();
        return true;
    }
    /// False when the result is on its way.
    [[nodiscard]] bool abandon() noexcept {
        this->has_been_abandoned();
        stop_.request();
        state before = state::awaited;
        return state_.compare_exchange_strong(before, state::abandoned, std::memory_order_acq_rel);
    }
    [[nodiscard]] ferry::context& context() noexcept { return context_; }
    result_type take() { return outcome_.take(); }
    void release() noexcept {
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

private:
    enum class state : unsigned char { awaited, ended, abandoned };

    void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void run() noexcept override {
        outcome_.set_from([this]() -> result_type {
            const lent_context from_task(context_);
            return std::apply(std::move(fn_), std::move(args_));
        });
    }
    void fail(std::exception_ptr error) noexcept override { outcome_.set_exception(std::move(error)); }
    void deliver() noexcept override {
        this->is_over();
        where_.has_ended();
        state before = state::awaited;
        if (state_.compare_exchange_strong(before, state::ended,
                                           std::memory_order_acq_rel)) {  // else it stays abandoned
            [[maybe_unused]] const bool taken =
                loop_->push(*node_);  // a loop is not sealed before its tasks have ended
        }
        release();
    }
    [[nodiscard]] loop_reference loop() const noexcept override {
        return state_.load(std::memory_order_acquire) == state::abandoned ? loop_reference() : loop_;
    }
    [[nodiscard]] home* made_at() const noexcept override { return made_at_.get(); }
    [[nodiscard]] call_stop& stop() noexcept override { return stop_; }

    destination where_;
    loop_reference loop_;
    home_reference made_at_;
    ready_node* node_ = nullptr;
    ferry::context context_;
    call_stop stop_;
    std::atomic<state> state_{state::awaited};
    std::atomic<std::uint32_t> references_{1};
    // The user's, and destroyed first: their destructors may block, too, and are still in this call then.
    result<result_type> outcome_;
    Fn fn_;
    std::tuple<Args...> args_;
};

template <class Fn, class... Args>
class [[nodiscard]] abandonable_call : public leaf_awaiter<abandonable_call<Fn, Args...>> {
public:
    using block = abandonable_block<Fn, Args...>;
    static_assert(!awaitable<typename block::result_type>,
                  "this function is a coroutine: co_await it, it needs no thread");
    static_assert(
        !is_reference_wrapper<Fn> && !(is_reference_wrapper<Args> || ...),
        "a call that may be left behind must not refer to the frame that made it: pass a copy, a shared_ptr, or "
        "leave out `abandonable`");
    static_assert(!(handle_of_a_call<Fn> || ... || handle_of_a_call<Args>),
                  "app::send and app::receive belong to their loop's thread: return from this call what is to be sent");
    static constexpr const char* what = "to_thread(abandonable)";

    template <class F, class... A>
    explicit abandonable_call(destination where, F&& fn, A&&... args)
        : block_(new block(where, std::forward<F>(fn), std::forward<A>(args)...)) {}
    // Awaitables are moved into when_all, timeout and spawn before they begin.
    abandonable_call(abandonable_call&& other) noexcept
        : leaf_awaiter<abandonable_call>(other), block_(std::exchange(other.block_, nullptr)) {}
    ~abandonable_call() {
        if (block_ != nullptr) block_->release();
    }

    static constexpr bool may_close_a_circle = true;
    bool try_complete() noexcept { return false; }
    void link() noexcept {
        event_loop& loop = event_loop::of(this->task());
        loop.begin_outside_work();
        refused_ = block_->submit(this->task(), loop);
        if (refused_ != nullptr) this->task().wake();
    }
    static void withdraw(waiter& self) noexcept {
        abandonable_call& made = static_cast<abandonable_call&>(self);
        if (!made.block_->withdraw() && !made.block_->abandon()) return;
        event_loop::of(made.task()).end_outside_work();
        made.task().wake_interrupted();
    }
    auto finish() -> typename block::result_type {
        event_loop::of(this->task()).end_outside_work();
        if (refused_ != nullptr) std::rethrow_exception(refused_);
        this->task().context() = std::move(block_->context());
        return block_->take();
    }

private:
    block* block_;
    std::exception_ptr refused_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
