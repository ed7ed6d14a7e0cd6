/* The last three layers of the tubelet decoder for one frame: planes moved along the motion, then
 * the convolution that restores them, then the one that makes pixels. Row by row of quarter-size
 * pixels, so that what lies between two layers stays in the cache.
 */
#include <stdlib.h>

#include "bilinear.h"
#include "field.h"
#include "kernels.h"

enum { LUMA = 16, CHROMA = 8, PLANES = LUMA + CHROMA, PIXELS = 48, GAIN_SCALE = 16, LANES = 8 };
enum { BLOCK = 4, WAVES = BLOCK + 2, MOST_GROUPS = 4 }; /* Quarter-size pixels of a cell; see `waves_of`. */

typedef struct {
    const float *luma;   /* height x width */
    const float *chroma; /* 2 x height / 2 x width / 2 */
    int height, width;
    const float *motion; /* 2 x rows x columns, NULL if nothing moves */
    int motion_rows, motion_columns;
    const float *gains; /* tile rows x tile columns x 2 * hidden: factors, then shifts */
    int tile_rows, tile_columns;
    int hidden; /* channels, a multiple of 8 */
    const float *kernel_in, *bias_in;   /* 3 rows x 6 waves x planes x hidden */
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
    float *line, *moved, *places, *sampled;
    int *place;
    float *rows[3];  /* (quarter width + 2) x planes */
    float *waves[3]; /* of the same rows: 6 x blocks x planes */
    float *sums;     /* 6 x blocks x hidden */
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
    float *across = s->places, *down = s->places + width;
    /* What moves right is found to the left. */
    for (int x = start; x < stop; x++) across[x] = (float)x - s->moved[x];
    for (int x = start; x < stop; x++) down[x] = (float)row - s->moved[width + x];
    find_neighbours(height, width, start, stop, across, down, s->place);
    sampled_row(picture, width, start, stop, across, down, s->place, s->sampled, NULL, NULL);
    return s->sampled;
}

/* Row `quarter` of all planes, unshuffled, between two columns of zeros; zeros beyond the frame. */
INLINE void planes_row(const nrv_frame *f, int quarter, scratch *s, float *restrict out) {
    int across = f->width / 4;
    int start = s->start > 0 ? s->start - 1 : 0, stop = s->stop < across ? s->stop + 1 : across;
    memset(out + s->start * PLANES, 0, sizeof(float) * PLANES * (s->stop - s->start + 2));
    out += PLANES;
    if (quarter < 0 || quarter >= f->height / 4) return;
    field motion = {f->motion, f->motion_rows, f->motion_columns, 32};
    for (int dy = 0; dy < 4; dy++) {
        int row = 4 * quarter + dy;
        if (f->motion) displaced_row(&motion, row, f->width, 1.0f, s->line, s->moved);
        const float *seen = row_of(&motion, f->luma, f->height, f->width, row, 4, s);
        for (int dx = 0; dx < 4; dx++) {
            float *plane = out + 4 * dy + dx;
            for (int x = start; x < stop; x++) plane[x * PLANES] = seen[4 * x + dx];
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
                float *plane = out + LUMA + 4 * colour + 2 * dy + dx;
                for (int x = start; x < stop; x++) plane[x * PLANES] = seen[2 * x + dx];
            }
        }
    }
}

typedef int32_t mask8 __attribute__((vector_size(32)));

INLINE v8 larger(v8 a, v8 b) {
    mask8 first = a > b;
    return (v8)((first & (mask8)a) | (~first & (mask8)b));
}

/* Four neighbours of a convolution by three taps cost six products instead of twelve: of these sums
 * of pixels and such of taps (Winograd; Lavin and Gray 2016, arXiv 1509.09308). */
INLINE void waves_of(const float *restrict row, int blocks, int first, int last,
                     float *restrict waves) {
    for (int block = first; block < last; block++) {
        const float *seen = row + block * BLOCK * PLANES;
        float *out = waves + block * PLANES;
        UNROLL
        for (int plane = 0; plane < PLANES; plane += LANES) {
            v8 d[WAVES], sums[WAVES];
            UNROLL
            for (int i = 0; i < WAVES; i++) d[i] = load(seen + i * PLANES + plane);
            sums[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
            sums[1] = d[4] + d[3] - 4.0f * (d[2] + d[1]);
            sums[2] = d[4] - d[3] - 4.0f * (d[2] - d[1]);
            sums[3] = d[4] - d[2] + 2.0f * (d[3] - d[1]);
            sums[4] = d[4] - d[2] - 2.0f * (d[3] - d[1]);
            sums[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
            UNROLL
            for (int wave = 0; wave < WAVES; wave++)
                memcpy(out + wave * blocks * PLANES + plane, sums + wave, sizeof(v8));
        }
    }
}

/* One wave of `count` neighbouring blocks: products with the taps, summed over rows and planes. */
INLINE void products(float *const waves[3], size_t place, int count, int groups,
                     const float *restrict kernel, float *restrict out) {
    v8 sums[BLOCK * MOST_GROUPS];
    UNROLL
    for (int i = 0; i < count * groups; i++) sums[i] = (v8){0};
    for (int dy = 0; dy < 3; dy++) {
        const float *seen = waves[dy] + place;
        const float *taps = kernel + (size_t)dy * WAVES * PLANES * LANES * groups;
        for (int plane = 0; plane < PLANES; plane++, taps += LANES * groups)
            UNROLL
            for (int block = 0; block < count; block++)
                UNROLL
                for (int group = 0; group < groups; group++)
                    sums[block * groups + group] +=
                        seen[block * PLANES + plane] * load(taps + LANES * group);
    }
    UNROLL
    for (int i = 0; i < count * groups; i++) memcpy(out + LANES * i, sums + i, sizeof(v8));
}

INLINE void convolved_row(const nrv_frame *f, int first, int last, int groups, scratch *s) {
    int blocks = f->width / (4 * BLOCK), hidden = LANES * groups;
    for (int wave = 0; wave < WAVES; wave++) {
        const float *kernel = f->kernel_in + (size_t)wave * PLANES * hidden;
        int block = first;
        for (; block + BLOCK <= last; block += BLOCK)
            products(s->waves, ((size_t)wave * blocks + block) * PLANES, BLOCK, groups, kernel,
                     s->sums + ((size_t)wave * blocks + block) * hidden);
        for (; block < last; block++)
            products(s->waves, ((size_t)wave * blocks + block) * PLANES, 1, groups, kernel,
                     s->sums + ((size_t)wave * blocks + block) * hidden);
    }
}

/* Hidden channels of the four pixels of a block. */
INLINE void from_waves(const nrv_frame *f, int block, int groups, const float *sums, v8 *hidden) {
    int blocks = f->width / (4 * BLOCK);
    UNROLL
    for (int group = 0; group < groups; group++) {
        v8 m[WAVES], bias = load(f->bias_in + LANES * group);
        UNROLL
        for (int wave = 0; wave < WAVES; wave++)
            m[wave] = load(sums + ((size_t)(wave * blocks + block) * groups + group) * LANES);
        v8 alike = m[1] + m[2], apart = m[1] - m[2], more = m[3] + m[4], less = m[3] - m[4];
        hidden[group] = bias + m[0] + alike + more;
        hidden[groups + group] = bias + apart + 2.0f * less;
        hidden[2 * groups + group] = bias + alike + 4.0f * more;
        hidden[3 * groups + group] = bias + apart + 8.0f * less + m[5];
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
INLINE void shown(const nrv_frame *f, const float *middle, int x, int count, int groups, const v8 *hidden, int planar, float *restrict pixels) {
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
                    middle[(1 + x + pixel) * PLANES + plane] * load(taps + LANES * part);
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
    int size = 2 * LANES * groups;
    between tiles = neighbours(quarter, GAIN_SCALE, f->tile_rows);
    const float *above = f->gains + tiles.first * f->tile_columns * size;
    const float *below = f->gains + tiles.second * f->tile_columns * size;
    for (int i = 0; i < f->tile_columns * size; i++)
        s->tile_row[i] = above[i] + tiles.share * (below[i] - above[i]);
    convolved_row(f, s->start / BLOCK, s->stop / BLOCK, groups, s);
    for (int x = s->start; x < s->stop; x += BLOCK) {
        v8 hidden[BLOCK * MOST_GROUPS];
        from_waves(f, x / BLOCK, groups, s->sums, hidden);
        for (int pixel = 0; pixel < BLOCK; pixel++)
            modulated(f, s->tile_row, x + pixel, groups, hidden + pixel * groups);
        for (int pixel = 0; pixel < BLOCK; pixel += 2)
            shown(f, s->rows[1], x + pixel, 2, groups, hidden + pixel * groups, planar, s->pixels);
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

INLINE void next_row(const nrv_frame *f, int quarter, scratch *s) {
    float *row = s->rows[0], *waves = s->waves[0];
    s->rows[0] = s->rows[1], s->rows[1] = s->rows[2], s->rows[2] = row;
    s->waves[0] = s->waves[1], s->waves[1] = s->waves[2], s->waves[2] = waves;
    planes_row(f, quarter, s, row);
    waves_of(row, f->width / (4 * BLOCK), s->start / BLOCK, s->stop / BLOCK, waves);
}

FOR_EACH_PROCESSOR
static void restore(const nrv_frame *f, const nrv_target *to, scratch *s) {
    int first = to->top / 4, last = (to->top + to->height - 1) / 4;
    s->start = to->left / 16 * 4;
    s->stop = (to->left + to->width + 15) / 16 * 4;
    next_row(f, first - 1, s);
    next_row(f, first, s);
    for (int quarter = first; quarter <= last; quarter++) {
        next_row(f, quarter + 1, s);
        switch (f->hidden / LANES) {
            case 1: restored_row(f, quarter, 1, to->planar, s); break;
            case 2: restored_row(f, quarter, 2, to->planar, s); break;
            case 3: restored_row(f, quarter, 3, to->planar, s); break;
            default: restored_row(f, quarter, MOST_GROUPS, to->planar, s); break;
        }
        write_rows(f, quarter, to, s->pixels);
    }
}

/* Part of a frame, RGB. Returns 0, or -1 if there is no memory. */
int nrv_restore(const nrv_frame *f, const nrv_target *to) {
    size_t width = f->width, row = PLANES * (width / 4 + 2), blocks = width / (4 * BLOCK);
    size_t waves = WAVES * blocks * PLANES, sums = WAVES * blocks * f->hidden;
    size_t tiles = (size_t)f->tile_columns * 2 * f->hidden;
    size_t floats = f->motion_columns + 18 * width + 3 * (row + waves) + sums + tiles;
    float *memory = malloc(floats * sizeof(float) + width * sizeof(int));
    if (!memory) return -1;
    scratch s = {.line = memory};
    s.moved = s.line + f->motion_columns;
    s.places = s.moved + 2 * width;
    s.sampled = s.places + 2 * width;
    s.rows[0] = s.sampled + 2 * width;
    for (int i = 1; i < 3; i++) s.rows[i] = s.rows[i - 1] + row;
    s.waves[0] = s.rows[2] + row;
    for (int i = 1; i < 3; i++) s.waves[i] = s.waves[i - 1] + waves;
    s.sums = s.waves[2] + waves;
    s.tile_row = s.sums + sums;
    s.pixels = s.tile_row + tiles;
    s.place = (int *)(s.pixels + 12 * width);
    restore(f, to, &s);
    free(memory);
    return 0;
}
