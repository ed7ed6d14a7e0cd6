/* Shared by the C kernels: vectors, and one build for each kind of x86 processor. */
#ifndef NRV_KERNELS_H
#define NRV_KERNELS_H

#include <stdint.h>
#include <string.h>

/* 8 floats; the compiler splits them where registers are narrower. */
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR \
    __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

/* So that arrays whose indices are then known stay in registers. */
#define UNROLL _Pragma("GCC unroll 16")

#define INLINE static inline __attribute__((always_inline))

INLINE v8 load(const float *from) {
    v8 value;
    memcpy(&value, from, sizeof value);
    return value;
}

#endif
