/* Luma and colour differences of an 8-bit RGB picture, zero for mid-grey. */
#include <stdlib.h>

#include "kernels.h"

typedef struct {
    const uint8_t *rgb; /* height x width x 3 */
    int height, width;
    int rows, columns;    /* of the planes, even; the border repeats where they are larger */
    const float *colours; /* 3 x 3: planes by colours, for colours from 0 to 1 */
    float *luma;      /* rows x columns, or NULL */
    float *chroma;    /* 2 x rows / 2 x columns / 2, or NULL */
    float *half_luma; /* rows / 2 x columns / 2, or NULL */
} nrv_picture;

INLINE void plane_row(const nrv_picture *p, int row, int plane, float *restrict out) {
    const uint8_t *restrict rgb =
        p->rgb + (size_t)(row < p->height ? row : p->height - 1) * p->width * 3;
    const float *weights = p->colours + 3 * plane;
    float red = weights[0] / 255.0f, green = weights[1] / 255.0f, blue = weights[2] / 255.0f;
    float grey = 0.5f * (weights[0] + weights[1] + weights[2]);
    for (int x = 0; x < p->width; x++)
        out[x] = red * rgb[3 * x] + green * rgb[3 * x + 1] + blue * rgb[3 * x + 2] - grey;
    for (int x = p->width; x < p->columns; x++) out[x] = out[p->width - 1];
}

INLINE void halved_row(const float *restrict above, const float *restrict below, int columns,
                       float *restrict out) {
    for (int x = 0; x < columns / 2; x++) {
        float left = above[2 * x] + below[2 * x], right = above[2 * x + 1] + below[2 * x + 1];
        out[x] = 0.25f * (left + right);
    }
}

FOR_EACH_PROCESSOR
static void two_rows(const nrv_picture *p, int row, float *above, float *below) {
    size_t columns = p->columns, half = columns / 2, place = row / 2 * half;
    if (p->luma || p->half_luma) {
        plane_row(p, row, 0, above);
        plane_row(p, row + 1, 0, below);
        if (p->luma) memcpy(p->luma + row * columns, above, sizeof(float) * columns);
        if (p->luma) memcpy(p->luma + (row + 1) * columns, below, sizeof(float) * columns);
        if (p->half_luma) halved_row(above, below, p->columns, p->half_luma + place);
    }
    for (int plane = 1; p->chroma && plane < 3; plane++) {
        plane_row(p, row, plane, above);
        plane_row(p, row + 1, plane, below);
        halved_row(above, below, p->columns,
                   p->chroma + (plane - 1) * (p->rows / 2) * half + place);
    }
}

/* Returns 0, or 1 without memory. */
int nrv_planes(const nrv_picture *p) {
    float *memory = malloc(sizeof(float) * 2 * p->columns);
    if (!memory) return 1;
    for (int row = 0; row < p->rows; row += 2) two_rows(p, row, memory, memory + p->columns);
    free(memory);
    return 0;
}
