/* Pictures whose cells shall overlap, before the cells are transformed. */
#include "kernels.h"
#include "lapped.h"

INLINE void lap(float *plane, int height, int width, int half, const float *rotation) {
    for (int row = 0; row < height; row++)
        lap_row(plane + (size_t)row * width, width, half, rotation);
    for (int border = 2 * half; border < height; border += 2 * half)
        lap_rows(plane, width, width, border, half, rotation);
}

FOR_EACH_PROCESSOR
static void lap_luma(float *plane, int height, int width, const float *rotation) {
    lap(plane, height, width, 8, rotation);
}

FOR_EACH_PROCESSOR
static void lap_chroma(float *plane, int height, int width, const float *rotation) {
    lap(plane, height, width, 4, rotation);
}

/* Changes `count` planes of whole cells in place; a cell has 16 or 8 pixels along each side. */
void nrv_lap(float *planes, int count, int height, int width, int cell, const float *rotation) {
    for (int number = 0; number < count; number++) {
        float *plane = planes + (size_t)number * height * width;
        if (cell == 16) lap_luma(plane, height, width, rotation);
        if (cell == 8) lap_chroma(plane, height, width, rotation);
    }
}
