// examples/legacy_history.hpp - the chat's memory: plain blocking C++ that knows nothing of ferry
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

/// One line that somebody said in a room.
struct history_line {
    history_line() : time_ms(0) {}
    history_line(std::string in_room, std::string by_name, std::string said_text, std::int64_t at_ms)
        : room(std::move(in_room)), name(std::move(by_name)), text(std::move(said_text)), time_ms(at_ms) {}

    std::string room;
    std::string name;
    std::string text;
    std::int64_t time_ms;  // since the Unix epoch
};

/// Keeps what was said: one append-only text file per room, one line per message, `time TAB name TAB text`.
///
/// Every call blocks for as long as the disk takes, and what append() returned from is on the disk.
/// A line that a crash cut short is skipped by load() and closed off by the next append().
///
/// Ownership      Keeps no file open between calls. One process at a time may append to a directory.
/// Thread-safety  Any thread may call any member. Appends take turns; a load never waits for one.
/// Errors         std::system_error (a std::runtime_error) that names the file.
/// Cost           load() reads the end of the file, at most 16 MiB however long the file is.
class legacy_history {
public:
    /// Creates the directory where it is missing. LEGACY_HISTORY_DELAY_MS in the environment makes each append
    /// take that much longer, as a slow disk would.
    explicit legacy_history(const std::string& directory);

    /// The newest lines of the room, at most max_lines of them, oldest first; none where nobody spoke yet.
    std::vector<history_line> load(const std::string& room, std::size_t max_lines) const;

    /// Adds the lines, in their order, to the files of their rooms. If it throws, the file it names is as it was
    /// before (unless the message says that a part stays); the rooms sorted before it have been written.
    void append(const std::vector<history_line>& lines);

private:
    struct closer {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    using file_ptr = std::unique_ptr<std::FILE, closer>;

    static constexpr off_t first_read_bytes = 64 * 1024;
    static constexpr off_t last_read_bytes = 16 * 1024 * 1024;
    static constexpr std::string_view special{"\\\t\n\r\0", 5};  // written as a backslash and the letter below
    static constexpr std::string_view special_letters{"\\tnr0", 5};

    static void append_to(const std::string& path, const std::vector<const history_line*>& lines);
    static off_t size_of(std::FILE* file, const std::string& path);
    static std::string read_from(std::FILE* file, const std::string& path, off_t start, off_t size);
    static std::vector<history_line> newest_lines(std::string_view bytes, bool whole_file, std::size_t max_lines);
    static std::optional<history_line> parse(std::string_view line);
    static std::string escape(std::string_view text);
    static std::optional<std::string> unescape(std::string_view text);
    [[noreturn]] static void fail(int error, const std::string& what) {
        throw std::system_error(error, std::generic_category(), what);
    }

    std::string path_of(const std::string& room) const;
    void be_slow() const;

    std::string directory_;
    long delay_ms_ = 0;
    std::mutex appending_;  // guards the files' ends: one append at a time
};

// ---- implementation ---------------------------------------------------------------
inline legacy_history::legacy_history(const std::string& directory) : directory_(directory) {
    std::filesystem::create_directories(directory_);
    if (const char* delay = std::getenv("LEGACY_HISTORY_DELAY_MS")) {
        char* end = nullptr;
        delay_ms_ = std::strtol(delay, &end, 10);
        if (end == delay || *end != '\0' || delay_ms_ < 0)
            throw std::runtime_error("LEGACY_HISTORY_DELAY_MS is not a number of milliseconds: " + std::string(delay));
    }
}

inline std::vector<history_line> legacy_history::load(const std::string& room, std::size_t max_lines) const {
    const std::string path = path_of(room);
    const file_ptr file(std::fopen(path.c_str(), "rbe"));
    if (!file) {
        if (errno == ENOENT) return {};
        fail(errno, "cannot open " + path);
    }
    const off_t size = size_of(file.get(), path);
    for (off_t window = first_read_bytes;; window *= 4) {
        const off_t start = std::max<off_t>(0, size - window);
        const std::string bytes = read_from(file.get(), path, start, size - start);
        std::vector<history_line> lines = newest_lines(bytes, start == 0, max_lines);
        if (lines.size() < max_lines && start > 0 && window < last_read_bytes) continue;
        for (history_line& line : lines) line.room = room;
        return lines;
    }
}

inline void legacy_history::append(const std::vector<history_line>& lines) {
    std::map<std::string, std::vector<const history_line*>> by_path;
    for (const history_line& line : lines) by_path[path_of(line.room)].push_back(&line);

    const std::lock_guard<std::mutex> my_turn(appending_);
    be_slow();
    for (const auto& [path, its_lines] : by_path) append_to(path, its_lines);
}

inline void legacy_history::append_to(const std::string& path, const std::vector<const history_line*>& lines) {
    file_ptr file(std::fopen(path.c_str(), "a+be"));
    if (!file) fail(errno, "cannot open " + path);

    const off_t size = size_of(file.get(), path);
    const bool torn = size > 0 && read_from(file.get(), path, size - 1, 1) != "\n";
    // A file open for both must be repositioned between reading and writing.
    bool written = std::fseek(file.get(), 0, SEEK_END) == 0;
    // Whatever the torn line holds, three more tabs make it one that parse() refuses.
    if (torn) written = written && std::fputs("\t\t\t\n", file.get()) >= 0;
    for (const history_line* line : lines) {
        written = written && std::fprintf(file.get(), "%lld\t%s\t%s\n", static_cast<long long>(line->time_ms),
                                          escape(line->name).c_str(), escape(line->text).c_str()) >= 0;
    }
    written = written && std::fflush(file.get()) == 0 && ::fsync(::fileno(file.get())) == 0;

    int error = written ? 0 : errno;
    // Closed before the file is cut back, because closing writes what stdio still holds.
    if (std::fclose(file.release()) != 0 && error == 0) error = errno;
    if (error == 0) return;
    const bool undone = ::truncate(path.c_str(), size) == 0;
    fail(error, (undone ? "cannot write " : "a part may stay, cannot write all of ") + path);
}

inline off_t legacy_history::size_of(std::FILE* file, const std::string& path) {
    const off_t size = ::fseeko(file, 0, SEEK_END) == 0 ? ::ftello(file) : -1;
    if (size < 0) fail(errno, "cannot seek in " + path);
    return size;
}

inline std::string legacy_history::read_from(std::FILE* file, const std::string& path, off_t start, off_t size) {
    if (::fseeko(file, start, SEEK_SET) != 0) fail(errno, "cannot seek in " + path);
    std::string bytes(static_cast<std::size_t>(size), '\0');
    bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
    if (std::ferror(file)) fail(errno, "cannot read " + path);
    return bytes;  // shorter than asked for where a failed append was being cut back
}

inline std::vector<history_line> legacy_history::newest_lines(std::string_view bytes, bool whole_file,
                                                              std::size_t max_lines) {
    constexpr std::size_t none = std::string_view::npos;
    std::vector<history_line> lines;
    std::size_t end = bytes.rfind('\n');  // what follows the last newline is torn, or still being written
    while (end != none && lines.size() < max_lines) {
        const std::size_t previous = end == 0 ? none : bytes.rfind('\n', end - 1);
        if (previous == none && !whole_file) break;  // it begins before the bytes that were read
        const std::size_t begin = previous == none ? 0 : previous + 1;
        if (std::optional<history_line> line = parse(bytes.substr(begin, end - begin)))
            lines.push_back(std::move(*line));
        end = previous;
    }
    std::reverse(lines.begin(), lines.end());
    return lines;
}

inline std::optional<history_line> legacy_history::parse(std::string_view line) {
    const std::size_t first = line.find('\t');
    const std::size_t second = first == line.npos ? line.npos : line.find('\t', first + 1);
    if (second == line.npos || line.find('\t', second + 1) != line.npos) return std::nullopt;

    history_line result;
    const auto time = std::from_chars(line.data(), line.data() + first, result.time_ms);
    std::optional<std::string> name = unescape(line.substr(first + 1, second - first - 1));
    std::optional<std::string> text = unescape(line.substr(second + 1));
    if (time.ec != std::errc() || time.ptr != line.data() + first || !name || !text) return std::nullopt;
    result.name = std::move(*name);
    result.text = std::move(*text);
    return result;
}

inline std::string legacy_history::escape(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (const char c : text) {
        const std::size_t i = special.find(c);
        if (i != special.npos) result += '\\';
        result += i == special.npos ? c : special_letters[i];
    }
    return result;
}

inline std::optional<std::string> legacy_history::unescape(std::string_view text) {
    std::string result;
    result.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            result += text[i];
            continue;
        }
        const std::size_t which = ++i == text.size() ? special.npos : special_letters.find(text[i]);
        if (which == special.npos) return std::nullopt;
        result += special[which];
    }
    return result;
}

// Letters, digits, `-`, `_` and all that is not ASCII stay as they are; the rest, so also `.`, `/` and `%`, becomes
// %XX: no two rooms share a file, and no room reaches outside the directory.
inline std::string legacy_history::path_of(const std::string& room) const {
    constexpr char hex[] = "0123456789ABCDEF";
    std::string path = directory_ + "/";
    for (const char c : room) {
        const unsigned byte = static_cast<unsigned char>(c);
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                           c == '_' || byte >= 0x80;
        if (plain) {
            path += c;
        } else {
            path += '%';
            path += hex[byte >> 4];
            path += hex[byte & 15];
        }
    }
    return path + ".log";
}

inline void legacy_history::be_slow() const {
    std::timespec left{delay_ms_ / 1000, delay_ms_ % 1000 * 1'000'000};
    while (::nanosleep(&left, &left) != 0 && errno == EINTR) {}
}
