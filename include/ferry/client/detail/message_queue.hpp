// ferry/client/detail/message_queue.hpp - messages on their way to who receives them, bounded
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/client/websocket_message.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/websocket/session_options.hpp>

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

namespace ferry::inline FERRY_ABI::detail {
/// Between the task that reads a connection and the one that receives. When it is full the reader waits, so the peer's
/// TCP window closes.
///
/// Thread-safety  None: its loop's thread. One task receives and one reads (asserted).
class message_queue {
public:
    class receive_awaiter;
    class reader_awaiter;

    explicit message_queue(const websocket::session_options& limits) noexcept
        : max_messages_(limits.max_queued_messages()), max_bytes_(limits.max_queued_bytes()) {}

    /// The next message; nothing after the end. A checkpoint.
    [[nodiscard]] receive_awaiter receive() noexcept;
    /// The reader waits until there is room. A checkpoint.
    [[nodiscard]] reader_awaiter room() noexcept;
    /// The reader waits, after the end, until whoever receives has dealt with what came before. A checkpoint.
    [[nodiscard]] reader_awaiter answered() noexcept;

    void push(websocket_message what);
    /// Nothing comes after what is queued.
    void end() noexcept;
    /// Whoever receives may not come back: the reader does not wait for it any more, and what does not fit is dropped.
    void leave() noexcept;

    [[nodiscard]] bool full() const noexcept { return !ended_ && !left_ && at_limit(); }
    [[nodiscard]] bool is_waited_for() const noexcept { return receiver_ != nullptr; }

private:
    [[nodiscard]] bool at_limit() const noexcept { return queue_.size() >= max_messages_ || bytes_ >= max_bytes_; }
    /// Is there a message that was not taken, or that was taken by somebody who has not come back yet?
    [[nodiscard]] bool busy() const noexcept {
        return !left_ && !end_taken_ && (!queue_.empty() || (handles_message_ && receiver_ == nullptr));
    }
    template <class Awaiter>
    static void wake(Awaiter*& waiting) noexcept {
        if (waiting != nullptr) std::exchange(waiting, nullptr)->retry();
    }

    std::size_t max_messages_;
    std::size_t max_bytes_;
    std::deque<websocket_message> queue_;
    std::size_t bytes_ = 0;
    receive_awaiter* receiver_ = nullptr;
    reader_awaiter* reader_ = nullptr;
    bool ended_ = false;
    bool left_ = false;
    bool handles_message_ = false;
    bool end_taken_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
class message_queue::reader_awaiter : public leaf_awaiter<reader_awaiter> {
public:
    static constexpr const char* what = "websocket_client: somebody to receive";
    reader_awaiter(message_queue& owner, bool for_answers) noexcept : owner_(owner), for_answers_(for_answers) {}
    bool try_complete() noexcept { return for_answers_ ? !owner_.busy() : !owner_.full(); }
    void link() noexcept { owner_.reader_ = this; }
    static void withdraw(waiter& self) noexcept {
        static_cast<reader_awaiter&>(self).owner_.reader_ = nullptr;
        self.task().wake_interrupted();
    }
    void finish() noexcept {}

private:
    message_queue& owner_;
    bool for_answers_;
};

class message_queue::receive_awaiter : public leaf_awaiter<receive_awaiter> {
public:
    static constexpr const char* what = "websocket_client::receive";
    explicit receive_awaiter(message_queue& owner) noexcept : owner_(owner) {}
    bool try_complete() noexcept { return !owner_.queue_.empty() || owner_.ended_; }
    void link() noexcept {
        FERRY_ASSERT(owner_.receiver_ == nullptr, "two tasks wait in receive() of one WebSocket");
        owner_.receiver_ = this;
        wake(owner_.reader_);
    }
    static void withdraw(waiter& self) noexcept {
        static_cast<receive_awaiter&>(self).owner_.receiver_ = nullptr;
        self.task().wake_interrupted();
    }
    std::optional<websocket_message> finish() {
        std::optional<websocket_message> next;
        if (!owner_.queue_.empty()) {
            next.emplace(std::move(owner_.queue_.front()));
            owner_.queue_.pop_front();
            owner_.bytes_ -= next->data().size();
        }
        owner_.handles_message_ = next.has_value();
        owner_.end_taken_ = !next.has_value();
        if (!owner_.full()) wake(owner_.reader_);
        return next;
    }

private:
    message_queue& owner_;
};

inline message_queue::receive_awaiter message_queue::receive() noexcept { return receive_awaiter(*this); }
inline message_queue::reader_awaiter message_queue::room() noexcept { return reader_awaiter(*this, false); }
inline message_queue::reader_awaiter message_queue::answered() noexcept { return reader_awaiter(*this, true); }

inline void message_queue::push(websocket_message what) {
    if (left_ && at_limit()) return;
    bytes_ += what.data().size();
    queue_.push_back(std::move(what));
    wake(receiver_);
}

inline void message_queue::end() noexcept {
    ended_ = true;
    wake(receiver_);
    wake(reader_);
}

inline void message_queue::leave() noexcept {
    left_ = true;
    wake(reader_);
}
}  // namespace ferry::inline FERRY_ABI::detail
