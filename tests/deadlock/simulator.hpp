// tests/deadlock/simulator.hpp - systems of threads, loops, pools and tasks, run step by step without any of them
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/wait_node.hpp>
#include <ferry/deadlock/wait_graph.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ferry_test {
using ferry::detail::node_reference;
using ferry::detail::wait_graph;
using ferry::detail::wait_node;

/// One step of a script. What each does is in simulator::task_step() and thread_step().
enum class op : std::uint8_t {
    // tasks
    acquire,         // which lock of the loop, how many, timed
    give_back,       // the last that was acquired
    detach,          // the last that was acquired: an unknown has it
    add_permits,     // without having any, where that has been done before
    await_promise,   // which
    await_task,      // which of the plan's tasks
    call_pool,       // which pool, abandonable; body: the job
    call_sensitive,  // abandonable; body
    on_loop,         // which; body: a task's
    when_all,        // bodies: tasks'
    when_any,
    group,  // bodies: the first is the group's own, the others are children
    shield,
    timeout,  // body, inside the task
    scope,    // body, inside the task: with a thread_sensitive_scope
    outside,  // something that only the world can end
    yield,
    // threads
    declare,     // which promise
    block_on,    // body: a task's
    block_on_a,  // which loop; body
    run,         // body: a task's, on a loop that only this call turns
    join_task,   // which of the plan's tasks; timed
    get,         // which promise; timed
    // both
    keep,  // which promise
    fail,
    in_turn,  // a task's: body is a thread's, under allow_blocking
};

class step;
using script = std::vector<step>;
class step {
public:
    op what = op::yield;
    int which = 0;
    int many = 1;
    bool flag = false;  // timed, or abandonable
    std::vector<script> bodies;
};

class plan {
public:
    enum class turned : std::uint8_t { by_a_thread, by_nobody, bound_to_a_user };
    class root {
    public:
        int loop;
        script code;
    };
    std::vector<turned> loops;
    std::vector<int> pools;  // most threads of each
    std::vector<root> tasks;
    std::vector<script> users;  // plain threads
    int promises = 0;
    int most_leases = 1;

    [[nodiscard]] std::string text() const;
};

/// Runs a plan. Every move writes the links of the real nodes that ferry's primitives write at that place, in their order;
/// what waits for what is never read back from them. A copy writes none: it is for asking what could become of the system.
class simulator {
public:
    explicit simulator(const plan& what);
    ~simulator();
    simulator(simulator&& other) = delete;
    simulator& operator=(const simulator&) = delete;

    /// Makes one of the moves that are possible now; false when there is none. `choose(n)` gives a number below n.
    template <class Choose>
    bool move(Choose&& choose);

    static constexpr int none = -1;
    /// Who waits, and could be hopeless: a task, by the number of its moves so far, or a thread, by that of its wait.
    class waiting {
    public:
        bool is_thread;
        int place;
        std::size_t moves;
        const wait_node* node;
    };
    [[nodiscard]] std::vector<waiting> who_waits() const;
    [[nodiscard]] bool has_moved(const waiting& one) const;
    /// Might anybody outside still act? Then a system that does not move is not stuck.
    [[nodiscard]] bool depends_on_the_world() const;
    /// What is the most that could still happen, whatever code follows: everybody who can take a step ends at once.
    void assume_the_best();
    /// Copies for assume_the_best().
    [[nodiscard]] simulator imagined() const { return simulator(*this); }

    /// For whom a primitive asked the graph and got the answer that it is hopeless.
    [[nodiscard]] const std::set<const wait_node*>& refused() const noexcept { return refused_; }
    [[nodiscard]] std::string text() const;
    /// All that decides what can happen from here on, with those that were found hopeless; equal for two orders of moves that
    /// have led to the same place, unless these have made their tasks and calls in another order.
    [[nodiscard]] std::string state(const std::vector<waiting>& hopeless) const;

private:
    class recorder;
    enum class wait : std::uint8_t { none, lock, promise, task, call, travel, join, outside };
    enum class throwing : std::uint8_t { nothing, error, cancelled };

    class holding {
    public:
        int lock;
        int many;
        wait_node* node;
    };
    class task_frame {
    public:
        enum class kind : std::uint8_t { root, timeout, group, scope };
        const script* code;
        kind what = kind::root;
        std::size_t next = 0;
        int link = none;  // family, deadline or home
        bool cancelled = false;
        bool joining = false;
        std::vector<holding> held;
    };
    class task {
    public:
        enum class owner : std::uint8_t { loop, family, travel, thread };
        wait_node* node = nullptr;
        int loop = none;
        int home = none;
        std::vector<task_frame> frames;
        wait in = wait::none;
        int on = none;
        int wants = 0;
        bool timed = false;
        bool ready = false;  // an entry of its loop
        bool granted = false;
        bool interrupted = false;
        bool in_turn = false;
        bool cancel = false;
        bool ended = false;
        bool failed = false;
        bool with_cancelled = false;
        throwing error = throwing::nothing;
        owner of = owner::loop;
        int owner_place = none;
        int parent = none;  // whose cancellation reaches it, from which frame
        std::size_t parent_frame = 0;
        int stopped_by = none;  // call
        std::size_t moves = 0;
    };
    class entry {
    public:
        int task;
        bool cancellation;
    };
    class loop {
    public:
        wait_node* node = nullptr;
        plan::turned how = plan::turned::by_nobody;
        int thread = none;
        bool is_private = false;
        bool is_run = false;
        std::deque<entry> ready;
        int locks[2] = {none, none};
    };
    class lock_state {
    public:
        wait_node* node = nullptr;
        int free = 1;
        int unknown = 0;
        std::deque<int> queue;
    };
    class promise {
    public:
        wait_node* node = nullptr;
        int declared_by = none;
        bool kept = false;
        std::vector<int> waiting;
    };
    class family {
    public:
        wait_node* node = nullptr;
        op rule;
        int parent;
        int running = 0;
        bool decided = false;
        bool failed = false;
        bool with_cancelled = false;
        std::vector<int> members;
    };
    class deadline {
    public:
        wait_node* node = nullptr;
        int task;
        std::size_t frame;
        bool armed = true;
        bool ended = false;
    };
    class call {
    public:
        wait_node* node = nullptr;
        const script* code;
        int task;
        int loop;
        int home;
        int pool = none;   // else sensitive
        int queue = none;  // of which thread or scope
        int queued_at = none;
        bool abandonable = false;
        bool queued = false;
        bool begun = false;
        bool over = false;
        bool abandoned = false;
        bool stop = false;
    };
    class home {
    public:
        int queue;
        int outer;
        bool gone = false;
        int opener = none;  // of a scope: its task
        node_reference opener_node;
        wait_node* end = nullptr;
        bool waits_for_lease = false;
        int lease = none;  // thread
    };
    class queue {
    public:
        std::deque<int> calls;
        int owner = none;  // thread
        const wait_node* place = nullptr;
    };
    class thread_frame {
    public:
        enum class kind : std::uint8_t { loop, worker, lease, code, turn, wait };
        explicit thread_frame(kind of) : what(of) {}
        kind what;
        const script* code = nullptr;
        std::size_t next = 0;
        int call = none;
        int task = none;     // turn: in whose; wait: for whom
        int promise = none;  // wait
        int loop =
            none;  // wait: that it drives; loop: that it turns; code: of a call, that its waits drive, if another one
        int home = none;  // wait: that it opened; lease: of the scope
        int outer_home = none;
        int lent = none;  // lease: the queue before
        bool timed = false;
        bool runs = false;  // wait: it turns its loop, whether the thread is a home or not
        bool began_to_drive = false;
        std::size_t serial = 0;  // of a wait
        node_reference whom;
    };
    class thread_state {
    public:
        wait_node* node = nullptr;
        std::vector<thread_frame> frames;
        int own_queue = none;
        int queue = none;
        int home = none;
        int own_loop = none;
        int pool = none;
        bool asleep = false;
        bool ended = false;
        bool went_on = false;  // as assumed
    };
    class pool {
    public:
        wait_node* node = nullptr;
        int most = 1;
        int started = 0;
        std::vector<int> workers;  // that have begun
        std::deque<int> queue;
    };
    enum class action : std::uint8_t {
        run,
        entry,
        fire,
        expire,
        arrive,
        arrive_lease,
        take,
        lease,
        serve,
        finish,
        sleep,
        time_out
    };
    class possible {
    public:
        action what;
        int thread;
        int arg;
    };

    simulator(const simulator&);
    static std::size_t at(int place) { return static_cast<std::size_t>(place); }
    template <class T>
    static int last(const std::vector<T>& of) {
        return static_cast<int>(of.size()) - 1;
    }

    // Links: nothing in a copy.
    [[nodiscard]] wait_node* acquire(wait_node::kind what) { return writes_ ? &wait_node::acquire(what) : nullptr; }
    void release(wait_node*& node) {
        if (writes_ && node != nullptr) node->release();
        if (writes_) node = nullptr;
    }
    void needs(wait_node* node, const wait_node* whom, wait_node::flags how = 0) {
        if (writes_) node->wait_for(node_reference(whom), how);
    }
    void over(wait_node* node) {
        if (writes_) node->wait_is_over();
    }
    void set_scope(wait_node* node, const wait_node* to) {
        if (writes_) node->set_scope(to);
    }
    [[nodiscard]] const wait_node* scope_of(const wait_node* node) const { return writes_ ? node->scope() : nullptr; }
    void ask(const wait_node* node, wait_graph::role role = wait_graph::role::goes_on);
    void ask_for_task(int place);

    int make_task(const script& code, int on_loop);
    int make_loop(plan::turned how);
    int make_thread(int with_pool = none);
    int make_lock(int permits);
    int make_home(int on_queue, int outer);

    // Tasks.
    [[nodiscard]] bool is_cancelled(int place, std::size_t frame) const;
    [[nodiscard]] bool is_cancelled(int place) const {
        return tasks_[at(place)].frames.empty() ? tasks_[at(place)].cancel
                                                : is_cancelled(place, tasks_[at(place)].frames.size() - 1);
    }
    void cancellation_spreads();
    bool withdraw(int place);
    void begin_wait(int place, wait in, int on, const wait_node* whom, wait_node::flags how);
    void end_wait(int place);
    void wake(int place) {
        end_wait(place);
        make_ready(place);
    }
    /// From another thread: the links stay until its loop resumes it.
    void push(int place) { make_ready(place); }
    void make_ready(int place) {
        task& self = tasks_[at(place)];
        if (self.ready || self.ended) return;
        self.ready = true;
        loops_[at(self.loop)].ready.push_back({place, false});
    }
    void resume(int place, int thread);
    void task_step(int place, int thread);
    void begin(int place, const step& what, int thread);
    void leave_frame(int place);
    void end_task(int place);
    void give_back(const holding& held);
    void start_family(int place, const step& what, int thread);
    void member_ended(int of, int member);
    void family_over(int of);
    void run_in_place(int place, int thread);
    void make_member(int of, int member, int parent_task, std::size_t frame, bool shielded);

    // Locks.
    void set_first(int place);
    void hand_on(int place);
    void leave_queue(int place, int task);
    void grant(int place, int task);

    // Calls.
    void submit(int made);
    void queue_at(int at_home, int made);
    void take_out(int made);
    void lease_to(int at_home);
    void give_lease(int to_thread, int of_home);
    void retire(int at_home);
    [[nodiscard]] int still_there(int at_home) const;
    int resort();
    void run_call(int made, int on_thread);
    void call_over(int made);
    void request_stop(int made);
    void place_calls(int of_queue);

    // Threads.
    void thread_step(int place);
    void leave_code(int place, bool failed);
    void update_pool(int which);
    void update_leases();
    void unwind(int place);
    void pop_wait(int place);
    void stop_being_driven(int place, const thread_frame& frame);
    void begin_block(int place, const script& body, int given_loop);
    void begin_run(int place, const script& body);
    void begin_thread_wait(int place, thread_frame how);
    void finish_wait(int place);
    void fall_asleep(int place);
    void wake_up(int place);
    [[nodiscard]] bool in_turn(const thread_state& self) const;
    [[nodiscard]] bool is_home(const thread_state& self) const;
    [[nodiscard]] int running_call(const thread_state& self) const;
    [[nodiscard]] int driven(const thread_state& self) const;
    [[nodiscard]] int turned_in_wait(const thread_state& self) const;
    [[nodiscard]] bool may_be_kept_by_others(const promise& of) const;
    [[nodiscard]] bool is_done(const thread_frame& of) const;
    void keep_promise(int which);
    [[nodiscard]] std::vector<possible> moves() const;
    void add_turns(std::vector<possible>& to, int thread, int of_loop) const;
    void perform(const possible& what);
    bool best_for_threads();
    bool best_for_loops();
    void goes_on(int place);
    void thread_goes_on(int place);

    const plan* plan_;
    bool writes_ = true;
    std::vector<task> tasks_;
    std::vector<loop> loops_;
    std::vector<lock_state> locks_;
    std::vector<promise> promises_;
    std::vector<family> families_;
    std::vector<deadline> deadlines_;
    std::vector<call> calls_;
    std::vector<home> homes_;
    std::vector<queue> queues_;
    std::vector<thread_state> threads_;
    std::vector<pool> pools_;
    std::vector<int> leases_;  // threads
    int leases_started_ = 0;
    std::deque<int> want_lease_;
    wait_node* leases_node_ = nullptr;
    int resort_ = none;  // thread
    std::size_t blocked_ = 0;
    std::size_t serials_ = 0;
    std::vector<std::vector<int>> waiting_for_task_;  // of the plan's
    std::vector<node_reference> task_references_;     // of the plan's
    std::set<const wait_node*> refused_;
};

// ---- implementation ----------------------------------------------------------------------------------------------

inline simulator::simulator(const plan& what)
    : plan_(&what), promises_(at(what.promises)), pools_(what.pools.size()), waiting_for_task_(what.tasks.size()) {
    leases_node_ = acquire(wait_node::kind::pool);
    update_leases();
    for (promise& each : promises_) each.node = acquire(wait_node::kind::promise);
    for (std::size_t i = 0; i < pools_.size(); ++i) {
        pools_[i].node = acquire(wait_node::kind::pool);
        pools_[i].most = what.pools[i];
        update_pool(static_cast<int>(i));
    }
    for (const script& code : what.users) {
        const int place = make_thread();
        thread_frame base(thread_frame::kind::code);
        base.code = &code;
        threads_[at(place)].frames.push_back(base);
    }
    for (std::size_t i = 0; i < what.loops.size(); ++i) {
        const int place = make_loop(what.loops[i]);
        loop& made = loops_[at(place)];
        if (made.how == plan::turned::by_a_thread) {
            made.thread = make_thread();
            thread_frame base(thread_frame::kind::loop);
            base.loop = place;
            threads_[at(made.thread)].frames.push_back(base);
            needs(made.node, threads_[at(made.thread)].node);
        } else if (made.how == plan::turned::bound_to_a_user && !what.users.empty()) {
            made.thread = 0;
            needs(made.node, threads_[0].node, wait_node::bound);
        } else {
            made.how = plan::turned::by_nobody;
        }
    }
    for (const plan::root& each : what.tasks) {
        const int place = make_task(each.code, each.loop);
        task_references_.emplace_back(tasks_[at(place)].node);
        make_ready(place);
    }
}

inline simulator::simulator(const simulator&) = default;

inline simulator::~simulator() {
    if (!writes_) return;
    for (task& each : tasks_) {
        for (task_frame& frame : each.frames) {
            for (holding& held : frame.held) release(held.node);
        }
        release(each.node);
    }
    for (loop& each : loops_) release(each.node);
    for (lock_state& each : locks_) release(each.node);
    for (promise& each : promises_) release(each.node);
    for (family& each : families_) release(each.node);
    for (deadline& each : deadlines_) release(each.node);
    for (call& each : calls_) release(each.node);
    for (thread_state& each : threads_) release(each.node);
    for (pool& each : pools_) release(each.node);
    for (home& each : homes_) release(each.end);
    release(leases_node_);
}

inline void simulator::ask(const wait_node* node, wait_graph::role role) {
    if (!writes_) return;
    const std::lock_guard lock(wait_graph::mutex());
    wait_graph& graph = wait_graph::instance();
    if (role == wait_graph::role::all_end) node->rely_on(false);
    if (!graph.is_hopeless(*node, role)) return;
    for (const wait_graph::gate& each : graph.gates()) {
        if (!each.open) refused_.insert(each.node);
    }
}

inline void simulator::ask_for_task(int place) {
    const task& self = tasks_[at(place)];
    if (!writes_ || self.node->needs() == nullptr) return;
    if (self.in == wait::call && blocked_ == 0) return;
    ask(self.node);
}

// ---- whoever there is
inline int simulator::make_task(const script& code, int on_loop) {
    task made;
    made.node = acquire(wait_node::kind::task);
    made.loop = on_loop;
    if (writes_) made.node->set_within(loops_[at(on_loop)].node);
    task_frame root;
    root.code = &code;
    made.frames.push_back(root);
    tasks_.push_back(std::move(made));
    return last(tasks_);
}

inline int simulator::make_loop(plan::turned how) {
    loop made;
    made.node = acquire(wait_node::kind::loop);
    made.how = how;
    made.locks[0] = make_lock(1);
    made.locks[1] = make_lock(3);
    loops_.push_back(std::move(made));
    return last(loops_);
}

inline int simulator::make_lock(int permits) {
    lock_state made;
    made.node = acquire(wait_node::kind::lock);
    made.free = permits;
    locks_.push_back(std::move(made));
    return last(locks_);
}

inline int simulator::make_thread(int with_pool) {
    const int place = static_cast<int>(threads_.size());
    thread_state made;
    made.node = acquire(wait_node::kind::thread);
    made.pool = with_pool;
    queue own;
    own.owner = place;
    own.place = made.node;
    queues_.push_back(own);
    made.own_queue = made.queue = last(queues_);
    threads_.push_back(std::move(made));
    return place;
}

inline int simulator::make_home(int on_queue, int outer) {
    home made;
    made.queue = on_queue;
    made.outer = outer;
    homes_.push_back(made);
    return last(homes_);
}

// ---- cancellation
inline bool simulator::is_cancelled(int place, std::size_t frame) const {
    const task& self = tasks_[at(place)];
    for (std::size_t i = 0; i <= frame && i < self.frames.size(); ++i) {
        if (self.frames[i].cancelled) return true;
    }
    return self.cancel || (self.parent != none && is_cancelled(self.parent, self.parent_frame));
}

inline void simulator::cancellation_spreads() {
    for (int place = 0; place <= last(tasks_); ++place) {
        const task& self = tasks_[at(place)];
        if (self.in != wait::none && !self.ended && is_cancelled(place)) withdraw(place);
    }
}

inline bool simulator::withdraw(int place) {
    task& self = tasks_[at(place)];
    if (self.ready) return false;  // what it waited for is on its way
    switch (self.in) {
        case wait::lock:
            leave_queue(self.on, place);
            break;
        case wait::promise:
            std::erase(promises_[at(self.on)].waiting, place);
            break;
        case wait::task:
            std::erase(waiting_for_task_[at(self.on)], place);
            break;
        case wait::outside:
            break;
        case wait::call: {
            call& made = calls_[at(self.on)];
            if (made.queued) {
                take_out(self.on);
                break;
            }
            request_stop(self.on);
            if (!made.abandonable) return false;
            made.abandoned = true;
            if (writes_) made.node->set_scope(&ferry::detail::cancelled_scope());
            break;
        }
        case wait::travel: {
            task& sent = tasks_[at(self.on)];
            if (sent.with_cancelled) return false;
            sent.with_cancelled = true;
            loops_[at(sent.loop)].ready.push_back({self.on, true});
            return false;
        }
        default:
            return false;
    }
    tasks_[at(place)].interrupted = true;
    wake(place);
    return true;
}

inline void simulator::request_stop(int made) {
    if (std::exchange(calls_[at(made)].stop, true)) return;
    for (int place = 0; place <= last(tasks_); ++place) {
        const task& self = tasks_[at(place)];
        if (self.stopped_by == made && !self.ended) loops_[at(self.loop)].ready.push_back({place, true});
    }
}

// ---- a task's waits
inline void simulator::begin_wait(int place, wait in, int on, const wait_node* whom, wait_node::flags how) {
    task& self = tasks_[at(place)];
    self.in = in;
    self.on = on;
    if (whom != nullptr) needs(self.node, whom, how);
}

inline void simulator::end_wait(int place) {
    task& self = tasks_[at(place)];
    self.in = wait::none;
    self.timed = false;
    over(self.node);
}

inline void simulator::set_first(int place) {
    if (!writes_) return;
    const lock_state& self = locks_[at(place)];
    const task* const first = self.queue.empty() ? nullptr : &tasks_[at(self.queue.front())];
    self.node->set_amount(at(self.free));
    self.node->wait_for(node_reference(first == nullptr ? nullptr : first->node),
                        self.unknown > 0 ? wait_node::open : wait_node::flags{0});
}

inline void simulator::grant(int place, int to) {
    lock_state& self = locks_[at(place)];
    task& next = tasks_[at(to)];
    self.free -= next.wants;
    holding given{place, next.wants, acquire(wait_node::kind::holding)};
    if (writes_) {
        given.node->set_amount(at(next.wants));
        given.node->wait_for(node_reference(next.node));
        self.node->add_member(*given.node);
    }
    next.frames.back().held.push_back(given);
    next.granted = true;
}

inline void simulator::hand_on(int place) {
    for (;;) {
        lock_state& self = locks_[at(place)];
        if (self.queue.empty() || tasks_[at(self.queue.front())].wants > self.free) break;
        const int to = self.queue.front();
        self.queue.pop_front();
        grant(place, to);
        wake(to);
    }
    set_first(place);
}

inline void simulator::leave_queue(int place, int who) {
    std::erase(locks_[at(place)].queue, who);
    hand_on(place);
}

inline void simulator::give_back(const holding& held) {
    if (writes_) {
        wait_node& of = *locks_[at(held.lock)].node;
        of.set_amount(of.amount() + held.node->amount());
        of.remove_member(*held.node);
        held.node->release();
    }
    locks_[at(held.lock)].free += held.many;
    hand_on(held.lock);
}

// ---- a task's steps
inline void simulator::resume(int place, int thread) {
    task& self = tasks_[at(place)];
    if (self.in != wait::none) {
        const int made = self.in == wait::call ? self.on : none;
        end_wait(place);
        if (made != none && !calls_[at(made)].abandoned) release(calls_[at(made)].node);
    }
    task_step(place, thread);
}

inline void simulator::task_step(int place, int thread) {
    ++tasks_[at(place)].moves;
    {
        task& self = tasks_[at(place)];
        if (std::exchange(self.interrupted, false) && self.error == throwing::nothing) self.error = throwing::cancelled;
        task_frame& frame = self.frames.back();
        if (self.error != throwing::nothing || frame.joining || frame.next >= frame.code->size()) {
            leave_frame(place);
            return;
        }
    }
    task_frame& frame = tasks_[at(place)].frames.back();
    const step& what = (*frame.code)[frame.next++];
    begin(place, what, thread);
    task& self = tasks_[at(place)];
    if (self.in == wait::none && !self.in_turn && !self.ended) make_ready(place);
}

inline void simulator::begin(int place, const step& what, int thread) {
    const bool is_checkpoint = what.what <= op::on_loop || what.what == op::outside;
    const bool may_wait =
        is_checkpoint && what.what != op::give_back && what.what != op::detach && what.what != op::add_permits;
    if (may_wait && is_cancelled(place)) {
        tasks_[at(place)].error = throwing::cancelled;
        return;
    }
    task& self = tasks_[at(place)];
    constexpr wait_node::flags ends = wait_node::cancellable;
    switch (what.what) {
        case op::acquire: {
            const int of = loops_[at(self.loop)].locks[what.which % 2];
            lock_state& wanted = locks_[at(of)];
            self.wants = what.which % 2 == 0 ? 1 : what.many;
            if (wanted.queue.empty() && wanted.free >= self.wants) {
                grant(of, place);
                break;
            }
            wanted.queue.push_back(place);
            set_first(of);
            if (writes_) self.node->set_amount(at(self.wants));
            self.timed = what.flag;
            begin_wait(place, wait::lock, of, wanted.node, what.flag ? ends | wait_node::timed : ends);
            ask_for_task(place);
            break;
        }
        case op::give_back:
        case op::detach: {
            std::vector<holding>& held = self.frames.back().held;
            if (held.empty()) break;
            const holding end = held.back();
            held.pop_back();
            if (what.what == op::give_back) {
                give_back(end);
                break;
            }
            if (writes_) {
                locks_[at(end.lock)].node->remove_member(*end.node);
                end.node->release();
                ++locks_[at(end.lock)].unknown;
                locks_[at(end.lock)].node->set_flags(wait_node::open);
            } else {
                ++locks_[at(end.lock)].unknown;
            }
            break;
        }
        case op::add_permits: {
            const int of = loops_[at(self.loop)].locks[1];
            if (locks_[at(of)].unknown == 0) break;  // nobody can foresee the first time
            ++locks_[at(of)].unknown;
            if (writes_) locks_[at(of)].node->set_flags(wait_node::open);
            locks_[at(of)].free += what.many;
            hand_on(of);
            break;
        }
        case op::await_promise: {
            if (promises_.empty()) break;
            const int of = what.which % static_cast<int>(promises_.size());
            if (promises_[at(of)].kept) break;
            promises_[at(of)].waiting.push_back(place);
            begin_wait(place, wait::promise, of, promises_[at(of)].node, ends);
            ask_for_task(place);
            break;
        }
        case op::await_task: {
            if (plan_->tasks.empty()) break;
            const int of = what.which % static_cast<int>(plan_->tasks.size());
            if (tasks_[at(of)].ended) break;
            waiting_for_task_[at(of)].push_back(place);
            self.in = wait::task;
            self.on = of;
            if (writes_) self.node->wait_for(task_references_[at(of)], ends);
            ask_for_task(place);
            break;
        }
        case op::call_pool:
        case op::call_sensitive: {
            if (what.what == op::call_pool && pools_.empty()) break;
            call made;
            made.code = &what.bodies[0];
            made.task = place;
            made.loop = self.loop;
            made.home = self.home;
            made.abandonable = what.flag && !loops_[at(self.loop)].is_run;  // else it might outlive its loop
            if (what.what == op::call_pool) made.pool = what.which % static_cast<int>(pools_.size());
            made.node = acquire(wait_node::kind::call);
            set_scope(made.node, scope_of(self.node));
            calls_.push_back(made);
            begin_wait(place, wait::call, last(calls_), made.node, ends);
            submit(last(calls_));
            ask_for_task(place);
            break;
        }
        case op::on_loop: {
            const int there = what.which % static_cast<int>(plan_->loops.size());
            if (there == self.loop) break;
            const int sent = make_task(what.bodies[0], there);
            task& from = tasks_[at(place)];
            task& to = tasks_[at(sent)];
            to.of = task::owner::travel;
            to.owner_place = place;
            to.home = from.home;
            set_scope(to.node, scope_of(from.node));
            begin_wait(place, wait::travel, sent, to.node, 0);
            make_ready(sent);
            ask_for_task(place);
            break;
        }
        case op::outside:
            self.in = wait::outside;
            break;
        case op::when_all:
        case op::when_any:
        case op::shield:
            start_family(place, what, thread);
            break;
        case op::group: {
            family made;
            made.rule = op::group;
            made.parent = place;
            made.node = acquire(wait_node::kind::family);
            needs(made.node, self.node);
            set_scope(made.node, scope_of(self.node));
            set_scope(self.node, made.node);
            families_.push_back(made);
            const int of = last(families_);
            task_frame inner;
            inner.code = &what.bodies[0];
            inner.what = task_frame::kind::group;
            inner.link = of;
            self.frames.push_back(inner);
            const std::size_t frame = self.frames.size() - 1;
            for (std::size_t i = 1; i < what.bodies.size(); ++i) {
                const int child = make_task(what.bodies[i], tasks_[at(place)].loop);
                make_member(of, child, place, frame, false);
                make_ready(child);
            }
            break;
        }
        case op::timeout: {
            deadline made;
            made.task = place;
            made.frame = self.frames.size();
            made.node = acquire(wait_node::kind::deadline);
            if (writes_) {
                made.node->set_within(self.node->within());
                made.node->set_scope(self.node->scope());
                self.node->set_scope(made.node);
            }
            deadlines_.push_back(made);
            task_frame inner;
            inner.code = &what.bodies[0];
            inner.what = task_frame::kind::timeout;
            inner.link = last(deadlines_);
            self.frames.push_back(inner);
            break;
        }
        case op::scope: {
            task_frame inner;
            inner.code = &what.bodies[0];
            inner.what = task_frame::kind::scope;
            if (still_there(self.home) == none) {
                queues_.emplace_back();
                const int made = make_home(last(queues_), none);
                homes_.back().opener = place;
                homes_.back().opener_node = node_reference(self.node);
                self.home = made;
                inner.link = made;
            }
            self.frames.push_back(inner);
            break;
        }
        case op::keep:
            if (!promises_.empty() &&
                promises_[at(what.which % static_cast<int>(promises_.size()))].declared_by == none) {
                keep_promise(what.which);
            }
            break;
        case op::fail:
            self.error = throwing::error;
            break;
        case op::in_turn: {
            if (thread == none) break;  // in a copy
            self.in_turn = true;
            thread_frame turn(thread_frame::kind::turn);
            turn.task = place;
            threads_[at(thread)].frames.push_back(turn);
            thread_frame code(thread_frame::kind::code);
            code.code = &what.bodies[0];
            threads_[at(thread)].frames.push_back(code);
            break;
        }
        default:
            break;
    }
}

inline void simulator::leave_frame(int place) {
    const auto top = [&]() -> task_frame& { return tasks_[at(place)].frames.back(); };
    while (!top().held.empty()) {
        const holding end = top().held.back();
        top().held.pop_back();
        give_back(end);
    }
    task& self = tasks_[at(place)];
    const task_frame frame = top();
    if (frame.what == task_frame::kind::root) return end_task(place);
    if (frame.what == task_frame::kind::group) {
        family& group = families_[at(frame.link)];
        if (!frame.joining) {
            top().joining = true;
            if (self.error != throwing::nothing) {
                if (self.error == throwing::error) group.failed = true;
                if (self.error == throwing::cancelled && !frame.cancelled) group.with_cancelled = true;
                self.error = throwing::nothing;
                top().cancelled = true;
                if (writes_) families_[at(frame.link)].node->set_flags(wait_node::open);
                cancellation_spreads();
            }
            if (families_[at(frame.link)].running > 0) {
                begin_wait(place, wait::join, frame.link, families_[at(frame.link)].node, wait_node::joins);
                if (writes_ && families_[at(frame.link)].node->has_waiting_member()) ask(tasks_[at(place)].node);
                return;
            }
        }
        family& ended = families_[at(frame.link)];
        if (ended.failed) {
            self.error = throwing::error;
        } else if (ended.with_cancelled) {
            self.error = throwing::cancelled;
        }
        set_scope(self.node, scope_of(ended.node));
        release(ended.node);
    } else if (frame.what == task_frame::kind::timeout) {
        deadline& end = deadlines_[at(frame.link)];
        set_scope(self.node, scope_of(end.node));
        release(end.node);
        end.armed = false;
        end.ended = true;
        const bool from_outside = is_cancelled(place, self.frames.size() - 2);
        if (self.error == throwing::cancelled && frame.cancelled && !from_outside) self.error = throwing::nothing;
    } else if (frame.link != none) {
        self.home = none;
        retire(frame.link);
    }
    tasks_[at(place)].frames.pop_back();
    make_ready(place);
}

inline void simulator::end_task(int place) {
    task& self = tasks_[at(place)];
    self.ended = true;
    self.failed = self.error != throwing::nothing;
    self.frames.clear();
    switch (self.of) {
        case task::owner::loop:
            if (at(place) < plan_->tasks.size()) {
                for (const int each : std::exchange(waiting_for_task_[at(place)], {})) push(each);
            }
            break;
        case task::owner::family:
            return member_ended(self.owner_place, place);
        case task::owner::travel:
            push(self.owner_place);
            break;
        case task::owner::thread:
            break;
    }
    release(tasks_[at(place)].node);
}

// ---- families
inline void simulator::make_member(int of, int member, int parent_task, std::size_t frame, bool shielded) {
    task& child = tasks_[at(member)];
    child.of = task::owner::family;
    child.owner_place = of;
    child.home = tasks_[at(parent_task)].home;
    if (!shielded) {
        child.parent = parent_task;
        child.parent_frame = frame;
    }
    families_[at(of)].members.push_back(member);
    ++families_[at(of)].running;
    set_scope(child.node, families_[at(of)].node);
    if (writes_) families_[at(of)].node->add_member(*child.node);
}

inline void simulator::start_family(int place, const step& what, int thread) {
    family made;
    made.rule = what.what;
    made.parent = place;
    made.node = acquire(wait_node::kind::family);
    needs(made.node, tasks_[at(place)].node);
    const bool shielded = what.what == op::shield;
    set_scope(made.node, shielded ? nullptr : scope_of(tasks_[at(place)].node));
    families_.push_back(made);
    const int of = last(families_);
    ++families_[at(of)].running;  // the parent's own share
    for (const script& each : what.bodies) {
        if (families_[at(of)].decided) break;
        const int child = make_task(each, tasks_[at(place)].loop);
        make_member(of, child, place, tasks_[at(place)].frames.size() - 1, shielded);
        run_in_place(child, thread);
    }
    if (--families_[at(of)].running == 0) return family_over(of);
    begin_wait(place, wait::join, of, families_[at(of)].node, wait_node::joins);
    if (writes_ && families_[at(of)].node->has_waiting_member()) ask(tasks_[at(place)].node);
}

inline void simulator::run_in_place(int place, int thread) {
    make_ready(place);
    while (tasks_[at(place)].ready) {
        const task& self = tasks_[at(place)];
        const task_frame& frame = self.frames.back();
        if (frame.next < frame.code->size() && (*frame.code)[frame.next].what == op::in_turn) return;
        std::deque<entry>& ready = loops_[at(self.loop)].ready;
        std::erase_if(ready, [&](const entry& each) { return each.task == place && !each.cancellation; });
        tasks_[at(place)].ready = false;
        task_step(place, thread);
    }
}

inline void simulator::member_ended(int of, int member) {
    family& self = families_[at(of)];
    task& child = tasks_[at(member)];
    if (self.rule == op::group) {
        const std::size_t frame = [&] {
            const std::vector<task_frame>& frames = tasks_[at(self.parent)].frames;
            for (std::size_t i = 0; i < frames.size(); ++i) {
                if (frames[i].what == task_frame::kind::group && frames[i].link == of) return i;
            }
            return frames.size();
        }();
        if (child.failed && frame < tasks_[at(self.parent)].frames.size()) {
            task_frame& around = tasks_[at(self.parent)].frames[frame];
            if (child.error == throwing::error) self.failed = true;
            if (child.error == throwing::cancelled && !around.cancelled) self.with_cancelled = true;
            around.cancelled = true;
            if (writes_) self.node->set_flags(wait_node::open);
            cancellation_spreads();
        }
    } else if (!self.decided) {
        self.decided = self.rule == op::when_any || child.failed;
        if (self.rule != op::when_any && child.failed) self.failed = true;
        if (self.decided) {
            if (writes_) self.node->set_flags(wait_node::open);
            for (const int each : self.members) tasks_[at(each)].cancel = true;
            cancellation_spreads();
        }
    }
    family& now = families_[at(of)];
    if (writes_) now.node->remove_member(*tasks_[at(member)].node);
    if (now.rule == op::group) release(tasks_[at(member)].node);
    const bool is_awaited = tasks_[at(now.parent)].in == wait::join && tasks_[at(now.parent)].on == of;
    if (--now.running != 0 || !is_awaited) {
        if (!writes_ || !now.node->is_relied_upon()) return;
        if (now.running != 0) {
            ask(now.node, wait_graph::role::all_end);
        } else if (now.rule == op::group) {
            ask(tasks_[at(now.parent)].node);
        }
        return;
    }
    const int parent = now.parent;
    if (now.rule != op::group) family_over(of);
    wake(parent);
}

inline void simulator::family_over(int of) {
    family& self = families_[at(of)];
    for (const int each : self.members) release(tasks_[at(each)].node);
    release(self.node);
    if (self.failed) tasks_[at(self.parent)].error = throwing::error;
}

// ---- calls
inline void simulator::update_pool(int which) {
    pool& self = pools_[at(which)];
    if (writes_)
        self.node->set_flags(static_cast<int>(self.workers.size()) < self.most ? wait_node::open : wait_node::flags{0});
}
inline void simulator::update_leases() {
    if (writes_)
        leases_node_->set_flags(static_cast<int>(leases_.size()) < plan_->most_leases ? wait_node::open
                                                                                      : wait_node::flags{0});
}

inline void simulator::submit(int made) {
    call& job = calls_[at(made)];
    if (job.pool == none) {
        const int place = still_there(job.home);
        return queue_at(place != none ? place : resort(), made);
    }
    pool& to = pools_[at(job.pool)];
    std::size_t idle = 0;
    for (const int each : to.workers) idle += threads_[at(each)].frames.back().what == thread_frame::kind::worker;
    if (idle <= to.queue.size() && to.started < to.most) {
        ++to.started;
    }
    to.queue.push_back(made);
    job.queued = true;
    needs(job.node, to.node, job.abandonable ? wait_node::cancellable : wait_node::flags{0});
}

inline void simulator::take_out(int made) {
    call& job = calls_[at(made)];
    job.queued = false;
    std::erase(job.pool != none ? pools_[at(job.pool)].queue : queues_[at(job.queue)].calls, made);
}

inline int simulator::still_there(int at_home) const {
    while (at_home != none && homes_[at(at_home)].gone) at_home = homes_[at(at_home)].outer;
    return at_home;
}

inline int simulator::resort() {
    if (resort_ != none) return threads_[at(resort_)].frames.front().home;
    resort_ = make_thread();
    thread_frame base(thread_frame::kind::lease);
    base.home = make_home(threads_[at(resort_)].own_queue, none);
    threads_[at(resort_)].frames.push_back(base);
    return base.home;
}

inline void simulator::place_calls(int of_queue) {
    queue& self = queues_[at(of_queue)];
    for (const int each : self.calls) {
        const call& job = calls_[at(each)];
        needs(job.node, self.place, job.abandonable ? wait_node::cancellable : wait_node::flags{0});
    }
}

inline void simulator::queue_at(int at_home, int made) {
    const int of = homes_[at(at_home)].queue;
    call& job = calls_[at(made)];
    job.queue = of;
    job.queued_at = at_home;
    job.queued = true;
    queues_[at(of)].calls.push_back(made);
    needs(job.node, queues_[at(of)].place, job.abandonable ? wait_node::cancellable : wait_node::flags{0});
    if (queues_[at(of)].owner == none && homes_[at(at_home)].opener != none) lease_to(at_home);
}

inline void simulator::lease_to(int at_home) {
    home& scope = homes_[at(at_home)];
    if (scope.waits_for_lease) return;
    if (scope.end == nullptr && writes_) {
        scope.end = acquire(wait_node::kind::holding);
        scope.end->wait_for(scope.opener_node);
    }
    queues_[at(scope.queue)].place = leases_node_;
    place_calls(scope.queue);
    for (const int each : leases_) {
        const thread_frame& base = threads_[at(each)].frames.back();
        if (want_lease_.empty() && base.what == thread_frame::kind::lease && base.home == none)
            return give_lease(each, at_home);
    }
    scope.waits_for_lease = true;
    want_lease_.push_back(at_home);
    if (leases_started_ < plan_->most_leases) ++leases_started_;
}

inline void simulator::give_lease(int to_thread, int of_home) {
    home& scope = homes_[at(of_home)];
    scope.waits_for_lease = false;
    std::erase(want_lease_, of_home);
    scope.lease = to_thread;
    thread_state& self = threads_[at(to_thread)];
    self.frames.back().home = of_home;
    self.frames.back().serial = ++serials_;
    self.frames.back().whom = node_reference(scope.end);
    self.queue = scope.queue;
    queues_[at(scope.queue)].owner = to_thread;
    queues_[at(scope.queue)].place = self.node;
    place_calls(scope.queue);
}

inline void simulator::retire(int at_home) {
    if (homes_[at(at_home)].end != nullptr) over(homes_[at(at_home)].end);
    homes_[at(at_home)].gone = true;
    const int of = homes_[at(at_home)].queue;
    const std::deque<int> calls = queues_[at(of)].calls;
    for (const int each : calls) {
        call& job = calls_[at(each)];
        if (job.queued_at != at_home) continue;
        const int outer = still_there(homes_[at(at_home)].outer);
        const int next = outer != none ? outer : resort();
        if (homes_[at(next)].queue == of) {
            calls_[at(each)].queued_at = next;
            continue;
        }
        take_out(each);
        queue_at(next, each);
    }
    if (homes_[at(at_home)].waits_for_lease) {
        homes_[at(at_home)].waits_for_lease = false;
        std::erase(want_lease_, at_home);
    }
}

inline void simulator::run_call(int made, int on_thread) {
    call& job = calls_[at(made)];
    thread_state& self = threads_[at(on_thread)];
    job.begun = true;
    needs(job.node, self.node,
          static_cast<wait_node::flags>(wait_node::begun | (job.abandonable ? wait_node::cancellable : 0)));
    thread_frame code(thread_frame::kind::code);
    code.code = job.code;
    code.call = made;
    for (const thread_frame& each : self.frames) {
        if (each.what == thread_frame::kind::wait && each.loop == job.loop) code.loop = job.loop;
    }
    code.outer_home = std::exchange(self.home, job.home);
    self.frames.push_back(code);
}

inline void simulator::call_over(int made) {
    call& job = calls_[at(made)];
    if (std::exchange(job.over, true)) return;
    job.queued = false;
    over(job.node);
    if (job.abandoned) return release(job.node);
    push(job.task);
}

// ---- threads
inline bool simulator::in_turn(const thread_state& self) const {
    return std::any_of(self.frames.begin(), self.frames.end(),
                       [](const thread_frame& each) { return each.what == thread_frame::kind::turn; });
}
inline bool simulator::is_home(const thread_state& self) const {
    return std::any_of(self.frames.begin(), self.frames.end(), [](const thread_frame& each) {
        return each.what == thread_frame::kind::lease || (each.what == thread_frame::kind::wait && each.home != none);
    });
}
inline int simulator::running_call(const thread_state& self) const {
    for (std::size_t i = self.frames.size(); i-- > 0;) {
        if (self.frames[i].call != none) return self.frames[i].call;
    }
    return none;
}
inline int simulator::driven(const thread_state& self) const {
    for (std::size_t i = self.frames.size(); i-- > 0;) {
        const bool may_drive =
            self.frames[i].what == thread_frame::kind::wait || self.frames[i].what == thread_frame::kind::code;
        if (may_drive && self.frames[i].loop != none) return self.frames[i].loop;
    }
    return none;
}
/// While it is in its innermost wait.
inline int simulator::turned_in_wait(const thread_state& self) const {
    return !in_turn(self) && (is_home(self) || self.frames.back().runs) ? driven(self) : none;
}
/// Than by what its thread does next: by anybody, or by a callback of the loop that the thread turns while it sleeps.
inline bool simulator::may_be_kept_by_others(const promise& of) const {
    if (of.declared_by == none) return true;
    const thread_state& by = threads_[at(of.declared_by)];
    return by.ended || (by.asleep && turned_in_wait(by) != none);
}
inline bool simulator::is_done(const thread_frame& of) const {
    if (of.what == thread_frame::kind::lease) {
        return of.home != none && homes_[at(of.home)].gone && queues_[at(homes_[at(of.home)].queue)].calls.empty();
    }
    return of.task != none ? tasks_[at(of.task)].ended : promises_[at(of.promise)].kept;
}

inline void simulator::keep_promise(int which) {
    if (promises_.empty()) return;
    promise& self = promises_[at(which % static_cast<int>(promises_.size()))];
    if (std::exchange(self.kept, true)) return;
    over(self.node);
    for (const int each : std::exchange(self.waiting, {})) push(each);
}

inline void simulator::thread_step(int place) {
    thread_frame& frame = threads_[at(place)].frames.back();
    if (frame.what == thread_frame::kind::turn) {
        const int of = frame.task;
        threads_[at(place)].frames.pop_back();
        tasks_[at(of)].in_turn = false;
        make_ready(of);
        return;
    }
    if (frame.next >= frame.code->size()) return leave_code(place, false);
    const step& what = (*frame.code)[frame.next++];
    const int promise_count = static_cast<int>(promises_.size());
    switch (what.what) {
        case op::declare: {
            if (promises_.empty()) break;
            promise& said = promises_[at(what.which % promise_count)];
            if (said.kept || said.declared_by != none) break;
            said.declared_by = place;
            needs(said.node, threads_[at(place)].node);
            ask(said.node);
            break;
        }
        case op::keep: {
            if (promises_.empty()) break;
            const promise& said = promises_[at(what.which % promise_count)];
            if (said.declared_by == none || said.declared_by == place) keep_promise(what.which);
            break;
        }
        case op::block_on:
            begin_block(place, what.bodies[0], none);
            break;
        case op::block_on_a:
            begin_block(place, what.bodies[0], what.which % static_cast<int>(plan_->loops.size()));
            break;
        case op::run:
            begin_run(place, what.bodies[0]);
            break;
        case op::join_task:
        case op::get: {
            thread_frame made(thread_frame::kind::wait);
            made.timed = what.flag;
            if (what.what == op::get) {
                if (promises_.empty()) break;
                made.promise = what.which % promise_count;
                made.whom = node_reference(promises_[at(made.promise)].node);
            } else {
                if (plan_->tasks.empty()) break;
                made.task = what.which % static_cast<int>(plan_->tasks.size());
                made.whom = task_references_[at(made.task)];
                const int of = tasks_[at(made.task)].loop;
                const auto& frames = threads_[at(place)].frames;
                for (std::size_t i = 0; i < frames.size(); ++i) {
                    const bool own =
                        frames[i].what == thread_frame::kind::turn && tasks_[at(frames[i].task)].loop == of;
                    if (own && !is_done(made)) return leave_code(place, true);
                }
                const loop& target = loops_[at(of)];
                if (target.how == plan::turned::bound_to_a_user && target.thread == place && !is_done(made)) {
                    return leave_code(place, true);
                }
            }
            if (!is_done(made)) begin_thread_wait(place, made);
            break;
        }
        case op::fail:
            leave_code(place, true);
            break;
        default:
            break;
    }
}

inline void simulator::leave_code(int place, bool failed) {
    thread_state& self = threads_[at(place)];
    const thread_frame code = self.frames.back();
    self.frames.pop_back();
    if (code.call != none) {
        self.home = code.outer_home;
        call_over(code.call);
        if (failed && !calls_[at(code.call)].abandoned &&
            tasks_[at(calls_[at(code.call)].task)].error == throwing::nothing) {
            tasks_[at(calls_[at(code.call)].task)].error = throwing::error;
        }
        return;
    }
    if (!self.frames.empty()) {
        if (failed) tasks_[at(self.frames.back().task)].error = throwing::error;
        return;
    }
    self.ended = true;
    release(self.node);
}

inline void simulator::begin_block(int place, const script& body, int given_loop) {
    const bool turning = in_turn(threads_[at(place)]);
    int target = given_loop;
    const int around = running_call(threads_[at(place)]);
    if (target == none && around != none && !calls_[at(around)].abandoned) target = calls_[at(around)].loop;
    if (target == none) {
        if (turning) return leave_code(place, true);
        int& own = threads_[at(place)].own_loop;
        if (own == none) {
            const int made = make_loop(plan::turned::by_nobody);
            threads_[at(place)].own_loop = made;
            loops_[at(made)].is_private = true;
        }
        target = threads_[at(place)].own_loop;
    }
    for (const thread_frame& each : threads_[at(place)].frames) {
        const bool own = each.what == thread_frame::kind::turn && tasks_[at(each.task)].loop == target;
        if (own) return leave_code(place, true);
    }
    if (loops_[at(target)].how == plan::turned::bound_to_a_user && loops_[at(target)].thread == place) {
        return leave_code(place, true);
    }
    const int sent = make_task(body, target);
    thread_state& self = threads_[at(place)];
    task& to = tasks_[at(sent)];
    to.of = task::owner::thread;
    to.stopped_by = around;
    if (writes_ && around != none) to.node->set_scope(calls_[at(around)].node);
    thread_frame made(thread_frame::kind::wait);
    made.task = sent;
    made.whom = node_reference(to.node);
    made.outer_home = self.home;
    if (turning) {
        to.home = none;
        for (const thread_frame& each : self.frames) {
            if (each.what == thread_frame::kind::turn) to.home = tasks_[at(each.task)].home;
        }
    } else {
        made.home = make_home(self.queue, still_there(self.home));
        self.home = made.home;
        to.home = made.home;
    }
    bool drives = self.own_loop == target;
    for (const thread_frame& each : self.frames)
        drives = drives || (each.what == thread_frame::kind::wait && each.loop == target);
    if (!turning && drives) {
        made.loop = target;
        if (writes_ && loops_[at(target)].node->needs() != self.node) {
            made.began_to_drive = true;
            needs(loops_[at(target)].node, self.node);
        } else if (!writes_) {
            made.began_to_drive = true;
        }
    }
    if (made.loop == none && blocked_ > 0 && writes_) {  // refuse_if_hopeless()
        const int drives_now = driven(self);
        self.node->set_within(turning || !is_home(self) || drives_now == none ? nullptr : loops_[at(drives_now)].node);
        self.node->wait_for(made.whom, turning ? wait_node::in_turn : wait_node::flags{0});
        ask(self.node);
        self.node->wait_is_over();
    }
    make_ready(sent);
    if (around != none && calls_[at(around)].stop) loops_[at(target)].ready.push_back({sent, true});
    begin_thread_wait(place, made);
}

/// It is no home. Where the thread is one, it serves meanwhile, and the waits of what it serves drive this loop.
inline void simulator::begin_run(int place, const script& body) {
    const int target = make_loop(plan::turned::by_nobody);
    loops_[at(target)].is_private = true;
    loops_[at(target)].is_run = true;
    const int sent = make_task(body, target);
    const thread_state& self = threads_[at(place)];
    task& to = tasks_[at(sent)];
    to.of = task::owner::thread;
    to.home = self.home;
    thread_frame made(thread_frame::kind::wait);
    made.task = sent;
    made.whom = node_reference(to.node);
    made.loop = target;
    made.runs = true;
    made.began_to_drive = true;
    needs(loops_[at(target)].node, self.node);
    make_ready(sent);
    begin_thread_wait(place, made);
}

inline void simulator::begin_thread_wait(int place, thread_frame how) {
    how.serial = ++serials_;
    threads_[at(place)].frames.push_back(how);
}

inline void simulator::fall_asleep(int place) {
    thread_state& self = threads_[at(place)];
    const thread_frame& frame = self.frames.back();
    self.asleep = true;
    ++blocked_;
    if (!writes_) return;
    const bool turning = in_turn(self);
    const int drives = turned_in_wait(self);
    self.node->set_within(drives == none ? nullptr : loops_[at(drives)].node);
    self.node->wait_for(frame.whom, static_cast<wait_node::flags>((turning ? wait_node::in_turn : 0) |
                                                                  (frame.timed ? wait_node::timed : 0)));
    if (frame.whom.node() != nullptr && !frame.timed) ask(self.node);
}

inline void simulator::wake_up(int place) {
    thread_state& self = threads_[at(place)];
    if (!std::exchange(self.asleep, false)) return;
    --blocked_;
    over(self.node);
}

inline void simulator::pop_wait(int place) {
    thread_state& self = threads_[at(place)];
    const thread_frame frame = self.frames.back();
    self.frames.pop_back();
    if (frame.began_to_drive) over(loops_[at(frame.loop)].node);
    if (frame.home != none) {
        self.home = frame.outer_home;
        retire(frame.home);
    }
}

inline void simulator::finish_wait(int place) {
    wake_up(place);
    const thread_frame frame = threads_[at(place)].frames.back();
    if (frame.what == thread_frame::kind::lease) {
        thread_state& self = threads_[at(place)];
        queue& of = queues_[at(self.queue)];
        of.owner = none;
        of.place = nullptr;
        self.queue = self.own_queue;
        self.frames.back().home = none;
        self.frames.back().serial = ++serials_;
        return;
    }
    pop_wait(place);
    if (frame.task != none && tasks_[at(frame.task)].ended && tasks_[at(frame.task)].failed) leave_code(place, true);
}

// ---- moves
inline void simulator::add_turns(std::vector<possible>& to, int thread, int of_loop) const {
    const loop& self = loops_[at(of_loop)];
    for (std::size_t i = 0; i < self.ready.size(); ++i)
        to.push_back({action::entry, thread, of_loop * 1000 + static_cast<int>(i)});
    for (std::size_t i = 0; i < deadlines_.size(); ++i) {
        if (deadlines_[i].armed && tasks_[at(deadlines_[i].task)].loop == of_loop) {
            to.push_back({action::fire, thread, static_cast<int>(i)});
        }
    }
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
        const task& each = tasks_[i];
        if (each.loop == of_loop && each.timed && each.in == wait::lock && !each.ready) {
            to.push_back({action::expire, thread, static_cast<int>(i)});
        }
    }
}

inline std::vector<simulator::possible> simulator::moves() const {
    std::vector<possible> found;
    for (int place = 0; place <= last(threads_); ++place) {
        const thread_state& self = threads_[at(place)];
        if (self.ended) continue;
        const thread_frame& top = self.frames.back();
        switch (top.what) {
            case thread_frame::kind::code:
            case thread_frame::kind::turn:
                found.push_back({action::run, place, 0});
                break;
            case thread_frame::kind::loop:
                add_turns(found, place, top.loop);
                break;
            case thread_frame::kind::worker:
                if (!pools_[at(self.pool)].queue.empty()) found.push_back({action::take, place, 0});
                break;
            case thread_frame::kind::lease:
            case thread_frame::kind::wait: {
                if (top.what == thread_frame::kind::lease && top.home == none) {
                    if (!want_lease_.empty()) found.push_back({action::lease, place, 0});
                    break;
                }
                if (is_done(top)) {
                    found.push_back({action::finish, place, 0});
                    break;
                }
                if (top.timed) found.push_back({action::time_out, place, 0});
                const std::size_t before = found.size();
                if (!in_turn(self) && is_home(self) && !queues_[at(self.queue)].calls.empty()) {
                    found.push_back({action::serve, place, 0});
                }
                if (const int drives = turned_in_wait(self); drives != none) add_turns(found, place, drives);
                const bool is_idle = top.what == thread_frame::kind::lease && place == resort_;
                if (found.size() == before && !self.asleep && !is_idle) found.push_back({action::sleep, place, 0});
                break;
            }
        }
    }
    for (int i = 0; i <= last(pools_); ++i) {
        if (pools_[at(i)].started > static_cast<int>(pools_[at(i)].workers.size()))
            found.push_back({action::arrive, none, i});
    }
    if (leases_started_ > static_cast<int>(leases_.size())) found.push_back({action::arrive_lease, none, 0});
    return found;
}

inline void simulator::perform(const possible& what) {
    if (what.thread != none && what.what != action::finish) wake_up(what.thread);
    switch (what.what) {
        case action::run:
            return thread_step(what.thread);
        case action::entry: {
            std::deque<entry>& ready = loops_[at(what.arg / 1000)].ready;
            const auto which = ready.begin() + what.arg % 1000;
            const entry next = *which;
            ready.erase(which);
            if (next.cancellation) {
                if (tasks_[at(next.task)].ended) return;
                tasks_[at(next.task)].cancel = true;
                return cancellation_spreads();
            }
            tasks_[at(next.task)].ready = false;
            return resume(next.task, what.thread);
        }
        case action::fire: {
            deadline& self = deadlines_[at(what.arg)];
            self.armed = false;
            if (writes_) self.node->set_flags(wait_node::open);
            tasks_[at(self.task)].frames[self.frame].cancelled = true;
            return cancellation_spreads();
        }
        case action::expire: {
            const int from = tasks_[at(what.arg)].on;
            leave_queue(from, what.arg);
            return wake(what.arg);
        }
        case action::arrive: {
            const int made = make_thread(what.arg);
            threads_[at(made)].frames.push_back(thread_frame(thread_frame::kind::worker));
            pools_[at(what.arg)].workers.push_back(made);
            if (writes_) pools_[at(what.arg)].node->add_member(*threads_[at(made)].node);
            return update_pool(what.arg);
        }
        case action::arrive_lease: {
            const int made = make_thread();
            threads_[at(made)].frames.push_back(thread_frame(thread_frame::kind::lease));
            leases_.push_back(made);
            if (writes_) leases_node_->add_member(*threads_[at(made)].node);
            return update_leases();
        }
        case action::take: {
            const int job = pools_[at(threads_[at(what.thread)].pool)].queue.front();
            take_out(job);
            return run_call(job, what.thread);
        }
        case action::lease:
            return give_lease(what.thread, want_lease_.front());
        case action::serve: {
            const int job = queues_[at(threads_[at(what.thread)].queue)].calls.front();
            take_out(job);
            return run_call(job, what.thread);
        }
        case action::finish:
            return finish_wait(what.thread);
        case action::sleep:
            return fall_asleep(what.thread);
        case action::time_out:
            wake_up(what.thread);
            return pop_wait(what.thread);
    }
}

template <class Choose>
bool simulator::move(Choose&& choose) {
    const std::vector<possible> all = moves();
    if (all.empty()) return false;
    perform(all[static_cast<std::size_t>(choose(static_cast<int>(all.size())))]);
    return true;
}

inline std::vector<simulator::waiting> simulator::who_waits() const {
    std::vector<waiting> found;
    for (int i = 0; i <= last(tasks_); ++i) {
        const task& self = tasks_[at(i)];
        if (!self.ended) found.push_back({false, i, self.moves, self.node});
    }
    for (int i = 0; i <= last(threads_); ++i) {
        const thread_state& self = threads_[at(i)];
        if (self.asleep) found.push_back({true, i, self.frames.back().serial, self.node});
    }
    return found;
}

inline bool simulator::has_moved(const waiting& one) const {
    if (!one.is_thread) return tasks_[at(one.place)].moves != one.moves;
    const std::vector<thread_frame>& frames = threads_[at(one.place)].frames;
    return std::none_of(frames.begin(), frames.end(),
                        [&](const thread_frame& each) { return each.serial == one.moves; });
}

/// Writes numbers one after another. A node is written as the number that it has here, and once with all of its links.
class simulator::recorder {
public:
    template <class... Numbers>
    void add(Numbers... numbers) {
        (add_one(static_cast<std::uint64_t>(numbers)), ...);
    }
    template <class List>
    void add_list(const List& list) {
        add(list.size());
        for (const int each : list) add(each);
    }
    /// Before any links are written.
    void know(const wait_node* node) {
        if (node != nullptr) numbers_.emplace(node, numbers_.size() + 1);
    }
    void add_links(const wait_node* node, bool is_refused) {
        if (node == nullptr) return add(0);
        const bool is_there = node->needs() != nullptr && node->needs()->generation() == node->needs_generation();
        add(number_of(node->needs()), is_there, number_of(node->within()), number_of(node->scope()), node->amount());
        unsigned how = 0;
        for (unsigned bit = 0; bit < 16; ++bit)
            how |= node->has(static_cast<wait_node::flags>(1u << bit)) ? 1u << bit : 0;
        add(how, node->is_relied_upon(), node->is_being_refused(), is_refused);
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    [[nodiscard]] std::size_t number_of(const wait_node* node) const {
        const auto found = numbers_.find(node);
        return found == numbers_.end() ? 0 : found->second;
    }
    void add_one(std::uint64_t number) {
        for (; number >= 0x80; number >>= 7) text_ += static_cast<char>((number & 0x7f) | 0x80);
        text_ += static_cast<char>(number);
    }

    std::string text_;
    std::map<const wait_node*, std::size_t> numbers_;
};

inline std::string simulator::state(const std::vector<waiting>& hopeless) const {
    recorder out;
    std::vector<const wait_node*> nodes{leases_node_};
    const auto code_of = [](const script* code) { return reinterpret_cast<std::uintptr_t>(code); };
    for (const task& each : tasks_) {
        nodes.push_back(each.node);
        out.add(each.loop, each.home, each.frames.size());
        for (const task_frame& frame : each.frames) {
            out.add(code_of(frame.code), frame.what, frame.next, frame.link, frame.cancelled, frame.joining,
                    frame.held.size());
            for (const holding& held : frame.held) {
                out.add(held.lock, held.many);
                nodes.push_back(held.node);
            }
        }
        out.add(each.in, each.on, each.wants, each.timed, each.ready, each.granted, each.interrupted, each.in_turn,
                each.cancel);
        out.add(each.ended, each.failed, each.with_cancelled, each.error, each.of, each.owner_place, each.parent);
        out.add(each.parent_frame, each.stopped_by);
    }
    for (const loop& each : loops_) {
        nodes.push_back(each.node);
        out.add(each.how, each.thread, each.is_private, each.is_run, each.ready.size());
        for (const entry& ready : each.ready) out.add(ready.task, ready.cancellation);
    }
    for (const lock_state& each : locks_) {
        nodes.push_back(each.node);
        out.add(each.free, each.unknown);
        out.add_list(each.queue);
    }
    for (const promise& each : promises_) {
        nodes.push_back(each.node);
        out.add(each.declared_by, each.kept);
        out.add_list(each.waiting);
    }
    for (const family& each : families_) {
        nodes.push_back(each.node);
        out.add(each.rule, each.parent, each.running, each.decided, each.failed, each.with_cancelled);
        out.add_list(each.members);
    }
    for (const deadline& each : deadlines_) {
        nodes.push_back(each.node);
        out.add(each.task, each.frame, each.armed, each.ended);
    }
    for (const call& each : calls_) {
        nodes.push_back(each.node);
        out.add(code_of(each.code), each.task, each.loop, each.home, each.pool, each.queue, each.queued_at,
                each.abandonable);
        out.add(each.queued, each.begun, each.over, each.abandoned, each.stop);
    }
    for (const home& each : homes_) {
        nodes.push_back(each.end);
        out.add(each.queue, each.outer, each.gone, each.opener, each.waits_for_lease, each.lease);
    }
    for (const queue& each : queues_) {
        out.add_list(each.calls);
        out.add(each.owner, each.place != nullptr);
    }
    for (const thread_state& each : threads_) {
        nodes.push_back(each.node);
        out.add(each.own_queue, each.queue, each.home, each.own_loop, each.pool, each.asleep, each.ended,
                each.frames.size());
        for (const thread_frame& frame : each.frames) {
            out.add(frame.what, code_of(frame.code), frame.next, frame.call, frame.task, frame.promise, frame.loop,
                    frame.home);
            out.add(frame.outer_home, frame.lent, frame.timed, frame.runs, frame.began_to_drive);
        }
    }
    for (const pool& each : pools_) {
        nodes.push_back(each.node);
        out.add(each.started);
        out.add_list(each.workers);
        out.add_list(each.queue);
    }
    out.add_list(leases_);
    out.add_list(want_lease_);
    out.add(leases_started_, resort_, blocked_);
    for (const std::vector<int>& each : waiting_for_task_) out.add_list(each);
    // They have not moved, or it would have been said: which of its waits it is, of a thread, is all there is to know.
    out.add(hopeless.size());
    for (const waiting& each : hopeless) {
        out.add(each.is_thread, each.place);
        if (!each.is_thread) continue;
        const std::vector<thread_frame>& frames = threads_[at(each.place)].frames;
        for (std::size_t i = 0; i < frames.size(); ++i) {
            if (frames[i].serial == each.moves) out.add(i);
        }
    }
    for (const wait_node* each : nodes) out.know(each);
    for (const wait_node* each : nodes) out.add_links(each, refused_.count(each) != 0);
    return out.take();
}

inline bool simulator::depends_on_the_world() const {
    for (const promise& each : promises_) {
        if (!each.kept && may_be_kept_by_others(each)) return true;
    }
    for (const loop& each : loops_) {
        if (each.how == plan::turned::by_nobody && !each.is_private) return true;
        if (each.how == plan::turned::bound_to_a_user && !threads_[at(each.thread)].asleep) return true;
    }
    for (const task& each : tasks_) {
        if (!each.ended && each.in == wait::outside) return true;
    }
    for (const lock_state& each : locks_) {
        if (each.unknown > 0) return true;
    }
    return false;
}

// ---- the best that can be assumed
inline void simulator::goes_on(int place) {
    if (tasks_[at(place)].ended) return;
    ++tasks_[at(place)].moves;
    tasks_[at(place)].ready = false;
    std::erase_if(loops_[at(tasks_[at(place)].loop)].ready, [&](const entry& each) { return each.task == place; });
    tasks_[at(place)].in = wait::none;
    while (!tasks_[at(place)].frames.empty()) {
        while (!tasks_[at(place)].frames.back().held.empty()) {
            const holding end = tasks_[at(place)].frames.back().held.back();
            tasks_[at(place)].frames.back().held.pop_back();
            give_back(end);
        }
        const task_frame frame = tasks_[at(place)].frames.back();
        tasks_[at(place)].frames.pop_back();
        if (frame.what == task_frame::kind::timeout) deadlines_[at(frame.link)].armed = false;
        if (frame.what == task_frame::kind::scope && frame.link != none) retire(frame.link);
    }
    for (int i = 0; i <= last(tasks_); ++i) {  // what it would have to wait for first
        task& child = tasks_[at(i)];
        if (child.of != task::owner::family || families_[at(child.owner_place)].parent != place) continue;
        child.of = task::owner::loop;
        if (child.parent == place) {
            child.parent = none;
            child.cancel = true;
        }
    }
    cancellation_spreads();
    tasks_[at(place)].error = throwing::error;
    end_task(place);
}

inline void simulator::thread_goes_on(int place) {
    threads_[at(place)].went_on = true;
    threads_[at(place)].asleep = false;
    while (!queues_[at(threads_[at(place)].queue)].calls.empty()) {
        const int served = queues_[at(threads_[at(place)].queue)].calls.front();
        take_out(served);
        call_over(served);
    }
    while (!threads_[at(place)].frames.empty()) {
        const thread_frame frame = threads_[at(place)].frames.back();
        if (frame.what == thread_frame::kind::loop || frame.what == thread_frame::kind::worker ||
            frame.what == thread_frame::kind::lease) {
            return;
        }
        if (frame.what == thread_frame::kind::wait) {
            pop_wait(place);
            continue;
        }
        threads_[at(place)].frames.pop_back();
        if (frame.what == thread_frame::kind::turn) {
            tasks_[at(frame.task)].in_turn = false;
            goes_on(frame.task);
        } else if (frame.call != none) {
            call_over(frame.call);
        }
    }
    threads_[at(place)].ended = true;
}

inline bool simulator::best_for_threads() {
    bool any = false;
    for (int place = 0; place <= last(threads_); ++place) {
        if (threads_[at(place)].ended) continue;
        const thread_frame top = threads_[at(place)].frames.back();
        const auto serve = [&](std::deque<int>& calls) {
            while (!calls.empty()) {
                const int served = calls.front();
                take_out(served);
                call_over(served);
                any = true;
            }
        };
        switch (top.what) {
            case thread_frame::kind::code:
            case thread_frame::kind::turn:
                thread_goes_on(place);
                any = true;
                break;
            case thread_frame::kind::loop:
                threads_[at(place)].went_on = true;
                break;
            case thread_frame::kind::worker:
                threads_[at(place)].went_on = true;
                break;
            case thread_frame::kind::lease:
                if (top.home == none || is_done(top) || place == resort_) threads_[at(place)].went_on = true;
                if (top.home != none) serve(queues_[at(threads_[at(place)].queue)].calls);
                if (top.home != none && is_done(top)) {
                    finish_wait(place);
                    any = true;
                }
                break;
            case thread_frame::kind::wait:
                if (is_done(top) || top.timed) {
                    thread_goes_on(place);
                    any = true;
                } else if (!in_turn(threads_[at(place)]) && is_home(threads_[at(place)])) {
                    serve(queues_[at(threads_[at(place)].queue)].calls);
                }
                break;
        }
    }
    const auto is_free = [&](int worker) {
        const thread_state& self = threads_[at(worker)];
        return self.frames.back().what == thread_frame::kind::worker;
    };
    for (pool& each : pools_) {
        const bool free = static_cast<int>(each.workers.size()) < each.most ||
                          std::any_of(each.workers.begin(), each.workers.end(), is_free);
        while (free && !each.queue.empty()) {
            const int served = each.queue.front();
            take_out(served);
            call_over(served);
            any = true;
        }
    }
    const bool lease_free = static_cast<int>(leases_.size()) < plan_->most_leases ||
                            std::any_of(leases_.begin(), leases_.end(), [&](int each) {
                                const thread_frame& top = threads_[at(each)].frames.back();
                                return top.what == thread_frame::kind::lease && top.home == none;
                            });
    while (lease_free && !want_lease_.empty()) {
        const int scope = want_lease_.front();
        want_lease_.pop_front();
        homes_[at(scope)].waits_for_lease = false;
        std::deque<int>& calls = queues_[at(homes_[at(scope)].queue)].calls;
        while (!calls.empty()) {
            const int served = calls.front();
            take_out(served);
            call_over(served);
        }
        any = true;
    }
    for (int i = 0; i <= last(promises_); ++i) {
        const promise& each = promises_[at(i)];
        if (each.kept) continue;
        if (may_be_kept_by_others(each) || threads_[at(each.declared_by)].went_on) {
            keep_promise(i);
            any = true;
        }
    }
    return any;
}

inline bool simulator::best_for_loops() {
    bool any = false;
    for (int place = 0; place <= last(loops_); ++place) {
        bool turned = false;
        bool driven_by_any = false;
        for (const thread_state& each : threads_) {
            if (each.ended) continue;
            const bool drives = std::any_of(each.frames.begin(), each.frames.end(), [&](const thread_frame& frame) {
                return frame.what == thread_frame::kind::wait && frame.loop == place;
            });
            driven_by_any = driven_by_any || drives;
            turned = turned || (drives && !in_turn(each) && driven(each) == place);
        }
        const loop& self = loops_[at(place)];
        switch (self.how) {
            case plan::turned::by_nobody:
                turned = turned || !driven_by_any;
                break;
            case plan::turned::by_a_thread:
                turned = threads_[at(self.thread)].frames.back().what == thread_frame::kind::loop;
                break;
            case plan::turned::bound_to_a_user:
                turned = threads_[at(self.thread)].went_on || threads_[at(self.thread)].ended;
                break;
        }
        if (!turned) continue;
        for (deadline& each : deadlines_) {
            if (!each.armed || tasks_[at(each.task)].loop != place) continue;
            each.armed = false;
            tasks_[at(each.task)].frames[each.frame].cancelled = true;
            cancellation_spreads();
            any = true;
        }
        for (int of : loops_[at(place)].locks) {
            while (locks_[at(of)].unknown > 0 && !locks_[at(of)].queue.empty()) {
                const int first = locks_[at(of)].queue.front();
                locks_[at(of)].queue.pop_front();
                goes_on(first);
                any = true;
            }
        }
        while (!loops_[at(place)].ready.empty()) {
            const entry next = loops_[at(place)].ready.front();
            loops_[at(place)].ready.pop_front();
            any = true;
            if (!next.cancellation) {
                tasks_[at(next.task)].ready = false;
                goes_on(next.task);
            } else if (!tasks_[at(next.task)].ended) {
                tasks_[at(next.task)].cancel = true;
                cancellation_spreads();
            }
        }
        for (int i = 0; i <= last(tasks_); ++i) {
            const task& each = tasks_[at(i)];
            if (each.loop != place || each.ended) continue;
            if (each.in == wait::outside) {
                goes_on(i);
                any = true;
            } else if (each.timed && each.in == wait::lock) {
                const int from = each.on;
                leave_queue(from, i);
                goes_on(i);
                any = true;
            }
        }
    }
    return any;
}

inline void simulator::assume_the_best() {
    writes_ = false;
    while (best_for_threads() || best_for_loops()) continue;
}

// ---- words
inline const char* name_of(op what) {
    static constexpr const char* names[] = {
        "acquire",        "give_back", "detach",   "add_permits", "await_promise", "await_task", "call_pool",
        "call_sensitive", "on_loop",   "when_all", "when_any",    "group",         "shield",     "timeout",
        "scope",          "outside",   "yield",    "declare",     "block_on",      "block_on_a", "run",
        "join_task",      "get",       "keep",     "fail",        "in_turn"};
    return names[static_cast<std::size_t>(what)];
}

inline std::string text_of(const script& code) {
    std::string text;
    for (const step& each : code) {
        if (!text.empty()) text += " ";
        text += name_of(each.what);
        text += "(" + std::to_string(each.which) + "," + std::to_string(each.many) + (each.flag ? ",flag" : "") + ")";
        for (const script& body : each.bodies) text += "{" + text_of(body) + "}";
    }
    return text;
}

inline std::string plan::text() const {
    std::string text = "promises " + std::to_string(promises) + ", leases " + std::to_string(most_leases) + ", pools";
    for (const int each : pools) text += " " + std::to_string(each);
    for (std::size_t i = 0; i < loops.size(); ++i) {
        text += "\nloop " + std::to_string(i) +
                (loops[i] == turned::by_a_thread ? ""
                 : loops[i] == turned::by_nobody ? " open"
                                                 : " bound");
    }
    for (std::size_t i = 0; i < tasks.size(); ++i) {
        text += "\ntask " + std::to_string(i) + " on " + std::to_string(tasks[i].loop) + ": " + text_of(tasks[i].code);
    }
    for (std::size_t i = 0; i < users.size(); ++i) text += "\nuser " + std::to_string(i) + ": " + text_of(users[i]);
    return text + "\n";
}
}  // namespace ferry_test
