// ferry/server/server.hpp - serves an application over HTTP/1.1 and WebSocket
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/bridge/sync_to_async.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/run.hpp>
#include <ferry/loop/signals.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/net/listener.hpp>
#include <ferry/net/resolver.hpp>
#include <ferry/server/connection.hpp>
#include <ferry/server/serve_options.hpp>
#include <ferry/server/shown.hpp>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI {
/// Accepts connections and runs the application for each, on one loop.
///
/// Stopping: new connections are refused; idle ones are closed; requests that run are finished; WebSockets are closed
/// with 1001, and their applications told. What is left after shutdown_timeout is cancelled.
///
/// Ownership      Keeps the application. Destroy it after run() has returned.
/// Thread-safety  None: its loop's thread.
/// Errors         The constructor throws std::system_error, which names host and port, when it cannot listen there, and
///                std::invalid_argument without an address. An application that throws costs its own connection only.
class server {
public:
    /// Listens at the first of these addresses where it can.
    server(event_loop& loop, app::any_application app, const std::vector<net::address>& where,
           serve_options options = {});

    /// Where it listens; tells the port that was chosen for port 0.
    [[nodiscard]] const net::address& address() const noexcept { return address_; }
    [[nodiscard]] std::size_t connections() const noexcept { return count_; }
    /// Messages to WebSockets whose clients read too slowly: see serve_options::when_slow.
    [[nodiscard]] std::uint64_t dropped_messages() const noexcept { return context_.dropped_messages(); }

    /// Serves until stop() and everything has ended. Cancelling it ends everything at once.
    task<> run();
    void stop() noexcept;

private:
    class accepting_scope;

    task<> accept_until_stopped(task_group& tasks);
    task<> serve_one(net::socket socket);
    task<> watch_liveness();

    detail::server_context context_;
    std::optional<net::listener> listener_;
    net::address address_;
    detail::intrusive_list<detail::connection> connections_;
    std::size_t count_ = 0;
    detail::cancel_scope* accepting_ = nullptr;
    event* below_limit_ = nullptr;  // accept waits for it
    event* all_ended_ = nullptr;    // the shutdown waits for it
    event* first_ = nullptr;        // the sweep waits for it: a connection, while there is none
};

/// Serves on the loop that awaits it until SIGINT or SIGTERM; a second signal cancels whatever still runs, a third one does
/// what it does without ferry. For a program that has more to run beside its server, or to finish after it.
/// SIGPIPE is ignored from then on, unless the program has a handler for it.
task<> serve_until_signal(app::any_application app, serve_options options = {});

/// The same on a loop of its own, on this thread.
void serve(app::any_application app, serve_options options = {});

/// A server's whole main(): understands --host and --port, says on stderr what is wrong, and returns the exit status.
///
///     int main(int argc, char** argv) { return ferry::serve_main(app, argc, argv); }
int serve_main(app::any_application app, int argc, char** argv, serve_options options = {});

// ---- implementation ----------------------------------------------------------------------------------------------
/// The wait for connections, which stop() ends.
class server::accepting_scope : public detail::entered_scope {
public:
    accepting_scope(server& owner, detail::logical_task& task) : entered_scope(task), owner_(owner) {
        owner_.accepting_ = this;
        if (owner_.context_.stopping()) cancel();
    }
    ~accepting_scope() { owner_.accepting_ = nullptr; }

private:
    server& owner_;
};

inline server::server(event_loop& loop, app::any_application app, const std::vector<net::address>& where,
                      serve_options options)
    : context_(loop, std::move(app), std::move(options)) {
    if (where.empty()) throw std::invalid_argument("ferry: a server needs an address to listen at");
    const serve_options& chosen = context_.options();
    const auto door = net::listener_options().backlog(chosen.backlog()).reuse_port(chosen.reuse_port());
    for (const net::address& candidate : where) {
        try {
            listener_.emplace(loop, candidate, door);
            address_ = listener_->local();
            return;
        } catch (const std::system_error&) {
            if (candidate == where.back()) throw;
        }
    }
}

inline task<> server::run() {
    context_.options().on_listening()(address_);
    event ended(context_.loop());  // outlives the connections, which set it
    co_await with_task_group([this, &ended](task_group& tasks) -> task<> {
        tasks.start(watch_liveness());
        co_await accept_until_stopped(tasks);
        listener_.reset();
        for (auto* one = connections_.front(); one != nullptr; one = connections_.next(*one)) one->begin_shutdown();
        all_ended_ = &ended;
        if (count_ == 0) ended.set();
        try {
            co_await timeout(context_.options().shutdown_timeout(), ended.wait());
        } catch (const timeout_error&) {
            detail::report("ferry: " + std::to_string(count_) + " connections did not end within " +
                           std::to_string(context_.options().shutdown_timeout().count()) + " s; they are cancelled");
        }
        tasks.cancel();
    });
}

inline void server::stop() noexcept {
    context_.stop();
    if (accepting_ != nullptr) accepting_->cancel();
}

inline task<> server::accept_until_stopped(task_group& tasks) {
    detail::logical_task& self = co_await detail::current_task();
    accepting_scope scope(*this, self);
    try {
        for (;;) {
            if (count_ >= context_.options().max_connections()) {
                event room(context_.loop());
                below_limit_ = &room;
                co_await room.wait();
            }
            std::optional<net::socket> accepted;
            try {
                accepted.emplace(co_await listener_->accept());
            } catch (const std::exception& error) {  // about one connection, which is gone: the next may do better
                detail::report(std::string("ferry: accept: ") + error.what());
                continue;
            }
            ++count_;  // before the task runs, so that the limit is exact
            tasks.start(serve_one(std::move(*accepted)));
        }
    } catch (const cancelled&) {
        below_limit_ = nullptr;
        if (!scope.cancelled_here()) throw;
    }
}

inline task<> server::serve_one(net::socket socket) {
    class registration {
    public:
        registration(server& owner, detail::connection& one) : owner_(owner), one_(one) {
            owner_.connections_.push_back(one_);
            if (owner_.first_ != nullptr) owner_.first_->set();
        }
        ~registration() {
            owner_.connections_.erase(one_);
            --owner_.count_;
            if (owner_.below_limit_ != nullptr) std::exchange(owner_.below_limit_, nullptr)->set();
            if (owner_.count_ == 0 && owner_.all_ended_ != nullptr) owner_.all_ended_->set();
        }
        registration(const registration&) = delete;
        registration& operator=(const registration&) = delete;

    private:
        server& owner_;
        detail::connection& one_;
    };
    detail::connection one(context_, std::move(socket));
    const registration listed(*this, one);
    co_await one.run();
}

/// One coarse sweep for all connections, instead of a timer for each. Without any it sleeps.
inline task<> server::watch_liveness() {
    for (;;) {
        if (connections_.empty()) {
            event first(context_.loop());
            const detail::shown<event> where(first_, first);
            co_await first.wait();
        }
        co_await sleep_for(std::chrono::seconds(1));
        const event_loop::time_point now = context_.loop().now();
        for (auto* one = connections_.front(); one != nullptr; one = connections_.next(*one)) one->check_liveness(now);
    }
}

namespace detail {
/// Whoever reads the program's log may go away; that is no reason to end.
inline void ignore_broken_pipes() noexcept {
    struct sigaction now {};
    if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
}
}  // namespace detail

inline task<> serve_until_signal(app::any_application app, serve_options options) {
    event_loop& loop = *event_loop::current();
    const auto where = co_await to_thread(&net::resolve_blocking, options.host(), options.port());
    server site(loop, std::move(app), where, std::move(options));
    std::optional<signals> stop;
    stop.emplace(loop, std::initializer_list<int>{SIGINT, SIGTERM});
    detail::ignore_broken_pipes();
    co_await with_task_group([&](task_group& tasks) -> task<> {
        tasks.start([&]() -> task<> {
            co_await stop->wait();
            site.stop();
            co_await stop->wait();
            stop.reset();  // a third one ends the process, should a call in a thread refuse to end
            tasks.cancel();
        });
        co_await site.run();
        tasks.cancel();
    });
}

inline void serve(app::any_application app, serve_options options) {
    ferry::run(serve_until_signal(std::move(app), std::move(options)));
}

inline int serve_main(app::any_application app, int argc, char** argv, serve_options options) {
    try {
        const std::vector<std::string> unknown = options.take_arguments(argc, argv);
        if (!unknown.empty()) {
            throw std::invalid_argument("unknown option " + unknown.front() + "; there are --host and --port");
        }
        serve(std::move(app), std::move(options));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argc > 0 ? argv[0] : "server", error.what());
    } catch (const cancelled&) {  // by the second signal
    }
    return 1;
}
}  // namespace ferry::inline FERRY_ABI
