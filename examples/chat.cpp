// A chat: rooms, presence, and a history kept by blocking legacy code that the event loop never feels.
//   ./examples/run chat --port 8000 --history /tmp/chat     prints "listening on http://127.0.0.1:8000/"
//   then open http://127.0.0.1:8000/room/lobby in two tabs
// One ordered writer carries what is said to the disk, in batches. Its queue holds 1000 lines; when the disk cannot
// follow, a line is still said to everyone, and its speaker is told that it will not be kept.
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>
#include <fstream>
#include <map>
#include "legacy_history.hpp"

namespace app = ferry::app;
using ferry::task, ferry::value;

struct room {
    room(ferry::event_loop& loop, std::string its_name, std::size_t number)
        : name(std::move(its_name)), group("room." + std::to_string(number)), loaded(loop) {}
    value remember(const history_line& line) {
        if (recent.size() == 50) recent.erase(recent.begin());
        return recent.emplace_back(
            value::object().set("name", line.name).set("text", line.text).set("time", line.time_ms));
    }
    const std::string name, group;                // for people, and for the channel layer
    std::map<std::string, std::string> visitors;  // names by channel
    std::vector<value> recent;                    // what a newcomer is shown
    ferry::event loaded;                          // set when recent has what the disk knew
};

class chat {
public:
    chat(ferry::event_loop& loop, const std::string& directory) : loop_(loop), history_(directory) {}

    task<> visit(app::scope scope, app::receive receive, app::send send) {
        co_await receive();  // websocket_connect
        const std::string name(scope.get<app::path_parameters>()->find("name"));
        if (name.size() > 60 || rooms_.size() > 1000) co_return co_await send(app::websocket_close());
        co_await send(app::websocket_accept());
        const auto [at, is_new] = rooms_.try_emplace(name, loop_, name, rooms_.size());
        room& here = at->second;
        if (is_new) ferry::spawn(loop_, load(here));
        co_await here.loaded.wait();
        const std::string channel = layer_.new_channel("visitor");
        co_await layer_.group_add(here.group, channel);
        std::exception_ptr failure;
        try {
            co_await ferry::with_task_group([&](ferry::task_group& tasks) -> task<> {
                tasks.start(forward(channel, send));
                app::message next = co_await receive();
                for (; std::holds_alternative<app::websocket_receive>(next); next = co_await receive()) {
                    co_await hear(here, channel, ferry::json::parse(std::get<app::websocket_receive>(next).data()),
                                  send);
                }
                tasks.cancel();  // websocket_disconnect
            });
        } catch (...) {
            failure = std::current_exception();
        }
        // Neither of these suspends, so a visit that was cancelled leaves the room too.
        co_await layer_.group_discard(here.group, channel);
        if (here.visitors.erase(channel) > 0) co_await announce(here);
        if (failure) std::rethrow_exception(failure);
    }
    /// Writes what is said, in its order, as much at a time as has come up; ends when it is closed and empty.
    task<> write_history() {
        while (!unwritten_.closed() || !unwritten_.empty()) {
            std::vector<history_line> batch;
            try {
                batch.push_back(co_await unwritten_.pop());
                while (auto line = unwritten_.try_pop()) batch.push_back(std::move(*line));
                co_await ferry::sync_to_async (&legacy_history::append)(&history_, std::cref(batch));
            } catch (const std::exception& error) {  // or the queue is closed, and empty
                if (!batch.empty()) std::fprintf(stderr, "chat: %zu lines lost: %s\n", batch.size(), error.what());
            }
        }
    }
    void close() { unwritten_.close(); }
    ferry::layer_counters counters() const { return layer_.counters(); }

private:
    task<> load(room& here) {
        try {
            auto lines = co_await ferry::to_thread(&legacy_history::load, &history_, here.name, std::size_t{50});
            for (const history_line& line : lines) here.remember(line);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "chat: the history of a room is not shown: %s\n", error.what());
        }
        here.loaded.set();
    }
    task<> forward(std::string channel, app::send send) {
        for (;;) co_await send(app::websocket_send::text((co_await layer_.receive(channel)).at("frame").as_text()));
    }
    static value frame(value what) { return value::object().set("frame", ferry::json::dump(what)); }
    task<> announce(room& here) {
        value names = value::list();
        for (const auto& [channel, name] : here.visitors) names.push_back(name);
        const value presence = value::object().set("type", "presence").set("names", names).set("count", names.size());
        return layer_.group_send(here.group, frame(presence));
    }
    task<> hear(room& here, const std::string& channel, value said, app::send send) {
        if (said.at("type") == value("hello")) {
            co_await tell(send, value::object().set("type", "history").set("lines", value::list(here.recent)));
            here.visitors[channel] = said.at("name").as_text();
            co_await announce(here);
        } else if (said.at("type") == value("say") && here.visitors.contains(channel)) {
            const auto now = std::chrono::system_clock::now().time_since_epoch() / std::chrono::milliseconds(1);
            history_line line(here.name, here.visitors[channel], said.at("text").as_text(), now);
            co_await layer_.group_send(here.group,
                                       frame(here.remember(line).set("type", "said").set("id", said.at("id"))));
            if (unwritten_.try_push(std::move(line))) co_return;
            co_await tell(send, value::object().set("type", "notice").set("text", "The disk cannot follow: not kept."));
        }
    }
    static task<> tell(app::send out, value what) { co_await out(app::websocket_send::text(ferry::json::dump(what))); }
    ferry::event_loop& loop_;
    legacy_history history_;
    ferry::bounded_queue<history_line> unwritten_{loop_, 1000};
    ferry::in_memory_layer layer_;
    std::map<std::string, room> rooms_;
};

int main(int argc, char** argv) try {
    ferry::serve_options options;
    const std::vector<std::string> rest = options.take_arguments(argc, argv);
    if (!rest.empty() && rest[0] != "--history") throw std::invalid_argument("unknown option " + rest[0]);
    std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "chat.html");
    const std::string html(std::istreambuf_iterator<char>(file), {});
    ferry::event_loop loop;
    chat service(loop, rest.empty() ? "chat-history" : rest.back());
    app::router site;
    site.http("/", [](app::scope, app::receive, app::send send) -> task<> {
        co_await send(app::http_response_start(302).header("location", "/room/lobby"));
        co_await send(app::http_response_body());
    });
    site.http("/room/{name}", [&](app::scope, app::receive, app::send send) -> task<> {
        co_await send(app::http_response_start(200).header("content-type", "text/html; charset=utf-8"));
        co_await send(app::http_response_body(html));
    });
    site.websocket("/ws/{name}", [&](app::scope scope, app::receive receive, app::send send) {
        return service.visit(std::move(scope), receive, send);
    });
    loop.run(ferry::with_task_group([&](ferry::task_group& tasks) -> task<> {
        tasks.start(service.write_history());
        co_await ferry::serve_until_signal(ferry::access_log() | site, options);
        service.close();  // what is queued is still written
    }));
} catch (const std::exception& error) {
    std::fprintf(stderr, "chat: %s\n", error.what());
    return 1;
}
