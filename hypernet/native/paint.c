/* The first layer of the tubelet decoder for one clip: what it departs from, and the patterns that
 * its grid adds to that. Most of a grid is zero, so only values that are not are painted.
 */
#include <stdlib.h>

#include "field.h"
#include "kernels.h"

enum { TIMES = 8, CELL = 16, HALF_CELL = 8, SQUARE = 32 };

typedef struct {
    const float *grid; /* channels x rows x columns */
    int channels, rows, columns;
    const int32_t *places; /* of each channel: plane, temporal pattern, spatial pattern */
    const float *luma_patterns;   /* patterns x 16 x 16 */
    const float *chroma_patterns; /* patterns x 8 x 8 */
    const float *mix; /* times x 8: how much of each temporal pattern a frame shows */
    int times;
    const float *start_luma, *start_chroma; /* one picture that all frames depart from, or NULL */
} nrv_painting;

/* One row of cells of one plane: pictures of each temporal pattern, cell after cell. */
typedef struct {
    float *pictures; /* 8 x columns x side x side */
    uint8_t *used;   /* 8 x columns */
} layer;

INLINE int is_used(const float *values, size_t count) {
    uint32_t any = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        any |= bits;
    }
    return any != 0;
}

INLINE void add_patterns(const float *values, int columns, const float *restrict pattern, int size,
                         float *restrict pictures, uint8_t *restrict used) {
    for (int column = 0; column < columns; column++) {
        float value = values[column];
        if (value == 0.0f) continue;
        float *cell = pictures + (size_t)column * size;
        if (used[column]) {
            for (int i = 0; i < size; i++) cell[i] += value * pattern[i];
        } else {
            for (int i = 0; i < size; i++) cell[i] = value * pattern[i];
            used[column] = 1;
        }
    }
}

/* The frames of one row of cells: `stride` floats a line, `frame` floats from frame to frame. */
INLINE void mix_cells(const nrv_painting *p, const layer *l, int side, const float *start,
                      size_t stride, size_t frame, float *restrict out) {
    size_t size = (size_t)side * side;
    for (int column = 0; column < p->columns; column++) {
        const float *pictures[TIMES];
        int patterns[TIMES], count = 0;
        for (int time = 0; time < TIMES; time++)
            if (l->used[time * p->columns + column]) {
                pictures[count] = l->pictures + ((size_t)time * p->columns + column) * size;
                patterns[count++] = time;
            }
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x += 8) {
                size_t place = y * stride + (size_t)column * side + x;
                v8 from = start ? load(start + place) : (v8){0};
                v8 seen[TIMES];
                for (int i = 0; i < count; i++) seen[i] = load(pictures[i] + y * side + x);
                for (int time = 0; time < p->times; time++) {
                    v8 sum = from;
                    const float *share = p->mix + time * TIMES;
                    for (int i = 0; i < count; i++) sum += share[patterns[i]] * seen[i];
                    memcpy(out + time * frame + place, &sum, sizeof sum);
                }
            }
    }
}

FOR_EACH_PROCESSOR
static void paint(const nrv_painting *p, uint8_t *wanted, layer *layers, float *luma, float *chroma) {
    size_t cells = (size_t)p->rows * p->columns;
    for (int channel = 0; channel < p->channels; channel++)
        wanted[channel] = is_used(p->grid + channel * cells, cells);
    size_t width = (size_t)p->columns * CELL, half = width / 2;
    size_t picture = width * p->rows * CELL, half_picture = picture / 4;
    for (int row = 0; row < p->rows; row++) {
        for (int plane = 0; plane < 3; plane++) memset(layers[plane].used, 0, TIMES * p->columns);
        for (int channel = 0; channel < p->channels; channel++) {
            if (!wanted[channel]) continue;
            const float *values = p->grid + channel * cells + (size_t)row * p->columns;
            const int32_t *place = p->places + 3 * channel;
            layer *to = layers + place[0];
            uint8_t *used = to->used + place[1] * p->columns;
            if (place[0] == 0) {
                enum { SIZE = CELL * CELL };
                add_patterns(values, p->columns, p->luma_patterns + (size_t)place[2] * SIZE, SIZE,
                             to->pictures + (size_t)place[1] * p->columns * SIZE, used);
            } else {
                enum { SIZE = HALF_CELL * HALF_CELL };
                add_patterns(values, p->columns, p->chroma_patterns + (size_t)place[2] * SIZE, SIZE,
                             to->pictures + (size_t)place[1] * p->columns * SIZE, used);
            }
        }
        size_t line = row * CELL * width;
        mix_cells(p, layers, CELL, p->start_luma ? p->start_luma + line : NULL, width, picture,
                  luma + line);
        for (int colour = 0; colour < 2; colour++) {
            size_t half_line = colour * half_picture + row * HALF_CELL * half;
            mix_cells(p, layers + 1 + colour, HALF_CELL,
                      p->start_chroma ? p->start_chroma + half_line : NULL, half, 2 * half_picture,
                      chroma + half_line);
        }
    }
}

/* Frames before they are moved: luma times x rows * 16 x columns * 16, colour differences
 * times x 2 x half of each. Returns 0, or -1 if there is no memory. */
int nrv_paint(const nrv_painting *p, float *luma, float *chroma) {
    size_t pictures = (size_t)TIMES * p->columns * (CELL * CELL + 2 * HALF_CELL * HALF_CELL);
    size_t flags = (size_t)TIMES * p->columns;
    float *memory = malloc(pictures * sizeof(float) + 3 * flags + p->channels);
    if (!memory) return -1;
    layer layers[3];
    float *next = memory;
    uint8_t *bytes = (uint8_t *)(memory + pictures);
    for (int plane = 0; plane < 3; plane++) {
        layers[plane] = (layer){next, bytes + plane * flags};
        next += flags * (plane ? HALF_CELL * HALF_CELL : CELL * CELL);
    }
    paint(p, bytes + 3 * flags, layers, luma, chroma);
    free(memory);
    return 0;
}

typedef struct {
    const float *rgb; /* height x width x 3 */
    int height, width;
    int rows, columns;     /* cells that cover it; the border repeats beyond */
    const float *colours;  /* 3 x 3: what makes luma and two colour differences of RGB */
    const float *motion;   /* 2 x motion rows x motion columns, in pixels */
    int motion_rows, motion_columns;
    const float *openness; /* rows x columns: how much of the picture each cell lets through */
} nrv_departure;

/* Luma and colour differences of the picture, zero for mid-grey; colour at half the size. */
INLINE void split_colours(const nrv_departure *d, float *restrict luma, float *restrict chroma) {
    int height = d->rows * CELL, width = d->columns * CELL, half = width / 2;
    float *planes[2] = {chroma, chroma + (size_t)height * width / 4};
    memset(chroma, 0, sizeof(float) * height * width / 2);
    for (int y = 0; y < height; y++) {
        const float *line = d->rgb + 3 * (size_t)d->width * (y < d->height ? y : d->height - 1);
        for (int x = 0; x < width; x++) {
            const float *rgb = line + 3 * (x < d->width ? x : d->width - 1);
            float r = rgb[0] - 0.5f, g = rgb[1] - 0.5f, b = rgb[2] - 0.5f;
            const float *to = d->colours;
            luma[(size_t)y * width + x] = to[0] * r + to[1] * g + to[2] * b;
            for (int colour = 0; colour < 2; colour++) {
                to += 3;
                planes[colour][(size_t)(y / 2) * half + x / 2] +=
                    0.25f * (to[0] * r + to[1] * g + to[2] * b);
            }
        }
    }
}

/* Shares of four neighbours in cubic interpolation, as torch's grid_sample has them. */
INLINE void cubic_shares(float t, float *out, int stride) {
    const float a = -0.75f;
    float u = 1.0f - t, far = t + 1.0f, end = 2.0f - t;
    out[0] = ((a * far - 5.0f * a) * far + 8.0f * a) * far - 4.0f * a;
    out[stride] = ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f;
    out[2 * stride] = ((a + 2.0f) * u - (a + 3.0f)) * u * u + 1.0f;
    out[3 * stride] = ((a * end - 5.0f * a) * end + 8.0f * a) * end - 4.0f * a;
}

typedef struct {
    float *line, *moved, *shares; /* squares of a row; 2 x width; 8 x width */
    int *places;                  /* 8 x width */
} scratch;

INLINE int clamped(int place, int size) {
    return place < 0 ? 0 : place < size ? place : size - 1;
}

/* One row of a picture read where the motion points, bicubic, the border repeated. */
INLINE void cubic_row(const float *restrict picture, int height, int width, int row,
                      const float *restrict moved, float *restrict shares, int *restrict places,
                      float *restrict out) {
    for (int x = 0; x < width; x++) {
        float at_x = (float)x + moved[x], at_y = (float)row + moved[width + x];
        int x0 = floored(at_x), y0 = floored(at_y);
        cubic_shares(at_x - (float)x0, shares + x, width);
        cubic_shares(at_y - (float)y0, shares + 4 * width + x, width);
        for (int tap = 0; tap < 4; tap++) {
            places[tap * width + x] = clamped(x0 + tap - 1, width);
            places[(4 + tap) * width + x] = clamped(y0 + tap - 1, height) * width;
        }
    }
    for (int x = 0; x < width; x++) {
        float sum = 0.0f;
        UNROLL
        for (int down = 0; down < 4; down++) {
            const float *line = picture + places[(4 + down) * width + x];
            float across = 0.0f;
            UNROLL
            for (int right = 0; right < 4; right++)
                across += shares[right * width + x] * line[places[right * width + x]];
            sum += shares[(4 + down) * width + x] * across;
        }
        out[x] = sum;
    }
}

INLINE void moved_plane(const nrv_departure *d, const float *picture, int cell, scratch *s,
                        float *restrict out) {
    int height = d->rows * cell, width = d->columns * cell;
    field motion = {d->motion, d->motion_rows, d->motion_columns, SQUARE * cell / CELL};
    for (int row = 0; row < height; row++) {
        displaced_row(&motion, row, width, (float)cell / CELL, s->line, s->moved);
        float *line = out + (size_t)row * width;
        cubic_row(picture, height, width, row, s->moved, s->shares, s->places, line);
        const float *open = d->openness + row / cell * d->columns;
        for (int column = 0; column < d->columns; column++)
            for (int x = 0; x < cell; x++) line[column * cell + x] *= open[column];
    }
}

FOR_EACH_PROCESSOR
static void depart(const nrv_departure *d, float *planes, scratch *s, float *luma, float *chroma) {
    size_t pixels = (size_t)d->rows * d->columns * CELL * CELL;
    split_colours(d, planes, planes + pixels);
    moved_plane(d, planes, CELL, s, luma);
    for (int colour = 0; colour < 2; colour++)
        moved_plane(d, planes + pixels + colour * pixels / 4, HALF_CELL, s,
                    chroma + colour * pixels / 4);
}

/* What a clip departs from: luma rows * 16 x columns * 16, colour differences 2 x half of each.
 * Returns 0, or -1 if there is no memory. */
int nrv_depart(const nrv_departure *d, float *luma, float *chroma) {
    size_t width = (size_t)d->columns * CELL, pixels = width * d->rows * CELL;
    float *planes = malloc((3 * pixels / 2 + d->motion_columns + 10 * width) * sizeof(float) +
                           8 * width * sizeof(int));
    if (!planes) return -1;
    scratch s = {.line = planes + 3 * pixels / 2};
    s.moved = s.line + d->motion_columns;
    s.shares = s.moved + 2 * width;
    s.places = (int *)(s.shares + 8 * width);
    depart(d, planes, &s, luma, chroma);
    free(planes);
    return 0;
}
