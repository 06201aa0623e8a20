// tests/loop/unhandled_exceptions.hpp - what went to the unhandled-exception handler during a test
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/exception_handlers.hpp>

#include <exception>
#include <mutex>
#include <string>
#include <vector>

namespace ferry_test {
/// Keeps "task: what" of each unhandled exception while it lives. One at a time.
class unhandled_exceptions {
public:
    unhandled_exceptions() : before_(ferry::set_unhandled_exception_handler(&keep)) { kept().clear(); }
    ~unhandled_exceptions() { ferry::set_unhandled_exception_handler(before_); }
    unhandled_exceptions(const unhandled_exceptions&) = delete;
    unhandled_exceptions& operator=(const unhandled_exceptions&) = delete;

    [[nodiscard]] std::vector<std::string> all() const {
        const std::lock_guard lock(mutex());
        return kept();
    }

private:
    static std::mutex& mutex() {
        static std::mutex guards_kept;
        return guards_kept;
    }
    static std::vector<std::string>& kept() {
        static std::vector<std::string> list;
        return list;
    }
    static void keep(std::exception_ptr error, const char* task_name) noexcept {
        std::string text = std::string(task_name) + ": ";
        try {
            std::rethrow_exception(error);
        } catch (const std::exception& caught) {
            text += caught.what();
        } catch (...) {
            text += "?";
        }
        const std::lock_guard lock(mutex());
        kept().push_back(text);
    }
    ferry::exception_handler before_;
};
}  // namespace ferry_test
