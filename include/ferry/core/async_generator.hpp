// ferry/core/async_generator.hpp - a coroutine that yields values and may await in between
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <source_location>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
/// Yields values one by one, on demand:
///
///     ferry::async_generator<row> rows(connection& db) {
///         while (auto next = co_await db.fetch()) co_yield *next;
///     }
///
///     auto all = rows(db);
///     while (row* each = co_await all.next()) use(*each);
///
/// It runs inside the task that awaits next(), between two values it does nothing. A cancellation reaches it where it
/// awaits; the exception that it ends in comes out of next(), and after its end next() yields null.
///
/// Ownership      Owns the coroutine. Dropped between two values, it is destroyed there, with all its locals. The value
///                that next() points to lives until the next call of next().
/// Thread-safety  None. It may be moved to another task between two values, on the same loop.
/// Errors         next() while another next() runs, and dropping it meanwhile, are bugs (asserted).
/// Cost           One recycled frame; no allocation for a value, and no suspension where it does not await.
template <class T>
class [[nodiscard]] async_generator {
    using value = std::remove_reference_t<T>;

public:
    class promise_type final : public detail::promise_base {
    public:
        promise_type(std::source_location where = std::source_location::current()) noexcept : promise_base(where) {}
        async_generator get_return_object() noexcept {
            return async_generator(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        /// The value stays where it is, in the generator's frame, while the consumer looks at it.
        class yield_awaiter {
        public:
            explicit yield_awaiter(promise_type& promise) noexcept : promise_(promise) {}
            [[nodiscard]] bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<>) const noexcept {
                promise_.running_ = false;
                promise_.end();
            }
            void await_resume() const noexcept {}

        protected:
            [[nodiscard]] promise_type& promise() const noexcept { return promise_; }

        private:
            promise_type& promise_;
        };
        class copy_awaiter : public yield_awaiter {
        public:
            copy_awaiter(promise_type& promise, const value& from) : yield_awaiter(promise), copy_(from) {}
            // Only here, since compilers move awaiters to the frame before they suspend.
            void await_suspend(std::coroutine_handle<> frame) noexcept {
                this->promise().current_ = std::addressof(copy_);
                yield_awaiter::await_suspend(frame);
            }

        private:
            std::remove_const_t<value> copy_;
        };
        yield_awaiter yield_value(value& item) noexcept requires(std::is_reference_v<T> || std::is_const_v<value>) {
            current_ = std::addressof(item);
            return yield_awaiter(*this);
        }
        yield_awaiter yield_value(value&& item) noexcept {
            current_ = std::addressof(item);
            return yield_awaiter(*this);
        }
        /// The consumer may change what it gets, so it gets a copy of its own.
        copy_awaiter yield_value(const value& item) requires(!std::is_reference_v<T> && !std::is_const_v<value>) {
            return copy_awaiter(*this, item);
        }

        void return_void() noexcept { finish(); }
        void unhandled_exception() noexcept {
            error_ = std::current_exception();
            finish();
        }

    private:
        friend class async_generator;
        void finish() noexcept {
            current_ = nullptr;
            running_ = false;
            done_ = true;
        }
        bool go_on(detail::promise_base& parent, std::coroutine_handle<> parent_frame,
                   std::coroutine_handle<> self) noexcept {
            FERRY_ASSERT(!running_, "next() of an async_generator while another next() waits");
            running_ = true;
            return continue_chain(parent, parent_frame, self);
        }

        value* current_ = nullptr;
        std::exception_ptr error_;
        bool running_ = false;
        bool done_ = false;
    };

    async_generator(async_generator&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
    async_generator& operator=(async_generator&& other) noexcept {
        std::swap(frame_, other.frame_);
        return *this;
    }
    ~async_generator() {
        if (!frame_) return;
        FERRY_ASSERT(!frame_.promise().running_, "an async_generator was dropped while a next() waits");
        frame_.destroy();
    }

    /// The name it has in reports; a literal, or text that outlives it.
    async_generator&& named(const char* name) && noexcept {
        frame_.promise().set_name(name);
        return std::move(*this);
    }

    class [[nodiscard]] next_awaiter {
    public:
        using native_awaitable = void;
        explicit next_awaiter(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
        [[nodiscard]] bool await_ready() const noexcept { return frame_.promise().done_; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> parent) const noexcept {
            static_assert(detail::ferry_promise<Promise>, "a generator can be awaited only in a ferry coroutine");
            return frame_.promise().go_on(parent.promise(), parent, frame_);
        }
        value* await_resume() const {
            if (frame_.promise().error_ != nullptr) {
                std::rethrow_exception(std::exchange(frame_.promise().error_, nullptr));
            }
            return frame_.promise().current_;
        }

    private:
        std::coroutine_handle<promise_type> frame_;
    };
    /// Runs it to its next value; null after its end.
    next_awaiter next() noexcept {
        FERRY_ASSERT(frame_, "next() of an async_generator that was moved from");
        return next_awaiter(frame_);
    }

private:
    explicit async_generator(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};
}  // namespace ferry::inline FERRY_ABI
