/* Pictures that motion shall line up, and their pixels once they are moved. */
#ifndef NRV_ALIGNMENT_H
#define NRV_ALIGNMENT_H

#include <stddef.h>

#include "bilinear.h"
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

/* A row of one picture read at places and, unless `along` is NULL, how it changes there: by x, then
 * by y.
 */
INLINE void moved_picture_row(const nrv_alignment *a, int moment, float *restrict places,
                              int *restrict place, float *restrict out, float *restrict along) {
    int width = a->width, height = a->height;
    const float *picture = a->pictures + (size_t)moment * height * width;
    float *to_x = places, *to_y = places + width, *along_y = along ? along + width : NULL;
    float right = (float)(width - 1), bottom = (float)(height - 1);
    /* Beyond the border nothing changes. */
    for (int x = 0; x < width && along; x++) along[x] = (to_x[x] > 0.0f) & (to_x[x] < right);
    for (int x = 0; x < width && along; x++) along_y[x] = (to_y[x] > 0.0f) & (to_y[x] < bottom);
    find_neighbours(height, width, 0, width, to_x, to_y, place);
    sampled_row(picture, width, 0, width, to_x, to_y, place, out, along, along_y);
}

#endif
