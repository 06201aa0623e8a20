// ferry/core/task.hpp - the lazy coroutine that everything else is made of
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/foreign.hpp>
#include <ferry/core/frame_allocator.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/core/result.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
template <class T = void>
class task;

namespace detail {
template <class T>
class rooted_task;

/// What reports say of a frame: which function it is, and the line of its current co_await.
template <bool Records = records_for_reports>
class frame_record {
public:
    explicit frame_record(const std::source_location& function) noexcept : function_(function) {}
    [[nodiscard]] const char* name() const noexcept { return is_named_ != 0 ? given_name_ : function_.function_name(); }
    void set_name(const char* name) noexcept {
        is_named_ = name != nullptr ? 1 : 0;
        given_name_ = name;
    }
    [[nodiscard]] const char* file() const noexcept { return function_.file_name(); }
    /// Where it awaits, or last awaited; 0 before its first co_await.
    [[nodiscard]] std::uint32_t awaiting_line() const noexcept { return awaiting_line_; }
    void set_awaiting_line(int line) noexcept { awaiting_line_ = static_cast<std::uint32_t>(line); }

private:
    std::source_location function_;
    const char* given_name_;  // if is_named_: few are, and a frame's first stores are much of what it costs
    std::uint32_t awaiting_line_ = 0;
    std::uint16_t is_named_ = 0;
};
static_assert(sizeof(frame_record<true>) <= 24);
template <>
class frame_record<false> {
public:
    explicit frame_record(const std::source_location&) noexcept {}
    [[nodiscard]] static const char* name() noexcept { return ""; }
    static void set_name(const char*) noexcept {}
    [[nodiscard]] static const char* file() noexcept { return ""; }
    [[nodiscard]] static std::uint32_t awaiting_line() noexcept { return 0; }
    static void set_awaiting_line(int) noexcept {}
};

/// What every ferry frame carries: its logical task, whom it continues, and what reports say of it.
class promise_base : private frame_record<> {
public:
    explicit promise_base(const std::source_location& where) noexcept : frame_record(where) {}
    promise_base(const promise_base&) = delete;
    promise_base& operator=(const promise_base&) = delete;

    static void* operator new(std::size_t size) { return frame_allocator::allocate(size); }
    static void operator delete(void* frame, std::size_t size) noexcept { frame_allocator::deallocate(frame, size); }

    /// A child that ends while its parent is still inside await_suspend only says so: the parent goes on without having
    /// been suspended. Otherwise the parent goes to the run-next list, so the native stack never grows with the chain.
    class final_awaiter {
    public:
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) const noexcept {
            static_cast<promise_base&>(frame.promise()).end();
        }
        void await_resume() const noexcept {}
    };

    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    [[nodiscard]] final_awaiter final_suspend() const noexcept { return {}; }

    template <class Awaitable>
    [[nodiscard]] decltype(auto) await_transform(Awaitable&& value, int line = __builtin_LINE()) {
        static_assert(awaitable<Awaitable> || foreign_awaitable<Awaitable>, "this cannot be awaited");
        static_assert(!borrowing_awaitable<Awaitable> || !std::is_lvalue_reference_v<Awaitable>,
                      "this awaiter refers to its message, which may be gone by now: co_await it in the expression "
                      "that makes it, or make it with send.owned(message)");
        set_awaiting_line(line);
        if constexpr (awaitable<Awaitable>) {
            return std::forward<Awaitable>(value);
        } else {
            using awaiter = decltype(get_foreign_awaiter(std::forward<Awaitable>(value)));
            return foreign_awaiter<awaiter>(std::forward<Awaitable>(value));
        }
    }

    [[nodiscard]] logical_task& task() const noexcept { return *task_; }
    /// The frame that this one continues; null for the first of its chain.
    [[nodiscard]] const promise_base* parent() const noexcept {
        if (parent_frame_ == nullptr) return nullptr;
        return &std::coroutine_handle<promise_base>::from_address(parent_frame_).promise();
    }
    using frame_record::awaiting_line;
    using frame_record::file;
    using frame_record::name;
    using frame_record::set_name;

    /// Has it come to its end, or a generator to a value?
    [[nodiscard]] bool has_ended() const noexcept { return place_ == ended; }
    /// How many resumptions it lies beneath on the native stack, while it runs; 0 when the executor resumed it.
    [[nodiscard]] unsigned nesting() const noexcept { return place_ / one_deeper; }
    /// Begins or ends the time in which somebody else than an awaiting frame resumes it in place.
    void set_nesting(unsigned depth) noexcept { place_ = static_cast<std::uint16_t>(depth * one_deeper); }

    /// Makes this frame the first of a logical task.
    void begin_chain(logical_task& owner, std::coroutine_handle<> self) noexcept {
        task_ = &owner;
        parent_frame_ = nullptr;
        owner.begin_at(self, name());
    }

    /// Runs this frame as the next of the parent's chain. True when the parent has to wait for it.
    bool continue_chain(promise_base& parent, std::coroutine_handle<> parent_frame,
                        std::coroutine_handle<> self) noexcept {
        logical_task& owner = *parent.task_;
        task_ = &owner;
        parent_frame_ = parent_frame.address();
        const unsigned parents_place = parent.place_ & ~inside_await;
        if (parents_place >= deepest) [[unlikely]] {
            place_ = apart;
            owner.suspend_at(self);
            owner.owner().run_next(owner);
            return true;
        }
        place_ = static_cast<std::uint16_t>(parents_place + one_deeper + inside_await);
        self.resume();
        if (place_ == ended) [[likely]]
            return false;
        place_ = apart;
        return true;
    }

protected:
    /// This frame has no more to do for now (a generator's is continued once for each value): its parent goes on.
    void end() noexcept {
        if ((std::exchange(place_, std::uint16_t{ended}) & inside_await) != 0) [[likely]]
            return;
        if (parent_frame_ == nullptr) return task_->mark_finished();
        task_->suspend_at(std::coroutine_handle<>::from_address(parent_frame_));
        task_->owner().run_next(*task_);
    }

private:
    // Where it is: its nesting, with a mark while its parent's await_suspend runs it; or apart, suspended and on no stack;
    // or at its end. It fills the word that the line before it begins: one store begins both.
    static constexpr unsigned apart = 0;
    static constexpr unsigned inside_await = 1;
    static constexpr unsigned ended = 2;
    static constexpr unsigned one_deeper = 4;
    static constexpr unsigned deepest = (executor::max_depth - 1) * one_deeper;

    std::uint16_t place_ = apart;
    // These two are set when the frame starts, not before.
    logical_task* task_;
    void* parent_frame_;  // whose promise is a promise_base, too: see task_promise's assertion
};

/// Is it one of ferry's own coroutines, of which a reader of a report knows nothing?
[[nodiscard]] inline bool is_ferrys_own(const char* file) noexcept {
    constexpr std::string_view here = __FILE__;  // or the single header
    constexpr std::string_view in_folder = "core/task.hpp";
    constexpr std::string_view ours = here.ends_with(in_folder) ? here.substr(0, here.size() - in_folder.size()) : here;
    for (const char letter : ours) {
        if (*file++ != letter) return false;  // at its end at the latest
    }
    return true;
}

inline void logical_task::note_place(wait_node& in) const noexcept {
    if constexpr (records_for_reports) {
        const promise_base* frame =
            &std::coroutine_handle<promise_base>::from_address(resume_point_.address()).promise();
        while (frame != nullptr && is_ferrys_own(frame->file())) frame = frame->parent();
        in.set_line(frame == nullptr ? nullptr : frame->file(), frame == nullptr ? 0 : frame->awaiting_line());
    }
}
inline void logical_task::start_inside(unsigned nesting) noexcept {
    promise_base& root = std::coroutine_handle<promise_base>::from_address(resume_point_.address()).promise();
    root.set_nesting(nesting);
    {
        const executor::inner_resumption on_stack(*owner_, *this);
        resume_point_.resume();
    }
    if (finished_) return finished_function_(*this);
    root.set_nesting(0);
}
inline void logical_task::needs(const node_reference& whom, wait_node::flags how) noexcept {
    note_place(*record_);
    record_->wait_for(whom, how);
}

template <class T>
class task_promise : public promise_base {
    // A promise then lies at the same distance from its frame whatever its type: see promise_base::parent().
    static_assert(alignof(result<T>) <= 2 * sizeof(void*),
                  "frames have no room for over-aligned results: use a pointer");

public:
    using promise_base::promise_base;
    template <class U = T>
    requires std::is_constructible_v<T, U&&>
    void return_value(U&& value) { result_.set_value(std::forward<U>(value)); }
    void unhandled_exception() noexcept { result_.set_exception(std::current_exception()); }
    [[nodiscard]] result<T>& outcome() noexcept { return result_; }

private:
    result<T> result_;
};

template <>
class task_promise<void> : public promise_base {
public:
    using promise_base::promise_base;
    void return_void() noexcept { result_.set_value(); }
    void unhandled_exception() noexcept { result_.set_exception(std::current_exception()); }
    [[nodiscard]] result<void>& outcome() noexcept { return result_; }

private:
    result<void> result_;
};
}  // namespace detail

/// A coroutine that starts when it is awaited and hands its result, or its exception, to whoever awaits it.
///
///     ferry::task<int> rows(std::string table);       // calling it runs nothing
///     int n = co_await rows("users");                 // runs it, here
///
/// co_await of a task stays inside the awaiting logical task: no scheduling, no checkpoint, and the native stack does
/// not grow with the depth of the chain or the number of awaits.
///
/// Ownership      Move-only. Dropping a task that never started destroys it; a started one is owned by the coroutine
///                that awaits it, and is never destroyed while it is suspended.
/// Thread-safety  None before it starts; then it runs on its loop's thread only.
/// Cost           One recycled frame; no operator new in steady state.
template <class T>
class [[nodiscard]] task {
    static_assert(std::is_void_v<T> || std::is_reference_v<T> || std::is_move_constructible_v<T>,
                  "a task returns its value by moving it: return guards and permits directly from their primitive");

public:
    using native_awaitable = void;
    using value_type = T;

    class promise_type final : public detail::task_promise<T> {
    public:
        // The default argument is evaluated inside the coroutine, whose name it therefore carries.
        promise_type(std::source_location where = std::source_location::current()) noexcept
            : detail::task_promise<T>(where) {}
        task get_return_object() noexcept { return task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    };

    task(task&& other) noexcept : frame_(std::exchange(other.frame_, {})) {}
    task& operator=(task&& other) noexcept {
        if (this != &other) {
            destroy();
            frame_ = std::exchange(other.frame_, {});
        }
        return *this;
    }
    ~task() {
        if (frame_) frame_.destroy();
    }

    /// The name it has in reports; a literal, or text that outlives the task. The default is its function's name.
    task&& named(const char* name) && noexcept {
        frame_.promise().set_name(name);
        return std::move(*this);
    }

    [[nodiscard]] const char* name() const noexcept { return frame_.promise().name(); }
    /// False after it was moved from.
    [[nodiscard]] bool valid() const noexcept { return static_cast<bool>(frame_); }

    class awaiter {
    public:
        explicit awaiter(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        template <class Promise>
        bool await_suspend(std::coroutine_handle<Promise> parent) const noexcept {
            static_assert(detail::ferry_promise<Promise>, "a task can be awaited only in a ferry coroutine (task<T>)");
            FERRY_ASSERT(!frame_.promise().has_ended(), "co_await of a task that was awaited before");
            return frame_.promise().continue_chain(parent.promise(), parent, frame_);
        }
        T await_resume() const { return frame_.promise().outcome().take(); }
        /// For ferry: how it ended, once it has.
        [[nodiscard]] detail::result<T>& outcome() const noexcept { return frame_.promise().outcome(); }

    private:
        std::coroutine_handle<promise_type> frame_;
    };

    awaiter operator co_await() && noexcept {
        FERRY_ASSERT(frame_, "co_await of a task that was moved from");
        return awaiter(frame_);
    }

private:
    friend class detail::rooted_task<T>;
    explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
    void destroy() noexcept {
        if (frame_) std::exchange(frame_, {}).destroy();
    }

    std::coroutine_handle<promise_type> frame_;
};
}  // namespace ferry::inline FERRY_ABI
