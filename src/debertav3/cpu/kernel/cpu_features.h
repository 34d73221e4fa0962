// Whether the processor has the instructions that the library was compiled for, and the system allows them.
#pragma once

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace {

#if defined(__aarch64__) && defined(__APPLE__)

inline bool has(const char* feature) {
    int there = 0;
    size_t size = sizeof there;
    return sysctlbyname(feature, &there, &size, nullptr, 0) == 0 && there != 0;
}

inline bool is_ready() {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    return has("hw.optional.arm.FEAT_I8MM");
#elif defined(__ARM_FEATURE_DOTPROD)
    return has("hw.optional.arm.FEAT_DotProd");
#else
    return true;
#endif
}

#elif defined(__aarch64__)

inline bool is_ready() {
#if defined(__ARM_FEATURE_MATMUL_INT8)
    constexpr unsigned long I8MM = 1 << 13;  // HWCAP2_I8MM; not defined by older headers
    return (getauxval(AT_HWCAP2) & I8MM) != 0;
#elif defined(__ARM_FEATURE_DOTPROD)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
    return true;
#endif
}

#elif defined(__AMX_BF16__)

inline bool is_ready() {
    constexpr long ASK_PERMISSION = 0x1023, TILE_DATA = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    const bool has_tiles = (d >> 22 & 1) != 0 && (d >> 24 & 3) == 3;  // AMX-BF16, AMX-TILE and AMX-INT8
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(1));
    const bool has_conversion = (a >> 5 & 1) != 0;  // AVX512-BF16
    return has_tiles && has_conversion && syscall(SYS_arch_prctl, ASK_PERMISSION, TILE_DATA) == 0;
}

#else

inline bool is_ready() {
#if defined(__AVX512VNNI__)
    unsigned a, b, c, d;
    __asm__("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    return (c >> 11 & 1) != 0;
#else
    return true;
#endif
}

#endif

}  // namespace
