// A chat: rooms, presence, and a history kept by blocking legacy code that the event loop never feels.
//   ./examples/run chat --port 8000 --history /tmp/chat     prints "listening on http://127.0.0.1:8000/"
//   then open http://127.0.0.1:8000/room/lobby in two tabs
// What is said goes to everyone at once, and to the disk through history_writer.hpp; the speaker hears if it fails.
// SPDX-License-Identifier: BSL-1.0
#include <ferry/ferry.hpp>
#include <fstream>
#include <map>
#include "history_writer.hpp"

namespace app = ferry::app;
using ferry::task, ferry::value;

struct room {
    room(ferry::event_loop& loop, const std::string& its_name, std::size_t number)
        : name(its_name), group("room." + std::to_string(number)), loaded(loop) {}
    value remember(const history_line& line) {
        if (recent.size() == 50) recent.erase(recent.begin());
        return recent.emplace_back(
            value::object().set("name", line.name).set("text", line.text).set("time", line.time_ms));
    }
    const std::string name, group;                // for people, and for the channel layer
    std::map<std::string, std::string> visitors;  // names by channel
    std::vector<value> recent;                    // what a newcomer is shown
    ferry::event loaded;                          // set when recent has what the disk knew
    std::size_t users = 1;                        // visitors, and the load
};

class chat {
public:
    chat(ferry::event_loop& loop, history_writer& history) : loop_(loop), history_(history) {}
    ~chat() { loop_.cancel_tasks(); }  // a history that is still being loaded

    task<> visit(app::scope scope, app::receive receive, app::send send) {
        co_await receive();  // websocket_connect
        const std::string name(scope.get<app::path_parameters>()->find("name"));
        if (rooms_.size() >= 1000) std::erase_if(rooms_, [](auto& at) { return at.second.users == 0; });
        const bool has_room = rooms_.size() < 1000 || rooms_.contains(name);
        if (!has_room || name.size() > 60) co_return co_await send(app::websocket_close());
        co_await send(app::websocket_accept());
        const auto [at, is_new] = rooms_.try_emplace(name, loop_, name, ++rooms_made_);
        room& here = at->second;
        if (is_new) ferry::spawn(loop_, load(here));
        ++here.users;
        const std::string channel = layer_.new_channel("visitor");
        bool is_understood = true;
        std::exception_ptr failure;
        try {
            co_await here.loaded.wait();
            co_await layer_.group_add(here.group, channel);
            co_await ferry::with_task_group([&](ferry::task_group& tasks) -> task<> {
                tasks.start(forward(channel, send));
                app::message next = co_await receive();
                for (; std::holds_alternative<app::websocket_receive>(next); next = co_await receive())
                    co_await hear(here, channel, ferry::json::parse(std::get<app::websocket_receive>(next).data()));
                tasks.cancel();  // websocket_disconnect
            });
        } catch (const ferry::json_error&) {
            is_understood = false;
        } catch (const ferry::value_error&) {
            is_understood = false;
        } catch (...) {
            failure = std::current_exception();
        }
        co_await layer_.group_discard(here.group, channel);  // none of these suspends, so a cancelled visit leaves too
        co_await layer_.drop_channel(channel);
        if (here.visitors.erase(channel) > 0) co_await announce(here);
        --here.users;
        if (failure) std::rethrow_exception(failure);
        if (!is_understood) co_await send(app::websocket_close(1008, "this is not a message of the chat"));
    }
    task<> tell(const std::string& channel, const std::string& notice) {
        return layer_.send(channel, frame(value::object().set("type", "notice").set("text", notice)));
    }
    ferry::layer_counters counters() const { return layer_.counters(); }

private:
    task<> load(room& here) {
        try {
            for (const history_line& line : co_await history_.load(here.name, 50)) here.remember(line);
        } catch (const std::exception& error) {
            std::fprintf(stderr, "chat: the history of a room is not shown: %s\n", error.what());
        }
        here.loaded.set();
        --here.users;
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
    task<> hear(room& here, const std::string& channel, value said) {
        if (said.at("type") == value("hello")) {
            co_await layer_.send(channel,
                                 frame(value::object().set("type", "history").set("lines", value::list(here.recent))));
            if (said.at("name").as_text().size() > 128) throw ferry::value_error("a name has 128 bytes at most");
            here.visitors[channel] = said.at("name").as_text();
            co_await announce(here);
        } else if (said.at("type") == value("say") && here.visitors.contains(channel)) {
            const auto now = std::chrono::system_clock::now().time_since_epoch() / std::chrono::milliseconds(1);
            history_line line(here.name, here.visitors[channel], said.at("text").as_text(), now);
            co_await layer_.group_send(here.group,
                                       frame(here.remember(line).set("type", "said").set("id", said.at("id"))));
            if (!history_.keep(std::move(line), channel)) co_await tell(channel, "The disk cannot follow: not kept.");
        }
    }
    ferry::event_loop& loop_;
    history_writer& history_;
    static constexpr auto for_ever = std::chrono::nanoseconds::max();  // a visit may last for more than a day
    ferry::in_memory_layer layer_{ferry::channel_layer_options().capacity(1000).group_expiry(for_ever)};
    std::map<std::string, room> rooms_;
    std::size_t rooms_made_ = 0;
};

int main(int argc, char** argv) try {
    auto options =
        ferry::serve_options().websocket_limits(ferry::websocket::session_options().max_message_bytes(16384));
    const std::vector<std::string> rest = options.take_arguments(argc, argv);
    const bool kept = rest.size() == 2 && rest[0] == "--history";
    if (!kept && !rest.empty()) throw std::invalid_argument("options: --host NAME --port NUMBER --history DIRECTORY");
    std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "chat.html");
    const std::string html(std::istreambuf_iterator<char>(file), {});
    if (html.empty()) throw std::runtime_error("there is no chat.html beside chat.cpp");
    ferry::event_loop loop;
    history_writer history(loop, kept ? rest[1] : std::string(argv[0]) + "-history");
    chat service(loop, history);
    const auto page = [&](app::scope, app::receive, app::send send) -> task<> {
        co_await send(app::http_response_start(200).header("content-type", "text/html; charset=utf-8"));
        co_await send(app::http_response_body(html));
    };
    app::router site;
    site.http("/", page).http("/room/{name}", page);
    site.websocket("/ws/{name}", [&](app::scope scope, app::receive receive, app::send send) {
        return service.visit(std::move(scope), receive, send);
    });
    loop.run(ferry::with_task_group([&](ferry::task_group& tasks) -> task<> {
        tasks.start(history.run([&](auto& speaker) { return service.tell(speaker, "The disk failed: not kept."); }));
        co_await ferry::serve_until_signal(ferry::access_log() | site, options);
        history.close();  // what is queued is still written
    }));
} catch (const std::exception& error) {
    std::fprintf(stderr, "chat: %s\n", error.what());
    return 1;
}
