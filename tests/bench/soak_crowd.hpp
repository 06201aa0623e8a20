// tests/bench/soak_crowd.hpp - many clients in one room of the chat, who check what they hear
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "client_set.hpp"
#include "delays.hpp"
#include "soak_client.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ferry_bench {
struct crowd_report {
    std::uint64_t sent = 0;
    std::uint64_t expected = 0;      // deliveries: each message to each client, its sender too
    std::uint64_t delivered = 0;     // for the first time
    std::uint64_t duplicates = 0;    // delivered again
    std::uint64_t out_of_order = 0;  // delivered after a later message of the same sender
    std::uint64_t notices = 0;       // "not kept"
    std::uint64_t farewells = 0;     // clients whose close frame was answered in kind
    delay_summary transit;           // from send() in one client to recv() in another
};

/// Clients enter one room, so many a second; when each has been told that all are present, each says a message a
/// second, at moments spread evenly over it; when all has been heard, they leave as they came.
class crowd {
public:
    crowd(std::uint16_t port, std::size_t clients, std::size_t seconds, std::size_t arrivals_per_second)
        : port_(port),
          seconds_(seconds),
          arrival_(std::chrono::nanoseconds(std::chrono::seconds(1)) / arrivals_per_second),
          everybody_("\"count\":" + std::to_string(clients) + "}"),
          sent_at_(clients * seconds),
          next_(clients * clients),
          heard_(clients * clients * seconds),
          saw_everybody_(clients) {
        clients_.reserve(clients);
    }
    void enter();
    void speak();
    void leave();
    [[nodiscard]] crowd_report report() const {
        crowd_report all = report_;
        all.transit = transit_.summary();
        return all;
    }

private:
    void read(std::size_t listener);
    void hear(std::size_t listener, std::string_view text);
    static std::size_t number_after(std::string_view text, std::string_view key);

    std::uint16_t port_;
    std::size_t seconds_;
    std::chrono::nanoseconds arrival_;  // from one to the next
    std::string everybody_;             // the end of what is said when all are present
    std::vector<soak_client> clients_;
    client_set set_;
    std::vector<soak_clock::time_point> sent_at_;  // by sender and message
    std::vector<std::uint32_t> next_;              // by listener and sender: the first message that may come
    std::vector<bool> heard_;                      // by listener, sender and message
    std::vector<bool> saw_everybody_;
    delays transit_;
    crowd_report report_;
};

// ---- implementation ----------------------------------------------------------------------------------------------
inline void crowd::enter() {
    std::vector<bool> greeted(saw_everybody_.size());
    const auto on_readable = [&](std::size_t i) {
        read(i);
        if (!clients_[i].accepted() || greeted[i]) return;
        greeted[i] = true;
        clients_[i].send_text(R"({"type":"hello","name":"c)" + std::to_string(i) + "\"}");
    };
    for (auto due = soak_clock::now(); clients_.size() < saw_everybody_.size(); due += arrival_) {
        while (soak_clock::now() < due) set_.wait(due, on_readable);
        clients_.emplace_back(port_);
        set_.watch(clients_.back(), clients_.size() - 1);
        clients_.back().open_websocket("/ws/soak");
    }
    const auto give_up = soak_clock::now() + std::chrono::seconds(10);
    while (std::count(saw_everybody_.begin(), saw_everybody_.end(), false) > 0) {
        if (soak_clock::now() > give_up) throw std::runtime_error("not every client was told that all are present");
        set_.wait(give_up, on_readable);
    }
}

inline void crowd::speak() {
    const std::size_t messages = clients_.size() * seconds_;
    const auto begin = soak_clock::now();
    const auto interval = std::chrono::nanoseconds(std::chrono::seconds(1)) / clients_.size();
    report_.expected = messages * clients_.size();
    while (report_.sent < messages) {
        const auto due = begin + report_.sent * interval;
        if (soak_clock::now() < due) {
            set_.wait(due, [&](std::size_t i) { read(i); });
            continue;
        }
        const std::size_t sender = report_.sent % clients_.size(), message = report_.sent / clients_.size();
        sent_at_[sender * seconds_ + message] = soak_clock::now();
        clients_[sender].send_text(R"({"type":"say","id":)" + std::to_string(message) + R"(,"text":"m)" +
                                   std::to_string(message) + R"( and something to say, as people do"})");
        ++report_.sent;
    }
    // What comes twice may come a little later than what was awaited.
    auto until = soak_clock::now() + std::chrono::seconds(10);
    for (bool complete = false; soak_clock::now() < until;) {
        set_.wait(until, [&](std::size_t i) { read(i); });
        if (complete || report_.delivered < report_.expected) continue;
        complete = true;
        until = soak_clock::now() + std::chrono::milliseconds(500);
    }
}

inline void crowd::leave() {
    std::size_t open = clients_.size();
    const auto on_readable = [&](std::size_t i) {
        read(i);
        if (!clients_[i].ended()) return;
        if (clients_[i].close_code() == 1000) ++report_.farewells;
        clients_[i].close();
        --open;
    };
    auto due = soak_clock::now();
    for (soak_client& client : clients_) {
        while (soak_clock::now() < due) set_.wait(due, on_readable);
        client.send_close();
        due += arrival_;
    }
    const auto give_up = soak_clock::now() + std::chrono::seconds(10);
    while (open > 0 && soak_clock::now() < give_up) set_.wait(give_up, on_readable);
}

inline void crowd::read(std::size_t listener) {
    clients_[listener].receive([&](std::string_view text) { hear(listener, text); });
    if (clients_[listener].ended() && clients_[listener].close_code() == 0) {
        throw std::runtime_error("the server dropped client " + std::to_string(listener));
    }
}

inline void crowd::hear(std::size_t listener, std::string_view text) {
    if (text.find("\"type\":\"presence\"") != text.npos) {
        if (text.find(everybody_) != text.npos) saw_everybody_[listener] = true;
        return;
    }
    if (text.find("\"type\":\"notice\"") != text.npos) ++report_.notices;
    if (text.find("\"type\":\"said\"") == text.npos) return;
    const std::size_t sender = number_after(text, "\"name\":\"c"), message = number_after(text, "\"text\":\"m");
    if (sender >= clients_.size() || message >= seconds_) throw std::runtime_error("nobody said " + std::string(text));
    const std::size_t pair = listener * clients_.size() + sender;
    std::vector<bool>::reference heard = heard_[pair * seconds_ + message];
    if (heard) {
        ++report_.duplicates;
        return;
    }
    heard = true;
    ++report_.delivered;
    if (message < next_[pair]) ++report_.out_of_order;
    next_[pair] = std::max(next_[pair], static_cast<std::uint32_t>(message + 1));
    transit_.add(soak_clock::now() - sent_at_[sender * seconds_ + message]);
}

inline std::size_t crowd::number_after(std::string_view text, std::string_view key) {
    const std::size_t at = text.find(key);
    std::size_t number = 0;
    if (at == text.npos ||
        std::from_chars(text.data() + at + key.size(), text.data() + text.size(), number).ec != std::errc()) {
        throw std::runtime_error("this is no message of a client: " + std::string(text));
    }
    return number;
}
}  // namespace ferry_bench
