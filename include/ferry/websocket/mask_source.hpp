// ferry/websocket/mask_source.hpp - where a client's mask keys come from
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>
#include <ferry/websocket/frame.hpp>

#include <bit>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace ferry::inline FERRY_ABI::websocket {
/// Refers to an object whose call operator returns 32 bits. RFC 6455 10.3 wants them unpredictable to whoever chooses
/// the payload: take them from the operating system, not from a pseudo-random engine.
class mask_source {
public:
    template <class Callable>
    requires std::is_object_v<Callable> && std::is_invocable_r_v<std::uint32_t, Callable&>
    explicit mask_source(Callable& source) noexcept
        : source_(const_cast<void*>(static_cast<const void*>(std::addressof(source)))),
          draw_([](void* from) -> std::uint32_t { return (*static_cast<Callable*>(from))(); }) {}

    [[nodiscard]] mask_key draw() const { return std::bit_cast<mask_key>(draw_(source_)); }

private:
    void* source_;
    std::uint32_t (*draw_)(void*);
};
}  // namespace ferry::inline FERRY_ABI::websocket
