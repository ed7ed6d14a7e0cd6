/* The last three layers of the tubelet decoder for one frame: planes moved along the motion, then
 * the convolution that restores them, then the one that makes pixels. Row by row of quarter-size
 * pixels, so that what lies between two layers stays in the cache.
 */
#include <stdlib.h>

#include "field.h"
#include "kernels.h"

enum { LUMA = 16, CHROMA = 8, PLANES = LUMA + CHROMA, PIXELS = 48, GAIN_SCALE = 16, LANES = 8 };

/* One row of a picture read at displaced places, the border repeated: bilinear. */
INLINE void sampled_row(const float *restrict picture, int height, int width, int row, int start,
                        int stop, const float *restrict moved, int *restrict place,
                        float *restrict shares, float *restrict out) {
    float right = (float)(width - 1), bottom = (float)(height - 1);
    float *across = shares, *down = shares + width;
    int *second = place + width;
    for (int x = start; x < stop; x++) {
        /* What moves right is found to the left. */
        float at_x = limited((float)x - moved[x], right);
        float at_y = limited((float)row - moved[width + x], bottom);
        int x0 = (int)at_x, y0 = (int)at_y;
        /* At the last row or column the next has no share: the one before stands for it. */
        x0 = x0 < width - 1 ? x0 : width - 2;
        y0 = y0 < height - 1 ? y0 : height - 2;
        across[x] = at_x - (float)x0;
        down[x] = at_y - (float)y0;
        place[x] = y0 * width + x0;
        second[x] = place[x] + width;
    }
    for (int x = start; x < stop; x++) {
        const float *top = picture + place[x], *low = picture + second[x];
        float above = top[0] + across[x] * (top[1] - top[0]);
        float below = low[0] + across[x] * (low[1] - low[0]);
        out[x] = above + down[x] * (below - above);
    }
}

typedef struct {
    const float *luma;   /* height x width */
    const float *chroma; /* 2 x height / 2 x width / 2 */
    int height, width;
    const float *motion; /* 2 x rows x columns, NULL if nothing moves */
    int motion_rows, motion_columns;
    const float *gains; /* tile rows x tile columns x 2 * hidden: factors, then shifts */
    int tile_rows, tile_columns;
    int hidden; /* channels, a multiple of 8 */
    const float *kernel_in, *bias_in;   /* 3 x 3 x planes x hidden */
    const float *kernel_out, *bias_out; /* (planes + hidden) x 48: 4 rows as the target has them */
} nrv_frame;

/* Where a part of the frame goes: 8-bit levels or values in [0, 1], the other is NULL. */
typedef struct {
    int top, left, height, width;
    int planar; /* 3 x height x width if true, else height x width x 3 */
    uint8_t *levels;
    float *values;
} nrv_target;

typedef struct {
    int start, stop; /* quarter-size columns that are wanted; start is a multiple of 4 */
    float *line, *moved, *shares, *sampled;
    int *place;
    float *rows[3];  /* planes x (quarter width + 2) */
    float *tile_row; /* tile columns x 2 * hidden */
    float *pixels;   /* 4 x 3 x width or 4 x width x 3 */
} scratch;

/* A row of the picture, moved; `factor` of its pixels are a quarter-size one. */
INLINE const float *row_of(const field *motion, const float *picture, int height, int width,
                           int row, int factor, scratch *s) {
    if (!motion->squares) return picture + (size_t)row * width;
    /* The convolution sees one pixel around. */
    int start = s->start > 0 ? factor * (s->start - 1) : 0;
    int stop = factor * (s->stop + 1) < width ? factor * (s->stop + 1) : width;
    sampled_row(picture, height, width, row, start, stop, s->moved, s->place, s->shares,
                s->sampled);
    return s->sampled;
}

/* Row `quarter` of all planes, unshuffled, between two columns of zeros; zeros beyond the frame. */
INLINE void planes_row(const nrv_frame *f, int quarter, scratch *s, float *restrict out) {
    int across = f->width / 4, stride = across + 2;
    memset(out, 0, sizeof(float) * PLANES * stride);
    if (quarter < 0 || quarter >= f->height / 4) return;
    field motion = {f->motion, f->motion_rows, f->motion_columns, 32};
    for (int dy = 0; dy < 4; dy++) {
        int row = 4 * quarter + dy;
        if (f->motion) displaced_row(&motion, row, f->width, 1.0f, s->line, s->moved);
        const float *seen = row_of(&motion, f->luma, f->height, f->width, row, 4, s);
        for (int dx = 0; dx < 4; dx++) {
            float *plane = out + (4 * dy + dx) * stride + 1;
            for (int x = 0; x < across; x++) plane[x] = seen[4 * x + dx];
        }
    }
    int height = f->height / 2, width = f->width / 2;
    motion.cell = 16;
    for (int dy = 0; dy < 2; dy++) {
        int row = 2 * quarter + dy;
        if (f->motion) displaced_row(&motion, row, width, 0.5f, s->line, s->moved);
        for (int colour = 0; colour < 2; colour++) {
            const float *picture = f->chroma + (size_t)colour * height * width;
            const float *seen = row_of(&motion, picture, height, width, row, 2, s);
            for (int dx = 0; dx < 2; dx++) {
                float *plane = out + (LUMA + 4 * colour + 2 * dy + dx) * stride + 1;
                for (int x = 0; x < across; x++) plane[x] = seen[2 * x + dx];
            }
        }
    }
}

typedef int32_t mask8 __attribute__((vector_size(32)));

INLINE v8 larger(v8 a, v8 b) {
    mask8 first = a > b;
    return (v8)((first & (mask8)a) | (~first & (mask8)b));
}

/* Hidden channels of `count` neighbouring pixels, in groups of 8. */
INLINE void convolved(float *const rows[3], int stride, int x, int count, int groups,
                      const float *restrict kernel, const float *restrict bias, v8 *out) {
    UNROLL
    for (int pixel = 0; pixel < count; pixel++)
        UNROLL
        for (int group = 0; group < groups; group++)
            out[pixel * groups + group] = load(bias + LANES * group);
    for (int dy = 0; dy < 3; dy++)
        for (int plane = 0; plane < PLANES; plane++) {
            const float *seen = rows[dy] + plane * stride + x;
            UNROLL
            for (int dx = 0; dx < 3; dx++) {
                const float *taps = kernel + ((dy * 3 + dx) * PLANES + plane) * LANES * groups;
                UNROLL
                for (int pixel = 0; pixel < count; pixel++)
                    UNROLL
                    for (int group = 0; group < groups; group++)
                        out[pixel * groups + group] +=
                            seen[dx + pixel] * load(taps + LANES * group);
            }
        }
}

/* Factor and shift of the tile around, smooth between centres of tiles; then rectified. */
INLINE void modulated(const nrv_frame *f, const float *tile_row, int x, int groups, v8 *hidden) {
    between tiles = neighbours(x, GAIN_SCALE, f->tile_columns);
    int size = LANES * groups;
    const float *left = tile_row + tiles.first * 2 * size, *right = tile_row + tiles.second * 2 * size;
    UNROLL
    for (int group = 0; group < groups; group++) {
        v8 gain = load(left + LANES * group), shift = load(left + size + LANES * group);
        gain += tiles.share * (load(right + LANES * group) - gain);
        shift += tiles.share * (load(right + size + LANES * group) - shift);
        v8 value = shift + hidden[group] * gain;
        hidden[group] = larger(value, value * 0.1f);
    }
}

/* The 4x4 pixels of `count` neighbouring quarter-size pixels. */
INLINE void shown(const nrv_frame *f, const float *middle, int stride, int x, int count,
                  int groups, const v8 *hidden, int planar, float *restrict pixels) {
    v8 out[2 * PIXELS / LANES];
    enum { PARTS = PIXELS / LANES };
    UNROLL
    for (int pixel = 0; pixel < count; pixel++)
        UNROLL
        for (int part = 0; part < PARTS; part++)
            out[pixel * PARTS + part] = load(f->bias_out + LANES * part);
    const float *taps = f->kernel_out;
    for (int plane = 0; plane < PLANES; plane++, taps += PIXELS)
        UNROLL
        for (int pixel = 0; pixel < count; pixel++)
            UNROLL
            for (int part = 0; part < PARTS; part++)
                out[pixel * PARTS + part] +=
                    middle[plane * stride + 1 + x + pixel] * load(taps + LANES * part);
    for (int channel = 0; channel < LANES * groups; channel++, taps += PIXELS)
        UNROLL
        for (int pixel = 0; pixel < count; pixel++) {
            float value = ((const float *)(hidden + pixel * groups))[channel];
            UNROLL
            for (int part = 0; part < PARTS; part++)
                out[pixel * PARTS + part] += value * load(taps + LANES * part);
        }
    UNROLL
    for (int pixel = 0; pixel < count; pixel++) {
        const float *from = (const float *)(out + pixel * PARTS);
        for (int dy = 0; dy < 4; dy++, pixels += 3 * f->width, from += 12) {
            if (!planar) memcpy(pixels + 12 * (x + pixel), from, 12 * sizeof(float));
            for (int c = 0; c < 3 && planar; c++)
                memcpy(pixels + c * f->width + 4 * (x + pixel), from + 4 * c, 4 * sizeof(float));
        }
        pixels -= 12 * f->width;
    }
}

INLINE void restored_row(const nrv_frame *f, int quarter, int groups, int planar, scratch *s) {
    enum { AT_ONCE = 4 };
    int stride = f->width / 4 + 2, size = 2 * LANES * groups;
    between tiles = neighbours(quarter, GAIN_SCALE, f->tile_rows);
    const float *above = f->gains + tiles.first * f->tile_columns * size;
    const float *below = f->gains + tiles.second * f->tile_columns * size;
    for (int i = 0; i < f->tile_columns * size; i++)
        s->tile_row[i] = above[i] + tiles.share * (below[i] - above[i]);
    /* Widths are multiples of 16, so quarter-size ones of 4. */
    for (int x = s->start; x < s->stop; x += AT_ONCE) {
        v8 hidden[AT_ONCE * 4];
        convolved(s->rows, stride, x, AT_ONCE, groups, f->kernel_in, f->bias_in, hidden);
        for (int pixel = 0; pixel < AT_ONCE; pixel++)
            modulated(f, s->tile_row, x + pixel, groups, hidden + pixel * groups);
        for (int pixel = 0; pixel < AT_ONCE; pixel += 2)
            shown(f, s->rows[1], stride, x + pixel, 2, groups, hidden + pixel * groups, planar,
                  s->pixels);
    }
}

INLINE void write_levels(const float *restrict pixels, int count, uint8_t *restrict out) {
    for (int i = 0; i < count; i++) {
        float level = pixels[i] * 255.0f + 0.5f;
        level = level > 0.0f ? level : 0.0f; /* not a number becomes 0 */
        out[i] = (uint8_t)(int)(level < 255.0f ? level : 255.0f);
    }
}

INLINE void write_values(const float *restrict pixels, int count, float *restrict out) {
    for (int i = 0; i < count; i++) {
        float value = pixels[i] > 0.0f ? pixels[i] : 0.0f;
        out[i] = value < 1.0f ? value : 1.0f;
    }
}

/* Some lines of floats as they are wanted. */
INLINE void write_line(const float *pixels, int count, const nrv_target *to, size_t place) {
    if (to->levels) write_levels(pixels, count, to->levels + place);
    if (to->values) write_values(pixels, count, to->values + place);
}

INLINE void write_rows(const nrv_frame *f, int quarter, const nrv_target *to, const float *pixels) {
    for (int dy = 0; dy < 4; dy++, pixels += 3 * f->width) {
        int row = 4 * quarter + dy - to->top;
        if (row < 0 || row >= to->height) continue;
        size_t place = (size_t)row * to->width, plane = (size_t)to->height * to->width;
        if (!to->planar) write_line(pixels + 3 * to->left, 3 * to->width, to, 3 * place);
        for (int c = 0; c < 3 && to->planar; c++)
            write_line(pixels + c * f->width + to->left, to->width, to, c * plane + place);
    }
}

FOR_EACH_PROCESSOR
static void restore(const nrv_frame *f, const nrv_target *to, scratch *s) {
    int first = to->top / 4, last = (to->top + to->height - 1) / 4;
    s->start = to->left / 16 * 4;
    s->stop = (to->left + to->width + 15) / 16 * 4;
    planes_row(f, first - 1, s, s->rows[0]);
    planes_row(f, first, s, s->rows[1]);
    for (int quarter = first; quarter <= last; quarter++) {
        planes_row(f, quarter + 1, s, s->rows[2]);
        switch (f->hidden / LANES) {
            case 1: restored_row(f, quarter, 1, to->planar, s); break;
            case 2: restored_row(f, quarter, 2, to->planar, s); break;
            case 3: restored_row(f, quarter, 3, to->planar, s); break;
            default: restored_row(f, quarter, 4, to->planar, s); break;
        }
        write_rows(f, quarter, to, s->pixels);
        float *oldest = s->rows[0];
        s->rows[0] = s->rows[1], s->rows[1] = s->rows[2], s->rows[2] = oldest;
    }
}

/* Part of a frame, RGB. Returns 0, or -1 if there is no memory. */
int nrv_restore(const nrv_frame *f, const nrv_target *to) {
    size_t width = f->width, row = PLANES * (width / 4 + 2);
    size_t tiles = (size_t)f->tile_columns * 2 * f->hidden;
    size_t floats = f->motion_columns + 18 * width + 3 * row + tiles;
    float *memory = malloc(floats * sizeof(float) + 2 * width * sizeof(int));
    if (!memory) return -1;
    scratch s = {.line = memory};
    s.moved = s.line + f->motion_columns;
    s.shares = s.moved + 2 * width;
    s.sampled = s.shares + 2 * width;
    s.rows[0] = s.sampled + 2 * width;
    s.rows[1] = s.rows[0] + row;
    s.rows[2] = s.rows[1] + row;
    s.tile_row = s.rows[2] + row;
    s.pixels = s.tile_row + tiles;
    s.place = (int *)(s.pixels + 12 * width);
    restore(f, to, &s);
    free(memory);
    return 0;
}
