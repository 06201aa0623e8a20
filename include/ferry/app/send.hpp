// ferry/app/send.hpp - the outgoing side of a connection, as an application sees it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/message.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>

#include <concepts>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI::app {
/// The messages that can be sent.
template <class T>
concept sendable =
    std::same_as<T, http_response_start> || std::same_as<T, http_response_body> || std::same_as<T, websocket_accept> ||
    std::same_as<T, websocket_send> || std::same_as<T, websocket_close> || std::same_as<T, custom_message>;

/// Where messages go: a server's connection, a test.
///
/// deliver() takes a message at once and never waits; it throws `disconnected` when the peer is gone and
/// std::logic_error for a message out of order. Whether the next one should wait is what above_high_water_mark() says:
/// send() asks first.
///
/// Thread-safety  None: its loop's thread.
class message_sink {
public:
    virtual void deliver(http_response_start& what) = 0;
    virtual void deliver(http_response_body& what) = 0;
    virtual void deliver(websocket_accept& what) = 0;
    virtual void deliver(websocket_send& what) = 0;
    virtual void deliver(websocket_close& what) = 0;
    virtual void deliver(custom_message& what) = 0;

    [[nodiscard]] bool above_high_water_mark() const noexcept { return above_; }

protected:
    ~message_sink() { FERRY_ASSERT(waiting_.empty(), "a connection ended while a task waits in send()"); }
    /// Called by the sink when its output grows beyond its limit, has shrunk again, or will never be written.
    void set_above_high_water_mark(bool above) noexcept;

private:
    friend class send;
    bool above_ = false;
    detail::intrusive_list<detail::waiter> waiting_;
};

/// How each message is delivered to an object: what a send handle points to beside it.
class send_table {
public:
    template <class T>
    using deliver_function = void (*)(void* object, T& what);
    constexpr send_table(message_sink& (*where)(void*) noexcept, deliver_function<http_response_start> start,
                         deliver_function<http_response_body> body, deliver_function<websocket_accept> accept,
                         deliver_function<websocket_send> data, deliver_function<websocket_close> close,
                         deliver_function<custom_message> custom) noexcept
        : sink(where), start_(start), body_(body), accept_(accept), data_(data), close_(close), custom_(custom) {}
    template <sendable T>
    [[nodiscard]] constexpr deliver_function<T> entry() const noexcept {
        if constexpr (std::same_as<T, http_response_start>) return start_;
        if constexpr (std::same_as<T, http_response_body>) return body_;
        if constexpr (std::same_as<T, websocket_accept>) return accept_;
        if constexpr (std::same_as<T, websocket_send>) return data_;
        if constexpr (std::same_as<T, websocket_close>) return close_;
        if constexpr (std::same_as<T, custom_message>) return custom_;
    }
    message_sink& (*sink)(void* object) noexcept;

private:
    deliver_function<http_response_start> start_;
    deliver_function<http_response_body> body_;
    deliver_function<websocket_accept> accept_;
    deliver_function<websocket_send> data_;
    deliver_function<websocket_close> close_;
    deliver_function<custom_message> custom_;
};

/// A handle to the outgoing side: `co_await send(app::http_response_start(200));`
///
/// Sending waits while the connection's output is above its high-water mark, and completes at once below it; the
/// message has then been taken, not yet written. No coroutine and no allocation for each message, however many layers
/// it passes.
///
/// Two words, copied freely, valid while the application's call runs, on its loop. Children of a group in it may hold
/// one; spawn, on, to_thread and sync_to_async refuse it, unless it hides in a lambda or a task: then that is for you to
/// see to.
class send {
public:
    using lives_as_long_as_its_call = void;
    template <sendable T>
    class awaiter;
    template <sendable T>
    class owning_awaiter;

    explicit send(message_sink& sink) noexcept : object_(&sink), table_(&sink_table) {}

    /// Sends the message; what it holds is moved away. A checkpoint. The awaiter refers to the message and to this
    /// handle and is awaited in the same expression: kept in a variable, it is refused.
    template <class T>
    requires sendable<std::remove_cvref_t<T>>
    [[nodiscard]] awaiter<std::remove_cvref_t<T>> operator()(T&& what) const noexcept {
        return awaiter<std::remove_cvref_t<T>>(*this, what);
    }
    /// The same with a message of the awaiter's own, which may be kept and awaited later.
    template <sendable T>
    [[nodiscard]] owning_awaiter<T> owned(T what) const {
        return owning_awaiter<T>(*this, std::move(what));
    }
    /// Sends it now, or returns false, and the message is untouched, above the high-water mark.
    template <sendable T>
    [[nodiscard]] bool try_send(T& what) const {
        if (sink().above_high_water_mark()) return false;
        deliver(what);
        return true;
    }
    /// Passes it on at once, whatever the mark says: what a filter does with a message that was let through.
    template <sendable T>
    void deliver(T& what) const {
        table_->template entry<T>()(object_, what);
    }

    // For middleware: see send_filter.
    using table = send_table;
    send(void* object, const table& how) noexcept : object_(object), table_(&how) {}
    [[nodiscard]] message_sink& sink() const noexcept { return table_->sink(object_); }

private:
    static message_sink& same(void* object) noexcept { return *static_cast<message_sink*>(object); }
    template <class T>
    static void to_sink(void* object, T& what) {
        static_cast<message_sink*>(object)->deliver(what);
    }
    static constexpr send_table sink_table{&same,
                                           &to_sink<http_response_start>,
                                           &to_sink<http_response_body>,
                                           &to_sink<websocket_accept>,
                                           &to_sink<websocket_send>,
                                           &to_sink<websocket_close>,
                                           &to_sink<custom_message>};

    void* object_;
    const table* table_;
};

/// Base of a middleware's view of what goes out. Derived overrides only what it watches:
///
///     class status_watch : public app::send_filter<status_watch> {
///     public:
///         using send_filter::send_filter;
///         void deliver(app::http_response_start& start) { status = start.status(); next().deliver(start); }
///         int status = 0;
///     };
///
/// An override sees each message once, when it is let through, and passes it on with next().deliver(message), changed
/// in place or replaced; or drops it by not doing so.
template <class Derived>
class send_filter {
public:
    explicit send_filter(send next) noexcept : next_(next) {}
    [[nodiscard]] send handle() noexcept { return send(static_cast<Derived*>(this), filter_table()); }
    [[nodiscard]] const send& next() const noexcept { return next_; }

private:
    static message_sink& sink(void* object) noexcept { return static_cast<Derived*>(object)->next_.sink(); }
    template <class T>
    static void pass(void* object, T& what) {
        Derived& self = *static_cast<Derived*>(object);
        if constexpr (requires { self.deliver(what); }) {
            self.deliver(what);
        } else {
            self.next_.deliver(what);
        }
    }
    static const send::table& filter_table() noexcept {
        static constexpr send::table made{&sink,
                                          &pass<http_response_start>,
                                          &pass<http_response_body>,
                                          &pass<websocket_accept>,
                                          &pass<websocket_send>,
                                          &pass<websocket_close>,
                                          &pass<custom_message>};
        return made;
    }

    send next_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
template <sendable T>
class [[nodiscard]] send::awaiter : public detail::leaf_awaiter<awaiter<T>> {
public:
    using borrows_its_argument = void;
    using lives_as_long_as_its_call = void;
    static constexpr const char* what = "send";
    awaiter(const send& handle, T& sent) noexcept : handle_(handle), message_(sent) {}
    bool try_complete() noexcept { return !handle_.sink().above_high_water_mark(); }
    void link() noexcept { handle_.sink().waiting_.push_back(*this); }
    static void withdraw(detail::waiter& self) noexcept {
        static_cast<awaiter&>(self).handle_.sink().waiting_.erase(self);
        self.task().wake_interrupted();
    }
    void finish() { handle_.deliver(message_); }

private:
    friend class message_sink;
    const send& handle_;
    T& message_;
};
static_assert(sizeof(send::awaiter<http_response_start>) <= 48);

template <sendable T>
class [[nodiscard]] send::owning_awaiter : public detail::leaf_awaiter<owning_awaiter<T>> {
public:
    using lives_as_long_as_its_call = void;
    static constexpr const char* what = "send";
    owning_awaiter(const send& handle, T sent) : handle_(handle), message_(std::move(sent)) {}
    bool try_complete() noexcept { return !handle_.sink().above_high_water_mark(); }
    void link() noexcept { handle_.sink().waiting_.push_back(*this); }
    static void withdraw(detail::waiter& self) noexcept {
        static_cast<owning_awaiter&>(self).handle_.sink().waiting_.erase(self);
        self.task().wake_interrupted();
    }
    void finish() { handle_.deliver(message_); }

private:
    send handle_;
    T message_;
};

/// The mark is a threshold, not a budget: everyone who waited is let through when the output has shrunk.
inline void message_sink::set_above_high_water_mark(bool above) noexcept {
    above_ = above;
    if (above) return;
    while (detail::waiter* waiting = waiting_.pop_front()) waiting->task().wake();
}
}  // namespace ferry::inline FERRY_ABI::app
