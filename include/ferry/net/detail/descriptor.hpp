// ferry/net/detail/descriptor.hpp - a descriptor that a loop watches, and the tasks that wait for it
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/poller.hpp>
#include <ferry/net/address.hpp>

#include <cerrno>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

namespace ferry::inline FERRY_ABI::net::detail {
/// Owns a descriptor; -1 is none.
class unique_descriptor {
public:
    explicit unique_descriptor(int descriptor = -1) noexcept : descriptor_(descriptor) {}
    ~unique_descriptor() { reset(); }
    unique_descriptor(const unique_descriptor&) = delete;
    unique_descriptor& operator=(const unique_descriptor&) = delete;

    [[nodiscard]] int get() const noexcept { return descriptor_; }
    [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }
    void reset(int descriptor = -1) noexcept {
        if (descriptor_ >= 0) ::close(descriptor_);
        descriptor_ = descriptor;
    }

private:
    int descriptor_;
};

/// The task that waits for one direction of a descriptor, if any.
class wait_slot {
public:
    [[nodiscard]] bool empty() const noexcept { return waiting_ == nullptr; }
    template <class Awaiter>
    void enter(Awaiter& leaf) noexcept {
        FERRY_ASSERT(waiting_ == nullptr, "two tasks wait for the same direction of one descriptor");
        waiting_ = &leaf;
        retry_ = [](ferry::detail::waiter& self) noexcept { static_cast<Awaiter&>(self).retry(); };
    }
    void leave() noexcept { waiting_ = nullptr; }
    void wake() noexcept {
        if (ferry::detail::waiter* const leaf = std::exchange(waiting_, nullptr)) retry_(*leaf);
    }

private:
    ferry::detail::waiter* waiting_ = nullptr;
    void (*retry_)(ferry::detail::waiter& self) noexcept = nullptr;
};

/// A non-blocking descriptor, registered with its loop from construction to close().
///
/// The poller may report changes only, so an awaiter tries its syscall first and waits only after EAGAIN; a wake-up
/// makes it try again.
///
/// Ownership      Owns the descriptor, also when the constructor throws. The loop outlives it.
/// Thread-safety  None: its loop's thread.
/// Errors         std::system_error when the loop's poller refuses it. Closing it while a task waits is asserted.
class watched_descriptor : private io_watch {
public:
    watched_descriptor(event_loop& loop, int descriptor) : io_watch(descriptor), loop_(loop), descriptor_(descriptor) {
        loop_.watch(*this);
    }
    ~watched_descriptor() { close(); }
    watched_descriptor(const watched_descriptor&) = delete;
    watched_descriptor& operator=(const watched_descriptor&) = delete;

    [[nodiscard]] event_loop& loop() const noexcept { return loop_; }
    /// -1 once closed.
    [[nodiscard]] int get() const noexcept { return descriptor_.get(); }
    [[nodiscard]] wait_slot& reader() noexcept { return reader_; }
    [[nodiscard]] wait_slot& writer() noexcept { return writer_; }

    void close() noexcept {
        FERRY_ASSERT(reader_.empty() && writer_.empty(), "a descriptor was closed while a task waits for it");
        if (get() < 0) return;
        loop_.unwatch(*this);
        descriptor_.reset();
    }

private:
    void on_ready(bool readable, bool writable) noexcept final {
        if (readable) reader_.wake();
        if (writable) writer_.wake();
    }
    [[nodiscard]] bool wants_readable() const noexcept final { return !reader_.empty(); }
    [[nodiscard]] bool wants_writable() const noexcept final { return !writer_.empty(); }

    event_loop& loop_;
    unique_descriptor descriptor_;
    wait_slot reader_;
    wait_slot writer_;
};

/// Base of the awaiters that wait in a slot; Derived adds try_complete(), finish() and `what`.
template <class Derived>
class slot_awaiter : public ferry::detail::leaf_awaiter<Derived> {
public:
    explicit slot_awaiter(wait_slot& slot) noexcept : slot_(slot) {}
    void link() noexcept { slot_.enter(static_cast<Derived&>(*this)); }
    static void withdraw(ferry::detail::waiter& self) noexcept {
        static_cast<Derived&>(self).slot_.leave();
        self.task().wake_interrupted();
    }

private:
    wait_slot& slot_;
};

[[nodiscard]] inline address local_address(int descriptor) {
    ::sockaddr_storage storage;
    ::socklen_t size = sizeof storage;
    ::sockaddr* const native = reinterpret_cast<::sockaddr*>(&storage);
    if (::getsockname(descriptor, native, &size) != 0) {
        throw std::system_error(errno, std::system_category(), "ferry: getsockname");
    }
    return address::from_native(native, size);
}
}  // namespace ferry::inline FERRY_ABI::net::detail
