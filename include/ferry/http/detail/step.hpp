// ferry/http/detail/step.hpp - what the parsers of the parts of a message answer
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

namespace ferry::inline FERRY_ABI::http::detail {
/// How far a part of a message got with the octets it was given.
enum class step {
    need_more,  // it has read them all
    data,       // it found a piece of the body
    done,       // it is complete; what follows it is not read
    failed,     // it is wrong; nothing more is read
};
}  // namespace ferry::inline FERRY_ABI::http::detail
