// tests/core/process_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/process.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <thread>

namespace {
std::atomic<int> made{0};
std::atomic<int> deleted{0};
std::atomic<int> chosen{0};

/// Its constructor ends when two threads are in it.
class slow_to_make {
public:
    slow_to_make() {
        ++made;
        while (made < 2) std::this_thread::yield();
    }
    ~slow_to_make() { ++deleted; }
    void has_been_chosen() { chosen_here_ = ++chosen == 1; }
    [[nodiscard]] bool is_the_one() const { return chosen_here_; }

private:
    std::atomic<bool> chosen_here_{false};
};
}  // namespace

TEST_CASE("of those that threads make at the same time one is kept, and it alone is told so", "[core][process][mt]") {
    using only = ferry::detail::process_wide<slow_to_make>;
    slow_to_make* there = nullptr;
    std::thread other([&] { there = &only::get(); });
    slow_to_make* const here = &only::get();
    other.join();
    CHECK(here == there);
    CHECK(made == 2);
    CHECK(deleted == 1);
    CHECK(chosen == 1);
    CHECK(here->is_the_one());
}
