// examples/history_writer.hpp - between the chat and its blocking history: one ordered writer, in batches
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/ferry.hpp>

#include "legacy_history.hpp"

#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

/// Carries lines to the disk, in their order, as many at a time as have come up while the disk was busy.
///
/// Its queue is bounded. When the disk cannot follow, keep() refuses, and the caller decides what to say.
class history_writer {
public:
    static constexpr std::size_t max_unwritten_lines = 1000;

    history_writer(ferry::event_loop& loop, const std::string& directory)
        : history_(directory), unwritten_(loop, max_unwritten_lines) {}

    /// False when too much waits for the disk: the line will not be kept.
    [[nodiscard]] bool keep(history_line line) { return unwritten_.try_push(std::move(line)); }
    /// The newest lines of a room. Blocks a worker, not the loop.
    ferry::task<std::vector<history_line>> load(std::string room, std::size_t max_lines) {
        auto load = ferry::sync_to_async(&legacy_history::load);
        co_return co_await load(&history_, room, max_lines);
    }

    /// Writes until close() was called and everything is on the disk.
    ferry::task<> run() {
        auto append = ferry::sync_to_async(&legacy_history::append);
        while (!unwritten_.closed() || !unwritten_.empty()) {
            std::vector<history_line> batch;
            try {
                batch.push_back(co_await unwritten_.pop());
                while (auto line = unwritten_.try_pop()) batch.push_back(std::move(*line));
                co_await append(&history_, std::cref(batch));
            } catch (const ferry::closed_error&) {  // while it waited for a line
            } catch (const std::exception& error) {
                std::fprintf(stderr, "history: %zu lines are lost: %s\n", batch.size(), error.what());
            }
        }
    }
    void close() { unwritten_.close(); }

private:
    legacy_history history_;
    ferry::bounded_queue<history_line> unwritten_;
};
