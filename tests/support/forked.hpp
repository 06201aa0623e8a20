// tests/support/forked.hpp - code that runs in a forked child
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cerrno>
#include <exception>
#include <string>
#include <system_error>

#include <sys/wait.h>
#include <unistd.h>

namespace ferry_test {
/// One fork. The child's side writes what it saw; the parent's side gets that, or in words how the child died. A child
/// that hangs is killed after 20 seconds.
class forked {
public:
    forked() {
        if (::pipe(pipe_) != 0) throw std::system_error(errno, std::system_category(), "pipe");
        child_ = ::fork();
        if (child_ == 0) ::alarm(20);
    }
    forked(const forked&) = delete;
    forked& operator=(const forked&) = delete;

    [[nodiscard]] bool is_child() const noexcept { return child_ == 0; }
    /// In the child: the end. No destructor runs.
    [[noreturn]] void say(const std::string& text) const {
        [[maybe_unused]] const auto written = ::write(pipe_[1], text.data(), text.size());
        ::_exit(0);
    }
    /// In the parent.
    [[nodiscard]] std::string said() {
        ::close(pipe_[1]);
        std::string text;
        char buffer[512];
        for (;;) {
            const auto count = ::read(pipe_[0], buffer, sizeof buffer);
            if (count > 0) text.append(buffer, static_cast<std::size_t>(count));
            if (count == 0 || (count < 0 && errno != EINTR)) break;
        }
        ::close(pipe_[0]);
        int status = 0;
        while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {}
        if (WIFSIGNALED(status)) text += " (killed by signal " + std::to_string(WTERMSIG(status)) + ")";
        return text;
    }

private:
    int pipe_[2] = {-1, -1};
    ::pid_t child_ = -1;
};

/// Runs fn in a forked child and returns the text that it returned there, or that of the exception it threw.
template <class Fn>
std::string in_child(Fn fn) {
    forked process;
    if (!process.is_child()) return process.said();
    std::string text;
    try {
        text = fn();
    } catch (const std::exception& error) {
        text = std::string("threw ") + error.what();
    } catch (...) {
        text = "threw something";
    }
    process.say(text);
}
}  // namespace ferry_test
