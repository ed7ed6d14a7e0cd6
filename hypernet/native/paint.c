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
    const float *rgb; /* 3 x height x width */
    int height, width;
    int rows, columns;     /* cells that cover it; the border repeats beyond */
    const float *colours;  /* 3 x 3: what makes luma and two colour differences of RGB */
    const float *motion;   /* 2 x motion rows x motion columns, in pixels */
    int motion_rows, motion_columns;
    const float *openness; /* rows x columns: how much of the picture each cell lets through */
} nrv_departure;

enum { MARGIN = 2 }; /* Pixels beyond the border that cubic interpolation reads. */

/* A plane with a margin on every side. */
typedef struct {
    float *pixels; /* of the first row and column of the margin */
    int height, width;
    size_t stride;
} plane;

INLINE float *row_of(const plane *p, int y) { return p->pixels + (y + MARGIN) * p->stride + MARGIN; }

INLINE void repeat_border(const plane *p) {
    for (int y = 0; y < p->height; y++) {
        float *row = row_of(p, y);
        for (int x = 1; x <= MARGIN; x++) row[-x] = row[0], row[p->width - 1 + x] = row[p->width - 1];
    }
    for (int y = 1; y <= MARGIN; y++) {
        size_t bytes = p->stride * sizeof(float);
        memcpy(row_of(p, -y) - MARGIN, row_of(p, 0) - MARGIN, bytes);
        memcpy(row_of(p, p->height - 1 + y) - MARGIN, row_of(p, p->height - 1) - MARGIN, bytes);
    }
}

/* One colour of a row of the picture: the shares of red, green and blue, mid-grey is zero. */
INLINE void colour_row(const nrv_departure *d, const float *share, int y, int width, float *out) {
    size_t size = (size_t)d->height * d->width;
    const float *red = d->rgb + (size_t)d->width * (y < d->height ? y : d->height - 1);
    const float *green = red + size, *blue = green + size;
    float grey = 0.5f * (share[0] + share[1] + share[2]);
    for (int x = 0; x < d->width; x++)
        out[x] = share[0] * red[x] + share[1] * green[x] + share[2] * blue[x] - grey;
    for (int x = d->width; x < width; x++) out[x] = out[d->width - 1];
}

/* Luma, and colour differences at half the size. */
INLINE void split_colours(const nrv_departure *d, const plane planes[3], float *rows) {
    int height = planes[0].height, width = planes[0].width;
    for (int y = 0; y < height; y++) colour_row(d, d->colours, y, width, row_of(planes, y));
    for (int colour = 1; colour < 3; colour++)
        for (int y = 0; y < height; y += 2) {
            float *restrict above = rows, *restrict below = rows + width;
            float *restrict out = row_of(planes + colour, y / 2);
            colour_row(d, d->colours + 3 * colour, y, width, above);
            colour_row(d, d->colours + 3 * colour, y + 1, width, below);
            for (int x = 0; x < width / 2; x++)
                out[x] = 0.25f * (above[2 * x] + above[2 * x + 1] + below[2 * x] + below[2 * x + 1]);
        }
    for (int colour = 0; colour < 3; colour++) repeat_border(planes + colour);
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

/* Some pixels of a row, read where the motion points: bicubic. */
INLINE void cubic_pixels(const plane *p, int y, int start, const float *restrict moved, float open,
                         float *restrict out) {
    enum { COUNT = HALF_CELL };
    float across[4 * COUNT], down[4 * COUNT];
    int corners[COUNT];
    for (int i = 0; i < COUNT; i++) {
        /* Farther away there is nothing but the border. */
        float at_x = limited((float)(start + i + 1) + moved[start + i], (float)p->width + 0.999f);
        float at_y = limited((float)(y + 1) + moved[p->width + start + i], (float)p->height + 0.999f);
        int right = (int)at_x, below = (int)at_y;
        cubic_shares(at_x - (float)right, across + i, COUNT);
        cubic_shares(at_y - (float)below, down + i, COUNT);
        corners[i] = below * (int)p->stride + right;
    }
    for (int i = 0; i < COUNT; i++) {
        v4 sum = {0}, share = {across[i], across[COUNT + i], across[2 * COUNT + i],
                               across[3 * COUNT + i]};
        UNROLL
        for (int tap = 0; tap < 4; tap++) {
            v4 row;
            memcpy(&row, p->pixels + corners[i] + tap * p->stride, sizeof row);
            sum += down[tap * COUNT + i] * row;
        }
        sum *= share;
        out[i] = open * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

INLINE int is_still(const float *moved, int width, int start, int count) {
    float most = 0.0f;
    for (int x = start; x < start + count; x++) {
        float size = moved[x] * moved[x] + moved[width + x] * moved[width + x];
        most = most > size ? most : size;
    }
    return most == 0.0f;
}

/* A plane read where the motion points, as much of it as each cell lets through. */
INLINE void moved_plane(const nrv_departure *d, const plane *p, int cell, float *line, float *moved,
                        float *restrict out) {
    field motion = {d->motion, d->motion_rows, d->motion_columns, SQUARE * cell / CELL};
    for (int y = 0; y < p->height; y++) {
        displaced_row(&motion, y, p->width, (float)cell / CELL, line, moved);
        for (int column = 0; column < d->columns; column++, out += cell) {
            float open = d->openness[y / cell * d->columns + column];
            int start = column * cell;
            if (open == 0.0f) {
                memset(out, 0, cell * sizeof(float));
            } else if (is_still(moved, p->width, start, cell)) {
                for (int x = 0; x < cell; x++) out[x] = open * row_of(p, y)[start + x];
            } else {
                for (int x = 0; x < cell; x += HALF_CELL)
                    cubic_pixels(p, y, start + x, moved, open, out + x);
            }
        }
    }
}

FOR_EACH_PROCESSOR
static void depart(const nrv_departure *d, const plane planes[3], float *rows, float *luma,
                   float *chroma) {
    size_t pixels = (size_t)planes[0].height * planes[0].width;
    float *line = rows + 2 * planes[0].width;
    split_colours(d, planes, rows);
    moved_plane(d, planes, CELL, line, rows, luma);
    moved_plane(d, planes + 1, HALF_CELL, line, rows, chroma);
    moved_plane(d, planes + 2, HALF_CELL, line, rows, chroma + pixels / 4);
}

/* What a clip departs from: luma rows * 16 x columns * 16, colour differences 2 x half of each.
 * Returns 0, or -1 if there is no memory. */
int nrv_depart(const nrv_departure *d, float *luma, float *chroma) {
    plane planes[3];
    size_t floats = 0;
    for (int colour = 0; colour < 3; colour++) {
        int cell = colour ? HALF_CELL : CELL;
        planes[colour] = (plane){NULL, d->rows * cell, d->columns * cell,
                                 (size_t)d->columns * cell + 2 * MARGIN};
        floats += planes[colour].stride * (planes[colour].height + 2 * MARGIN);
    }
    float *memory = malloc((floats + 2 * planes[0].width + d->motion_columns) * sizeof(float));
    if (!memory) return -1;
    float *next = memory;
    for (int colour = 0; colour < 3; colour++) {
        planes[colour].pixels = next;
        next += planes[colour].stride * (planes[colour].height + 2 * MARGIN);
    }
    depart(d, planes, next, luma, chroma);
    free(memory);
    return 0;
}
