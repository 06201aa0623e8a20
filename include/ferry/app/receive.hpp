// ferry/app/receive.hpp - the incoming side of a connection, as an application sees it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/message.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>

#include <utility>

namespace ferry::inline FERRY_ABI::app {
class receive;

/// Where messages come from: a server's connection, a test. It wakes the one task that waits in receive().
///
/// Thread-safety  None: its loop's thread.
class message_source {
public:
    /// Would take() have a message now?
    [[nodiscard]] virtual bool has_message() const noexcept = 0;
    [[nodiscard]] virtual message take() = 0;

protected:
    ~message_source() { FERRY_ASSERT(waiting_ == nullptr, "a connection ended while a task waits in receive()"); }
    /// Called by the source when there is a message.
    void notify() noexcept;
    /// Does a task wait in receive()?
    [[nodiscard]] bool is_waited_for() const noexcept { return waiting_ != nullptr; }

private:
    friend class receive;
    void* waiting_ = nullptr;  // a receive::awaiter
};

/// A handle to the incoming side: `app::message m = co_await receive();`
///
/// Two words, copied freely, valid while the application's call runs, on its loop: as app::send. One task waits at a time
/// (asserted).
class receive {
public:
    using lives_as_long_as_its_call = void;
    class awaiter;

    explicit receive(message_source& source) noexcept : object_(&source), table_(&source_table) {}
    /// The next message. A checkpoint; cancelling it loses no message.
    [[nodiscard]] awaiter operator()() const noexcept;

    // For middleware: see receive_filter.
    struct table {
        message_source& (*source)(void* object) noexcept;
        void (*received)(void* object,
                         message& what);  // outermost last: each layer sees what the ones below made of it
    };
    receive(void* object, const table& how) noexcept : object_(object), table_(&how) {}
    [[nodiscard]] message_source& source() const noexcept { return table_->source(object_); }
    void received(message& what) const {
        if (table_->received != nullptr) table_->received(object_, what);
    }

private:
    static message_source& same(void* object) noexcept { return *static_cast<message_source*>(object); }
    static constexpr table source_table{&same, nullptr};

    void* object_;
    const table* table_;
};

/// Base of a middleware's view of what comes in: Derived offers `void received(message&)`, and may change it.
template <class Derived>
class receive_filter {
public:
    explicit receive_filter(receive next) noexcept : next_(next) {}
    [[nodiscard]] receive handle() noexcept { return receive(static_cast<Derived*>(this), filter_table); }

private:
    static message_source& source(void* object) noexcept { return static_cast<Derived*>(object)->next_.source(); }
    static void on_received(void* object, message& what) {
        Derived& self = *static_cast<Derived*>(object);
        self.next_.received(what);
        self.received(what);
    }
    static constexpr receive::table filter_table{&source, &on_received};

    receive next_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
class receive::awaiter : public detail::leaf_awaiter<awaiter> {
public:
    using lives_as_long_as_its_call = void;
    static constexpr const char* what = "receive";
    explicit awaiter(const receive& handle) noexcept : handle_(handle) {}
    bool try_complete() noexcept { return handle_.source().has_message(); }
    void link() noexcept {
        FERRY_ASSERT(handle_.source().waiting_ == nullptr, "two tasks wait in receive() of one connection");
        handle_.source().waiting_ = this;
    }
    static void withdraw(detail::waiter& self) noexcept {
        static_cast<awaiter&>(self).handle_.source().waiting_ = nullptr;
        self.task().wake_interrupted();
    }
    message finish() {
        message next = handle_.source().take();
        handle_.received(next);
        return next;
    }

private:
    receive handle_;
};
static_assert(sizeof(receive::awaiter) <= 48);

inline receive::awaiter receive::operator()() const noexcept { return awaiter(*this); }

inline void message_source::notify() noexcept {
    if (waiting_ == nullptr || !has_message()) return;
    static_cast<receive::awaiter*>(std::exchange(waiting_, nullptr))->retry();
}
}  // namespace ferry::inline FERRY_ABI::app
