// ferry/channels/detail/mailboxes.hpp - unread messages and waiting receivers, by channel
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/channels/channel_layer.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/logical_task.hpp>
#include <ferry/data/value.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/future.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <list>
#include <string>
#include <unordered_map>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
struct mailbox;

/// A task that receives. While it is in a mailbox it belongs to whoever holds the layer's mutex; taken out, to the
/// thread that took it out, until that thread wakes it.
class receiver : public list_hook<receiver>, private future_waiter {
public:
    /// Nothing of this object is touched afterwards.
    void wake() noexcept {
        if (event_loop::current() == &event_loop::of(*task_)) return task_->wake();
        future_waiter::wake();
    }

protected:
    explicit receiver(const std::string& channel) noexcept : channel_(channel) {}
    void wait_as(logical_task& task) noexcept {
        task_ = &task;
        wake_on(event_loop::of(task), task);
    }

    const std::string& channel_;  // in the frame of receive()
    value message_;               // null, which no message is, until there is one

private:
    friend class mailboxes;
    mailbox* home_ = nullptr;  // where it waits
    logical_task* task_ = nullptr;
};

struct unread_message : list_hook<unread_message> {
    unread_message(value content, std::chrono::steady_clock::time_point until) noexcept
        : message(std::move(content)), expires(until) {}

    value message;
    std::chrono::steady_clock::time_point expires;
    mailbox* home = nullptr;
};

/// Messages wait for receivers or receivers for messages, never both; with neither, the mailbox is erased.
struct mailbox {
    const std::string* name = nullptr;  // the key in the map
    std::list<unread_message> messages;
    intrusive_list<receiver> receivers;
};

/// One operation on the layer: its time, and what it leaves to do when the mutex is free again. Waking may enter the
/// kernel, and destroying a message may take long.
struct layer_step {
    using time_point = std::chrono::steady_clock::time_point;

    layer_step() = default;
    ~layer_step() {
        // The list is ahead of the wake-ups: a receiver that is woken may be gone before the next one is.
        while (receiver* next = woken.pop_front()) next->wake();
    }
    layer_step(const layer_step&) = delete;
    layer_step& operator=(const layer_step&) = delete;

    [[nodiscard]] time_point after(std::chrono::nanoseconds lifetime) const noexcept {
        return now +
               std::min(lifetime, std::chrono::nanoseconds(time_point::max() - now));  // for ever must not overflow
    }

    time_point now{};
    intrusive_list<receiver> woken;
    std::list<unread_message> dropped;
};

/// The channels of an in-memory layer.
///
/// Expiry needs no sweep. Messages live equally long, so the order in which they came is the order in which they
/// expire: in each mailbox, and in the one list through all of them. An operation on a channel drops what has expired
/// there; each put also drops up to two of the oldest messages of all channels, so what was sent to channels that
/// nobody reads any more goes away faster than it came.
///
/// Thread-safety  None: the layer's mutex is held for every call.
/// Cost           O(1) amortised, but for clear() and refuse_receivers().
class mailboxes {
public:
    explicit mailboxes(const channel_layer_options& options) noexcept
        : capacity_(options.capacity()), expiry_(options.expiry()) {}
    ~mailboxes() {
        for (const auto& [name, box] : boxes_) {
            FERRY_ASSERT(box.receivers.empty(), "a channel layer was destroyed while a task waits in receive()");
        }
    }
    mailboxes(const mailboxes&) = delete;
    mailboxes& operator=(const mailboxes&) = delete;

    /// Gives the message to the receiver that has waited longest, or stores it. False when the channel is full.
    bool put(const std::string& channel, value message, layer_step& step);
    /// Gives the receiver its channel's oldest message. False when there is none.
    bool take(receiver& into, layer_step& step) noexcept;
    /// The receiver waits from now on; take() has just found nothing.
    void wait(receiver& waiting);
    /// The receiver does not wait any more. False when it was taken out before and is being woken.
    bool withdraw(receiver& waiting) noexcept;
    /// Drops the messages of one channel.
    void drop(const std::string& channel, layer_step& step) noexcept;
    /// Drops all messages.
    void clear(layer_step& step) noexcept;
    /// Wakes every receiver without a message.
    void refuse_receivers(layer_step& step) noexcept;

    [[nodiscard]] const layer_counters& counters() const noexcept { return counters_; }

private:
    [[nodiscard]] mailbox* find(const std::string& channel) noexcept {
        const auto found = boxes_.find(channel);
        return found == boxes_.end() ? nullptr : &found->second;
    }
    [[nodiscard]] mailbox& make(const std::string& channel);
    void erase_if_idle(const mailbox& box) noexcept {
        if (box.messages.empty() && box.receivers.empty()) boxes_.erase(boxes_.find(*box.name));
    }
    void drop_oldest(mailbox& box, layer_step& step) noexcept;
    void drop_expired(mailbox& box, layer_step& step) noexcept;
    void drop_expired_anywhere(layer_step& step) noexcept;

    std::size_t capacity_;
    std::chrono::nanoseconds expiry_;
    std::unordered_map<std::string, mailbox> boxes_;  // its elements do not move
    intrusive_list<unread_message> by_age_;           // of all mailboxes, oldest first
    layer_counters counters_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline bool mailboxes::put(const std::string& channel, value message, layer_step& step) {
    drop_expired_anywhere(step);
    mailbox* box = find(channel);
    if (box != nullptr) {
        if (receiver* const first = box->receivers.pop_front()) {
            first->message_ = std::move(message);
            first->home_ = nullptr;
            step.woken.push_back(*first);
            erase_if_idle(*box);
            ++counters_.sent;
            ++counters_.delivered;
            return true;
        }
        drop_expired(*box, step);
    }
    if ((box == nullptr ? 0 : box->messages.size()) >= capacity_) {
        ++counters_.dropped_full;
        return false;
    }
    std::list<unread_message> one;
    one.emplace_back(std::move(message), step.after(expiry_));
    if (box == nullptr) box = &make(channel);
    one.front().home = box;
    by_age_.push_back(one.front());
    box->messages.splice(box->messages.end(), one);
    ++counters_.sent;
    return true;
}

inline bool mailboxes::take(receiver& into, layer_step& step) noexcept {
    mailbox* const box = find(into.channel_);
    if (box == nullptr) return false;
    drop_expired(*box, step);
    const bool found = !box->messages.empty();
    if (found) {
        into.message_ = std::move(box->messages.front().message);
        drop_oldest(*box, step);
        ++counters_.delivered;
    }
    erase_if_idle(*box);
    return found;
}

inline void mailboxes::wait(receiver& waiting) {
    mailbox* box = find(waiting.channel_);
    if (box == nullptr) box = &make(waiting.channel_);
    waiting.home_ = box;
    box->receivers.push_back(waiting);
}

inline bool mailboxes::withdraw(receiver& waiting) noexcept {
    mailbox* const box = std::exchange(waiting.home_, nullptr);
    if (box == nullptr) return false;
    box->receivers.erase(waiting);
    erase_if_idle(*box);
    return true;
}

inline void mailboxes::drop(const std::string& channel, layer_step& step) noexcept {
    mailbox* const box = find(channel);
    if (box == nullptr) return;
    while (!box->messages.empty()) drop_oldest(*box, step);
    erase_if_idle(*box);
}

inline void mailboxes::clear(layer_step& step) noexcept {
    while (unread_message* const oldest = by_age_.front()) {
        mailbox& box = *oldest->home;
        drop_oldest(box, step);
        erase_if_idle(box);
    }
}

inline void mailboxes::refuse_receivers(layer_step& step) noexcept {
    for (auto box = boxes_.begin(); box != boxes_.end();) {
        while (receiver* const waiting = box->second.receivers.pop_front()) {
            waiting->home_ = nullptr;
            step.woken.push_back(*waiting);
        }
        box = box->second.messages.empty() ? boxes_.erase(box) : std::next(box);
    }
}

inline mailbox& mailboxes::make(const std::string& channel) {
    const auto made = boxes_.try_emplace(channel).first;
    made->second.name = &made->first;
    return made->second;
}

inline void mailboxes::drop_oldest(mailbox& box, layer_step& step) noexcept {
    by_age_.erase(box.messages.front());
    step.dropped.splice(step.dropped.end(), box.messages, box.messages.begin());
}

inline void mailboxes::drop_expired(mailbox& box, layer_step& step) noexcept {
    while (!box.messages.empty() && box.messages.front().expires <= step.now) {
        drop_oldest(box, step);
        ++counters_.dropped_expired;
    }
}

inline void mailboxes::drop_expired_anywhere(layer_step& step) noexcept {
    for (int budget = 2; budget > 0; --budget) {
        unread_message* const oldest = by_age_.front();
        if (oldest == nullptr || oldest->expires > step.now) return;
        mailbox& box = *oldest->home;
        drop_oldest(box, step);
        ++counters_.dropped_expired;
        erase_if_idle(box);
    }
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
