// ferry/server/inbox.hpp - messages on their way to an application, bounded
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/message.hpp>
#include <ferry/app/receive.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <variant>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Between the task that reads a connection and the application. When it is full the reader waits, so the peer's TCP
/// window closes. After the end, receive() yields the last message again and again.
class inbox final : public app::message_source {
public:
    /// It is full from either on; neither is 0.
    inbox(std::size_t max_messages, std::size_t max_bytes) noexcept
        : max_messages_(max_messages), max_bytes_(max_bytes) {}

    [[nodiscard]] bool has_message() const noexcept override { return !queue_.empty() || last_.has_value(); }
    [[nodiscard]] app::message take() override;

    void push(app::message what, std::size_t bytes) {
        if (ignored_) return;
        queue_.emplace_back(std::move(what), bytes);
        bytes_ += bytes;
        notify();
    }
    /// Nothing comes after what is queued, but this. The first end counts. The reader does not wait for room any more.
    template <class Last>
    void end(Last last) {
        if (last_.has_value()) return;
        last_.emplace(std::move(last));
        notify();
        release_reader();
    }
    /// Nobody receives any more: what is queued and what comes is dropped, so the reader never waits.
    void ignore() noexcept;
    [[nodiscard]] bool ended() const noexcept { return last_.has_value(); }
    [[nodiscard]] bool full() const noexcept {
        return !ended() && (queue_.size() >= max_messages_ || bytes_ >= max_bytes_);
    }

    /// Is there a WebSocket's message that the application has not taken, or that it has taken and not come back from?
    [[nodiscard]] bool busy() const noexcept {
        const bool waits = queue_.size() > 1 ||  // at most the first one is something else
                           (!queue_.empty() && std::holds_alternative<app::websocket_receive>(queue_.front().first));
        return waits || (handles_message_ && !is_waited_for());
    }

    /// Who is told that the application has received the end.
    class observer {
    public:
        virtual void end_taken() = 0;

    protected:
        ~observer() = default;
    };
    void tell_end(observer* who) noexcept { observer_ = who; }

    class room_awaiter;
    /// Waits until it is not full. A checkpoint; one task, the reader.
    [[nodiscard]] room_awaiter room() noexcept;

private:
    void release_reader() noexcept;

    std::size_t max_messages_;
    std::size_t max_bytes_;
    std::deque<std::pair<app::message, std::size_t>> queue_;
    std::size_t bytes_ = 0;
    std::optional<app::message> last_;
    bool ignored_ = false;
    bool handles_message_ = false;  // the message taken last is a WebSocket's
    observer* observer_ = nullptr;
    room_awaiter* reader_ = nullptr;
};

class inbox::room_awaiter : public leaf_awaiter<room_awaiter> {
public:
    static constexpr const char* what = "connection inbox";
    explicit room_awaiter(inbox& owner) noexcept : owner_(owner) {}
    bool try_complete() noexcept { return !owner_.full(); }
    void link() noexcept { owner_.reader_ = this; }
    static void withdraw(waiter& self) noexcept {
        static_cast<room_awaiter&>(self).owner_.reader_ = nullptr;
        self.task().wake_interrupted();
    }
    void finish() noexcept {}

private:
    inbox& owner_;
};

inline inbox::room_awaiter inbox::room() noexcept { return room_awaiter(*this); }

inline app::message inbox::take() {
    if (queue_.empty()) {
        if (observer_ != nullptr) observer_->end_taken();
        return *last_;
    }
    app::message next = std::move(queue_.front().first);
    handles_message_ = std::holds_alternative<app::websocket_receive>(next);
    bytes_ -= queue_.front().second;
    queue_.pop_front();
    if (!full()) release_reader();
    return next;
}

inline void inbox::ignore() noexcept {
    ignored_ = true;
    queue_.clear();
    bytes_ = 0;
    release_reader();
}

inline void inbox::release_reader() noexcept {
    if (reader_ != nullptr) std::exchange(reader_, nullptr)->retry();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
