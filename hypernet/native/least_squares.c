/* What one Gauss-Newton step for the motion of each square needs to know: sums over its pixels of
 * products of slopes and errors, those that are far off counting little.
 */
#include <stdlib.h>

#include "alignment.h"
#include "field.h"
#include "kernels.h"

enum { SUMS = 5 }; /* x by x, x by y, y by y, x by error, y by error */

typedef struct {
    float *line;   /* columns */
    float *places; /* 2 x width */
    int *place;    /* width */
    float *rows;   /* 3 x moments x width: the moved rows above, here and below */
    float *along;  /* moments x 2 x width */
    float *means;  /* 3 x width: of the moved pixels and of both slopes */
    float *sums;   /* SUMS x width */
} scratch;

INLINE float *row_of(const nrv_alignment *a, const scratch *s, int row) {
    return s->rows + (size_t)(row % 3) * a->moments * a->width;
}

INLINE void moved_row(const nrv_alignment *a, const float *motion, int row, const scratch *s) {
    int width = a->width;
    for (int t = 0; t < a->moments; t++) {
        places_of_row(a, motion, t, row, s->line, s->places);
        moved_picture_row(a, t, s->places, s->place, row_of(a, s, row) + t * width, NULL);
    }
}

/* Central differences of one moved picture, times how far the field moves it; those of the border
 * reach one pixel only.
 */
INLINE void slopes(const float *restrict above, const float *restrict here,
                   const float *restrict below, int width, float across, float down,
                   float *restrict along_x, float *restrict along_y) {
    float half = 0.5f * across;
    for (int x = 1; x < width - 1; x++) along_x[x] = half * (here[x + 1] - here[x - 1]);
    along_x[0] = across * (here[1] - here[0]);
    along_x[width - 1] = across * (here[width - 1] - here[width - 2]);
    for (int x = 0; x < width; x++) along_y[x] = down * (below[x] - above[x]);
}

INLINE void add_share(const float *restrict values, float share, int width, float *restrict sum) {
    for (int x = 0; x < width; x++) sum[x] += share * values[x];
}

INLINE void add_products(const float *restrict moved, const float *restrict wanted,
                         const float *restrict along_x, const float *restrict along_y,
                         const float *restrict mean_x, const float *restrict mean_y,
                         float sharpness, int width, float *restrict sums) {
    float *restrict xx = sums, *restrict xy = xx + width, *restrict yy = xy + width;
    float *restrict xe = yy + width, *restrict ye = xe + width;
    for (int x = 0; x < width; x++) {
        float error = moved[x] - wanted[x], far = sharpness * error;
        float trust = 1.0f / (1.0f + far * far);
        float by_x = along_x[x] - mean_x[x], by_y = along_y[x] - mean_y[x];
        float trusted_x = trust * by_x, trusted_y = trust * by_y;
        xx[x] += trusted_x * by_x;
        xy[x] += trusted_x * by_y;
        yy[x] += trusted_y * by_y;
        xe[x] += trusted_x * error;
        ye[x] += trusted_y * error;
    }
}

FOR_EACH_PROCESSOR
static void sums_of_row(const nrv_alignment *a, const float *motion, int row, const scratch *s,
                        float *squares) {
    int width = a->width, count = a->rows * a->columns;
    for (int next = row ? row + 1 : 0; next <= row + 1 && next < a->height; next++)
        moved_row(a, motion, next, s);
    int first = row > 0 ? row - 1 : row, last = row + 1 < a->height ? row + 1 : row;
    float *wanted = s->means, *mean_x = wanted + width, *mean_y = mean_x + width;
    memset(s->means, 0, sizeof(float) * 3 * width);
    memset(s->sums, 0, sizeof(float) * SUMS * width);
    if (a->target) memcpy(wanted, a->target + (size_t)row * width, sizeof(float) * width);
    for (int t = 0; t < a->moments; t++) {
        const float *here = row_of(a, s, row) + t * width;
        float *along = s->along + 2 * t * width, share = 1.0f / (float)a->moments;
        slopes(row_of(a, s, first) + t * width, here, row_of(a, s, last) + t * width, width,
               a->shares[t], a->shares[t] / (float)(last - first), along, along + width);
        if (a->target) continue;
        add_share(here, share, width, wanted);
        add_share(along, share, width, mean_x);
        add_share(along + width, share, width, mean_y);
    }
    for (int t = 0; t < a->moments; t++) {
        const float *along = s->along + 2 * t * width;
        add_products(row_of(a, s, row) + t * width, wanted, along, along + width, mean_x, mean_y,
                     1.0f / a->softness, width, s->sums);
    }
    for (int part = 0; part < SUMS; part++) {
        const float *sums = s->sums + part * width;
        float *square = squares + part * count + row / a->cell * a->columns;
        for (int column = 0; column < a->columns; column++) {
            int stop = (column + 1) * a->cell < width ? (column + 1) * a->cell : width;
            for (int x = column * a->cell; x < stop; x++) square[column] += sums[x];
        }
    }
}

/* `motion`: moments x 2 x rows x columns; `squares`: 5 x rows x columns. Returns 0, or 1
 * without memory. Pictures have two rows or more.
 */
int nrv_least_squares(const nrv_alignment *a, const float *motion, float *squares) {
    size_t width = a->width, moments = a->moments;
    size_t floats = width * (2 + 5 * moments + 3 + SUMS) + a->columns;
    float *memory = malloc(sizeof(float) * floats + sizeof(int) * width);
    if (!memory) return 1;
    scratch s;
    s.places = memory;
    s.rows = s.places + 2 * width;
    s.along = s.rows + 3 * moments * width;
    s.means = s.along + 2 * moments * width;
    s.sums = s.means + 3 * width;
    s.line = s.sums + SUMS * width;
    s.place = (int *)(s.line + a->columns);
    memset(squares, 0, sizeof(float) * SUMS * a->rows * a->columns);
    for (int row = 0; row < a->height; row++) sums_of_row(a, motion, row, &s, squares);
    free(memory);
    return 0;
}
