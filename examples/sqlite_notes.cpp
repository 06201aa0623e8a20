// Blocking SQLite in coroutines: each thread of a small pool has a connection of its own, checked before and after each call.
//   ./examples/run sqlite_notes [FILE]      adds notes from a hundred tasks at the same time, and prints
//                                           "100 notes, written by 3 threads with a connection each" and more
// links: -lsqlite3                          (Debian and Ubuntu: apt-get install libsqlite3-dev)
// SPDX-License-Identifier: BSL-1.0
#include <ferry/bridge.hpp>

#include <sqlite3.h>

#include <cstdio>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

// The blocking part, as it was before there were coroutines.
class database {
public:
    explicit database(const std::string& file) {
        if (sqlite3_open(file.c_str(), &handle_) != SQLITE_OK) fail();
        sqlite3_busy_timeout(handle_, 10'000);
        run("create table if not exists notes (text)");
    }
    ~database() { sqlite3_close(handle_); }  // rolls back what was begun and not committed
    database(const database&) = delete;

    void run(const char* sql) {
        if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail();
    }
    void insert(std::string_view text) {
        sqlite3_stmt* statement = nullptr;
        sqlite3_prepare_v2(handle_, "insert into notes values (?)", -1, &statement, nullptr);
        sqlite3_bind_text(statement, 1, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
        sqlite3_step(statement);
        if (sqlite3_finalize(statement) != SQLITE_OK) fail();
    }
    int count() {
        sqlite3_stmt* statement = nullptr;
        sqlite3_prepare_v2(handle_, "select count(*) from notes", -1, &statement, nullptr);
        const int rows = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
        if (sqlite3_finalize(statement) != SQLITE_OK) fail();
        return rows;
    }
    bool in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

private:
    [[noreturn]] void fail() const { throw std::runtime_error(sqlite3_errmsg(handle_)); }
    sqlite3* handle_ = nullptr;
};

std::thread::id add_note(database& db, const std::string& text) {
    db.insert(text);
    return std::this_thread::get_id();
}
int count_notes(database& db) { return db.count(); }
void import_notes(database& db) {
    db.run("begin");
    db.insert("half of the import");
    throw std::runtime_error("the other half is unreadable");
}
bool is_usable(database& db) { return !db.in_transaction(); }

// The asynchronous part.
template <class Connections>
ferry::task<> use_notes(ferry::thread_pool& pool, Connections& notes) {
    std::set<std::thread::id> threads;
    const auto add = [&](int number) -> ferry::task<> {
        threads.insert(co_await notes.to_thread(pool, add_note, "note " + std::to_string(number)));
    };
    const auto hundred = [&](ferry::task_group& group) -> ferry::task<> {
        for (int number = 0; number < 100; ++number) group.start(add, number);
        co_return;
    };
    co_await ferry::with_task_group(hundred);
    const int written = co_await notes.to_thread(pool, count_notes);
    std::printf("%d notes, written by %zu threads with a connection each\n", written, threads.size());

    std::string failure;
    try {
        co_await notes.to_thread(pool, import_notes);
    } catch (const std::runtime_error& error) {
        failure = error.what();
    }  // its connection was left in a transaction, so it is closed, and what it has written is rolled back
    const int left = co_await notes.to_thread(pool, count_notes);
    std::printf("import failed: %s; still %d notes\n", failure.c_str(), left);
}

int main(int argc, char** argv) {
    const std::string file = argc > 1 ? argv[1] : "build/examples/notes.sqlite";
    std::remove(file.c_str());
    ferry::thread_pool pool(ferry::thread_pool_options().name("sqlite").size(3).max_spare(0));
    const auto open = [&file] { return database(file); };
    ferry::connection_per_worker notes(open, is_usable);
    ferry::run(use_notes(pool, notes));
}
