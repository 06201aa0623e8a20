// tests/bench/abuse.cpp - what clients who mean harm cost a server in memory, and other clients in time
//   abuse [--only WORD]       runs the scenarios whose name has that word
// For each: the server's resident memory before, at its peak and afterwards, and how long a well-behaved client waits for its
// echo meanwhile, beside one whose server nobody attacks: what that one waits is the machine's doing. Exits with 0 if all of it is within its bounds, with 1 if not. All limits are the server's defaults, but for
// the times, which are shortened so that they come within the run.
// SPDX-License-Identifier: BSL-1.0
#include "abuse_victim.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace {
using namespace ferry_bench;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;
constexpr double allowed_p99_ms = 50;  // more than with the idle server

/// A frame as a client sends it, masked with zeros; the payload may be shorter than the size that it announces.
std::string frame(unsigned first_octet, std::uint64_t announced, std::string_view payload) {
    std::string octets(1, static_cast<char>(static_cast<unsigned char>(first_octet)));
    if (announced < 126) {
        octets += static_cast<char>(static_cast<unsigned char>(0x80 | announced));
    } else {
        octets += announced < 65536 ? '\xfe' : '\xff';
        for (int shift = announced < 65536 ? 8 : 56; shift >= 0; shift -= 8) {
            octets += static_cast<char>(announced >> shift & 0xFF);
        }
    }
    return octets.append(4, '\0').append(payload);
}

/// Clients of one kind.
class attackers {
public:
    explicit attackers(victim& server) : server_(server) {}

    void connect(std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) clients_.emplace_back(server_.port());
    }
    /// The same, and asks for a WebSocket; waits until they have one, 250 at a time.
    void open_websockets(std::size_t count) {
        for (std::size_t opened = 0; opened < count;) {
            const std::size_t some = std::min<std::size_t>(250, count - opened);
            connect(some);
            for (std::size_t i = opened; i < opened + some; ++i) clients_[i].open_websocket("/");
            for (; opened < clients_.size(); ++opened) {
                soak_client& client = clients_[opened];
                while (!client.accepted()) {
                    wait(client, POLLIN, 20s);
                    client.receive([](std::string_view) {});
                    if (client.ended()) throw std::runtime_error("a WebSocket was refused");
                }
            }
        }
    }
    /// Everybody sends these octets, as far as the server takes them until then.
    void send_until(std::string_view octets, clock_type::time_point end) {
        std::vector<std::size_t> sent(clients_.size());
        for (bool more = true; more && clock_type::now() < end;) {
            more = false;
            for (std::size_t i = 0; i < clients_.size(); ++i) {
                sent[i] += send_some(clients_[i], octets.substr(sent[i]));
                more = more || sent[i] < octets.size();
            }
            if (more) std::this_thread::sleep_for(1ms);
        }
    }
    /// Everybody sends them again and again, until then or until the server has had enough; reads nothing.
    void flood_until(std::string_view octets, clock_type::time_point end) {
        std::vector<std::size_t> sent(clients_.size());
        while (clock_type::now() < end) {
            for (std::size_t i = 0; i < clients_.size(); ++i) {
                sent[i] = (sent[i] + send_some(clients_[i], octets.substr(sent[i]))) % octets.size();
            }
            std::this_thread::sleep_for(1ms);
        }
    }
    /// Everybody sends one octet after the other, with a pause between them.
    void trickle(std::string_view octets, std::chrono::milliseconds pause) {
        for (const char octet : octets) {
            for (soak_client& client : clients_) send_some(client, std::string_view(&octet, 1));
            std::this_thread::sleep_for(pause);
        }
    }
    void leave() { clients_.clear(); }
    [[nodiscard]] std::size_t size() const noexcept { return clients_.size(); }

private:
    static void wait(const soak_client& client, short events, std::chrono::milliseconds limit) {
        ::pollfd question{};
        question.fd = client.descriptor();
        question.events = events;
        if (::poll(&question, 1, static_cast<int>(limit.count())) <= 0)
            throw std::runtime_error("the server does not answer");
    }
    static std::size_t send_some(const soak_client& client, std::string_view octets) {
        const ::ssize_t sent = ::send(client.descriptor(), octets.data(), octets.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        return sent < 0 ? 0 : static_cast<std::size_t>(sent);
    }

    victim& server_;
    std::vector<soak_client> clients_;
};

// ---- the scenarios ---------------------------------------------------------------------------------------------------
void incomplete_messages(attackers& all) {
    all.open_websockets(1000);
    all.send_until(frame(0x82, mib, std::string(64 * kib, 'x')), clock_type::now() + 10s);
    std::this_thread::sleep_for(1s);
}
void announced_messages(attackers& all) {
    all.open_websockets(1000);
    all.send_until(frame(0x82, mib, ""), clock_type::now() + 10s);
    std::this_thread::sleep_for(1s);
}
void slow_heads(attackers& all) {
    all.connect(1000);
    all.trickle("GET /a-rather-long-path HTTP/1.1\r\nHost: x\r\nX-Field: a", 100ms);
}
void slow_bodies(attackers& all) {
    all.connect(1000);
    all.send_until("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", clock_type::now() + 5s);
    all.trickle(std::string(60, 'x'), 100ms);
}
void slow_messages(attackers& all) {
    all.open_websockets(1000);
    all.trickle(frame(0x81, 200, std::string(40, 'x')), 100ms);
}
void fragments(attackers& all) {
    all.open_websockets(20);
    std::string octets = frame(0x01, 1, "x");
    for (int i = 0; i < 1000; ++i) octets += frame(0x00, 1, "x");
    const std::string_view rest = std::string_view(octets).substr(7);
    all.send_until(std::string_view(octets).substr(0, 7), clock_type::now() + 1s);
    all.flood_until(rest, clock_type::now() + 5s);
}
void empty_fragments(attackers& all) {
    all.open_websockets(20);
    all.send_until(frame(0x01, 0, ""), clock_type::now() + 1s);
    std::string octets;
    for (int i = 0; i < 1000; ++i) octets += frame(0x00, 0, "");
    all.flood_until(octets, clock_type::now() + 5s);
}
void pings(attackers& all) {
    all.open_websockets(20);
    std::string octets;
    for (int i = 0; i < 200; ++i) octets += frame(0x89, 125, std::string(125, 'p'));
    all.flood_until(octets, clock_type::now() + 5s);
}
void unread_echoes(attackers& all) {
    all.open_websockets(100);
    all.flood_until(frame(0x82, 32 * kib, std::string(32 * kib, 'x')), clock_type::now() + 6s);
}
void unread_small_echoes(attackers& all) {
    all.open_websockets(100);
    std::string octets;
    for (int i = 0; i < 1000; ++i) octets += frame(0x81, 1, "x");
    all.flood_until(octets, clock_type::now() + 6s);
}
void unread_responses(attackers& all) {
    all.connect(100);
    std::string octets;
    for (int i = 0; i < 1000; ++i) octets += "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    all.flood_until(octets, clock_type::now() + 6s);
}
void closes(attackers& all) {
    all.open_websockets(1000);
    all.send_until(frame(0x88, 0, ""), clock_type::now() + 1s);  // and nobody ends the connection
    std::this_thread::sleep_for(4s);
}
void idle_websockets(attackers& all) {
    all.open_websockets(10'000);
    std::this_thread::sleep_for(2s);
}
void idle_connections(attackers& all) {
    all.connect(10'000);
    std::this_thread::sleep_for(1s);
}
void half_open(attackers& all) {
    all.open_websockets(1000);
    std::this_thread::sleep_for(6s);  // they answer no ping: to the server they are not there
}

struct scenario {
    const char* name;
    void (*attack)(attackers& all);
    double allowed_mib;    // of growth, at the peak
    bool server_gives_up;  // it ends the connections before the clients do
};

// 1000 times 64 KiB are held, in strings that grow by doubling. Who does not read an echo is owed one message in hand, 64 KiB of
// output and a message more, and 16 messages or 1 MiB that wait.
constexpr scenario scenarios[] = {
    {"incomplete_messages: 1000 of 1 MiB, 64 KiB sent", &incomplete_messages, 160, false},
    {"announced_messages: 1000 of 1 MiB, nothing sent", &announced_messages, 16, false},
    {"slow_heads: 1000 requests, 10 octets/s", &slow_heads, 16, true},
    {"slow_bodies: 1000 requests, 10 octets/s", &slow_bodies, 20, true},
    {"slow_messages: 1000 messages, 10 octets/s", &slow_messages, 20, false},
    {"fragments: 20 floods of 1 octet each", &fragments, 16, true},
    {"empty_fragments: 20 floods", &empty_fragments, 16, true},
    {"pings: 20 floods, no pong read", &pings, 24, false},
    {"unread_echoes: 100 floods of 32 KiB", &unread_echoes, 140, false},
    {"unread_small_echoes: 100 floods of 1 octet", &unread_small_echoes, 24, false},
    {"unread_responses: 100 floods of requests", &unread_responses, 24, false},
    {"closes: 1000, no connection ended", &closes, 16, true},
    {"idle_websockets: 10,000", &idle_websockets, 120, false},
    {"idle_connections: 10,000, no request", &idle_connections, 100, false},
    {"half_open: 1000, no ping answered", &half_open, 16, true},
};

bool run(const scenario& one) {
    const auto options = ferry::serve_options()
                             .max_connections(11'000)
                             .header_timeout(2s)
                             .keep_alive_timeout(30s)
                             .body_grace_time(2s)
                             .stall_timeout(20s)
                             .ping_interval(one.attack == &half_open ? 1s : 20s)
                             .pong_timeout(one.attack == &half_open ? 2s : 20s)
                             .close_timeout(1s)
                             .on_listening([](const ferry::net::address&) {});
    victim server(options);
    victim idle(options);
    bystander good(server.port());
    bystander undisturbed(idle.port());
    std::this_thread::sleep_for(300ms);
    static_cast<void>(server.connections());
    const double before = server.resident_mib();
    server.forget_peak();

    attackers all(server);
    one.attack(all);
    const double grown = server.peak_mib() - before;
    const std::size_t left = server.connections();
    const double held = server.resident_mib() - before;
    const std::size_t clients = all.size();
    all.leave();
    std::size_t rest = server.connections();
    for (const auto end = clock_type::now() + 10s; rest > 1 && clock_type::now() < end; rest = server.connections()) {
        std::this_thread::sleep_for(50ms);
    }
    const double after = server.resident_mib() - before;
    const delay_summary waits = good.stop();
    const delay_summary machine = undisturbed.stop();

    const bool bounded = grown <= one.allowed_mib;
    const bool quick = waits.p99_ms - machine.p99_ms < allowed_p99_ms;
    const bool cleared = rest == 1 && (!one.server_gives_up || left == 1);
    std::printf("%-50s %6.1f %6.1f %6.1f %6.1f %7.1f %5zu/%-5zu %7.2f %7.2f %7.2f %7llu%s%s%s\n", one.name, before,
                grown, one.allowed_mib, held, after, left - 1, clients, waits.p99_ms, waits.max_ms, machine.p99_ms,
                static_cast<unsigned long long>(waits.count), bounded ? "" : "  <- MEMORY", quick ? "" : "  <- LATE",
                cleared ? "" : "  <- CONNECTIONS LEFT");
    std::fflush(stdout);
    return bounded && quick && cleared;
}
}  // namespace

int main(int argc, char** argv) try {
    const std::string_view only = argc > 2 && std::string_view(argv[1]) == "--only" ? argv[2] : "";
    ::rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 10'200) {
        std::printf("skipped abuse: a process may have %llu descriptors only; 10,200 are needed\n",
                    static_cast<unsigned long long>(files.rlim_cur));
        return 77;
    }
    std::printf(
        "resident memory of the server, in MiB; connections that it still has; waits of a well-behaved client, in "
        "ms\n");
    std::printf("%-50s %6s %6s %6s %6s %7s %11s %7s %7s %7s %7s\n", "", "before", "grows", "may", "holds", "after",
                "open/all", "p99", "max", "idle", "echoes");
    bool well = true;
    for (const scenario& one : scenarios) {
        if (std::string_view(one.name).find(only) != std::string_view::npos) well = run(one) && well;
    }
    std::printf("%s\n", well ? "all is well" : "NOT as it should be");
    return well ? 0 : 1;
} catch (const std::exception& error) {
    std::fprintf(stderr, "abuse: %s\n", error.what());
    return 1;
}
