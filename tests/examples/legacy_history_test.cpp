// tests/examples/legacy_history_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include "../../examples/legacy_history.hpp"

#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"

namespace {
namespace fs = std::filesystem;

/// A directory that is there as long as the test is.
class temporary_directory {
public:
    temporary_directory() {
        std::string pattern = (fs::temp_directory_path() / "legacy_history_XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~temporary_directory() { fs::remove_all(path_); }
    temporary_directory(const temporary_directory&) = delete;
    temporary_directory& operator=(const temporary_directory&) = delete;

    std::string name() const { return path_.string(); }
    fs::path operator/(const char* file) const { return path_ / file; }

private:
    fs::path path_;
};

/// Sets an environment variable and takes it back.
class environment {
public:
    environment(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
    ~environment() { ::unsetenv(name_); }
    environment(const environment&) = delete;
    environment& operator=(const environment&) = delete;

private:
    const char* name_;
};

/// Lets files grow no longer than this: a write beyond it is cut short and then fails, as on a full disk.
class file_size_limit {
public:
    explicit file_size_limit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit now = before_;
        now.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    ~file_size_limit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }
    file_size_limit(const file_size_limit&) = delete;
    file_size_limit& operator=(const file_size_limit&) = delete;

private:
    void (*handler_)(int);
    rlimit before_{};
};

void write_raw(const fs::path& file, const std::string& bytes) {
    std::FILE* f = std::fopen(file.c_str(), "ab");
    REQUIRE(f != nullptr);
    std::fwrite(bytes.data(), 1, bytes.size(), f);
    REQUIRE(std::fclose(f) == 0);
}

std::vector<std::string> texts(const std::vector<history_line>& lines) {
    std::vector<std::string> result;
    for (const history_line& line : lines) result.push_back(line.text);
    return result;
}

std::string error_of(legacy_history& history, const std::vector<history_line>& lines) {
    try {
        history.append(lines);
    } catch (const std::runtime_error& e) {
        return e.what();
    }
    return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
}  // namespace

TEST_CASE("legacy_history gives back what was said, oldest first, after a restart too", "[examples][legacy_history]") {
    temporary_directory directory;
    {
        legacy_history history(directory.name() + "/made/on/demand");
        history.append({history_line("lobby", "ann", "hello", 1700000000123), history_line("den", "cy", "psst", 7)});
        history.append({history_line("lobby", "bob", "hi ann", 1700000000456)});
    }
    legacy_history history(directory.name() + "/made/on/demand");
    const std::vector<history_line> lines = history.load("lobby", 50);
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].room == "lobby");
    CHECK(lines[0].name == "ann");
    CHECK(lines[0].text == "hello");
    CHECK(lines[0].time_ms == 1700000000123);
    CHECK(lines[1].name == "bob");
    CHECK(texts(history.load("den", 50)) == std::vector<std::string>{"psst"});
    CHECK(history.load("nobody was here", 50).empty());
}

TEST_CASE("legacy_history loads only the newest lines", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name());
    // The longer text makes 500 lines span several of the growing reads, cutting lines at arbitrary places.
    for (const std::size_t length : {std::size_t{1}, std::size_t{997}}) {
        const std::string room = std::to_string(length);
        std::vector<history_line> lines;
        for (int i = 0; i < 500; ++i) lines.emplace_back(room, "ann", std::to_string(i) + std::string(length, 'x'), i);
        history.append(lines);
        for (const std::size_t wanted : std::vector<std::size_t>{0, 1, 50, 63, 64, 65, 66, 67, 400, 500}) {
            const std::vector<history_line> loaded = history.load(room, wanted);
            REQUIRE(loaded.size() == wanted);
            for (std::size_t i = 0; i < wanted; ++i)
                REQUIRE(loaded[i].time_ms == static_cast<std::int64_t>(500 - wanted + i));
        }
        CHECK(history.load(room, 1000).size() == 500);
    }
}

TEST_CASE("legacy_history does not take the end of a line for a line", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name());
    std::vector<history_line> lines;
    for (int i = 0; i < 5000; ++i) lines.emplace_back("lobby", "a", "b", 1700000000000 + i);
    history.append(lines);
    // A line has 18 bytes, so the last 64 KiB hold 3640 lines and one more without the first two digits of its time.
    const std::vector<history_line> loaded = history.load("lobby", 3641);
    REQUIRE(loaded.size() == 3641);
    CHECK(loaded[0].time_ms == 1700000000000 + 5000 - 3641);
}

TEST_CASE("legacy_history does not read a huge file to load its end", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name());
    write_raw(directory / "big.log", "");
    fs::resize_file(directory / "big.log", std::uintmax_t{1} << 38);  // sparse: more than any memory holds
    history.append({history_line("big", "ann", "first", 1), history_line("big", "ann", "second", 2)});
    CHECK(texts(history.load("big", 1)) == std::vector<std::string>{"second"});
    CHECK(texts(history.load("big", 50)) == std::vector<std::string>{"first", "second"});
}

TEST_CASE("legacy_history keeps every byte of names and texts", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name());
    std::string every_byte;
    for (int c = 0; c < 256; ++c) every_byte += static_cast<char>(c);
    const std::vector<std::string> odd = {"", "a\tb\nc\rd", "\\", "\\n", "\\\\t\\", "100 % %s %n", every_byte};
    for (const std::string& name : odd)
        for (const std::string& text : odd) history.append({history_line("odd", name, text, -1)});

    const std::vector<history_line> lines = history.load("odd", 1000);
    REQUIRE(lines.size() == odd.size() * odd.size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
        CHECK(lines[i].name == odd[i / odd.size()]);
        CHECK(lines[i].text == odd[i % odd.size()]);
        CHECK(lines[i].time_ms == -1);
    }
}

TEST_CASE("legacy_history gives every room a file of its own inside its directory", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name() + "/rooms");
    std::string controls, letters;
    for (int c = 0; c < 64; ++c) controls += static_cast<char>(c);
    for (int c = 64; c < 256; ++c) letters += static_cast<char>(c);
    const std::vector<std::string> rooms = {"",      ".",           "..",      "../lobby",  "/etc/passwd", "a/b",
                                            "a%2Fb", "a\\b",        "a b",     "a+b",       ".hidden",     "lobby",
                                            "%",     "caf\xC3\xA9", "-option", "lobby.log", controls,      letters};
    for (const std::string& room : rooms) history.append({history_line(room, "ann", "in " + room, 1)});
    for (const std::string& room : rooms)
        CHECK(texts(history.load(room, 50)) == std::vector<std::string>{"in " + room});

    std::size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(directory.name())) files += entry.is_regular_file();
    std::size_t inside = 0;
    for (const auto& entry : fs::directory_iterator(directory / "rooms")) inside += entry.is_regular_file();
    CHECK(files == rooms.size());
    CHECK(inside == rooms.size());
}

TEST_CASE("legacy_history skips a line that was cut short, wherever it was cut", "[examples][legacy_history]") {
    const std::string line = "1700000000123\tann\ttwo\\nlines \\\\ here\n";
    for (std::size_t cut = 0; cut < line.size(); ++cut) {
        temporary_directory directory;
        legacy_history history(directory.name());
        history.append({history_line("lobby", "ann", "before", 1)});
        write_raw(directory / "lobby.log", line.substr(0, cut));
        REQUIRE(texts(history.load("lobby", 50)) == std::vector<std::string>{"before"});
        history.append({history_line("lobby", "ann", "after", 2)});
        REQUIRE(texts(history.load("lobby", 50)) == std::vector<std::string>{"before", "after"});
    }
}

TEST_CASE("legacy_history skips lines that it did not write", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name());
    for (const char* bad : {"", "\t", "\t\t", "1\tann", "x\tann\thi", "1x\tann\thi", "1\tann\thi\tmore", "1\tann\t\\q",
                            "1\tann\\\thi", "99999999999999999999\tann\thi"}) {
        write_raw(directory / "lobby.log", std::string(bad) + "\n");
    }
    CHECK(history.load("lobby", 50).empty());
    history.append({history_line("lobby", "ann", "good", 1)});
    CHECK(texts(history.load("lobby", 50)) == std::vector<std::string>{"good"});
}

TEST_CASE("legacy_history reports a full disk and leaves the file as it was", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name());
    history.append({history_line("lobby", "ann", "kept", 1)});
    const auto size = fs::file_size(directory / "lobby.log");
    const std::vector<history_line> more = {history_line("lobby", "ann", "fits", 2),
                                            history_line("lobby", "ann", std::string(20000, 'x'), 3)};
    {
        file_size_limit limit(size + 5000);
        const std::string error = error_of(history, more);
        CHECK(contains(error, (directory / "lobby.log").string()));
        CHECK(contains(error, "cannot write"));
        CHECK(contains(error, std::generic_category().message(EFBIG)));
    }
    CHECK(fs::file_size(directory / "lobby.log") == size);
    CHECK(texts(history.load("lobby", 50)) == std::vector<std::string>{"kept"});
    history.append(more);
    CHECK(history.load("lobby", 50).size() == 3);
}

TEST_CASE("legacy_history names the file and the reason when it cannot go on", "[examples][legacy_history]") {
    temporary_directory directory;
    legacy_history history(directory.name());

    SECTION("no space left") {
        fs::create_symlink("/dev/full", directory / "full.log");
        const std::string error = error_of(history, {history_line("full", "ann", "hello", 1)});
        CHECK(contains(error, (directory / "full.log").string()));
        CHECK(contains(error, std::generic_category().message(ENOSPC)));
    }
    SECTION("a directory is in the way") {
        fs::create_directory(directory / "dir.log");
        CHECK(contains(error_of(history, {history_line("dir", "ann", "hello", 1)}), (directory / "dir.log").string()));
        REQUIRE_THROWS_AS(history.load("dir", 50), std::runtime_error);
    }
    SECTION("the name is longer than a file's may be") {
        const std::string room(300, 'r');
        CHECK(contains(error_of(history, {history_line(room, "ann", "hello", 1)}), room));
        REQUIRE_THROWS_AS(history.load(room, 50), std::runtime_error);
    }
    SECTION("the directory cannot be made") {
        write_raw(directory / "file", "");
        REQUIRE_THROWS_AS(legacy_history((directory / "file" / "below").string()), std::runtime_error);
    }
}

TEST_CASE("legacy_history is as slow as LEGACY_HISTORY_DELAY_MS says", "[examples][legacy_history]") {
    temporary_directory directory;
    SECTION("append takes at least that long") {
        environment slow("LEGACY_HISTORY_DELAY_MS", "30");
        legacy_history history(directory.name());
        const auto start = std::chrono::steady_clock::now();
        history.append({history_line("lobby", "ann", "a", 1), history_line("den", "ann", "b", 2)});
        CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(30));
    }
    SECTION("what is not a number is refused") {
        for (const char* bad : {"", "soon", "20ms", "-1"}) {
            environment odd("LEGACY_HISTORY_DELAY_MS", bad);
            REQUIRE_THROWS_AS(legacy_history(directory.name()), std::runtime_error);
        }
    }
}

TEST_CASE("legacy_history keeps lines whole when many threads append and load", "[examples][legacy_history][mt]") {
    constexpr int writers = 4;
    constexpr int rounds = 25;
    temporary_directory directory;
    legacy_history history(directory.name());
    std::vector<std::vector<history_line>> loads;  // only the reader writes here, until it is joined
    std::vector<std::thread> threads;
    for (int w = 0; w < writers; ++w) {
        threads.emplace_back([&history, w] {
            const std::string name = std::to_string(w);
            for (int i = 0; i < rounds; ++i)
                history.append({history_line("lobby", name, name + std::string(3000, 'x'), i)});
        });
    }
    threads.emplace_back([&history, &loads] {
        while (loads.empty() || loads.back().size() < writers * rounds) loads.push_back(history.load("lobby", 1000));
    });
    for (std::thread& thread : threads) thread.join();

    for (const std::vector<history_line>& lines : loads) {
        std::vector<std::int64_t> next(writers, 0);
        for (const history_line& line : lines) {
            REQUIRE(line.text == line.name + std::string(3000, 'x'));
            REQUIRE(line.time_ms == next[static_cast<std::size_t>(line.name[0] - '0')]++);
        }
    }
}
