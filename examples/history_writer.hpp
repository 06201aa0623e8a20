// examples/history_writer.hpp - between the chat and its blocking history: one ordered writer, in batches
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/ferry.hpp>

#include "legacy_history.hpp"

#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

/// Carries lines to the disk, in their order, as many at a time as have come up while the disk was busy.
///
/// Its queue is bounded. When the disk cannot follow, keep() refuses, and the caller decides what to say; when the disk
/// fails, run() says so to whoever spoke.
class history_writer {
public:
    static constexpr std::size_t max_unwritten_lines = 1000;

    history_writer(ferry::event_loop& loop, const std::string& directory)
        : history_(directory), unwritten_(loop, max_unwritten_lines) {}

    /// False when too much waits for the disk: the line will not be kept. `speaker` is who is told when it fails later.
    [[nodiscard]] bool keep(history_line line, const std::string& speaker) {
        return unwritten_.try_push({std::move(line), speaker});
    }
    /// The newest lines of a room. Blocks a worker, not the loop.
    ferry::task<std::vector<history_line>> load(std::string room, std::size_t max_lines) {
        auto load = ferry::sync_to_async(&legacy_history::load);
        co_return co_await load(&history_, room, max_lines);
    }

    /// Writes until close() was called and everything is on the disk. Where that fails, tell(speaker) is awaited for each
    /// who spoke.
    template <class Tell>
    ferry::task<> run(Tell tell) {
        auto append = ferry::sync_to_async(&legacy_history::append);
        while (!unwritten_.closed() || !unwritten_.empty()) {
            std::vector<history_line> batch;
            std::set<std::string> speakers;
            const auto take = [&](std::pair<history_line, std::string> next) {
                batch.push_back(std::move(next.first));
                speakers.insert(std::move(next.second));
            };
            try {
                take(co_await unwritten_.pop());
                while (auto next = unwritten_.try_pop()) take(std::move(*next));
                co_await append(&history_, std::cref(batch));
                speakers.clear();
            } catch (const ferry::closed_error&) {  // while it waited for a line
            } catch (const std::exception& error) {
                std::fprintf(stderr, "history: %zu lines are lost: %s\n", batch.size(), error.what());
            }
            for (const std::string& speaker : speakers) co_await ferry::as_result(tell(speaker));  // who may not listen
        }
    }
    void close() { unwritten_.close(); }

private:
    legacy_history history_;
    ferry::bounded_queue<std::pair<history_line, std::string>> unwritten_;  // and who spoke
};
