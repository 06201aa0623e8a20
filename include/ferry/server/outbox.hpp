// ferry/server/outbox.hpp - octets on their way to a client: one syscall for each turn
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/send.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/socket.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include <sys/ioctl.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// What send() throws once nobody can hear it. An application that lets it pass has not failed.
class client_gone final : public disconnected {
public:
    using disconnected::disconnected;
};

/// The output of one connection. Protocols append to buffer() and call touch(); all that one turn of the loop produced
/// is written at its end, together. What the kernel does not take is written by a task that exists only as long as
/// needed.
class outbox : private turn_end_node {
public:
    outbox(event_loop& loop, net::socket& socket, task_group& tasks, std::size_t high_water_mark) noexcept
        : loop_(loop), socket_(socket), tasks_(tasks), high_water_mark_(high_water_mark) {
        run = &at_turn_end;
    }
    ~outbox() { loop_.forget_turn_end(*this); }
    outbox(const outbox&) = delete;
    outbox& operator=(const outbox&) = delete;

    /// To append to. Empty once all of it has been written.
    [[nodiscard]] std::string& buffer() noexcept { return buffer_; }
    [[nodiscard]] std::size_t unwritten_bytes() const noexcept { return buffer_.size() - written_bytes_; }
    /// What the client's side has taken in all, as far as the kernel knows: it grows while a slow client reads, although
    /// the kernel's own buffer has no room for more yet.
    [[nodiscard]] std::uint64_t taken_bytes() const noexcept {
        int in_kernel = 0;
        if (::ioctl(socket_.descriptor(), TIOCOUTQ, &in_kernel) != 0) in_kernel = 0;
        return sent_bytes_ - static_cast<std::uint64_t>(in_kernel);
    }
    /// What there was to take so far.
    [[nodiscard]] std::uint64_t offered_bytes() const noexcept { return sent_bytes_ + unwritten_bytes(); }
    /// Something was appended.
    void touch() {
        if (broken_) buffer_.clear();
        if (!drains_) loop_.at_turn_end(*this);
        update_mark();
    }
    /// The client is gone: what was and will be appended goes nowhere.
    [[nodiscard]] bool broken() const noexcept { return broken_; }
    void set_broken() noexcept {
        broken_ = true;
        written();
    }
    /// Who hears of the high-water mark, and is told when everything has been written.
    class observer {
    public:
        virtual void above_mark(bool above) noexcept = 0;
        virtual void all_written() noexcept = 0;

    protected:
        ~observer() = default;
    };
    void observe(observer* who) noexcept {
        observer_ = who;
        above_ = false;
        update_mark();
    }

    /// Waits until everything has been written. False if the client is gone, or took nothing for as long as `patience`.
    /// A checkpoint; one task at a time.
    [[nodiscard]] task<bool> drained(std::chrono::seconds patience);

private:
    class drained_awaiter;

    static void at_turn_end(ready_node& node) noexcept {
        outbox& self = static_cast<outbox&>(static_cast<turn_end_node&>(node));
        if (self.drains_) return;
        self.write_some();
        if (self.buffer_.empty()) return;
        self.drains_ = true;
        self.tasks_.start(self.drain());
    }
    task<> drain() {
        while (!buffer_.empty()) {
            co_await socket_.writable();
            write_some();
        }
        drains_ = false;
    }
    void write_some() noexcept {
        try {
            const std::size_t sent = broken_ ? 0 : socket_.send_some(std::string_view(buffer_).substr(written_bytes_));
            written_bytes_ += sent;
            sent_bytes_ += sent;
        } catch (const std::exception&) {  // reset by the peer, or a network that fails: there is nobody to write to
            broken_ = true;
        }
        if (broken_ || unwritten_bytes() == 0) return written();
        if (written_bytes_ > buffer_.size() / 2) buffer_.erase(0, std::exchange(written_bytes_, 0));
        update_mark();
    }
    void written() noexcept;
    void update_mark() noexcept {
        // Once above, sending goes on at half the mark: no wake-up for each octet the kernel takes.
        const bool above = unwritten_bytes() > (above_ ? high_water_mark_ / 2 : high_water_mark_);
        if (std::exchange(above_, above) != above && observer_ != nullptr) observer_->above_mark(above);
    }

    event_loop& loop_;
    net::socket& socket_;
    task_group& tasks_;
    std::size_t high_water_mark_;
    std::string buffer_;
    std::uint64_t sent_bytes_ = 0;   // in all
    std::size_t written_bytes_ = 0;  // of the buffer: dropped when they are most of it
    observer* observer_ = nullptr;
    drained_awaiter* waiting_ = nullptr;
    bool above_ = false;
    bool drains_ = false;
    bool broken_ = false;
};

class outbox::drained_awaiter : public leaf_awaiter<drained_awaiter> {
public:
    static constexpr const char* what = "connection output";
    explicit drained_awaiter(outbox& owner) noexcept : owner_(owner) {}
    bool try_complete() noexcept { return owner_.broken_ || owner_.buffer_.empty(); }
    void link() noexcept { owner_.waiting_ = this; }
    static void withdraw(waiter& self) noexcept {
        static_cast<drained_awaiter&>(self).owner_.waiting_ = nullptr;
        self.task().wake_interrupted();
    }
    void finish() noexcept {}

private:
    outbox& owner_;
};

inline task<bool> outbox::drained(std::chrono::seconds patience) {
    for (;;) {
        const std::uint64_t before = taken_bytes();
        try {
            co_await timeout(patience, drained_awaiter(*this));
            co_return !broken_;
        } catch (const timeout_error&) {
            if (taken_bytes() <= before) co_return false;
        }
    }
}

inline void outbox::written() noexcept {
    buffer_.clear();
    written_bytes_ = 0;
    if (buffer_.capacity() > high_water_mark_) std::string().swap(buffer_);  // an idle connection holds no big buffer
    update_mark();
    if (observer_ != nullptr) observer_->all_written();
    if (waiting_ != nullptr) std::exchange(waiting_, nullptr)->retry();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
