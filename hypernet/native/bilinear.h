/* Pixels between pixels: rows of a picture read at any places, the border repeated; bilinear. */
#ifndef NRV_BILINEAR_H
#define NRV_BILINEAR_H

#include "field.h"
#include "kernels.h"

enum { EIGHT = 8 };

typedef int32_t places8 __attribute__((vector_size(32)));
typedef int64_t halves8 __attribute__((vector_size(32)));

/* Positions in pixels, `start` to `stop` of a row, become the first of two by two neighbours and how
 * far they are from it. Pictures have two rows and columns or more.
 */
INLINE void find_neighbours(int height, int width, int start, int stop, float *restrict across,
                            float *restrict down, int *restrict place) {
    float right = (float)(width - 1), bottom = (float)(height - 1);
    for (int x = start; x < stop; x++) {
        float at_x = limited(across[x], right), at_y = limited(down[x], bottom);
        int x0 = (int)at_x, y0 = (int)at_y;
        /* At the last row or column the next has no share: the one before stands for it. */
        x0 = x0 < width - 1 ? x0 : width - 2;
        y0 = y0 < height - 1 ? y0 : height - 2;
        across[x] = at_x - (float)x0;
        down[x] = at_y - (float)y0;
        place[x] = y0 * width + x0;
    }
}

/* Whether places follow one another, as nearly all do where motion is smooth. */
INLINE int in_line(const int *place) {
    places8 apart;
    memcpy(&apart, place, sizeof apart);
    apart -= place[0] + (places8){0, 1, 2, 3, 4, 5, 6, 7};
    halves8 any = (halves8)apart;
    return !(any[0] | any[1] | any[2] | any[3]);
}

/* Four pixels, each with the one to the right of it: half as many loads as one by one. */
INLINE v8 four_pairs(const float *pixels, const int *place) {
    int64_t pair[4];
    UNROLL
    for (int i = 0; i < 4; i++) memcpy(pair + i, pixels + place[i], sizeof *pair);
    return (v8)(halves8){pair[0], pair[1], pair[2], pair[3]};
}

/* Eight pixels and those to the right of them. */
INLINE void pairs_at(const float *pixels, const int *place, int follow, v8 *left, v8 *right) {
    if (follow) {
        *left = load(pixels + place[0]);
        *right = load(pixels + place[0] + 1);
        return;
    }
    v8 first = four_pairs(pixels, place), last = four_pairs(pixels, place + EIGHT / 2);
    *left = __builtin_shuffle(first, last, (places8){0, 2, 4, 6, 8, 10, 12, 14});
    *right = __builtin_shuffle(first, last, (places8){1, 3, 5, 7, 9, 11, 13, 15});
}

/* Eight pixels; unless `along_x` is NULL, both are multiplied by how the picture changes there. */
INLINE void sampled_eight(const float *picture, int width, const float *across, const float *down,
                          const int *place, float *out, float *along_x, float *along_y) {
    int follow = in_line(place);
    v8 above, below, at_top, at_low, share = load(across), low_share = load(down);
    pairs_at(picture, place, follow, &above, &at_top);
    pairs_at(picture + width, place, follow, &below, &at_low);
    at_top -= above;
    at_low -= below;
    above += share * at_top;
    below += share * at_low;
    v8 value = above + low_share * (below - above);
    memcpy(out, &value, sizeof value);
    if (!along_x) return;
    v8 by_x = load(along_x) * (at_top + low_share * (at_low - at_top));
    v8 by_y = load(along_y) * (below - above);
    memcpy(along_x, &by_x, sizeof by_x);
    memcpy(along_y, &by_y, sizeof by_y);
}

/* A row read where `find_neighbours` found; `along_x` and `along_y` as above. */
INLINE void sampled_row(const float *picture, int width, int start, int stop, const float *across,
                        const float *down, const int *place, float *out, float *along_x,
                        float *along_y) {
    int x = start;
    for (; x + EIGHT <= stop; x += EIGHT)
        sampled_eight(picture, width, across + x, down + x, place + x, out + x,
                      along_x ? along_x + x : NULL, along_x ? along_y + x : NULL);
    if (x == stop) return;
    float shares[2][EIGHT] = {{0}}, found[3][EIGHT] = {{0}};
    int rest[EIGHT] = {0};
    size_t size = sizeof(float) * (stop - x);
    memcpy(shares[0], across + x, size);
    memcpy(shares[1], down + x, size);
    memcpy(rest, place + x, size);
    if (along_x) memcpy(found[1], along_x + x, size), memcpy(found[2], along_y + x, size);
    sampled_eight(picture, width, shares[0], shares[1], rest, found[0],
                  along_x ? found[1] : NULL, found[2]);
    memcpy(out + x, found[0], size);
    if (!along_x) return;
    memcpy(along_x + x, found[1], size);
    memcpy(along_y + x, found[2], size);
}

#endif
