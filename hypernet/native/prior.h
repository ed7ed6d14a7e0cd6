/* The learned prior with integers: weights of 8 bits, activations 0 .. 127, sums below 2^24. With a
 * bias that makes weights positive two products fit 16 bits. Widths are padded to multiples of
 * NRV_LANES; what is padded has weights of zero. */
#ifndef NRV_PRIOR_H
#define NRV_PRIOR_H

#include <stddef.h>

#include "kernels.h"

enum { NRV_LANES = 16, NRV_WEIGHT_BIAS = 128, NRV_ACTIVATION_LIMIT = 127, NRV_INDEX_LIMIT = 63 };

typedef struct {
    /* Taps x inputs x padded outputs, plus NRV_WEIGHT_BIAS; NULL if there is no such layer. */
    const uint16_t *weights;
    const int32_t *bias; /* padded outputs, the even ones first */
    int shift;
} nrv_layer;

typedef struct {
    nrv_layer known, inside, context, hidden;
    /* For each group of outputs, padded: weights padded hidden width x group, bias. */
    nrv_layer output;
    int inputs; /* of `known` */
} nrv_stage;

typedef struct {
    int first, middle_groups, last_groups;
    const int32_t *sizes; /* channels of the middle groups, then of the last */
    int context_width, hidden_width; /* padded */
    int32_t means[3]; /* channels of the first group */
    nrv_layer reference;
    nrv_stage first_even, first_odd, flags_even, flags_odd, middle, last;
} nrv_prior;

typedef struct {
    uint16_t channel, value; /* 1 .. 127 */
} nrv_activation;

/* What each cell holds that is not zero. Cells have a border of empty ones. */
typedef struct {
    int stride;   /* columns, with the border */
    int capacity; /* of a cell */
    uint16_t *counts;
    uint32_t *totals; /* of a cell's values */
    nrv_activation *entries;
} nrv_field;

/* A list for each cell, by its place without the border. */
typedef struct {
    const uint32_t *starts, *ends;
    const nrv_activation *entries;
} nrv_lists;

/* Cells by their place with and without the border. */
typedef struct {
    uint32_t bordered, plain;
} nrv_cell;

INLINE int nrv_padded(int width) {
    return (width + NRV_LANES - 1) / NRV_LANES * NRV_LANES;
}

INLINE void nrv_add(nrv_field *field, size_t cell, int channel, int value) {
    if (!value) return;
    field->totals[cell] += (uint32_t)value;
    field->entries[cell * field->capacity + field->counts[cell]++] =
        (nrv_activation){(uint16_t)channel, (uint16_t)value};
}

/* Magnitudes as activations: 12 each up to 8, a quarter beyond. Of twice the magnitude. */
INLINE int nrv_entered(uint32_t twice) {
    uint32_t steep = twice < 64 ? 6 * twice : 384, flat = twice < 64 ? 72 + 3 * twice / 2 : 384;
    uint32_t value = steep < flat ? steep : flat;
    return value < NRV_ACTIVATION_LIMIT ? (int)value : NRV_ACTIVATION_LIMIT;
}

/* `context` of each cell, padded context width, from what the field says of the reference. */
void nrv_context(const nrv_prior *prior, const nrv_field *seen, int inputs, const nrv_cell *cells,
                 size_t count, uint16_t *context);

/* Features of some cells, padded hidden width each; `inside` is NULL if the stage has none. There
 * is room for those of one more cell. */
void nrv_features(const nrv_prior *prior, const nrv_stage *stage, const nrv_field *known,
                  const nrv_lists *inside, const uint16_t *context, const nrv_cell *cells,
                  size_t count, uint16_t *features);

/* Tables or levels of one group for some features: indices group x count. `which` are the places of
 * the features, NULL if all. */
void nrv_indices(const nrv_prior *prior, const nrv_stage *stage, int start, int size,
                 const uint16_t *features, const uint32_t *which, size_t count, uint8_t *indices);

#endif
