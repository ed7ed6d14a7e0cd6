/* Displacements in pixels for squares of a picture, linear between the centres of squares. */
#ifndef NRV_FIELD_H
#define NRV_FIELD_H

#include "kernels.h"

typedef struct {
    const float *squares; /* x then y, rows x columns each */
    int rows, columns;
    int cell; /* pixels along a side */
} field;

typedef struct {
    int first, second;
    float share; /* of the second */
} between;

/* Within 0 and `most`; what is not a number becomes 0. */
INLINE float limited(float x, float most) {
    x = x > 0.0f ? x : 0.0f;
    return x < most ? x : most;
}

/* The two centres around a position, of `count` that are `cell` apart. */
INLINE between neighbours(int position, int cell, int count) {
    float at = limited((position + 0.5f) / (float)cell - 0.5f, (float)(count - 1));
    int first = (int)at;
    return (between){first, first + 1 < count ? first + 1 : first, at - (float)first};
}

/* Displacements times `scale` along one row of pixels: x then y, `width` each. */
INLINE void displaced_row(const field *motion, int row, int width, float scale,
                          float *restrict line, float *restrict moved) {
    between rows = neighbours(row, motion->cell, motion->rows);
    for (int axis = 0; axis < 2; axis++) {
        const float *squares = motion->squares + axis * motion->rows * motion->columns;
        for (int column = 0; column < motion->columns; column++) {
            float above = squares[rows.first * motion->columns + column];
            float below = squares[rows.second * motion->columns + column];
            line[column] = scale * (above + rows.share * (below - above));
        }
        float *out = moved + axis * width;
        int half = motion->cell / 2;
        for (int x = 0; x < half && x < width; x++) out[x] = line[0];
        for (int column = 0; column < motion->columns; column++) {
            int start = half + column * motion->cell;
            int stop = start + motion->cell < width ? start + motion->cell : width;
            float from = line[column];
            float to = line[column + 1 < motion->columns ? column + 1 : column];
            float slope = (to - from) / (float)motion->cell;
            for (int x = start; x < stop; x++)
                out[x] = from + slope * ((float)(x - start) + 0.5f);
        }
    }
}

#endif
