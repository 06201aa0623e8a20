// ferry/loop/detail/posted.hpp - a callable on its way to a loop
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/awaitable.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/exception_handlers.hpp>
#include <ferry/core/executor.hpp>
#include <ferry/loop/detail/post_memory.hpp>

#include <cstddef>
#include <exception>
#include <type_traits>
#include <utility>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// Made by event_loop::post; the loop runs it once, and it deletes itself.
template <class Fn>
class posted final : public posted_callback {
    static_assert(!awaitable<std::invoke_result_t<Fn&>>,
                  "this function is a coroutine, which post() would make and drop: spawn(loop, fn) runs it");

public:
    explicit posted(Fn&& call) : posted_callback(&invoke), call_(std::move(call)) {}
    static void* operator new(std::size_t size) { return post_memory::allocate(size); }
    static void operator delete(void* block, std::size_t size) noexcept { post_memory::deallocate(block, size); }

private:
    static void invoke(posted_callback& callback) noexcept {
        posted& self = static_cast<posted&>(callback);
        try {
            self.call_();
        } catch (...) {
            report_unhandled(std::current_exception(), "a posted callback");
        }
        delete &self;
    }

    Fn call_;
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
