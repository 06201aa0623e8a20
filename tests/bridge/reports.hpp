// tests/bridge/reports.hpp - collects what ferry reports
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/deadlock/report.hpp>

#include <cstddef>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

namespace ferry_test {
/// While it lives, ferry's reports come here instead of to stderr. One at a time.
class reports {
public:
    reports() : before_(ferry::set_report_sink(&receive)) { texts().clear(); }
    ~reports() { ferry::set_report_sink(before_); }
    reports(const reports&) = delete;
    reports& operator=(const reports&) = delete;

    [[nodiscard]] std::size_t count() const {
        const std::lock_guard lock(mutex());
        return texts().size();
    }
    /// Forgets those that a test has looked at.
    void clear() {
        const std::lock_guard lock(mutex());
        texts().clear();
    }
    /// To stderr, where a test did not expect them.
    void show() const {
        const std::lock_guard lock(mutex());
        for (const std::string& text : texts()) std::fprintf(stderr, "%s\n", text.c_str());
    }
    /// Does one of them contain the words?
    [[nodiscard]] bool mention(const std::string& words) const {
        const std::lock_guard lock(mutex());
        for (const std::string& text : texts()) {
            if (text.find(words) != std::string::npos) return true;
        }
        return false;
    }

private:
    static void receive(const char* text) noexcept {
        const std::lock_guard lock(mutex());
        texts().emplace_back(text);
    }
    static std::mutex& mutex() {
        static std::mutex guards_texts;
        return guards_texts;
    }
    static std::vector<std::string>& texts() {
        static std::vector<std::string> all;
        return all;
    }

    ferry::report_sink before_;
};
}  // namespace ferry_test
