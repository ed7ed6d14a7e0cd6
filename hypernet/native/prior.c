#include "prior.h"

typedef int16_t short16 __attribute__((vector_size(32)));
typedef int32_t long16 __attribute__((vector_size(64)));

/* Sums of BLOCKS * NRV_LANES outputs stay in registers. */
enum { MOST_BLOCKS = 4, TAPS = 9 };

INLINE short16 load(const int16_t *from) {
    short16 value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE void start_with(long16 *sums, int blocks, const int32_t *bias) {
    UNROLL
    for (int b = 0; b < blocks; b++) memcpy(sums + b, bias + NRV_LANES * b, sizeof *sums);
}

/* Two inputs at once: their products fit 16 bits together. */
INLINE void add_pair(long16 *sums, int blocks, const int16_t *one, int16_t x, const int16_t *two,
                     int16_t y) {
    UNROLL
    for (int b = 0; b < blocks; b++) {
        short16 both = load(one + NRV_LANES * b) * x + load(two + NRV_LANES * b) * y;
        sums[b] += __builtin_convertvector(both, long16);
    }
}

INLINE void add_sparse(long16 *sums, int blocks, const nrv_activation *list, int count,
                       const int16_t *weights, int stride) {
    for (; count >= 2; count -= 2, list += 2)
        add_pair(sums, blocks, weights + list[0].channel * stride, list[0].value,
                 weights + list[1].channel * stride, list[1].value);
    if (count) {
        const int16_t *row = weights + list->channel * stride;
        add_pair(sums, blocks, row, list->value, row, 0);
    }
}

/* `inputs` is even. */
INLINE void add_dense(long16 *sums, int blocks, const int16_t *values, int inputs,
                      const int16_t *weights, int stride) {
    for (int i = 0; i < inputs; i += 2, weights += 2 * stride)
        add_pair(sums, blocks, weights, values[i], weights + stride, values[i + 1]);
}

INLINE void add_around(long16 *sums, int blocks, const nrv_field *seen, size_t cell, int inputs,
                       const int16_t *weights, int stride) {
    for (int tap = 0; tap < TAPS; tap++) {
        size_t at = cell + (tap / 3 - 1) * seen->stride + tap % 3 - 1;
        add_sparse(sums, blocks, seen->entries + at * seen->capacity, seen->counts[at],
                   weights + (size_t)tap * inputs * stride, stride);
    }
}

/* Divided by a power of two and rounded, half upwards. */
INLINE void rounded(long16 *sums, int blocks, int shift) {
    UNROLL
    for (int b = 0; b < blocks; b++) sums[b] = (sums[b] + (1 << (shift - 1))) >> shift;
}

INLINE long16 limited(long16 value, int most) {
    long16 above = value > most;
    value = (value & ~above) | (most & above);
    return value & (value > 0);
}

INLINE void write_activations(const long16 *sums, int blocks, int16_t *out) {
    UNROLL
    for (int b = 0; b < blocks; b++) {
        short16 values = __builtin_convertvector(limited(sums[b], NRV_ACTIVATION_LIMIT), short16);
        memcpy(out + NRV_LANES * b, &values, sizeof values);
    }
}

/* Calls `part(first output, blocks)`, the number of blocks a constant, until `width` is done. */
#define IN_BLOCKS(width, part)                                             \
    for (int at = 0, left = (width) / NRV_LANES; left > 0;                 \
         at += MOST_BLOCKS * NRV_LANES, left -= MOST_BLOCKS) switch (left) { \
        case 1: part(at, 1); break;                                        \
        case 2: part(at, 2); break;                                        \
        case 3: part(at, 3); break;                                        \
        default: part(at, 4); break;                                       \
    }

INLINE void context_part(const nrv_prior *p, const nrv_field *seen, int inputs, size_t cell, int at,
                         int blocks, int16_t *out) {
    const nrv_layer *layer = &p->reference;
    long16 sums[MOST_BLOCKS];
    start_with(sums, blocks, layer->bias + at);
    add_around(sums, blocks, seen, cell, inputs, layer->weights + at, p->context_width);
    rounded(sums, blocks, layer->shift);
    write_activations(sums, blocks, out + at);
}

FOR_EACH_PROCESSOR
void nrv_context(const nrv_prior *p, const nrv_field *seen, int inputs, const nrv_cell *cells,
                 size_t count, int16_t *context) {
    for (size_t i = 0; i < count; i++) {
        int16_t *out = context + cells[i].plain * (size_t)p->context_width;
#define PART(at, blocks) context_part(p, seen, inputs, cells[i].bordered, at, blocks, out)
        IN_BLOCKS(p->context_width, PART)
#undef PART
    }
}

/* Each layer's sums are rounded before they are added. */
INLINE void summed_part(const nrv_prior *p, const nrv_stage *s, const nrv_field *known,
                        const nrv_activation *inside, int num_inside, const int16_t *context,
                        size_t cell, int at, int blocks, int16_t *out) {
    int stride = p->hidden_width;
    long16 total[MOST_BLOCKS], sums[MOST_BLOCKS];
    start_with(total, blocks, s->context.bias + at);
    add_dense(total, blocks, context, p->context_width, s->context.weights + at, stride);
    rounded(total, blocks, s->context.shift);
    if (s->known.weights) {
        start_with(sums, blocks, s->known.bias + at);
        add_around(sums, blocks, known, cell, s->inputs, s->known.weights + at, stride);
        rounded(sums, blocks, s->known.shift);
        UNROLL
        for (int b = 0; b < blocks; b++) total[b] += sums[b];
    }
    if (s->inside.weights) {
        start_with(sums, blocks, s->inside.bias + at);
        add_sparse(sums, blocks, inside, num_inside, s->inside.weights + at, stride);
        rounded(sums, blocks, s->inside.shift);
        UNROLL
        for (int b = 0; b < blocks; b++) total[b] += sums[b];
    }
    write_activations(total, blocks, out + at);
}

INLINE void hidden_part(const nrv_prior *p, const nrv_stage *s, const int16_t *summed, int at,
                        int blocks, int16_t *out) {
    long16 sums[MOST_BLOCKS];
    start_with(sums, blocks, s->hidden.bias + at);
    add_dense(sums, blocks, summed, p->hidden_width, s->hidden.weights + at, p->hidden_width);
    rounded(sums, blocks, s->hidden.shift);
    write_activations(sums, blocks, out + at);
}

FOR_EACH_PROCESSOR
void nrv_features(const nrv_prior *p, const nrv_stage *s, const nrv_field *known,
                  const nrv_lists *inside, const int16_t *context, const nrv_cell *cells,
                  size_t count, int16_t *features) {
    size_t width = p->hidden_width;
    for (size_t i = 0; i < count; i++) {
        const int16_t *around = context + cells[i].plain * (size_t)p->context_width;
        /* Where the next item's features come is room for what they are made of. */
        int16_t *out = features + i * width, *summed = out + width;
        const nrv_activation *list = inside ? inside->entries + inside->starts[cells[i].plain] : NULL;
        int length = inside ? inside->ends[cells[i].plain] - inside->starts[cells[i].plain] : 0;
#define PART(at, blocks) summed_part(p, s, known, list, length, around, cells[i].bordered, at, blocks, \
                                     summed)
        IN_BLOCKS(p->hidden_width, PART)
#undef PART
#define PART(at, blocks) hidden_part(p, s, summed, at, blocks, out)
        IN_BLOCKS(p->hidden_width, PART)
#undef PART
    }
}

/* Half of an activation's unit for each index. */
INLINE void index_part(const nrv_prior *p, const nrv_layer *layer, int start, int stride, int at,
                       int blocks, int size, const int16_t *features, const uint32_t *which,
                       size_t count, uint8_t *indices) {
    const int16_t *weights = layer->weights + (size_t)start * p->hidden_width + at;
    int used = size - at < blocks * NRV_LANES ? size - at : blocks * NRV_LANES;
    for (size_t i = 0; i < count; i++) {
        const int16_t *values = features + (which ? which[i] : i) * (size_t)p->hidden_width;
        long16 sums[MOST_BLOCKS];
        int32_t found[MOST_BLOCKS * NRV_LANES];
        start_with(sums, blocks, layer->bias + start + at);
        add_dense(sums, blocks, values, p->hidden_width, weights, stride);
        rounded(sums, blocks, layer->shift + 1);
        UNROLL
        for (int b = 0; b < blocks; b++) {
            sums[b] = limited(sums[b], NRV_INDEX_LIMIT);
            memcpy(found + NRV_LANES * b, sums + b, sizeof *sums);
        }
        for (int o = 0; o < used; o++) indices[(size_t)(at + o) * count + i] = (uint8_t)found[o];
    }
}

FOR_EACH_PROCESSOR
void nrv_indices(const nrv_prior *p, const nrv_stage *s, int start, int size,
                 const int16_t *features, const uint32_t *which, size_t count, uint8_t *indices) {
    int stride = nrv_padded(size);
#define PART(at, blocks) index_part(p, &s->output, start, stride, at, blocks, size, features, which, \
                                    count, indices)
    IN_BLOCKS(stride, PART)
#undef PART
}
