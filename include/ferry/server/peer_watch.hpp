// ferry/server/peer_watch.hpp - what a connection's own reads and writes do not tell of its client
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/core/task.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/net/socket.hpp>
#include <ferry/server/inbox.hpp>
#include <ferry/server/outbox.hpp>
#include <ferry/server/shown.hpp>

#include <poll.h>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Asks after the client while nobody reads what it sends: its end is behind unread octets then, and would be noticed only
/// by the next read or write.
///
/// Thread-safety  None: its loop's thread.
/// Cost           One syscall for each check() while octets stay unread, none otherwise.
class peer_watch {
public:
    peer_watch(event_loop& loop, const net::socket& socket, outbox& out) noexcept
        : loop_(loop), socket_(socket), out_(out) {}

    /// The reader waits until the application has taken something. The wait ends early if the client is gone: then the
    /// outbox is broken.
    task<> room(inbox& messages);
    /// The reader has read enough: waits until the client has sent its last octet, or is gone.
    task<> end();

    /// To be called about once a second.
    void check();

private:
    event_loop& loop_;
    const net::socket& socket_;
    outbox& out_;
    const bool* unread_ = nullptr;  // the reader is in room() or in end()
    event* end_ = nullptr;          // in end()
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline task<> peer_watch::room(inbox& messages) {
    const bool unread = true;
    const shown<const bool> for_check(unread_, unread);
    co_await messages.room();
}

inline task<> peer_watch::end() {
    const bool unread = true;
    const shown<const bool> for_check(unread_, unread);
    event came(loop_);
    const shown<event> where(end_, came);
    co_await came.wait();
}

inline void peer_watch::check() {
    if (unread_ == nullptr) return;
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
