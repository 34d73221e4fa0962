// Whether this processor has what the library was compiled for, and the operating system lets this process use it.
#pragma once

#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#if defined(__AMX_BF16__)

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
