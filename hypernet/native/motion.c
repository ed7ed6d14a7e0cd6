/* How well motion lines pictures up, and in which direction it would do so better: differences
 * between moved pictures and what they should look like, and the slope of their smooth L1 norm. Row
 * by row, so that nothing leaves the cache.
 */
#include <stdlib.h>

#include "alignment.h"
#include "field.h"
#include "kernels.h"

typedef struct {
    float *line;   /* columns */
    float *moved;  /* moments x width, then slopes */
    float *slopes; /* moments x 2 x width: of a moved pixel, by its displacement */
    float *places; /* 2 x width */
    int *place;    /* width */
    float *sums;   /* 2 x width; what pictures should look like comes first */
} scratch;

/* All pictures of one row, moved, and what they should look like. */
INLINE void moved_row(const nrv_alignment *a, const float *motion, int row, int with_slopes,
                      const scratch *s) {
    int width = a->width;
    float *restrict wanted = s->sums;
    for (int t = 0; t < a->moments; t++) {
        float *along = with_slopes ? s->slopes + 2 * t * width : NULL;
        places_of_row(a, motion, t, row, s->line, s->places);
        moved_picture_row(a, t, s->places, s->place, s->moved + t * width, along);
    }
    if (a->target) {
        memcpy(wanted, a->target + (size_t)row * width, sizeof(float) * width);
        return;
    }
    memset(wanted, 0, sizeof(float) * width);
    for (int t = 0; t < a->moments; t++) {
        const float *restrict moved = s->moved + t * width;
        for (int x = 0; x < width; x++) wanted[x] += moved[x] / (float)a->moments;
    }
}

/* Moved pixels become slopes of the sum of errors by these pixels. */
INLINE void error_slopes(const nrv_alignment *a, const scratch *s) {
    int width = a->width, moments = a->moments;
    const float *restrict wanted = s->sums;
    float *restrict mean = s->sums + width;
    const float sharpness = 1.0f / a->softness, share = 1.0f / (float)moments;
    memset(mean, 0, sizeof(float) * width);
    for (int t = 0; t < moments; t++) {
        float *restrict moved = s->moved + t * width;
        for (int x = 0; x < width; x++) {
            float slope = (moved[x] - wanted[x]) * sharpness;
            slope = slope < 1.0f ? slope : 1.0f;
            moved[x] = slope > -1.0f ? slope : -1.0f;
            mean[x] += share * moved[x];
        }
    }
    if (a->target) return;
    for (int t = 0; t < moments; t++) {
        float *restrict slopes = s->moved + t * width;
        for (int x = 0; x < width; x++) slopes[x] -= mean[x];
    }
}

/* What a row of slopes, one for each pixel, says to the squares that it is interpolated from. */
INLINE void add_to_squares(const nrv_alignment *a, int row, const float *restrict pixels,
                           float *restrict line, float *restrict slope) {
    int half = a->cell / 2, width = a->width, columns = a->columns;
    memset(line, 0, sizeof(float) * columns);
    for (int x = 0; x < half && x < width; x++) line[0] += pixels[x];
    for (int column = 0; column < columns; column++) {
        int start = half + column * a->cell;
        int stop = start + a->cell < width ? start + a->cell : width;
        float all = 0.0f, second = 0.0f;
        for (int x = start; x < stop; x++) {
            all += pixels[x];
            second += pixels[x] * ((float)(x - start) + 0.5f);
        }
        second /= (float)a->cell;
        line[column] += all - second;
        line[column + 1 < columns ? column + 1 : column] += second;
    }
    between rows = neighbours(row, a->cell, a->rows);
    for (int column = 0; column < columns; column++) {
        slope[rows.first * columns + column] += (1.0f - rows.share) * line[column];
        slope[rows.second * columns + column] += rows.share * line[column];
    }
}

FOR_EACH_PROCESSOR
static void slope_of_row(const nrv_alignment *a, const float *motion, int row, const scratch *s,
                         float *slope) {
    int width = a->width, squares = a->rows * a->columns;
    moved_row(a, motion, row, 1, s);
    error_slopes(a, s);
    for (int part = 0; part < 2 * a->moments; part++) {
        const float *restrict by_pixel = s->moved + part / 2 * width;
        float *restrict along = s->slopes + part * width;
        for (int x = 0; x < width; x++) along[x] *= by_pixel[x];
        add_to_squares(a, row, along, s->line, slope + part * squares);
    }
}

FOR_EACH_PROCESSOR
static void errors_of_row(const nrv_alignment *a, const float *motion, int row, const scratch *s,
                          float *errors) {
    int width = a->width, high = a->height - row / a->cell * a->cell;
    const float *restrict wanted = s->sums;
    float *restrict sum = s->sums + width;
    moved_row(a, motion, row, 0, s);
    memset(sum, 0, sizeof(float) * width);
    for (int t = 0; t < a->moments; t++) {
        const float *restrict moved = s->moved + t * width;
        for (int x = 0; x < width; x++) sum[x] += __builtin_fabsf(moved[x] - wanted[x]);
    }
    for (int column = 0; column < a->columns; column++) {
        int start = column * a->cell;
        int stop = start + a->cell < width ? start + a->cell : width;
        float error = 0.0f;
        for (int x = start; x < stop; x++) error += sum[x];
        error /= (float)((stop - start) * (high < a->cell ? high : a->cell) * a->moments);
        errors[row / a->cell * a->columns + column] += error;
    }
}

/* Returns what to free, or NULL without memory. */
static float *make_scratch(const nrv_alignment *a, scratch *s) {
    size_t width = a->width, moments = a->moments;
    size_t floats = width * (3 * moments + 4) + a->columns;
    float *memory = malloc(sizeof(float) * floats + sizeof(int) * width);
    if (!memory) return NULL;
    s->moved = memory;
    s->slopes = s->moved + moments * width;
    s->places = s->slopes + 2 * moments * width;
    s->sums = s->places + 2 * width;
    s->line = s->sums + 2 * width;
    s->place = (int *)(s->line + a->columns);
    return memory;
}

/* `motion` and `slope`: moments x 2 (x, y) x rows x columns. Returns 0, or 1 without memory. */
int nrv_alignment_slope(const nrv_alignment *a, const float *motion, float *slope) {
    scratch s;
    float *memory = make_scratch(a, &s);
    if (!memory) return 1;
    memset(slope, 0, sizeof(float) * 2 * a->moments * a->rows * a->columns);
    for (int row = 0; row < a->height; row++) slope_of_row(a, motion, row, &s, slope);
    free(memory);
    return 0;
}

/* Mean absolute error of each square: rows x columns. Returns as `nrv_alignment_slope`. */
int nrv_alignment_errors(const nrv_alignment *a, const float *motion, float *errors) {
    scratch s;
    float *memory = make_scratch(a, &s);
    if (!memory) return 1;
    memset(errors, 0, sizeof(float) * a->rows * a->columns);
    for (int row = 0; row < a->height; row++) errors_of_row(a, motion, row, &s, errors);
    free(memory);
    return 0;
}
