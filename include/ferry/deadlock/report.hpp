// ferry/deadlock/report.hpp - refused waits: the errors, their words, and where reports go
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <atomic>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ferry::inline FERRY_ABI {
/// A blocking call was made where nothing may block: inside a turn of a loop. what() says who, where, and the way out.
class blocking_error : public std::logic_error {
public:
    using std::logic_error::logic_error;
};

/// What is known of a wait that was refused.
class wait_report {
public:
    /// For ferry.
    wait_report(const char* kind, std::vector<std::string> chain, std::string text)
        : kind_(kind), chain_(std::move(chain)), text_(std::move(text)) {}

    /// "same-thread", "pool-exhaustion", "loop-cycle", "async-mutex", "async-mutex-cycle", "await-cycle",
    /// "thread-sensitive" or "wait-cycle".
    [[nodiscard]] const char* kind() const noexcept { return kind_; }
    /// Who waits for whom, one line each; the last one waits for one of those before it.
    [[nodiscard]] const std::vector<std::string>& chain() const noexcept { return chain_; }
    /// All of it, in lines with stable keys, so that tests can take them apart.
    [[nodiscard]] const std::string& text() const noexcept { return text_; }

private:
    const char* kind_;
    std::vector<std::string> chain_;
    std::string text_;
};

/// A wait was refused because it could never have ended: what it waits for needs the one who waits. what() is the short
/// text, report() has everyone in the circle.
class deadlock_error : public blocking_error {
public:
    deadlock_error(const std::string& what, wait_report details)
        : blocking_error(what), report_(std::make_shared<const wait_report>(std::move(details))) {}

    [[nodiscard]] const wait_report& report() const noexcept { return *report_; }

private:
    std::shared_ptr<const wait_report> report_;  // shared, so that a copy cannot throw
};

/// Receives every report of ferry as one complete text. Called on any thread, must not block on ferry.
using report_sink = void (*)(const char* text) noexcept;

namespace detail {
inline void write_to_stderr(const char* text) noexcept { std::fprintf(stderr, "%s\n", text); }

inline std::atomic<report_sink>& current_report_sink() noexcept {
    static constinit std::atomic<report_sink> sink{&write_to_stderr};
    return sink;
}
inline void report(const char* text) noexcept { current_report_sink().load(std::memory_order_acquire)(text); }
inline void report(const std::string& text) noexcept { report(text.c_str()); }

/// "ferry::task<int> app::load_user(int)" becomes "app::load_user"; a name given by the user stays as it is.
inline std::string short_name(const char* name) {
    if (name == nullptr) return "?";
    std::string_view text(name);
    std::size_t end = std::string_view::npos;  // of the function's name: where its parameters begin
    int depth = 0;
    for (std::size_t at = 0; at < text.size() && end == std::string_view::npos; ++at) {
        const bool after_a_name = at != 0 && text[at - 1] != ' ' && text[at - 1] != ':';  // not "(anonymous namespace)"
        if (text[at] == '(' && depth == 0 && after_a_name) {
            end = at;
        } else if (text[at] == '<' || text[at] == '(') {
            ++depth;
        } else if (text[at] == '>' || text[at] == ')') {
            --depth;
        }
    }
    if (end == std::string_view::npos) return std::string(text);
    std::size_t begin = end;
    for (depth = 0; begin > 0; --begin) {
        const char before = text[begin - 1];
        if (before == '>' || before == ')') ++depth;
        if (before == '<' || before == '(') --depth;
        if (before == ' ' && depth == 0) break;
    }
    std::string result(text.substr(begin, end - begin));
    // Neither the ABI tag nor an unnamed namespace says anything to a reader.
    constexpr std::string_view ours = "ferry::";
    for (const std::string_view noise :
         {"ferry::v0::", "ferry::v0_debug::", "{anonymous}::", "(anonymous namespace)::"}) {
        const std::size_t kept = noise.starts_with(ours) ? ours.size() : 0;
        for (std::size_t at = result.find(noise); at != std::string::npos; at = result.find(noise, at)) {
            result.erase(at + kept, noise.size() - kept);
        }
    }
    return result;
}
}  // namespace detail

/// Replaces the sink (stderr by default) of all of ferry's reports. Returns the one before.
inline report_sink set_report_sink(report_sink sink) noexcept {
    return detail::current_report_sink().exchange(sink, std::memory_order_acq_rel);
}
}  // namespace ferry::inline FERRY_ABI
