/* Pixels between pixels: bicubic, as torch's grid_sample has it. */
#ifndef NRV_CUBIC_H
#define NRV_CUBIC_H

#include "kernels.h"

/* Shares of four neighbours, `t` of the way from the second to the third. */
INLINE v4 cubic_shares(float t) {
    const v4 third = {-0.75f, 1.25f, -1.25f, 0.75f}, second = {1.5f, -2.25f, 1.5f, -0.75f};
    const v4 first = {-0.75f, 0.0f, 0.75f, 0.0f}, still = {0.0f, 1.0f, 0.0f, 0.0f};
    return ((third * t + second) * t + first) * t + still;
}

/* What lies among four rows of four neighbours; `corner` is the first, rows are `stride` apart. */
INLINE float cubic_pixel(const float *corner, size_t stride, float across, float down) {
    v4 sum = {0}, shares = cubic_shares(down);
    UNROLL
    for (int tap = 0; tap < 4; tap++) {
        v4 row;
        memcpy(&row, corner + tap * stride, sizeof row);
        sum += shares[tap] * row;
    }
    sum *= cubic_shares(across);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

#endif
