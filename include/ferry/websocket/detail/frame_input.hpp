// ferry/websocket/detail/frame_input.hpp - octets read in place, with what was cut carried over
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/config.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace ferry::inline FERRY_ABI::websocket::detail {
/// The octets of a connection that are not read yet: first those kept from earlier buffers, then those of the buffer
/// that was given last. Only a header or control frame that the end of a buffer cuts is copied, and what keep() is
/// asked to.
///
/// Ownership  Refers to the octets given, which may be changed in place, until they are used up or kept.
class frame_input {
public:
    void give(char* octets, std::size_t count) noexcept;
    /// The next `count` octets in one piece, not yet read; nullptr, with all there is kept, if there are fewer.
    [[nodiscard]] char* gather(std::size_t count);
    /// Reads octets that gather() has returned.
    void skip(std::size_t count) noexcept;
    /// Reads up to `at_most` octets that lie in one piece; empty if there are none.
    [[nodiscard]] std::span<char> take(std::uint64_t at_most) noexcept;
    /// Copies all that is not read, so that the given buffer is free.
    void keep();
    void drop() noexcept;

private:
    /// Gives the memory back once everything kept is read; what gather() and take() returned ends here.
    void tidy() noexcept;

    std::string kept_;
    std::size_t kept_read_ = 0;  // octets at the front of kept_ that are read
    std::span<char> given_;      // not read
};

// ---- implementation ---------------------------------------------------------------
inline void frame_input::give(char* octets, std::size_t count) noexcept {
    FERRY_ASSERT(given_.empty(), "octets given before those of the last buffer were used up or kept");
    given_ = std::span<char>(octets, count);
}

inline char* frame_input::gather(std::size_t count) {
    tidy();
    if (kept_.empty()) {
        if (given_.size() >= count) return given_.data();
        keep();
        return nullptr;
    }
    const std::size_t have = kept_.size() - kept_read_;
    if (have < count) {
        const std::size_t more = std::min(count - have, given_.size());
        kept_.erase(0, kept_read_).append(given_.data(), more);
        kept_read_ = 0;
        given_ = given_.subspan(more);
        if (have + more < count) return nullptr;
    }
    return kept_.data() + kept_read_;
}

inline void frame_input::skip(std::size_t count) noexcept {
    if (kept_.empty()) {
        given_ = given_.subspan(count);
    } else {
        kept_read_ += count;
    }
}

inline std::span<char> frame_input::take(std::uint64_t at_most) noexcept {
    tidy();
    const std::span<char> all = kept_.empty() ? given_ : std::span<char>(kept_).subspan(kept_read_);
    const std::span<char> taken = all.first(static_cast<std::size_t>(std::min<std::uint64_t>(at_most, all.size())));
    skip(taken.size());
    return taken;
}

inline void frame_input::keep() {
    if (given_.empty()) return;
    kept_.erase(0, kept_read_).append(given_.data(), given_.size());
    kept_read_ = 0;
    given_ = {};
}

inline void frame_input::drop() noexcept {
    kept_read_ = kept_.size();
    given_ = {};
    tidy();
}

inline void frame_input::tidy() noexcept {
    if (kept_read_ != kept_.size()) return;
    std::string().swap(kept_);
    kept_read_ = 0;
}
}  // namespace ferry::inline FERRY_ABI::websocket::detail
