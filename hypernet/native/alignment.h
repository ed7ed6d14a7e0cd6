/* Pictures that motion shall line up, and their pixels once they are moved. */
#ifndef NRV_ALIGNMENT_H
#define NRV_ALIGNMENT_H

#include <stddef.h>

#include "field.h"
#include "kernels.h"

typedef struct {
    const float *pictures; /* moments x height x width */
    int moments, height, width;
    const float *target; /* height x width, NULL for the mean of the moved pictures */
    const float *shares; /* moments: how far what is sought moves each picture; least squares only */
    int cell, rows, columns; /* of the squares that have one displacement */
    float softness;          /* differences well above it count by their size only */
} nrv_alignment;

/* Where picture `moment` is read for a row: x and y in pixels. `motion`: moments x 2 x squares. */
INLINE void places_of_row(const nrv_alignment *a, const float *motion, int moment, int row,
                          float *line, float *places) {
    int width = a->width;
    float *restrict to_x = places, *restrict to_y = places + width;
    field one = {motion + (size_t)2 * moment * a->rows * a->columns, a->rows, a->columns, a->cell};
    displaced_row(&one, row, width, 1.0f, line, places);
    for (int x = 0; x < width; x++) to_x[x] += (float)x;
    for (int x = 0; x < width; x++) to_y[x] += (float)row;
}

/* A row of one picture read at places, the border repeated, and, unless `along` is NULL, how it
 * changes there: by x, then by y.
 */
INLINE void sampled_row(const float *restrict picture, int height, int width,
                        float *restrict across, float *restrict down, int *restrict place,
                        float *restrict out, float *restrict along) {
    float right = (float)(width - 1), bottom = (float)(height - 1);
    float *restrict along_x = along, *restrict along_y = along ? along + width : NULL;
    for (int x = 0; x < width; x++) {
        float to_x = across[x], to_y = down[x];
        float at_x = limited(to_x, right), at_y = limited(to_y, bottom);
        int x0 = (int)at_x, y0 = (int)at_y;
        /* At the last row or column the next has no share: the one before stands for it. */
        x0 = x0 < width - 1 ? x0 : width - 2;
        y0 = y0 < height - 1 ? y0 : height - 2;
        across[x] = at_x - (float)x0;
        down[x] = at_y - (float)y0;
        place[x] = y0 * width + x0;
        if (!along) continue;
        /* Beyond the border nothing changes. */
        along_x[x] = (to_x > 0.0f) & (to_x < right) ? 1.0f : 0.0f;
        along_y[x] = (to_y > 0.0f) & (to_y < bottom) ? 1.0f : 0.0f;
    }
    const float *restrict low = picture + width;
    for (int x = 0; x < width; x++) {
        int at = place[x];
        float above = picture[at], below = low[at];
        float at_top = picture[at + 1] - above, at_low = low[at + 1] - below;
        above += across[x] * at_top;
        below += across[x] * at_low;
        out[x] = above + down[x] * (below - above);
        if (!along) continue;
        along_x[x] *= at_top + down[x] * (at_low - at_top);
        along_y[x] *= below - above;
    }
}

#endif
