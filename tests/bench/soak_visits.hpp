// tests/bench/soak_visits.hpp - clients of the chat that come and go in every way
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "client_set.hpp"
#include "soak_client.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ferry_bench {
/// One connection: what it wants, and how it ends.
class visit {
public:
    enum class kind { leaves, vanishes, resets, hurries, hurries_and_resets, reads_page, is_redirected };
    static constexpr std::size_t kinds = 7;

    visit(std::uint16_t port, kind what);
    [[nodiscard]] const soak_client& client() const noexcept { return client_; }
    [[nodiscard]] bool over() const noexcept { return client_.descriptor() < 0; }
    /// There is something to read.
    void proceed();

private:
    void read_page();
    void read_messages();

    soak_client client_;
    kind what_;
    bool greeted_ = false;
    bool leaving_ = false;
};

/// So many visits, about twenty at a time.
void come_and_go(std::uint16_t port, std::size_t count);

// ---- implementation ----------------------------------------------------------------------------------------------
inline visit::visit(std::uint16_t port, kind what) : client_(port), what_(what) {
    switch (what) {
        case kind::leaves:
        case kind::vanishes:
        case kind::resets:
            client_.open_websocket("/ws/soak");
            break;
        case kind::hurries:
        case kind::hurries_and_resets:
            client_.open_websocket("/ws/soak");
            client_.send_text(R"({"type":"hello","name":"hasty"})");
            what == kind::hurries ? client_.close() : client_.reset();
            break;
        case kind::reads_page:
            client_.get("/room/soak", "Connection: close\r\n");
            break;
        case kind::is_redirected:
            client_.get("/");
            break;
    }
}

inline void visit::proceed() {
    what_ == kind::reads_page || what_ == kind::is_redirected ? read_page() : read_messages();
}

inline void visit::read_page() {
    client_.receive();
    const bool whole =
        what_ == kind::reads_page ? client_.ended() : client_.received().find("\r\n\r\n") != std::string::npos;
    if (!whole) return;
    if (!client_.received().starts_with(what_ == kind::reads_page ? "HTTP/1.1 200 " : "HTTP/1.1 302 ")) {
        throw std::runtime_error("this is no page: " + client_.received());
    }
    client_.close();
}

inline void visit::read_messages() {
    bool welcome = false;
    client_.receive([&](std::string_view text) { welcome |= text.find("\"type\":\"presence\"") != text.npos; });
    if (client_.ended()) {
        if (client_.close_code() != 1000) throw std::runtime_error("the server dropped a visitor");
        client_.close();
    } else if (client_.accepted() && !greeted_) {
        greeted_ = true;
        client_.send_text(R"({"type":"hello","name":"guest"})");
    } else if (welcome && what_ == kind::vanishes) {
        client_.close();
    } else if (welcome && what_ == kind::resets) {
        client_.reset();
    } else if (welcome && !leaving_) {
        leaving_ = true;
        client_.send_close();
    }
}

inline void come_and_go(std::uint16_t port, std::size_t count) {
    constexpr std::size_t at_a_time = 20;
    for (std::size_t begin = 0; begin < count; begin += at_a_time) {
        client_set set;
        std::vector<visit> visits;
        visits.reserve(at_a_time);
        for (std::size_t i = begin; i < std::min(begin + at_a_time, count); ++i) {
            visits.emplace_back(port, static_cast<visit::kind>(i % visit::kinds));
            if (!visits.back().over()) set.watch(visits.back().client(), visits.size() - 1);
        }
        const auto give_up = soak_clock::now() + std::chrono::seconds(30);
        while (!std::all_of(visits.begin(), visits.end(), [](const visit& one) { return one.over(); })) {
            if (soak_clock::now() > give_up) throw std::runtime_error("a visitor got no answer");
            set.wait(give_up, [&](std::size_t i) { visits[i].proceed(); });
        }
    }
}
}  // namespace ferry_bench
