#include "prior.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "even outputs are taken for the lower halves of words"
#endif

/* GCC makes slow code of vectors that are wider than registers. */
#ifndef VECTOR_BYTES
#ifdef __x86_64__
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#endif

typedef uint16_t narrow __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t wide __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t signed_wide __attribute__((vector_size(VECTOR_BYTES)));

/* Sums of up to MOST_BLOCKS * NRV_LANES outputs stay in registers. */
enum {
    MOST_BLOCKS = 4,
    TAPS = 9,
    LANES = VECTOR_BYTES / sizeof(uint16_t),
    HALF = LANES / 2,
    PER_BLOCK = NRV_LANES / LANES,
    MOST_VECTORS = MOST_BLOCKS * PER_BLOCK
};

/* Sums of products with biased weights, LANES of 16 bits: in each 32 bits an even output below an
 * odd one. Sums of all 32 and of the upper 16 tell both apart without shuffling. */
typedef struct {
    wide both, odd;
} products;

typedef struct {
    signed_wide even, odd;
} outputs;

INLINE narrow load_narrow(const uint16_t *from) {
    narrow value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE wide load_wide(const int32_t *from) {
    wide value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* Two inputs at once: their products fit 16 bits together. */
INLINE void add_pair(products *sums, int vectors, const uint16_t *one, uint16_t x,
                     const uint16_t *two, uint16_t y) {
    UNROLL
    for (int v = 0; v < vectors; v++) {
        wide pair = (wide)(load_narrow(one + LANES * v) * x + load_narrow(two + LANES * v) * y);
        sums[v].both += pair;
        sums[v].odd += pair >> 16;
    }
}

INLINE void add_sparse(products *sums, int vectors, const nrv_activation *list, int count,
                       const uint16_t *weights, int stride) {
    for (; count >= 2; count -= 2, list += 2)
        add_pair(sums, vectors, weights + list[0].channel * stride, list[0].value,
                 weights + list[1].channel * stride, list[1].value);
    if (count) {
        const uint16_t *row = weights + list->channel * stride;
        add_pair(sums, vectors, row, list->value, row, 0);
    }
}

/* Divided by a power of two and rounded, half upwards; `total` is that of all inputs. */
INLINE void finish(const nrv_layer *layer, const products *sums, int width, int at, int vectors,
                   int shift, uint32_t total, outputs *out) {
    const int32_t *even_bias = layer->bias + at / 2, *odd_bias = even_bias + width / 2;
    uint32_t offset = (1u << (shift - 1)) - NRV_WEIGHT_BIAS * total;
    UNROLL
    for (int v = 0; v < vectors; v++) {
        wide even = sums[v].both - (sums[v].odd << 16) + load_wide(even_bias + HALF * v) + offset;
        wide odd = sums[v].odd + load_wide(odd_bias + HALF * v) + offset;
        out[v].even = (signed_wide)even >> shift;
        out[v].odd = (signed_wide)odd >> shift;
    }
}

INLINE void clear(products *sums, int vectors) {
    UNROLL
    for (int v = 0; v < vectors; v++) sums[v] = (products){{0}, {0}};
}

/* Of activations of a whole cell; `inputs` is even. */
INLINE void dense(const nrv_layer *layer, const uint16_t *values, int inputs, int stride, int at,
                  int vectors, int shift, outputs *out) {
    products sums[MOST_VECTORS];
    uint32_t total = 0;
    for (int i = 0; i < inputs; i++) total += values[i];
    clear(sums, vectors);
    const uint16_t *weights = layer->weights + at;
    for (int i = 0; i < inputs; i += 2, weights += 2 * stride)
        add_pair(sums, vectors, weights, values[i], weights + stride, values[i + 1]);
    finish(layer, sums, stride, at, vectors, shift, total, out);
}

/* Of a cell and its neighbours. */
INLINE void around(const nrv_layer *layer, const nrv_field *seen, size_t cell, int inputs,
                   int stride, int at, int vectors, outputs *out) {
    products sums[MOST_VECTORS];
    uint32_t total = 0;
    clear(sums, vectors);
    for (int tap = 0; tap < TAPS; tap++) {
        size_t there = cell + (tap / 3 - 1) * seen->stride + tap % 3 - 1;
        const uint16_t *weights = layer->weights + (size_t)tap * inputs * stride + at;
        add_sparse(sums, vectors, seen->entries + there * seen->capacity, seen->counts[there],
                   weights, stride);
        total += seen->totals[there];
    }
    finish(layer, sums, stride, at, vectors, layer->shift, total, out);
}

INLINE void add_outputs(outputs *sums, int vectors, const outputs *more) {
    UNROLL
    for (int v = 0; v < vectors; v++) {
        sums[v].even += more[v].even;
        sums[v].odd += more[v].odd;
    }
}

INLINE signed_wide limited(signed_wide value, int most) {
    signed_wide above = value > most;
    value = (value & ~above) | (most & above);
    return value & (value > 0);
}

INLINE void write_limited(const outputs *sums, int vectors, int most, uint16_t *out) {
    UNROLL
    for (int v = 0; v < vectors; v++) {
        signed_wide values = limited(sums[v].even, most) | limited(sums[v].odd, most) << 16;
        memcpy(out + LANES * v, &values, sizeof values);
    }
}

/* Calls `part(first output, vectors)`, the number of vectors a constant, until `width` is done. */
#define IN_BLOCKS(width, part)                                               \
    for (int at = 0, left = (width) / NRV_LANES; left > 0;                   \
         at += MOST_BLOCKS * NRV_LANES, left -= MOST_BLOCKS) switch (left) { \
        case 1: part(at, PER_BLOCK); break;                                  \
        case 2: part(at, 2 * PER_BLOCK); break;                              \
        case 3: part(at, 3 * PER_BLOCK); break;                              \
        default: part(at, MOST_VECTORS); break;                              \
    }

INLINE void context_part(const nrv_prior *p, const nrv_field *seen, int inputs, size_t cell, int at,
                         int vectors, uint16_t *out) {
    outputs sums[MOST_VECTORS];
    around(&p->reference, seen, cell, inputs, p->context_width, at, vectors, sums);
    write_limited(sums, vectors, NRV_ACTIVATION_LIMIT, out + at);
}

FOR_EACH_PROCESSOR
void nrv_context(const nrv_prior *p, const nrv_field *seen, int inputs, const nrv_cell *cells,
                 size_t count, uint16_t *context) {
    for (size_t i = 0; i < count; i++) {
        uint16_t *out = context + cells[i].plain * (size_t)p->context_width;
#define PART(at, vectors) context_part(p, seen, inputs, cells[i].bordered, at, vectors, out)
        IN_BLOCKS(p->context_width, PART)
#undef PART
    }
}

/* Each layer's sums are rounded before they are added. */
INLINE void summed_part(const nrv_prior *p, const nrv_stage *s, const nrv_field *known,
                        const nrv_activation *inside, int num_inside, const uint16_t *context,
                        size_t cell, int at, int vectors, uint16_t *out) {
    int stride = p->hidden_width;
    outputs total[MOST_VECTORS], more[MOST_VECTORS];
    dense(&s->context, context, p->context_width, stride, at, vectors, s->context.shift, total);
    if (s->known.weights) {
        around(&s->known, known, cell, s->inputs, stride, at, vectors, more);
        add_outputs(total, vectors, more);
    }
    if (s->inside.weights) {
        products sums[MOST_VECTORS];
        uint32_t values = 0;
        for (int i = 0; i < num_inside; i++) values += inside[i].value;
        clear(sums, vectors);
        add_sparse(sums, vectors, inside, num_inside, s->inside.weights + at, stride);
        finish(&s->inside, sums, stride, at, vectors, s->inside.shift, values, more);
        add_outputs(total, vectors, more);
    }
    write_limited(total, vectors, NRV_ACTIVATION_LIMIT, out + at);
}

INLINE void hidden_part(const nrv_prior *p, const nrv_stage *s, const uint16_t *summed, int at,
                        int vectors, uint16_t *out) {
    outputs sums[MOST_VECTORS];
    dense(&s->hidden, summed, p->hidden_width, p->hidden_width, at, vectors, s->hidden.shift, sums);
    write_limited(sums, vectors, NRV_ACTIVATION_LIMIT, out + at);
}

FOR_EACH_PROCESSOR
void nrv_features(const nrv_prior *p, const nrv_stage *s, const nrv_field *known,
                  const nrv_lists *inside, const uint16_t *context, const nrv_cell *cells,
                  size_t count, uint16_t *features) {
    size_t width = p->hidden_width;
    for (size_t i = 0; i < count; i++) {
        const uint16_t *around = context + cells[i].plain * (size_t)p->context_width;
        /* Where the next item's features come is room for what they are made of. */
        uint16_t *out = features + i * width, *summed = out + width;
        uint32_t start = inside ? inside->starts[cells[i].plain] : 0;
        const nrv_activation *list = inside ? inside->entries + start : NULL;
        int length = inside ? (int)(inside->ends[cells[i].plain] - start) : 0;
#define PART(at, vectors)                                                                    \
    summed_part(p, s, known, list, length, around, cells[i].bordered, at, vectors, summed)
        IN_BLOCKS(p->hidden_width, PART)
#undef PART
#define PART(at, vectors) hidden_part(p, s, summed, at, vectors, out)
        IN_BLOCKS(p->hidden_width, PART)
#undef PART
    }
}

/* Half of an activation's unit for each index. */
INLINE void index_part(const nrv_prior *p, const nrv_layer *group, int stride, int at, int vectors,
                       int size, const uint16_t *features, const uint32_t *which, size_t count,
                       uint8_t *indices) {
    int used = size - at < vectors * LANES ? size - at : vectors * LANES;
    for (size_t i = 0; i < count; i++) {
        const uint16_t *values = features + (which ? which[i] : i) * (size_t)p->hidden_width;
        outputs sums[MOST_VECTORS];
        uint16_t found[MOST_BLOCKS * NRV_LANES];
        dense(group, values, p->hidden_width, stride, at, vectors, group->shift + 1, sums);
        write_limited(sums, vectors, NRV_INDEX_LIMIT, found);
        for (int o = 0; o < used; o++) indices[(size_t)(at + o) * count + i] = (uint8_t)found[o];
    }
}

FOR_EACH_PROCESSOR
void nrv_indices(const nrv_prior *p, const nrv_stage *s, int start, int size,
                 const uint16_t *features, const uint32_t *which, size_t count, uint8_t *indices) {
    int stride = nrv_padded(size);
    nrv_layer group = {s->output.weights + (size_t)start * p->hidden_width, s->output.bias + start,
                       s->output.shift};
#define PART(at, vectors) index_part(p, &group, stride, at, vectors, size, features, which, count, \
                                    indices)
    IN_BLOCKS(stride, PART)
#undef PART
}
