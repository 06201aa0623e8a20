// ferry/server/peer_watch.hpp - what a connection's own reads and writes do not tell of its client
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/cancellation.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/http/body_pace.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/server/inbox.hpp>
#include <ferry/server/outbox.hpp>
#include <ferry/server/serve_options.hpp>
#include <ferry/server/shown.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <poll.h>
#include <sys/socket.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Asks after the client while nobody reads what it sends: its end is behind unread octets then, and would be noticed only
/// by the next read or write. Measures how fast a body comes, and whether output is taken.
///
/// Thread-safety  None: its loop's thread.
/// Cost           One syscall for each check() while octets stay unread, or output unwritten; none otherwise.
class peer_watch {
public:
    peer_watch(event_loop& loop, net::socket& socket, outbox& out, const serve_options& options) noexcept
        : loop_(loop), socket_(socket), out_(out), options_(options), pace_(new_pace()), taken_since_(loop.now()) {}

    /// A body begins. Its octets are awaited by more_body(), and have their times there.
    void begin_body() noexcept {
        trickles_ = false;
        pace_ = new_pace();
    }
    /// Awaits `receive`, which appends to `octets` and yields false at the end of the stream. False also if it came too
    /// slowly: see trickles().
    task<bool> more_body(task<bool> receive, const std::string& octets);
    [[nodiscard]] bool trickles() const noexcept { return trickles_; }
    /// Is this a client that takes nothing of what is sent to it? Then the outbox is broken, and no more octets come.
    [[nodiscard]] bool gave_up() const noexcept { return gave_up_; }

    /// The reader waits until the application has taken something. The wait ends early if the client is gone: then the
    /// outbox is broken.
    task<> room(inbox& messages);
    /// The reader waits until then. The client's end is noticed meanwhile, too.
    task<> pause(event_loop::time_point until);
    /// The reader has read enough: waits until the client has sent its last octet, or is gone.
    task<> end();

    /// To be called about once a second.
    void check(event_loop::time_point now);

private:
    [[nodiscard]] http::body_pace new_pace() const noexcept {
        return http::body_pace(options_.min_body_rate(), options_.body_grace_time(), options_.stall_timeout());
    }
    void check_end();
    void check_output(event_loop::time_point now);

    event_loop& loop_;
    net::socket& socket_;
    outbox& out_;
    const serve_options& options_;
    cancel_scope* body_ = nullptr;  // the wait in more_body()
    event_loop::time_point body_since_;
    http::body_pace pace_;
    bool trickles_ = false;
    std::uint64_t taken_bytes_ = 0;       // of the output, and since when no more are
    event_loop::time_point taken_since_;  // now, while nothing waits to be written
    bool gave_up_ = false;
    const bool* unread_ = nullptr;  // the reader is in room(), pause() or end()
    event* end_ = nullptr;          // in end()
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline task<> peer_watch::room(inbox& messages) {
    const bool unread = true;
    const shown<const bool> for_check(unread_, unread);
    co_await messages.room();
}

inline task<> peer_watch::pause(event_loop::time_point until) {
    if (until <= loop_.now()) co_return;
    const bool unread = true;
    const shown<const bool> for_check(unread_, unread);
    co_await sleep_until(until);
}

inline task<> peer_watch::end() {
    const bool unread = true;
    const shown<const bool> for_check(unread_, unread);
    event came(loop_);
    const shown<event> where(end_, came);
    co_await came.wait();
}

inline task<bool> peer_watch::more_body(task<bool> receive, const std::string& octets) {
    logical_task& self = co_await current_task();
    entered_scope waiting(self);
    const shown<cancel_scope> for_check(body_, waiting);
    body_since_ = loop_.now();
    const std::size_t before = octets.size();
    try {
        const bool alive = co_await std::move(receive);
        pace_.waited(loop_.now() - body_since_, octets.size() - before);
        co_return alive;
    } catch (const cancelled&) {
        if (!waiting.cancelled_here()) throw;
    }
    trickles_ = true;
    co_return false;
}

inline void peer_watch::check(event_loop::time_point now) {
    if (unread_ != nullptr) check_end();
    if (body_ != nullptr && now - body_since_ >= pace_.patience()) body_->cancel();
    check_output(now);
}

inline void peer_watch::check_output(event_loop::time_point now) {
    const bool waits = out_.unwritten_bytes() != 0;
    const std::uint64_t taken = waits ? out_.taken_bytes() : taken_bytes_;
    if (!waits || taken != std::exchange(taken_bytes_, taken)) {
        taken_since_ = now;
    } else if (now - taken_since_ >= options_.stall_timeout()) {
        gave_up_ = true;
        out_.set_broken();
        ::shutdown(socket_.descriptor(), SHUT_RDWR);  // the tasks that read and write see the end
    }
}

inline void peer_watch::check_end() {
    ::pollfd question{};
    question.fd = socket_.descriptor();
    question.events = POLLRDHUP;
    if (::poll(&question, 1, 0) <= 0) return;
    // One that has only sent its last octet may still read, and what it has sent is still to be taken.
    if ((question.revents & (POLLHUP | POLLERR)) != 0) out_.set_broken();
    if (end_ != nullptr) end_->set();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
