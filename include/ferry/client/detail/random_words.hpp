// ferry/client/detail/random_words.hpp - unpredictable numbers from the operating system
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

#include <sys/random.h>

namespace ferry::inline FERRY_ABI::detail {
/// 32 bits a call, for mask keys, nonces and jitter: RFC 6455 10.3 wants keys that whoever chooses the payload cannot
/// predict. One syscall for every 64 words.
class random_words {
public:
    [[nodiscard]] std::uint32_t operator()() {
        if (left_ == 0) refill();
        return words_[--left_];
    }

private:
    void refill() {
        ::ssize_t size = 0;
        do size = ::getrandom(words_.data(), sizeof words_, 0);
        while (size < 0 && errno == EINTR);
        if (size != static_cast<::ssize_t>(sizeof words_)) {
            throw std::system_error(errno, std::system_category(), "ferry: getrandom");
        }
        left_ = words_.size();
    }

    std::array<std::uint32_t, 64> words_;
    std::size_t left_ = 0;
};
}  // namespace ferry::inline FERRY_ABI::detail
