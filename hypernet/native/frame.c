/* The last two layers of the tubelet decoder for one frame: planes moved along the motion, then
 * made colours. Two rows of pixels at a time, as a colour difference stands for 2x2 pixels.
 */
#include <stdlib.h>

#include "bilinear.h"
#include "field.h"
#include "kernels.h"

enum { COLOURS = 3 };

typedef struct {
    const float *luma;   /* height x width */
    const float *chroma; /* 2 x height / 2 x width / 2 */
    int height, width;
    const float *motion; /* 2 x rows x columns, NULL if nothing moves */
    int motion_rows, motion_columns;
    const float *colours; /* 3 colours x luma and two colour differences */
} nrv_frame;

/* Where a part of the frame goes: 8-bit levels or values in [0, 1], the other is NULL. */
typedef struct {
    int top, left, height, width;
    int planar; /* 3 x height x width, as values always are, else height x width x 3 */
    uint8_t *levels;
    float *values;
} nrv_target;

typedef struct {
    int start, stop; /* columns that are wanted, even */
    float *line, *moved, *places;
    int *place;
    float *sampled[COLOURS]; /* luma, two colour differences */
    float *tints[COLOURS];   /* of two rows: what the colour differences make of mid-grey */
    float *pixels;           /* of one row and colour */
    uint8_t *levels[COLOURS]; /* of one row */
} scratch;

/* A row of `count` pictures of one size, moved; `seen` says where it lies. */
INLINE void rows_of(const nrv_frame *f, const float *pictures, int count, int shrunk, int row,
                    scratch *s, float *const *sampled, const float **seen) {
    int height = f->height / shrunk, width = f->width / shrunk;
    for (int i = 0; i < count; i++)
        seen[i] = pictures + ((size_t)i * height + row) * width;
    if (!f->motion) return;
    field motion = {f->motion, f->motion_rows, f->motion_columns, 32 / shrunk};
    displaced_row(&motion, row, width, 1.0f / (float)shrunk, s->line, s->moved);
    int start = s->start / shrunk, stop = s->stop / shrunk;
    float *across = s->places, *down = s->places + width;
    /* What moves right is found to the left. */
    for (int x = start; x < stop; x++) across[x] = (float)x - s->moved[x];
    for (int x = start; x < stop; x++) down[x] = (float)row - s->moved[width + x];
    find_neighbours(height, width, start, stop, across, down, s->place);
    for (int i = 0; i < count; i++) {
        sampled_row(pictures + (size_t)i * height * width, width, start, stop, across, down,
                    s->place, sampled[i], NULL, NULL);
        seen[i] = sampled[i];
    }
}

INLINE void tint_rows(const nrv_frame *f, int pair, scratch *s) {
    const float *chroma[2];
    rows_of(f, f->chroma, 2, 2, pair, s, s->sampled + 1, chroma);
    for (int colour = 0; colour < COLOURS; colour++) {
        float first = f->colours[3 * colour + 1], second = f->colours[3 * colour + 2];
        const float *restrict a = chroma[0], *restrict b = chroma[1];
        float *restrict tint = s->tints[colour];
        for (int x = s->start / 2; x < s->stop / 2; x++)
            tint[2 * x] = tint[2 * x + 1] = 0.5f + first * a[x] + second * b[x];
    }
}

INLINE void write_values(const float *restrict pixels, int count, float *restrict out) {
    for (int i = 0; i < count; i++) {
        float value = pixels[i] > 0.0f ? pixels[i] : 0.0f;
        out[i] = value < 1.0f ? value : 1.0f;
    }
}

INLINE void write_levels(const float *restrict pixels, int count, uint8_t *restrict out) {
    for (int i = 0; i < count; i++) {
        float level = pixels[i] * 255.0f + 0.5f;
        level = level > 0.0f ? level : 0.0f; /* not a number becomes 0 */
        out[i] = (uint8_t)(int)(level < 255.0f ? level : 255.0f);
    }
}

/* Three colours of each pixel side by side. */
INLINE void interleave(uint8_t *const levels[COLOURS], int count, uint8_t *restrict out) {
    const uint8_t *restrict red = levels[0], *restrict green = levels[1], *restrict blue = levels[2];
    for (int i = 0; i < count; i++) {
        out[3 * i] = red[i];
        out[3 * i + 1] = green[i];
        out[3 * i + 2] = blue[i];
    }
}

INLINE void draw_row(const nrv_frame *f, int row, const nrv_target *to, scratch *s) {
    const float *luma;
    rows_of(f, f->luma, 1, 1, row, s, s->sampled, &luma);
    size_t plane = (size_t)to->height * to->width, first = (size_t)(row - to->top) * to->width;
    size_t place = first;
    for (int colour = 0; colour < COLOURS; colour++) {
        float share = f->colours[3 * colour];
        const float *restrict seen = luma, *restrict tint = s->tints[colour];
        float *restrict pixels = s->pixels;
        for (int x = s->start; x < s->stop; x++) pixels[x] = tint[x] + share * seen[x];
        if (to->values) write_values(pixels + to->left, to->width, to->values + place);
        else write_levels(pixels + to->left, to->width, to->planar ? to->levels + place : s->levels[colour]);
        place += plane;
    }
    if (!to->planar) interleave(s->levels, to->width, to->levels + COLOURS * first);
}

FOR_EACH_PROCESSOR
static void draw(const nrv_frame *f, const nrv_target *to, scratch *s) {
    s->start = to->left / 2 * 2;
    s->stop = (to->left + to->width + 1) / 2 * 2;
    for (int pair = to->top / 2; 2 * pair < to->top + to->height; pair++) {
        tint_rows(f, pair, s);
        for (int row = 2 * pair; row < 2 * pair + 2; row++)
            if (row >= to->top && row < to->top + to->height) draw_row(f, row, to, s);
    }
}

/* Part of a frame, RGB. Returns 0, or -1 if there is no memory. */
int nrv_draw(const nrv_frame *f, const nrv_target *to) {
    size_t width = f->width;
    size_t floats = f->motion_columns + (4 + 2 * COLOURS + 1) * width;
    float *memory = malloc(floats * sizeof(float) + width * (sizeof(int) + COLOURS));
    if (!memory) return -1;
    scratch s = {.line = memory, .moved = memory + f->motion_columns};
    s.places = s.moved + 2 * width;
    s.pixels = s.places + 2 * width;
    for (int i = 0; i < COLOURS; i++) {
        s.sampled[i] = s.pixels + (1 + 2 * i) * width;
        s.tints[i] = s.sampled[i] + width;
    }
    s.place = (int *)(s.pixels + (1 + 2 * COLOURS) * width);
    for (int i = 0; i < COLOURS; i++) s.levels[i] = (uint8_t *)(s.place + width) + i * width;
    draw(f, to, &s);
    free(memory);
    return 0;
}
