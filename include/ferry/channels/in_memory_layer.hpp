// ferry/channels/in_memory_layer.hpp - the channel layer of one process
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/channels/channel_layer.hpp>
#include <ferry/channels/detail/mailboxes.hpp>
#include <ferry/channels/detail/memberships.hpp>
#include <ferry/channels/names.hpp>
#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/data/value.hpp>
#include <ferry/loop/event_loop.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/random.h>

namespace ferry::inline FERRY_ABI {
/// Channels and groups between all loops and threads of this process. What is not received before the process ends is
/// lost.
///
///     ferry::in_memory_layer layer(ferry::channel_layer_options().capacity(1000));
///
/// Everything but receive() completes without suspending. Messages are not copied: those of one group_send() share
/// their content. Each channel counts its own capacity, also one with a '!' in its name. Time is that of the loop that
/// makes the call, event_loop::now(), so virtual time works; loops that share a layer share a clock.
///
/// Why it is right. One mutex guards every map, list and counter, and is never held across a suspension or a wake-up.
/// A message is in one place at a time, and moves under the mutex: into a mailbox, from there into a receiver, or from
/// a sender straight into the receiver that has waited longest; so nobody gets it twice, and those of one channel come
/// out as they went in.
/// A waiting receiver is its awaiter, in the frame of receive(), linked into its mailbox. Whoever unlinks it, under the
/// mutex, decides how its wait ends, and is the only one who wakes it:
/// - A sender, or close(), on any thread: it stores the message, unlocks, and pushes the task's node into the inbox of
///   the receiver's loop; on that very loop, it schedules the task. Until the push nobody else resumes the task, so the
///   frame is still there; after it the frame belongs to the loop, and the sender touches neither the frame nor the
///   receiver's list hook again. The push (release) and the loop's taking of its inbox (acquire) make the message
///   visible.
/// - A cancellation, on the receiver's own thread: if it finds the receiver linked, no message has gone to it, and the
///   next one goes to the next receiver or stays in the mailbox. If it finds it unlinked, the message is on its way:
///   the cancellation does nothing, receive() returns the message, and the next checkpoint throws.
///
/// Ownership      Owns its messages. Outlives every task that uses it; destroying it while one waits in receive() is a
///                bug (asserted).
/// Thread-safety  Every member: any thread.
/// Cost           O(1) amortised; group_send() O(members) under the mutex. A message to a receiver that waits is not
///                stored; a message that has to wait is one allocation, and a channel in use is another.
class in_memory_layer final : public channel_layer {
public:
    explicit in_memory_layer(const channel_layer_options& options = {});

    task<> send(std::string channel, value message) override;
    task<value> receive(std::string channel) override;
    /// prefix ".inmemory!" tag "." number: the tag is random, so names from before a restart do not come back.
    [[nodiscard]] std::string new_channel(std::string_view prefix) override;

    task<> group_add(std::string group, std::string channel) override;
    task<> group_discard(std::string group, std::string channel) override;
    task<> group_send(std::string group, value message) override;
    /// In the order in which they were added last.
    task<std::vector<std::string>> group_members(std::string group) override;
    task<std::size_t> group_size(std::string group) override;

    task<> drop_channel(std::string channel) override;
    task<> flush() override;
    task<> close() override;

    [[nodiscard]] layer_counters counters() const override;

private:
    class locked_step;
    class receive_awaiter;

    const channel_layer_options options_;
    std::string tag_;
    std::atomic<std::uint64_t> next_number_{1};  // orders nothing
    mutable std::mutex mutex_;                   // guards what follows
    detail::mailboxes mailboxes_;
    detail::memberships groups_;
    bool closed_ = false;
};

// ---- implementation ----------------------------------------------------------------------------------------------
/// Holds the mutex; its end unlocks first, then wakes and destroys.
class in_memory_layer::locked_step : public detail::layer_step {
public:
    explicit locked_step(in_memory_layer& layer) : lock_(layer.mutex_) {
        const event_loop* const loop = event_loop::current();
        now = loop == nullptr ? event_loop::clock::now() : loop->now();
    }
    /// As above; throws closed_error when the layer is closed.
    locked_step(in_memory_layer& layer, const char* operation) : locked_step(layer) {
        if (layer.closed_) throw closed_error(std::string(operation) + ": the channel layer is closed");
    }

private:
    std::unique_lock<std::mutex> lock_;
};

class in_memory_layer::receive_awaiter : public detail::leaf_awaiter<receive_awaiter>, private detail::receiver {
public:
    static constexpr const char* what = "channel_layer::receive";
    receive_awaiter(in_memory_layer& layer, const std::string& channel) noexcept : receiver(channel), layer_(layer) {}

    bool try_complete() noexcept {
        locked_step step(layer_);
        return layer_.mailboxes_.take(*this, step);
    }
    void link() noexcept {
        this->wait_as(this->task());
        try {
            locked_step step(layer_);
            // Another thread may have sent since try_complete(), and a closed layer is empty.
            if (!layer_.closed_ && !layer_.mailboxes_.take(*this, step)) return layer_.mailboxes_.wait(*this);
        } catch (...) {  // no memory for the mailbox
            failure_ = std::current_exception();
        }
        this->task().wake();
    }
    static void withdraw(detail::waiter& self) noexcept {
        receive_awaiter& waiting = static_cast<receive_awaiter&>(self);
        {
            const std::lock_guard lock(waiting.layer_.mutex_);
            if (!waiting.layer_.mailboxes_.withdraw(waiting)) return;
        }
        waiting.task().wake_interrupted();
    }
    value finish() {
        if (failure_ != nullptr) std::rethrow_exception(failure_);
        if (message_.is_null()) throw closed_error("receive(" + channel_ + "): the channel layer is closed");
        return std::move(message_);
    }

private:
    in_memory_layer& layer_;
    std::exception_ptr failure_;
};

inline in_memory_layer::in_memory_layer(const channel_layer_options& options) : options_(options), mailboxes_(options) {
    unsigned char random[8];
    // So few octets come whole, but a process that starts with its machine may have to wait for them.
    while (::getrandom(random, sizeof random, 0) != std::ptrdiff_t{sizeof random}) {
        if (errno != EINTR) throw std::system_error(errno, std::system_category(), "ferry: getrandom");
    }
    for (const unsigned char octet : random) {
        tag_ += "0123456789abcdef"[octet >> 4];
        tag_ += "0123456789abcdef"[octet & 15];
    }
}

inline task<> in_memory_layer::send(std::string channel, value message) {
    check_channel_name(channel);
    check_message(message);
    bool accepted = false;
    {
        locked_step step(*this, "send");
        accepted = mailboxes_.put(channel, std::move(message), step);
    }
    if (accepted) co_return;
    throw channel_full("send(" + channel + "): the channel is full, " + std::to_string(options_.capacity()) +
                       " messages wait in it; read it faster, or give the layer a larger capacity()");
}

inline task<value> in_memory_layer::receive(std::string channel) {
    check_channel_name(channel);
    co_return co_await receive_awaiter(*this, channel);
}

inline std::string in_memory_layer::new_channel(std::string_view prefix) {
    const std::uint64_t number = next_number_.fetch_add(1, std::memory_order_relaxed);
    std::string name = std::string(prefix) + ".inmemory!" + tag_ + "." + std::to_string(number);
    check_channel_name(name);
    return name;
}

inline task<> in_memory_layer::group_add(std::string group, std::string channel) {
    check_group_name(group);
    check_channel_name(channel);
    locked_step step(*this, "group_add");
    groups_.add(group, channel, step.now, step.after(options_.group_expiry()));
    co_return;
}

inline task<> in_memory_layer::group_discard(std::string group, std::string channel) {
    check_group_name(group);
    check_channel_name(channel);
    locked_step step(*this, "group_discard");
    groups_.discard(group, channel);
    co_return;
}

inline task<> in_memory_layer::group_send(std::string group, value message) {
    check_group_name(group);
    check_message(message);
    locked_step step(*this, "group_send");
    for (const detail::membership& member : groups_.members(group, step.now)) {
        // A member that is full loses it: put() has counted that.
        [[maybe_unused]] const bool accepted = mailboxes_.put(member.channel, message, step);
    }
    co_return;
}

inline task<std::vector<std::string>> in_memory_layer::group_members(std::string group) {
    check_group_name(group);
    locked_step step(*this, "group_members");
    std::vector<std::string> names;
    for (const detail::membership& member : groups_.members(group, step.now)) names.push_back(member.channel);
    co_return names;
}

inline task<std::size_t> in_memory_layer::group_size(std::string group) {
    check_group_name(group);
    locked_step step(*this, "group_size");
    co_return groups_.members(group, step.now).size();
}

inline task<> in_memory_layer::drop_channel(std::string channel) {
    check_channel_name(channel);
    locked_step step(*this, "drop_channel");
    mailboxes_.drop(channel, step);
    co_return;
}

inline task<> in_memory_layer::flush() {
    locked_step step(*this, "flush");
    mailboxes_.clear(step);
    groups_.clear();
    co_return;
}

inline task<> in_memory_layer::close() {
    locked_step step(*this);
    closed_ = true;
    mailboxes_.clear(step);
    mailboxes_.refuse_receivers(step);
    groups_.clear();
    co_return;
}

inline layer_counters in_memory_layer::counters() const {
    const std::lock_guard lock(mutex_);
    return mailboxes_.counters();
}
}  // namespace ferry::inline FERRY_ABI
