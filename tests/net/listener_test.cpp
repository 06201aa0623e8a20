// tests/net/listener_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/task.hpp>
#include <ferry/deadlock/report.hpp>
#include <ferry/loop/event_loop.hpp>
#include <ferry/loop/spawn.hpp>
#include <ferry/loop/timeout.hpp>
#include <ferry/loop/virtual_clock.hpp>
#include <ferry/net/connect.hpp>
#include <ferry/net/listener.hpp>

#include "net/aborts.hpp"
#include "support/catch.hpp"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace net = ferry::net;
using namespace std::chrono_literals;

namespace {
const net::address any_port("127.0.0.1", 0);

/// A blocking client that needs no loop.
class plain_client {
public:
    plain_client() : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
    ~plain_client() { ::close(descriptor_); }
    plain_client(const plain_client&) = delete;
    plain_client& operator=(const plain_client&) = delete;

    bool connect(const net::address& to) const { return ::connect(descriptor_, to.data(), to.size()) == 0; }
    net::address local() const { return net::detail::local_address(descriptor_); }
    bool was_closed() const {
        char octet = 0;
        const ssize_t received = ::recv(descriptor_, &octet, 1, MSG_DONTWAIT);
        return received == 0 || (received < 0 && errno == ECONNRESET);
    }

private:
    int descriptor_;
};

/// Runs the loop while this process cannot have one descriptor more.
void run_without_descriptors(ferry::event_loop& loop) {
    ::rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    const int lowest_free = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::close(lowest_free);
    ::rlimit none = before;
    none.rlim_cur = static_cast<::rlim_t>(lowest_free);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    loop.run_until_idle();
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
}

/// The same until that client has been turned away. Time passes, so that a pause that has begun before it came ends.
void turn_until_closed(ferry::event_loop& loop, ferry::virtual_clock& clock, const plain_client& client) {
    while (!client.was_closed()) {
        run_without_descriptors(loop);
        clock.advance(1ms);
    }
}

/// Keeps ferry's reports.
class reports {
public:
    reports() : before_(ferry::set_report_sink([](const char* text) noexcept { kept().emplace_back(text); })) {
        kept().clear();
    }
    ~reports() { ferry::set_report_sink(before_); }
    reports(const reports&) = delete;
    reports& operator=(const reports&) = delete;
    static std::vector<std::string>& kept() {
        static std::vector<std::string> texts;
        return texts;
    }

private:
    ferry::report_sink before_;
};

std::string failure_to_listen(ferry::event_loop& loop, const net::address& at, int expected) {
    try {
        const net::listener made(loop, at);
        return "nothing went wrong";
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == expected);
        return error.what();
    }
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

ferry::task<> accept_one(net::listener& door, std::vector<net::socket>& accepted) {
    accepted.push_back(co_await door.accept());
}
ferry::task<> accept_in_time(net::listener& door) { co_await ferry::timeout(0ns, door.accept()); }
}  // namespace

TEST_CASE("a listener on port 0 tells the port that the kernel chose", "[net][listener]") {
    ferry::event_loop loop;
    net::listener door(loop, any_port);
    CHECK(door.local().host() == "127.0.0.1");
    REQUIRE(door.local().port() != 0);
    const plain_client client;
    REQUIRE(client.connect(door.local()));
    CHECK(loop.run(door.accept()).peer() == client.local());
}

TEST_CASE("accept waits until a connection comes and yields each once", "[net][listener]") {
    ferry::event_loop loop;
    net::listener door(loop, any_port);
    std::vector<net::socket> accepted;
    const auto waiting = ferry::spawn(loop, accept_one(door, accepted));
    loop.run_until_idle();
    REQUIRE(accepted.empty());
    const plain_client first, second;
    REQUIRE(first.connect(door.local()));
    REQUIRE(second.connect(door.local()));
    while (accepted.empty()) loop.run_once(1s);
    loop.run(accept_one(door, accepted));
    REQUIRE(accepted.size() == 2);
    CHECK(accepted[0].peer() == first.local());
    CHECK(accepted[1].peer() == second.local());
}

TEST_CASE("a connection is not lost when the accept that waited was cancelled", "[net][listener]") {
    ferry::event_loop loop;
    net::listener door(loop, any_port);
    CHECK_THROWS_AS(loop.run(accept_in_time(door)), ferry::timeout_error);
    const plain_client client;
    REQUIRE(client.connect(door.local()));
    CHECK(loop.run(door.accept()).peer() == client.local());
}

TEST_CASE("a listener for IPv6 accepts", "[net][listener]") {
    ferry::event_loop loop;
    try {
        net::listener door(loop, net::address("::1", 0));
        const net::socket client = loop.run(net::connect(door.local()));
        const net::socket accepted = loop.run(door.accept());
        CHECK(accepted.peer() == client.local());
        CHECK(accepted.local().host() == "::1");
    } catch (const std::system_error& error) {
        CHECK((error.code().value() == EADDRNOTAVAIL || error.code().value() == EAFNOSUPPORT));  // no IPv6 here
    }
}

TEST_CASE("a port in use is an error that names the address and the way out", "[net][listener]") {
    ferry::event_loop loop;
    const net::listener first(loop, any_port);
    const std::string text = failure_to_listen(loop, first.local(), EADDRINUSE);
    CHECK(contains(text, first.local().to_string()));
    CHECK(contains(text, "stop the other program there or choose another port"));
    CHECK(contains(text, "in use"));
}

TEST_CASE("an address of another machine is an error that names it and the way out", "[net][listener]") {
    ferry::event_loop loop;
    const std::string text = failure_to_listen(loop, net::address("192.0.2.1", 8000), EADDRNOTAVAIL);
    CHECK(contains(text, "192.0.2.1:8000"));
    CHECK(contains(text, "choose an address of this machine"));
}

TEST_CASE("listeners share a port only when each asks for it", "[net][listener]") {
    ferry::event_loop loop;
    const net::listener first(loop, any_port, net::listener_options().reuse_port(true));
    const net::listener second(loop, first.local(), net::listener_options().reuse_port(true));
    CHECK(second.local() == first.local());
    CHECK_THROWS_AS(net::listener(loop, first.local()), std::system_error);
}

TEST_CASE("a port can be listened on again at once", "[net][listener]") {
    ferry::event_loop loop;
    net::address where;
    {
        net::listener door(loop, any_port);
        where = door.local();
        const plain_client client;
        REQUIRE(client.connect(where));
        net::socket accepted = loop.run(door.accept());
        accepted.close();  // this end closes first, so the port stays in TIME_WAIT
    }
    CHECK(net::listener(loop, where).local() == where);
}

TEST_CASE("out of descriptors, a listener turns connections away until there are some", "[net][listener]") {
    ferry::virtual_clock clock;
    ferry::event_loop loop(clock);
    net::listener door(loop, any_port);
    std::vector<net::socket> accepted;
    accepted.reserve(2);
    const plain_client first, second, third, fourth, fifth;
    const reports reported;
    auto waiting = ferry::spawn(loop, accept_one(door, accepted));
    run_without_descriptors(loop);
    CHECK(reports::kept().empty());  // nobody has come yet

    REQUIRE(first.connect(door.local()));
    turn_until_closed(loop, clock, first);
    REQUIRE(reports::kept().size() == 1);
    CHECK(contains(reports::kept()[0], door.local().to_string()));
    CHECK(contains(reports::kept()[0], "ulimit -n"));

    REQUIRE(second.connect(door.local()));
    run_without_descriptors(loop);
    CHECK_FALSE(second.was_closed());  // it pauses
    clock.advance(100ms);
    turn_until_closed(loop, clock, second);
    CHECK(reports::kept().size() == 1);  // the same episode
    CHECK(accepted.empty());

    REQUIRE(third.connect(door.local()));
    clock.advance(100ms);
    while (!waiting.is_ready()) loop.run_until_idle();
    REQUIRE(accepted.size() == 1);
    CHECK(accepted[0].peer() == third.local());

    waiting = ferry::spawn(loop, accept_one(door, accepted));
    REQUIRE(fourth.connect(door.local()));
    turn_until_closed(loop, clock, fourth);
    CHECK(reports::kept().size() == 2);  // a new one

    REQUIRE(fifth.connect(door.local()));
    clock.advance(100ms);
    while (!waiting.is_ready()) loop.run_until_idle();
    CHECK(accepted.size() == 2);
}

TEST_CASE("destroying a listener while a task waits for it is an assertion", "[net][listener]") {
    CHECK(ferry_test::aborts([] {
        ferry::event_loop loop;
        net::listener door(loop, any_port);
        std::vector<net::socket> accepted;
        const auto waiting = ferry::spawn(loop, accept_one(door, accepted));
        loop.run_until_idle();
    }));
}

namespace {
/// A directory for sockets, gone with the test.
class directory {
public:
    directory() { REQUIRE(::mkdtemp(name_) != nullptr); }
    ~directory() { ::rmdir(name_); }  // which fails, and is found out, if something is left in it
    directory(const directory&) = delete;
    directory& operator=(const directory&) = delete;
    net::address operator/(const char* file) const { return net::address::of_path(std::string(name_) + "/" + file); }

private:
    char name_[32] = "/tmp/ferry_listener_XXXXXX";
};
bool exists(const net::address& at) { return ::access(at.path().c_str(), F_OK) == 0; }
}  // namespace

TEST_CASE("a listener at a path accepts, and takes its path away with it", "[net][listener]") {
    ferry::event_loop loop;
    const directory here;
    const net::address at = here / "door";
    {
        net::listener door(loop, at);
        CHECK(door.local() == at);
        CHECK(exists(at));
        net::socket client = loop.run(net::connect(at));
        net::socket accepted = loop.run(door.accept());
        CHECK(client.peer() == at);
        CHECK(accepted.local() == at);
        CHECK(accepted.peer().is_path());
        CHECK(accepted.peer().path().empty());
        REQUIRE(client.send_some("hello") == 5);
        char text[8];
        CHECK(loop.run(accepted.receive(text, sizeof text)) == 5);
    }
    CHECK_FALSE(exists(at));
}

TEST_CASE("a listener in the abstract namespace leaves no file", "[net][listener]") {
    ferry::event_loop loop;
    const net::address at = net::address::of_path("@ferry-listener-test-" + std::to_string(::getpid()));
    net::listener door(loop, at);
    const net::socket client = loop.run(net::connect(at));
    CHECK(loop.run(door.accept()).local() == at);
    CHECK_FALSE(exists(net::address::of_path(at.path().substr(1))));
}

TEST_CASE("a path that an ended program left behind is taken over, one in use is not", "[net][listener]") {
    ferry::event_loop loop;
    const directory here;
    const net::address at = here / "door";
    {
        const int left_behind = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::bind(left_behind, at.data(), at.size()) == 0);
        ::close(left_behind);
    }
    REQUIRE(exists(at));
    const net::listener door(loop, at);
    const std::string text = failure_to_listen(loop, at, EADDRINUSE);
    CHECK(contains(text, at.to_string()));
    CHECK(contains(text, "choose another path"));
    CHECK(exists(at));
}

TEST_CASE("a file that is no socket is never removed for a listener", "[net][listener]") {
    ferry::event_loop loop;
    const directory here;
    const net::address at = here / "file";
    ::close(::open(at.path().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK(contains(failure_to_listen(loop, at, EADDRINUSE), "choose another path"));
    CHECK(exists(at));
    ::unlink(at.path().c_str());
}

TEST_CASE("a path that somebody else has made anew stays", "[net][listener]") {
    ferry::event_loop loop;
    const directory here;
    const net::address at = here / "door";
    std::optional<net::listener> first(std::in_place, loop, at);
    ::unlink(at.path().c_str());
    const net::listener second(loop, at);
    first.reset();
    CHECK(exists(at));
    const net::socket client = loop.run(net::connect(at));
    CHECK(client.peer() == at);
}

TEST_CASE("a directory that is not there is an error that names the path", "[net][listener]") {
    ferry::event_loop loop;
    CHECK(contains(failure_to_listen(loop, net::address::of_path("/no/such/door"), ENOENT), "unix:/no/such/door"));
}
