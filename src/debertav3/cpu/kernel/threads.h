// Parallel loops on the threads of the OpenMP runtime that torch has loaded, so that no second pool spins; in a process
// without torch, on threads of our own (own_threads.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

// The signature of GOMP_parallel (libgomp and libiomp5): run a function on a number of threads, and wait.
using Team = void (*)(void (*)(void*), void*, unsigned, unsigned);

struct Nothing {};

// `Setting` exists on each thread while it works. A thread has its own range of tasks, neighbours in memory, and helps
// the others when it has finished.
template <typename Setting, typename Task>
struct Work {
    static constexpr int64_t MOST_RANGES = 64;

    Work(const Task& run, int64_t tasks, int64_t threads)
        : task(run), count(tasks), ranges(threads < MOST_RANGES ? threads : MOST_RANGES) {
        for (int64_t range = 0; range < ranges; ++range) next[range] = begin(range);
    }
    int64_t begin(int64_t range) const { return range * count / ranges; }

    static void take(void* self) noexcept {
        Work& work = *static_cast<Work*>(self);
        try {
            [[maybe_unused]] const Setting setting;
            const int64_t own = work.entered.fetch_add(1, std::memory_order_relaxed);
            for (int64_t k = 0; k < work.ranges; ++k) {
                const int64_t range = (own + k) % work.ranges, end = work.begin(range + 1);
                for (int64_t i; (i = work.next[range].fetch_add(1, std::memory_order_relaxed)) < end;) work.task(i);
            }
        } catch (const std::bad_alloc&) {  // exceptions must not escape from a thread of the team
            work.lacks_memory = true;
        }
    }

    const Task& task;
    const int64_t count, ranges;
    std::atomic<int64_t> next[MOST_RANGES];
    std::atomic<int64_t> entered{0};
    std::atomic<bool> lacks_memory{false};
};

// task(0), ..., task(count - 1), each on some thread. Throws std::bad_alloc if a task did.
template <typename Setting = Nothing, typename Task>
void parallel_for(Team team, int64_t threads, int64_t count, const Task& task) {
    const int64_t wanted = threads < count ? threads : count;
    if (wanted < 1) return;
    using Shared = Work<Setting, Task>;
    Shared work(task, count, wanted);
    if (team == nullptr || wanted < 2)
        Shared::take(&work);
    else
        team(&Shared::take, &work, static_cast<unsigned>(wanted), 0);
    if (work.lacks_memory) throw std::bad_alloc();
}

constexpr int64_t KEPT_FLOATS = 24 << 20;  // 96 MiB; larger blocks are freed

// A block of floats that a thread keeps between calls, because new memory costs page faults.
class Scratch {
public:
    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::free(block_); }

    // Uninitialised, aligned to a cache line; valid until the next call.
    float* floats(int64_t count) {
        if (count > capacity_) {
            std::free(block_);
            capacity_ = 0;
            const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + 63) / 64 * 64;
            block_ = static_cast<float*>(std::aligned_alloc(64, bytes));
            if (block_ == nullptr) throw std::bad_alloc();
            capacity_ = count;
        }
        return block_;
    }

    // Free a large block, so that the memory for one long text is not kept forever.
    void trim() {
        if (capacity_ <= KEPT_FLOATS) return;
        std::free(block_);
        block_ = nullptr;
        capacity_ = 0;
    }

private:
    float* block_ = nullptr;
    int64_t capacity_ = 0;
};

}  // namespace
