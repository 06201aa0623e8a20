// ferry/websocket/extension.hpp - what both ends may agree on beyond RFC 6455: a hook, such as for permessage-deflate
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ferry::inline FERRY_ABI::websocket {
/// Changes the payload of whole messages, and says so by reserved bits of their first frame (RFC 6455 5.8). One object
/// for each end of each connection; it may keep what it learnt from one message for the next.
///
/// ferry has none of its own. The handshake declines what clients offer; who negotiates one gives it to the session.
class extension {
public:
    enum class outcome : std::uint8_t { done, too_big, malformed };

    /// RSV1 is 4, RSV2 is 2, RSV3 is 1: the bits that a message's first frame may have.
    [[nodiscard]] virtual unsigned reserved_bits() const noexcept = 0;

    /// A piece of a message that came with such a bit, unmasked: appends what it stands for to `out`, at most `room`
    /// octets. It stops there and says too_big: nothing may be inflated first and measured afterwards.
    [[nodiscard]] virtual outcome decode(std::string_view piece, bool last, std::size_t room, std::string& out) = 0;

    /// A message to be sent: appends what is sent in its place, and returns the bits that say so; 0 to send it as it is.
    [[nodiscard]] virtual unsigned encode(std::string_view payload, std::string& out) = 0;

protected:
    ~extension() = default;
};
}  // namespace ferry::inline FERRY_ABI::websocket
