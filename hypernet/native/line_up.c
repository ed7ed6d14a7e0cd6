/* Pictures moved along a smooth field that is given for coarser pictures; bicubic. */
#include <stdlib.h>

#include "cubic.h"
#include "field.h"
#include "kernels.h"

enum { MARGIN = 3 }; /* Pixels beyond the border that cubic interpolation reads. */

typedef struct {
    int height, width;
    size_t stride;
    float *pixels; /* with a margin on every side */
    float *moved;  /* 2 x width */
    float *line;   /* of the field */
    float *across; /* width */
    float *down;   /* width */
    int *corners;  /* width */
} copy;

INLINE void copy_with_margin(const float *picture, const copy *c) {
    for (int row = -MARGIN; row < c->height + MARGIN; row++) {
        int inside = row < 0 ? 0 : row < c->height ? row : c->height - 1;
        const float *from = picture + (size_t)inside * c->width;
        float *to = c->pixels + (row + MARGIN) * c->stride;
        for (int x = 0; x < MARGIN; x++) to[x] = from[0];
        memcpy(to + MARGIN, from, sizeof(float) * c->width);
        for (int x = 0; x < MARGIN; x++) to[MARGIN + c->width + x] = from[c->width - 1];
    }
}

/* Where each pixel of a row is read, from the corner of its four by four neighbours. */
INLINE void find_corners(const float *restrict by_x, const float *restrict by_y, int row, int width,
                         int height, int stride, float *restrict across, float *restrict down,
                         int *restrict corners) {
    /* Farther away there is nothing but the border. */
    float right = (float)width + 2.999f, bottom = (float)height + 2.999f;
    for (int x = 0; x < width; x++) {
        float at_x = limited((float)(x + 2) + by_x[x], right);
        float at_y = limited((float)(row + 2) + by_y[x], bottom);
        int left = (int)at_x, top = (int)at_y;
        across[x] = at_x - (float)left;
        down[x] = at_y - (float)top;
        corners[x] = top * stride + left;
    }
}

INLINE void cubic_row(const copy *c, int row, float *restrict out) {
    int stride = (int)c->stride;
    find_corners(c->moved, c->moved + c->width, row, c->width, c->height, stride, c->across,
                 c->down, c->corners);
    for (int x = 0; x < c->width; x++) {
        out[x] = cubic_pixel(c->pixels + c->corners[x], stride, c->across[x], c->down[x]);
    }
}

FOR_EACH_PROCESSOR
static void line_up(float *picture, const field *motion, const copy *c) {
    copy_with_margin(picture, c);
    for (int row = 0; row < c->height; row++) {
        displaced_row(motion, row, c->width, (float)motion->cell, c->line, c->moved);
        cubic_row(c, row, picture + (size_t)row * c->width);
    }
}

/* Moves `count` pictures of `height` x `width` in place, all along `squares`: x then y, rows x columns
 * each, in pixels that are `cell` times as large. Returns 0, or 1 without memory.
 */
int nrv_line_up(float *pictures, int count, int height, int width, const float *squares, int rows,
                int columns, int cell) {
    copy c = {.height = height, .width = width, .stride = (size_t)width + 2 * MARGIN};
    size_t padded = c.stride * (height + 2 * MARGIN);
    float *memory = malloc(sizeof(float) * (padded + 4 * width + columns) + sizeof(int) * width);
    if (!memory) return 1;
    c.pixels = memory;
    c.moved = c.pixels + padded;
    c.line = c.moved + 2 * width;
    c.across = c.line + columns;
    c.down = c.across + width;
    c.corners = (int *)(c.down + width);
    field motion = {squares, rows, columns, cell};
    for (int number = 0; number < count; number++)
        line_up(pictures + (size_t)number * height * width, &motion, &c);
    free(memory);
    return 0;
}
