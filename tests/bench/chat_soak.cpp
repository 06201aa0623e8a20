// tests/bench/chat_soak.cpp - the chat with many clients: what is delivered, what is kept, and how late its loop is
//   chat_soak [--clients 200] [--seconds 60] [--delay-ms 200] [--arrivals 100]
//       everybody talks in one room, which so many enter or leave in a second; each write to the disk takes so long
//   chat_soak --churn 10000
//       as many clients come and go, and leave nothing behind
// Prints a table and a verdict; exits with 0 if all is well, with 1 if not. The clients, and a loop that does nothing
// but tick, run in processes of their own.
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type"  // only main() may end without a return
#define main inline chat_main                   // not called: it serves until a signal comes
#include "../../examples/chat.cpp"
#undef main
#pragma GCC diagnostic pop

#include "child_process.hpp"
#include "delays.hpp"
#include "soak_crowd.hpp"
#include "soak_visits.hpp"

namespace {
using namespace ferry_bench;

struct soak_options {
    std::size_t clients = 200;
    std::size_t seconds = 60;
    std::size_t delay_ms = 200;
    std::size_t arrivals = 100;
    std::size_t churn = 0;
};

/// Where the history goes, until the end.
class scratch_directory {
public:
    scratch_directory() {
        std::string name = std::filesystem::temp_directory_path() / "chat_soak.XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::system_category(), name);
        path_ = name;
    }
    ~scratch_directory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    scratch_directory(const scratch_directory&) = delete;
    scratch_directory& operator=(const scratch_directory&) = delete;
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

/// The lines of the table, and whether each is as it should be.
class verdict {
public:
    void note(const char* what, const std::string& value) { std::printf("  %-44s %s\n", what, value.c_str()); }
    void expect(bool well, const char* what, const std::string& value) {
        note(what, well ? value : value + "   <- WRONG");
        well_ = well_ && well;
    }
    void zero(const char* what, std::uint64_t count) { expect(count == 0, what, std::to_string(count)); }
    void delay(const char* what, const delay_summary& found) {
        std::printf("  %-44s %8.3f %8.3f %8.3f %8.3f   of %llu\n", what, found.p50_ms, found.p99_ms, found.p999_ms,
                    found.max_ms, static_cast<unsigned long long>(found.count));
    }
    void within_20_ms(double later_ms) {
        char text[32];
        std::snprintf(text, sizeof text, "%8.3f", later_ms);
        expect(later_ms <= 20, "later than the idle process, at most 20 ms", text);
    }
    [[nodiscard]] int exit_code() const {
        std::printf("%s\n", well_ ? "all is well" : "NOT as it should be");
        return well_ ? 0 : 1;
    }

private:
    bool well_ = true;
};

/// The chat behind the routes of its main(), on a loop and a port of its own.
class chat_site {
public:
    explicit chat_site(const std::string& directory)
        : history_(loop_, directory),
          service_(loop_, history_),
          server_(loop_, routes(), {ferry::net::address("127.0.0.1", 0)}, quiet()) {}

    [[nodiscard]] ferry::event_loop& loop() noexcept { return loop_; }
    [[nodiscard]] std::uint16_t port() const noexcept { return server_.address().port(); }
    [[nodiscard]] std::size_t connections() const noexcept { return server_.connections(); }
    [[nodiscard]] ferry::layer_counters counters() const { return service_.counters(); }

    /// Serves as long as `work` runs, then until everything has been written.
    void serve_while(task<> work) {
        loop_.run(ferry::with_task_group([&](ferry::task_group& tasks) -> task<> {
            tasks.start(
                history_.run([&](auto& speaker) { return service_.tell(speaker, "The disk failed: not kept."); }));
            tasks.start(server_.run());
            co_await std::move(work);
            server_.stop();
            history_.close();
        }));
    }
    /// Until the server has seen the end of every connection.
    task<> empty() {
        for (int tries = 0; server_.connections() > 0; ++tries) {
            if (tries == 1500) throw std::runtime_error(std::to_string(connections()) + " connections do not end");
            co_await ferry::sleep_for(std::chrono::milliseconds(10));
        }
    }

private:
    app::any_application routes() {
        app::router site;
        site.http("/", [](app::scope, app::receive, app::send send) -> task<> {
            co_await send(app::http_response_start(302).header("location", "/room/soak"));
            co_await send(app::http_response_body());
        });
        site.http("/room/{name}", [](app::scope, app::receive, app::send send) -> task<> {
            co_await send(app::http_response_start(200).header("content-type", "text/html; charset=utf-8"));
            co_await send(app::http_response_body("<!doctype html><title>the page</title>"));
        });
        site.websocket("/ws/{name}", [this](app::scope scope, app::receive receive, app::send send) {
            return service_.visit(std::move(scope), receive, send);
        });
        return ferry::access_log([](const std::string&) {}) | std::move(site);
    }
    static ferry::serve_options quiet() {
        return ferry::serve_options().on_listening([](const ferry::net::address&) {});
    }

    ferry::event_loop loop_;
    history_writer history_;
    chat service_;
    ferry::server server_;
};

/// Blocks the thread that calls it.
void wait_for_word(process_link* from) { static_cast<void>(from->receive<char>()); }

constexpr const char* phases[] = {"entering", "talking", "leaving"};

/// The idle process: a loop that only ticks. At the end of each phase it tells how late it was.
void tick_alone(process_link& parent) {
    ferry::event_loop loop;
    for ([[maybe_unused]] const char* phase : phases) {
        ticker clock;
        loop.run(ferry::with_task_group([&](ferry::task_group& tasks) -> task<> {
            tasks.start(clock.run(loop));
            co_await ferry::to_thread(&wait_for_word, &parent);
            tasks.cancel();
        }));
        parent.send(clock.lateness());
    }
}

/// The clients' process. The parent tells the port, and after each phase when the next one begins.
void be_crowd(process_link& parent, const soak_options& options) {
    crowd everybody(parent.receive<std::uint16_t>(), options.clients, options.seconds, options.arrivals);
    for (const auto act : {&crowd::enter, &crowd::speak, &crowd::leave}) {
        (everybody.*act)();
        parent.send(char{});
        wait_for_word(&parent);
    }
    parent.send(everybody.report());
}

/// Lines of the room's file that are not the ones that were said: each once, and in the order of their speaker.
std::size_t wrong_lines(const std::vector<history_line>& lines) {
    std::map<std::string, std::size_t> next;
    std::size_t wrong = 0;
    for (const history_line& line : lines) {
        const std::size_t number = next[line.name]++;
        if (!line.text.starts_with("m" + std::to_string(number) + " ")) ++wrong;
    }
    return wrong;
}

/// What was measured in a phase: in this process, and in the idle one.
struct phase_result {
    delay_summary late, work, idle_late;
    ferry::layer_counters counters;
};

task<> measure(chat_site& site, process_link& clients, process_link& idle, std::vector<phase_result>& found) {
    clients.send(site.port());
    for ([[maybe_unused]] const char* phase : phases) {
        ticker clock;
        co_await ferry::with_task_group([&](ferry::task_group& tasks) -> task<> {
            tasks.start(clock.run(site.loop()));
            co_await ferry::to_thread(&wait_for_word, &clients);
            if (found.size() == 2) co_await site.empty();
            tasks.cancel();
        });
        idle.send(char{});
        phase_result result;
        result.idle_late = co_await ferry::to_thread(&process_link::receive<delay_summary>, &idle);
        result.late = clock.lateness();
        result.work = clock.work();
        result.counters = site.counters();
        found.push_back(result);
        clients.send(char{});
    }
}

int talk(const soak_options& options) {
    const scratch_directory history;
    ::setenv("LEGACY_HISTORY_DELAY_MS", std::to_string(options.delay_ms).c_str(), 1);
    child_process idle(&tick_alone);
    child_process clients([&](process_link& parent) { be_crowd(parent, options); });

    chat_site site(history.path());
    std::vector<phase_result> measured;
    site.serve_while(measure(site, clients.link(), idle.link(), measured));
    const crowd_report heard = clients.link().receive<crowd_report>();
    ::unsetenv("LEGACY_HISTORY_DELAY_MS");
    const std::vector<history_line> kept = legacy_history(history.path()).load("soak", heard.sent + 1);

    std::printf("%zu clients in one room, a message a second from each, %zu s, each history write %zu ms slower\n",
                options.clients, options.seconds, options.delay_ms);
    verdict result;
    result.note("messages sent", std::to_string(heard.sent));
    result.note("deliveries expected", std::to_string(heard.expected));
    result.expect(heard.delivered == heard.expected, "deliveries seen", std::to_string(heard.delivered));
    result.zero("  missing", heard.expected - heard.delivered);
    result.zero("  duplicates", heard.duplicates);
    result.zero("  out of order", heard.out_of_order);
    result.zero("notices that a line is not kept", heard.notices);
    result.expect(heard.farewells == options.clients, "connections that ended with 1000",
                  std::to_string(heard.farewells));
    result.expect(kept.size() == heard.sent, "lines on disk", std::to_string(kept.size()));
    result.zero("  not those that were said, in their order", wrong_lines(kept));
    ferry::layer_counters before;
    for (std::size_t i = 0; i < measured.size(); ++i) {
        const ferry::layer_counters& now = measured[i].counters;
        std::printf("%s\n", phases[i]);
        result.note("channel layer: sent", std::to_string(now.sent - before.sent));
        result.note("channel layer: delivered", std::to_string(now.delivered - before.delivered));
        result.zero("channel layer: dropped_full", now.dropped_full - before.dropped_full);
        result.zero("channel layer: dropped_expired", now.dropped_expired - before.dropped_expired);
        std::printf("  %-44s %8s %8s %8s %8s\n", "milliseconds", "p50", "p99", "p99.9", "max");
        result.delay("1 ms timer on the chat's loop, late by", measured[i].late);
        result.delay("  the loop's own work from tick to tick", measured[i].work);
        result.delay("1 ms timer in the idle process, late by", measured[i].idle_late);
        result.within_20_ms(measured[i].late.max_ms - measured[i].idle_late.max_ms);
        before = now;
    }
    result.delay("a message from client to client", heard.transit);
    return result.exit_code();
}

std::size_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    std::size_t all = 0, resident = 0;
    file >> all >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// Messages that a channel layer has taken, and nobody has received: most of them it still keeps.
std::uint64_t count_unreceived(const ferry::layer_counters& counted) {
    return counted.sent - counted.delivered - counted.dropped_expired;
}

int churn(const soak_options& options) {
    constexpr std::size_t warm_up = 1000;
    constexpr std::size_t allowed_growth_bytes = 256 * 1024;
    const scratch_directory history;
    child_process clients([&](process_link& parent) {
        const std::uint16_t port = parent.receive<std::uint16_t>();
        for (std::size_t count : {warm_up, options.churn}) {
            come_and_go(port, count);
            parent.send(char{});
            static_cast<void>(parent.receive<char>());
        }
    });

    class state {
    public:
        explicit state(const chat_site& site) : unreceived(count_unreceived(site.counters())) {}
        std::size_t resident = resident_bytes();
        std::int64_t frames = ferry::detail::frame_allocator::live();
        std::uint64_t unreceived;
    };
    std::vector<state> states;
    chat_site site(history.path());
    site.serve_while([](chat_site& its_site, process_link& link, std::vector<state>& found) -> task<> {
        co_await ferry::sleep_for(std::chrono::milliseconds(10));  // until the server listens
        found.emplace_back(its_site);
        link.send(its_site.port());
        for (int phase = 0; phase < 2; ++phase) {
            co_await ferry::to_thread(&wait_for_word, &link);
            co_await its_site.empty();
            found.emplace_back(its_site);
            link.send(char{});
        }
    }(site, clients.link(), states));

    std::printf("%zu clients come and go, after %zu to warm up\n", options.churn, warm_up);
    verdict result;
    constexpr const char* when[] = {"before", "after the warm-up", "at the end"};
    for (std::size_t i = 0; i < states.size(); ++i) {
        result.note(when[i], std::to_string(states[i].resident / 1024) + " KiB resident, " +
                                 std::to_string(states[i].frames) + " recycled blocks in use, " +
                                 std::to_string(states[i].unreceived) + " messages that nobody received");
    }
    result.expect(
        states[2].resident <= states[1].resident + allowed_growth_bytes, "growth, at most 256 KiB",
        std::to_string((static_cast<std::int64_t>(states[2].resident) - static_cast<std::int64_t>(states[1].resident)) /
                       1024) +
            " KiB");
    result.expect(states[2].frames == states[0].frames, "blocks of memory left behind",
                  std::to_string(states[2].frames - states[0].frames));
    return result.exit_code();
}

soak_options parse(int argc, char** argv) {
    soak_options options;
    const std::map<std::string, std::size_t soak_options::*> known = {{"--clients", &soak_options::clients},
                                                                      {"--seconds", &soak_options::seconds},
                                                                      {"--delay-ms", &soak_options::delay_ms},
                                                                      {"--arrivals", &soak_options::arrivals},
                                                                      {"--churn", &soak_options::churn}};
    for (int at = 1; at < argc; at += 2) {
        const auto option = known.find(argv[at]);
        if (option == known.end()) throw std::invalid_argument(std::string("unknown option ") + argv[at]);
        const std::string_view text = at + 1 < argc ? argv[at + 1] : "";
        const auto end = text.data() + text.size();
        const auto read = std::from_chars(text.data(), end, options.*option->second);
        if (read.ec != std::errc() || read.ptr != end || options.*option->second == 0) {
            throw std::invalid_argument(std::string(argv[at]) + " needs a number, at least 1");
        }
    }
    return options;
}
}  // namespace

int main(int argc, char** argv) try {
    const soak_options options = parse(argc, argv);
    return options.churn > 0 ? churn(options) : talk(options);
} catch (const std::exception& error) {
    std::fprintf(stderr, "chat_soak: %s\n", error.what());
    return 1;
}
