// ferry/server/application_call.hpp - runs the application for one scope, and reports what it does wrong
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/app/application.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/error.hpp>
#include <ferry/core/task.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/sleep.hpp>
#include <ferry/loop/task_group.hpp>
#include <ferry/server/outbox.hpp>
#include <ferry/server/server_context.hpp>

#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// A server outlives its application's failures: they are reports, with the path of the request as it was received, in
/// which nothing can end a line.
class application_call {
public:
    application_call(server_context& server, std::string_view raw_path) : server_(server), path_(raw_path) {}

    /// True if it returned; false if it threw, which is reported.
    task<bool> run(app::scope what, app::receive in, app::send out);
    /// The client has gone: lets the application run on for a while, then cancels `tasks`, it among them, with a report.
    task<> give_time(task_group& tasks);
    void report(const std::string& what) const { detail::report("ferry: the application for " + path_ + what); }

private:
    server_context& server_;
    std::string path_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline task<bool> application_call::run(app::scope what, app::receive in, app::send out) {
    const logical_task& self = co_await current_task();
    try {
        co_await server_.app()(std::move(what), in, out);
        co_return true;
    } catch (const cancelled&) {
        if (self.scope().cancelled()) throw;
        report(" failed: it threw `cancelled`, but nobody had cancelled it");
    } catch (const client_gone&) {
        co_return true;
    } catch (const std::exception& error) {
        report(std::string(" failed: ") + error.what());
    } catch (...) {
        report(" failed with an exception of unknown type");
    }
    co_return false;
}

inline task<> application_call::give_time(task_group& tasks) {
    co_await sleep_for(server_.options().application_close_timeout());
    report(" still runs " + std::to_string(server_.options().application_close_timeout().count()) +
           " s after its client has gone; it is cancelled");
    tasks.cancel();
}
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
