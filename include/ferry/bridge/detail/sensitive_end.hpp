// ferry/bridge/detail/sensitive_end.hpp - the calls that run on sensitive threads of ferry's own when the process ends
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/bridge/detail/call.hpp>
#include <ferry/bridge/detail/homes.hpp>
#include <ferry/bridge/detail/process_end.hpp>
#include <ferry/core/config.hpp>
#include <ferry/core/intrusive_list.hpp>
#include <ferry/core/process.hpp>
#include <ferry/deadlock/park.hpp>
#include <ferry/deadlock/report.hpp>

#include <atomic>
#include <mutex>
#include <string>

namespace ferry::inline FERRY_ABI {
namespace detail {
/// The process's one sensitive thread and the leased ones, each as long as it lives.
///
/// A call begins under the mutex of homes (running_job::begins()), under which the end of the process looks. Its end takes no
/// lock: the thread says that it runs nothing, then looks for the watcher, which has put itself there before it looked at the
/// threads. Both are sequentially consistent, so one of the two sees the other.
class sensitive_end final : public process_end::part {
public:
    class running_job : public list_hook<running_job> {
    public:
        explicit running_job(const char* thread) noexcept : thread_(thread) { end_.add(*this); }
        ~running_job() {
            if (generation_ == process::generation()) end_.remove(*this);  // else the list is the parent's
        }
        running_job(const running_job&) = delete;
        running_job& operator=(const running_job&) = delete;

        /// With the mutex of homes held. Returns the call around, which waits meanwhile.
        const char* begins(const call& taken) noexcept {
            return name_.exchange(taken.name == nullptr ? "?" : taken.name, std::memory_order_relaxed);
        }
        void ends(const char* around) noexcept {
            name_.store(around, std::memory_order_seq_cst);
            if (around != nullptr) return;
            if (thread_parker* const watcher = end_.watcher_.load(std::memory_order_seq_cst)) watcher->unpark();
        }

    private:
        friend class sensitive_end;
        sensitive_end& end_ = instance();  // a forked child has another
        const std::uint32_t generation_ = process::generation();
        const char* thread_;
        const thread_parker* const owner_ = &thread_parker::of_this_thread();
        std::atomic<const char*> name_{nullptr};
    };

    [[nodiscard]] static sensitive_end& instance() { return process_wide<sensitive_end>::get(); }
    void has_been_chosen() { process_end::include(*this); }

    void refuse() noexcept override { homes::end_own_threads(); }
    bool wait(process_end::time_point deadline) override {
        watcher_.store(&thread_parker::of_this_thread(), std::memory_order_seq_cst);
        const bool in_time = wait_until(
            [this] {
                const std::lock_guard lock(homes::mutex());
                return next_busy(threads_.front()) == nullptr;
            },
            deadline);
        watcher_.store(nullptr, std::memory_order_relaxed);
        return in_time;
    }
    [[nodiscard]] std::string who() const override {
        std::string text;
        const std::lock_guard lock(homes::mutex());
        for (const running_job* each = next_busy(threads_.front()); each != nullptr;
             each = next_busy(intrusive_list<running_job>::next(*each))) {
            const char* const name = each->name_.load(std::memory_order_relaxed);
            if (name == nullptr) continue;  // it has just ended
            text.append("  thread ").append(each->thread_).append(" runs ").append(short_name(name)).append("\n");
        }
        return text;
    }

private:
    void add(running_job& one) noexcept {
        const std::lock_guard lock(homes::mutex());
        threads_.push_back(one);
    }
    void remove(running_job& one) noexcept {
        const std::lock_guard lock(homes::mutex());
        threads_.erase(one);
    }
    /// From that one on, the first that runs a call; this thread's own does not count.
    [[nodiscard]] static const running_job* next_busy(const running_job* each) noexcept {
        const thread_parker* const mine = &thread_parker::of_this_thread();
        const auto is_busy = [&](const running_job& one) {
            return one.owner_ != mine && one.name_.load(std::memory_order_seq_cst) != nullptr;
        };
        while (each != nullptr && !is_busy(*each)) each = intrusive_list<running_job>::next(*each);
        return each;
    }

    std::atomic<thread_parker*> watcher_{nullptr};
    intrusive_list<running_job> threads_;  // guarded by the mutex of homes
};
}  // namespace detail
}  // namespace ferry::inline FERRY_ABI
