// tests/support/reports.hpp - keeps what ferry reports, in place of stderr
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/deadlock/report.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ferry_test {
/// While it lives, it is ferry's report sink. One at a time; reports come from the test's own thread.
class reports {
public:
    reports() : before_(ferry::set_report_sink([](const char* text) noexcept { kept().emplace_back(text); })) {
        kept().clear();
    }
    ~reports() { ferry::set_report_sink(before_); }
    reports(const reports&) = delete;
    reports& operator=(const reports&) = delete;

    [[nodiscard]] std::size_t count() const { return kept().size(); }
    /// Is there one that has this in it?
    [[nodiscard]] bool mention(std::string_view words) const {
        for (const std::string& text : kept()) {
            if (text.find(words) != std::string::npos) return true;
        }
        return false;
    }

private:
    static std::vector<std::string>& kept() {
        static std::vector<std::string> texts;
        return texts;
    }
    ferry::report_sink before_;
};
}  // namespace ferry_test
