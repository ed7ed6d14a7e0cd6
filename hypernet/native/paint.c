/* The first layer of the tubelet decoder for one clip: what it departs from, and the patterns that
 * its grid adds to that. Most of a grid is zero, so only values that are not are painted.
 */
#include <stdlib.h>

#include "cubic.h"
#include "field.h"
#include "kernels.h"
#include "lapped.h"

enum { TIMES = 8, CELL = 16, HALF_CELL = 8, SQUARE = 32 };

typedef struct {
    const int32_t *entries; /* where the grid is not zero: flat in channels x all rows x all columns */
    const float *values;    /* of the entries */
    int count;
    int all_rows, all_columns;
    int top, left, rows, columns; /* the cells that are painted */
    const int32_t *places; /* of each channel: plane, temporal pattern, spatial pattern */
    const float *luma_patterns;   /* patterns x 16 x 16 */
    const float *chroma_patterns; /* patterns x 8 x 8 */
    const float *mix; /* times x 8: how much of each temporal pattern a frame shows */
    int times;
    const float *start_luma, *start_chroma; /* one picture that all frames depart from, or NULL */
    /* Of the filters that undo overlapping, rows are inputs. */
    const float *luma_rotation;   /* 8 x 8 */
    const float *chroma_rotation; /* 4 x 4 */
} nrv_painting;

/* One row of cells of one plane: pictures of each temporal pattern, cell after cell. */
typedef struct {
    float *pictures; /* 8 x columns x side x side */
    uint8_t *used;   /* 8 x columns */
} layer;

typedef struct {
    int32_t channel, column;
    float value;
} entry;

/* Entries by row of cells, in order within a row; row `r` starts at `starts[r]`. */
INLINE void sort_by_row(const nrv_painting *p, int32_t *starts, entry *sorted) {
    int32_t cells = p->all_rows * p->all_columns;
    memset(starts, 0, sizeof(int32_t) * (p->rows + 2));
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < p->count; i++) {
            int32_t channel = p->entries[i] / cells, cell = p->entries[i] % cells;
            int32_t row = cell / p->all_columns - p->top, column = cell % p->all_columns - p->left;
            if (row < 0 || row >= p->rows || column < 0 || column >= p->columns) continue;
            if (!pass) starts[row + 2]++;
            else sorted[starts[row + 1]++] = (entry){channel, column, p->values[i]};
        }
        for (int row = 0; row < p->rows && !pass; row++) starts[row + 2] += starts[row + 1];
    }
}

INLINE void add_pattern(layer *l, size_t place, float value, const float *restrict pattern,
                        int size) {
    float *restrict cell = l->pictures + place * size;
    if (l->used[place]) {
        for (int i = 0; i < size; i++) cell[i] += value * pattern[i];
    } else {
        for (int i = 0; i < size; i++) cell[i] = value * pattern[i];
        l->used[place] = 1;
    }
}

INLINE void add_entry(const nrv_painting *p, const entry *e, layer *layers) {
    enum { SIZE = CELL * CELL, HALF_SIZE = HALF_CELL * HALF_CELL };
    const int32_t *place = p->places + 3 * e->channel;
    size_t cell = (size_t)place[1] * p->columns + e->column, pattern = place[2];
    if (place[0] == 0)
        add_pattern(layers, cell, e->value, p->luma_patterns + pattern * SIZE, SIZE);
    else
        add_pattern(layers + place[0], cell, e->value, p->chroma_patterns + pattern * HALF_SIZE,
                    HALF_SIZE);
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

/* Cells of a row of cells grow together, with one another and with those above. */
INLINE void unlap(float *picture, int row, int side, int width, const float *rotation) {
    for (int y = row * side; y < (row + 1) * side; y++)
        lap_row(picture + (size_t)y * width, width, side / 2, rotation);
    if (row) lap_rows(picture, width, width, row * side, side / 2, rotation);
}

FOR_EACH_PROCESSOR
static void paint(const nrv_painting *p, const int32_t *starts, const entry *sorted, layer *layers,
                  float *luma, float *chroma) {
    size_t width = (size_t)p->columns * CELL, half = width / 2;
    size_t picture = width * p->rows * CELL, half_picture = picture / 4;
    for (int row = 0; row < p->rows; row++) {
        for (int plane = 0; plane < 3; plane++) memset(layers[plane].used, 0, TIMES * p->columns);
        for (int i = starts[row]; i < starts[row + 1]; i++) add_entry(p, sorted + i, layers);
        size_t line = row * CELL * width;
        mix_cells(p, layers, CELL, p->start_luma ? p->start_luma + line : NULL, width, picture,
                  luma + line);
        for (int colour = 0; colour < 2; colour++) {
            size_t half_line = colour * half_picture + row * HALF_CELL * half;
            mix_cells(p, layers + 1 + colour, HALF_CELL,
                      p->start_chroma ? p->start_chroma + half_line : NULL, half, 2 * half_picture,
                      chroma + half_line);
        }
        for (int time = 0; time < p->times; time++) {
            unlap(luma + time * picture, row, CELL, width, p->luma_rotation);
            for (int colour = 0; colour < 2; colour++)
                unlap(chroma + (2 * time + colour) * half_picture, row, HALF_CELL, half,
                      p->chroma_rotation);
        }
    }
}

/* Frames before they are moved: luma times x rows * 16 x columns * 16, colour differences
 * times x 2 x half of each. Returns 0, or -1 if there is no memory. */
int nrv_paint(const nrv_painting *p, float *luma, float *chroma) {
    size_t pictures = (size_t)TIMES * p->columns * (CELL * CELL + 2 * HALF_CELL * HALF_CELL);
    size_t flags = (size_t)TIMES * p->columns;
    float *memory = malloc(pictures * sizeof(float) + p->count * sizeof(entry) +
                           (p->rows + 2) * sizeof(int32_t) + 3 * flags);
    if (!memory) return -1;
    entry *sorted = (entry *)(memory + pictures);
    int32_t *starts = (int32_t *)(sorted + p->count);
    uint8_t *used = (uint8_t *)(starts + p->rows + 2);
    layer layers[3] = {{memory, used},
                       {memory + flags * CELL * CELL, used + flags},
                       {memory + flags * (CELL * CELL + HALF_CELL * HALF_CELL), used + 2 * flags}};
    sort_by_row(p, starts, sorted);
    paint(p, starts, sorted, layers, luma, chroma);
    free(memory);
    return 0;
}

FOR_EACH_PROCESSOR
static int64_t pack(const int32_t *values, int64_t count, int64_t room, int32_t *places,
                    int32_t *found) {
    enum { AT_ONCE = 64 };
    int64_t used = 0;
    for (int64_t start = 0; start < count; start += AT_ONCE) {
        int64_t stop = start + AT_ONCE < count ? start + AT_ONCE : count;
        int32_t any = 0;
        for (int64_t i = start; i < stop; i++) any |= values[i];
        for (int64_t i = start; any && i < stop; i++) {
            if (!values[i]) continue;
            if (used == room) return -1;
            places[used] = (int32_t)i;
            found[used++] = values[i];
        }
    }
    return used;
}

/* Where values are not zero, and which: their number, or -1 if there are more than `room`. */
int64_t nrv_pack(const int32_t *values, int64_t count, int64_t room, int32_t *places,
                 int32_t *found) {
    return pack(values, count, room, places, found);
}

typedef struct {
    const float *rgb; /* 3 x height x width */
    int height, width;
    int rows, columns;     /* cells that cover it; the border repeats beyond */
    const float *colours;  /* 3 x 3: what makes luma and two colour differences of RGB */
    const float *motion;   /* 2 x motion rows x motion columns, in pixels */
    int motion_rows, motion_columns;
    const float *openness; /* rows x columns: how much of the picture each cell lets through */
    /* Of the filters that make cells overlap, rows are inputs. */
    const float *luma_rotation;   /* 8 x 8 */
    const float *chroma_rotation; /* 4 x 4 */
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

/* Some pixels of a row, read where the motion points: bicubic. */
INLINE void cubic_pixels(const plane *p, int y, int start, const float *restrict moved,
                         float *restrict out) {
    enum { COUNT = HALF_CELL };
    float across[COUNT], down[COUNT];
    int corners[COUNT];
    for (int i = 0; i < COUNT; i++) {
        /* Farther away there is nothing but the border. */
        float at_x = limited((float)(start + i + 1) + moved[start + i], (float)p->width + 0.999f);
        float at_y = limited((float)(y + 1) + moved[p->width + start + i], (float)p->height + 0.999f);
        int right = (int)at_x, below = (int)at_y;
        across[i] = at_x - (float)right, down[i] = at_y - (float)below;
        corners[i] = below * (int)p->stride + right;
    }
    for (int i = 0; i < COUNT; i++)
        out[i] = cubic_pixel(p->pixels + corners[i], p->stride, across[i], down[i]);
}

INLINE int is_still(const float *moved, int width, int start, int count) {
    float most = 0.0f;
    for (int x = start; x < start + count; x++) {
        float size = moved[x] * moved[x] + moved[width + x] * moved[width + x];
        most = most > size ? most : size;
    }
    return most == 0.0f;
}

/* A plane read where the motion points. */
INLINE void moved_plane(const nrv_departure *d, const plane *p, int cell, float *line, float *moved,
                        float *restrict out) {
    field motion = {d->motion, d->motion_rows, d->motion_columns, SQUARE * cell / CELL};
    for (int y = 0; y < p->height; y++) {
        displaced_row(&motion, y, p->width, (float)cell / CELL, line, moved);
        for (int x = 0; x < p->width; x += HALF_CELL, out += HALF_CELL)
            if (is_still(moved, p->width, x, HALF_CELL))
                memcpy(out, row_of(p, y) + x, HALF_CELL * sizeof(float));
            else
                cubic_pixels(p, y, x, moved, out);
    }
}

/* Cells overlap; then each lets through as much as it is open. */
INLINE void gated_plane(const nrv_departure *d, int side, const float *rotation, float *out) {
    int height = d->rows * side, width = d->columns * side;
    for (int y = 0; y < height; y++) lap_row(out + (size_t)y * width, width, side / 2, rotation);
    for (int row = 1; row < d->rows; row++)
        lap_rows(out, width, width, row * side, side / 2, rotation);
    for (int y = 0; y < height; y++)
        for (int column = 0; column < d->columns; column++) {
            float open = d->openness[y / side * d->columns + column];
            float *cell = out + (size_t)y * width + column * side;
            for (int x = 0; x < side && open != 1.0f; x++) cell[x] *= open;
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
    gated_plane(d, CELL, d->luma_rotation, luma);
    gated_plane(d, HALF_CELL, d->chroma_rotation, chroma);
    gated_plane(d, HALF_CELL, d->chroma_rotation, chroma + pixels / 4);
}

/* What a clip departs from, its cells overlapping: luma rows * 16 x columns * 16, colour differences 2 x half of each.
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
