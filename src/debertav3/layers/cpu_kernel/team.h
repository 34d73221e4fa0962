// Work shared by threads: those of the OpenMP runtime that torch has loaded, so that no second pool spins.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

// The form of GOMP_parallel (libgomp; libiomp5 has it too): run a function on so many threads, and wait.
using Team = void (*)(void (*)(void*), void*, unsigned, unsigned);

struct Nothing {};

// `Setting` lives on a thread while it works.
template <typename Setting, typename Task>
struct Work {
    const Task* task;
    int64_t count;
    std::atomic<int64_t> next{0};
    std::atomic<bool> lacks_memory{false};

    static void take(void* self) noexcept {
        Work& work = *static_cast<Work*>(self);
        try {
            [[maybe_unused]] const Setting setting;
            for (int64_t i; (i = work.next.fetch_add(1, std::memory_order_relaxed)) < work.count;) (*work.task)(i);
        } catch (const std::bad_alloc&) {  // an exception must not leave a thread of the team
            work.lacks_memory = true;
        }
    }
};

// task(0), ..., task(count - 1), each on some thread. Throws std::bad_alloc if a task did.
template <typename Setting = Nothing, typename Task>
void share(Team team, int64_t threads, int64_t count, const Task& task) {
    const int64_t wanted = threads < count ? threads : count;
    if (wanted < 1) return;
    using Shared = Work<Setting, Task>;
    Shared work{&task, count};
    if (team == nullptr || wanted < 2)
        Shared::take(&work);
    else
        team(&Shared::take, &work, static_cast<unsigned>(wanted), 0);
    if (work.lacks_memory) throw std::bad_alloc();
}

constexpr int64_t KEPT_FLOATS = 24 << 20;  // 96 MiB; a thread gives larger blocks back

// A block of floats that a thread keeps from call to call: fresh memory costs page faults.
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

    // Gives a large block back, so that one long text does not hold its memory for ever.
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
