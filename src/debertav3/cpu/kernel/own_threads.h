// Threads for a process without torch: they spin for a moment waiting for more work, then sleep.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

namespace {

inline void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");  // most processors ignore "yield"
#endif
}

// Never destroyed, because threads may still be waiting when the process ends.
class OwnThreads {
public:
    // Same signature as GOMP_parallel. If another caller is using the threads, the caller works alone.
    static void run(void (*task)(void*), void* data, unsigned threads, unsigned) {
        OwnThreads& own = instance();
        std::unique_lock<std::mutex> turn(own.turn_, std::try_to_lock);
        if (!turn.owns_lock()) {
            task(data);
            return;
        }
        own.start(threads - 1);
        own.share(task, data, threads - 1);
    }

private:
    static constexpr uint64_t PLACE = uint64_t{1} << 32;
    static constexpr int SPINS = 5000;  // about a tenth of a millisecond: longer than Python needs between layers

    static OwnThreads& instance() {
        OwnThreads* found = current.load();
        if (found != nullptr) return *found;
        static const int registered = pthread_atfork(nullptr, nullptr, [] { current.store(nullptr); });
        static_cast<void>(registered);
        OwnThreads* const made = new OwnThreads;
        if (current.compare_exchange_strong(found, made)) return *made;
        delete made;  // another thread was faster
        return *found;
    }

    void start(unsigned wanted) {
        try {
            for (; started_ < wanted; ++started_) std::thread([this] { work(); }).detach();
        } catch (const std::system_error&) {  // no more threads available: fewer share the work
        }
    }

    void share(void (*task)(void*), void* data, unsigned places) {
        task_ = task;
        data_ = data;
        state_.store(places * PLACE);
        if (sleepers_.load() > 0) {
            const std::lock_guard<std::mutex> lock(sleep_);
            wake_.notify_all();
        }
        task(data);
        uint64_t now = state_.load();
        while (!state_.compare_exchange_weak(now, now & (PLACE - 1))) {
        }
        for (int spin = 0; state_.load(std::memory_order_acquire) != 0; ++spin)
            spin < SPINS ? relax() : std::this_thread::yield();
    }

    void work() {
        for (;;) {
            wait();
            uint64_t now = state_.load(std::memory_order_relaxed);
            while (now >= PLACE) {
                if (!state_.compare_exchange_weak(now, now - PLACE + 1, std::memory_order_acq_rel)) continue;
                task_(data_);
                state_.fetch_sub(1, std::memory_order_release);
                break;
            }
        }
    }

    void wait() {
        for (int spin = 0; spin < SPINS; ++spin) {
            if (state_.load(std::memory_order_relaxed) >= PLACE) return;
            relax();
        }
        std::unique_lock<std::mutex> lock(sleep_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [this] { return state_.load() >= PLACE; });
        sleepers_.fetch_sub(1);
    }

    static inline std::atomic<OwnThreads*> current{nullptr};  // a forked child has no threads, and creates its own

    std::mutex turn_, sleep_;
    std::condition_variable wake_;
    std::atomic<uint64_t> state_{0};  // free places times PLACE, plus the number of working threads
    std::atomic<int> sleepers_{0};
    unsigned started_ = 0;
    void (*task_)(void*) = nullptr;
    void* data_ = nullptr;
};

}  // namespace
