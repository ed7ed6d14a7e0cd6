/* Orthogonal filters across the borders of cells; `lapped.py` says what for. */
#ifndef NRV_LAPPED_H
#define NRV_LAPPED_H

#include "kernels.h"

/* Along a row: `half` pixels on either side of each border between cells of 2 * half. */
INLINE void lap_row(float *restrict row, int width, int half, const float *restrict rotation) {
    for (int border = 2 * half; border < width; border += 2 * half) {
        float *before = row + border - half, *after = row + border;
        float alike[8], apart[8], turned[8] = {0};
        for (int i = 0; i < half; i++) {
            alike[i] = before[i] + after[half - 1 - i];
            apart[i] = before[i] - after[half - 1 - i];
        }
        UNROLL
        for (int from = 0; from < half; from++)
            for (int to = 0; to < half; to++) turned[to] += apart[from] * rotation[from * half + to];
        for (int i = 0; i < half; i++) {
            before[i] = 0.5f * (alike[i] + turned[i]);
            after[half - 1 - i] = 0.5f * (alike[i] - turned[i]);
        }
    }
}

/* Across the border above row `border` of a plane whose rows are `stride` floats apart. */
INLINE void lap_rows(float *restrict plane, size_t stride, int width, int border, int half,
                     const float *restrict rotation) {
    for (int x = 0; x < width; x += 8) {
        v8 alike[8], apart[8];
        UNROLL
        for (int i = 0; i < half; i++) {
            v8 before = load(plane + (border - half + i) * stride + x);
            v8 after = load(plane + (border + half - 1 - i) * stride + x);
            alike[i] = before + after;
            apart[i] = before - after;
        }
        UNROLL
        for (int to = 0; to < half; to++) {
            v8 turned = {0};
            UNROLL
            for (int from = 0; from < half; from++) turned += rotation[from * half + to] * apart[from];
            v8 before = 0.5f * (alike[to] + turned), after = 0.5f * (alike[to] - turned);
            memcpy(plane + (border - half + to) * stride + x, &before, sizeof before);
            memcpy(plane + (border + half - 1 - to) * stride + x, &after, sizeof after);
        }
    }
}

#endif
