// tests/net/aborts.hpp - does a call end in an assertion?
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <csignal>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ferry_test {
/// Makes the call in a child process, quietly.
template <class Fn>
bool aborts(Fn call) {
    const ::pid_t child = ::fork();
    if (child == 0) {
        std::signal(SIGABRT, SIG_DFL);
        const ::rlimit no_core{};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::dup2(::open("/dev/null", O_WRONLY), STDERR_FILENO);
        call();
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
}  // namespace ferry_test
