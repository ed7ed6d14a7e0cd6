/* The symbols of one tubelet clip, stage by stage, as hypernet/decoders/learned_coding.py does it
 * with torch: read from a range coder stream, or listed with the tables to write them with.
 */
#include <stdlib.h>

#include "prior.h"
#include "range_coder.h"

enum {
    KNOTS = 4,
    GAIN = 64, /* of flags and the like as activations */
    SCALES = 64,
    SCALE_BITS = 6,
    TABLE_BITS = 10,
    LEVEL_BITS = 6,
    FIRST_TABLE = 3 * SCALES,
    MAX_SYMBOL = 1 << 20,
    LISTS = 6,
    MOST_BLOCKS = 48
};

typedef struct {
    int rows, columns; /* cells */
    const int32_t *reference; /* grid of the reference clip, NULL for a key clip */
    int32_t step[KNOTS]; /* position of the quantisation step between the knots */
} nrv_clip;

/* What a stream is read into, all zeros before. */
typedef struct {
    const uint8_t *data;
    size_t words;
    int motion_channels, motion_rows, motion_columns, sway_channels, sway_rows, sway_columns;
    int32_t *motion, *sway, *gate, *grid;
} nrv_found;

/* What is to be sent, and the lists that it makes: first group, flags, each even cells then odd,
 * then middle and last groups. Keys are tables of the prior or levels. */
typedef struct {
    const int32_t *gate, *grid; /* no gate for a key clip */
    size_t room; /* of all lists together */
    uint8_t *keys;
    int32_t *values;
    size_t counts[LISTS];
} nrv_sent;

typedef struct {
    const nrv_prior *prior;
    const nrv_tables *tables;
    const nrv_clip *clip;
    nrv_reader reader;
    nrv_sent *sent; /* NULL when reading */
    uint16_t own[256]; /* the clip's own table for each of the prior */
    size_t cells;
    nrv_cell *all, *halves; /* by rows; even ones, then odd ones */
    size_t num_even;
    nrv_field seen;
    uint16_t *context, *features;
    int32_t *first; /* channels x cells */
    uint8_t *flags; /* groups x cells */
    /* The list at hand. */
    uint8_t *keys;
    int32_t *values;
    uint32_t *order;
    size_t room;
    int lists;
    void *blocks[MOST_BLOCKS];
    int num_blocks;
} walk;

/* Zeros that live as long as the walk; NULL if there is no memory. */
static void *take(walk *w, size_t count, size_t size) {
    void *block = w->num_blocks < MOST_BLOCKS ? calloc(count ? count : 1, size) : NULL;
    if (block) w->blocks[w->num_blocks++] = block;
    return block;
}

static void drop_all(walk *w) {
    for (int i = 0; i < w->num_blocks; i++) free(w->blocks[i]);
}

static int most(int a, int b) { return a > b ? a : b; }

static int num_groups(const nrv_prior *p) { return p->middle_groups + p->last_groups; }

static int reference_inputs(const nrv_prior *p) { return 1 + num_groups(p) + KNOTS + 2; }

static void name_cells(walk *w) {
    int columns = w->clip->columns, stride = columns + 2;
    nrv_cell *even = w->halves, *odd = w->halves + w->num_even;
    for (size_t i = 0; i < w->cells; i++) {
        size_t row = i / columns, column = i % columns;
        w->all[i] = (nrv_cell){(uint32_t)((row + 1) * stride + column + 1), (uint32_t)i};
        if ((row + column) % 2 == 0) *even++ = w->all[i];
        else *odd++ = w->all[i];
    }
}

static int start(walk *w) {
    const nrv_prior *p = w->prior;
    int rows = w->clip->rows, columns = w->clip->columns;
    w->cells = (size_t)rows * columns;
    w->num_even = (w->cells + 1) / 2;
    size_t bordered = (size_t)(rows + 2) * (columns + 2);
    w->seen.stride = columns + 2;
    w->seen.capacity =
        most(reference_inputs(p), p->first + num_groups(p) + p->middle_groups);
    int ready = (w->all = take(w, w->cells, sizeof *w->all)) &&
                (w->halves = take(w, w->cells, sizeof *w->halves)) &&
                (w->seen.counts = take(w, bordered, sizeof *w->seen.counts)) &&
                (w->seen.totals = take(w, bordered, sizeof *w->seen.totals)) &&
                (w->seen.entries =
                     take(w, bordered * w->seen.capacity, sizeof *w->seen.entries)) &&
                (w->context = take(w, w->cells * p->context_width, sizeof *w->context)) &&
                (w->features = take(w, (w->cells + 1) * p->hidden_width, sizeof *w->features)) &&
                (w->first = take(w, w->cells * p->first, sizeof *w->first)) &&
                (w->flags = take(w, w->cells * num_groups(p), sizeof *w->flags));
    if (!ready) return NRV_NO_MEMORY;
    name_cells(w);
    return NRV_OK;
}

/* Room for the keys and values of the next list. */
static int reserve(walk *w, size_t count) {
    if (w->sent) {
        if (count > w->sent->room) return NRV_NO_MEMORY;
        w->keys = w->sent->keys, w->values = w->sent->values;
        return NRV_OK;
    }
    if (count <= w->room && w->keys) return NRV_OK;
    w->room = count;
    int ready = (w->keys = take(w, count, sizeof *w->keys)) &&
                (w->values = take(w, count, sizeof *w->values)) &&
                (w->order = take(w, count, sizeof *w->order));
    return ready ? NRV_OK : NRV_NO_MEMORY;
}

/* The next list comes after this one of `count`. */
static void listed(walk *w, size_t count) {
    w->sent->counts[w->lists++] = count;
    w->sent->keys += count, w->sent->values += count, w->sent->room -= count;
}

static int exceeds(int64_t value) { return value > MAX_SYMBOL || value < -MAX_SYMBOL; }

static int exchange_symbols(walk *w, size_t count) {
    if (w->sent) {
        listed(w, count);
        return NRV_OK;
    }
    int large = 0, error = nrv_read_symbols(&w->reader, w->tables, w->own, w->keys, count,
                                            w->order, w->values);
    for (size_t i = 0; i < count && !error; i++) large |= exceeds(w->values[i]);
    return error ? error : large ? NRV_LARGE_SYMBOL : NRV_OK;
}

static int exchange_flags(walk *w, size_t count) {
    if (w->sent) {
        listed(w, count);
        return NRV_OK;
    }
    return nrv_read_flags(&w->reader, w->tables, w->keys, count, w->order, w->values);
}

INLINE uint32_t magnitude(int32_t value) {
    return value < 0 ? 0u - (uint32_t)value : (uint32_t)value;
}

/* Sums of magnitudes of one group, cell by cell; most channels are zero everywhere. */
FOR_EACH_PROCESSOR
static void add_magnitudes(const int32_t *restrict channel, size_t cells, uint32_t *restrict sums) {
    int32_t any = 0;
    for (size_t i = 0; i < cells; i++) any |= channel[i];
    if (!any) return;
    for (size_t i = 0; i < cells; i++) {
        uint32_t size = magnitude(channel[i]);
        sums[i] += size < MAX_SYMBOL ? size : MAX_SYMBOL;
    }
}

/* What the reference clip holds, as activities of groups. */
static void see_reference(walk *w, uint32_t *sums) {
    const nrv_prior *p = w->prior;
    const int32_t *channel = w->clip->reference;
    for (int group = 0; group < 1 + num_groups(p); group++) {
        int size = group ? p->sizes[group - 1] : p->first;
        memset(sums, 0, w->cells * sizeof *sums);
        for (int c = 0; c < size; c++, channel += w->cells) add_magnitudes(channel, w->cells, sums);
        for (size_t i = 0; i < w->cells; i++)
            if (sums[i]) nrv_add(&w->seen, w->all[i].bordered, group, nrv_entered(sums[i]));
    }
}

static int find_context(walk *w, const int32_t *gate) {
    const nrv_prior *p = w->prior;
    int planes = 1 + num_groups(p), is_inter = w->clip->reference != NULL;
    if (is_inter) {
        uint32_t *sums = take(w, w->cells, sizeof *sums);
        if (!sums) return NRV_NO_MEMORY;
        see_reference(w, sums);
    }
    for (size_t i = 0; i < w->cells; i++) {
        size_t cell = w->all[i].bordered;
        for (int k = 0; k < KNOTS; k++) nrv_add(&w->seen, cell, planes + k, w->clip->step[k]);
        nrv_add(&w->seen, cell, planes + KNOTS, is_inter * GAIN);
        nrv_add(&w->seen, cell, planes + KNOTS + 1, is_inter && gate[i] ? GAIN : 0);
    }
    nrv_context(p, &w->seen, reference_inputs(p), w->all, w->cells, w->context);
    size_t bordered = (size_t)(w->clip->rows + 2) * (w->clip->columns + 2);
    memset(w->seen.counts, 0, bordered * sizeof *w->seen.counts);
    memset(w->seen.totals, 0, bordered * sizeof *w->seen.totals);
    return NRV_OK;
}

/* Rounded mean of the neighbours of a cell, half upwards. */
static int32_t neighbour_mean(const walk *w, const int32_t *channel, size_t cell) {
    int columns = w->clip->columns, row = (int)(cell / columns), column = (int)(cell % columns);
    int64_t total = 0;
    int count = 0;
    if (row > 0) total += channel[cell - columns], count++;
    if (row + 1 < w->clip->rows) total += channel[cell + columns], count++;
    if (column > 0) total += channel[cell - 1], count++;
    if (column + 1 < columns) total += channel[cell + 1], count++;
    if (!count) return 0;
    int64_t numerator = 2 * total + count, divisor = 2 * count;
    int64_t quotient = numerator / divisor;
    return (int32_t)(quotient - (numerator % divisor < 0));
}

/* What the first group of a cell is coded around. */
static void expected(const walk *w, size_t cell, int is_odd, int32_t *means) {
    memset(means, 0, sizeof *means * w->prior->first);
    if (!is_odd || w->clip->reference) return;
    for (int i = 0; i < 3; i++) {
        int channel = w->prior->means[i];
        means[channel] = neighbour_mean(w, w->first + channel * w->cells, cell);
    }
}

static int exchange_first(walk *w) {
    const nrv_prior *p = w->prior;
    int32_t *means = take(w, p->first, sizeof *means);
    if (!means) return NRV_NO_MEMORY;
    for (int is_odd = 0; is_odd < 2; is_odd++) {
        const nrv_stage *stage = is_odd ? &p->first_odd : &p->first_even;
        const nrv_cell *half = w->halves + (is_odd ? w->num_even : 0);
        size_t count = is_odd ? w->cells - w->num_even : w->num_even;
        int error = reserve(w, count * p->first);
        if (error) return error;
        nrv_features(p, stage, &w->seen, NULL, w->context, half, count, w->features);
        nrv_indices(p, stage, 0, p->first, w->features, NULL, count, w->keys);
        int32_t *values = w->values;
        for (size_t i = 0; i < count && w->sent; i++) {
            expected(w, half[i].plain, is_odd, means);
            for (int c = 0; c < p->first; c++) {
                int32_t value = w->sent->grid[c * w->cells + half[i].plain];
                values[c * count + i] = value - means[c];
                w->first[c * w->cells + half[i].plain] = value;
            }
        }
        error = exchange_symbols(w, count * p->first);
        if (error) return error;
        for (size_t i = 0; i < count; i++) {
            expected(w, half[i].plain, is_odd, means);
            for (int c = 0; c < p->first; c++) {
                int32_t value = values[c * count + i] + means[c];
                if (exceeds(value)) return NRV_LARGE_SYMBOL;
                w->first[c * w->cells + half[i].plain] = value;
                nrv_add(&w->seen, half[i].bordered, c, nrv_entered(2 * magnitude(value)));
            }
        }
    }
    return NRV_OK;
}

/* Which groups of each cell hold anything, of what is to be sent. */
FOR_EACH_PROCESSOR
static void find_flags(const walk *w, uint8_t *restrict flags) {
    const nrv_prior *p = w->prior;
    const int32_t *channel = w->sent->grid + p->first * w->cells;
    for (int group = 0; group < num_groups(p); group++, flags += w->cells)
        for (int c = 0; c < p->sizes[group]; c++, channel += w->cells)
            for (size_t i = 0; i < w->cells; i++) flags[i] |= channel[i] != 0;
}

static int exchange_group_flags(walk *w) {
    const nrv_prior *p = w->prior;
    int groups = num_groups(p);
    if (w->sent) find_flags(w, w->flags);
    for (int is_odd = 0; is_odd < 2; is_odd++) {
        const nrv_stage *stage = is_odd ? &p->flags_odd : &p->flags_even;
        const nrv_cell *half = w->halves + (is_odd ? w->num_even : 0);
        size_t count = is_odd ? w->cells - w->num_even : w->num_even;
        int error = reserve(w, count * groups);
        if (error) return error;
        nrv_features(p, stage, &w->seen, NULL, w->context, half, count, w->features);
        nrv_indices(p, stage, 0, groups, w->features, NULL, count, w->keys);
        int32_t *values = w->values;
        for (int g = 0; g < groups && w->sent; g++)
            for (size_t i = 0; i < count; i++)
                values[g * count + i] = w->flags[g * w->cells + half[i].plain];
        error = exchange_flags(w, count * groups);
        if (error) return error;
        for (int g = 0; g < groups; g++)
            for (size_t i = 0; i < count; i++) {
                if (!values[g * count + i]) continue;
                w->flags[g * w->cells + half[i].plain] = 1;
                nrv_add(&w->seen, half[i].bordered, p->first + g, GAIN);
            }
    }
    return NRV_OK;
}

/* Groups whose flagged cells hold the symbols of one list. */
typedef struct {
    int count;
    const int32_t *sizes;
    const uint8_t *flags;    /* count x cells */
    const int32_t *given;    /* channels x cells, NULL when reading */
    int32_t *found;          /* the same, NULL when listing */
    size_t symbols;
    uint32_t *places, *which; /* flagged cells of each group in turn; place of their features */
} flagged;

/* Cells with any flag, and where each group has flags. */
static int find_places(walk *w, flagged *f, nrv_cell *chosen, size_t *num_chosen,
                       uint32_t *number) {
    size_t total = 0;
    for (size_t i = 0; i < f->count * w->cells; i++) total += f->flags[i];
    f->places = take(w, total, sizeof *f->places);
    f->which = take(w, total, sizeof *f->which);
    if (!f->places || !f->which) return NRV_NO_MEMORY;
    for (size_t i = 0; i < w->cells; i++) {
        int any = 0;
        for (int g = 0; g < f->count; g++) any |= f->flags[g * w->cells + i];
        number[i] = (uint32_t)*num_chosen;
        if (any) chosen[(*num_chosen)++] = w->all[i];
    }
    size_t at = 0;
    for (int g = 0; g < f->count; g++) {
        size_t before = at;
        for (size_t i = 0; i < w->cells; i++)
            if (f->flags[g * w->cells + i]) {
                f->places[at] = (uint32_t)i;
                f->which[at++] = number[i];
            }
        f->symbols += (at - before) * f->sizes[g];
    }
    return NRV_OK;
}

static size_t flags_of(const walk *w, const flagged *f, int group) {
    size_t count = 0;
    for (size_t i = 0; i < w->cells; i++) count += f->flags[group * w->cells + i];
    return count;
}

/* Values between the list and the planes of the channels. */
static void move_flagged(walk *w, const flagged *f, int32_t *values) {
    const uint32_t *places = f->places;
    size_t channel = 0;
    for (int g = 0; g < f->count; g++) {
        size_t count = flags_of(w, f, g);
        for (int c = 0; c < f->sizes[g]; c++, channel++, values += count)
            for (size_t i = 0; i < count; i++) {
                size_t at = channel * w->cells + places[i];
                if (f->given) values[i] = f->given[at];
                else if (values[i]) f->found[at] = values[i]; /* other pages stay untouched */
            }
        places += count;
    }
}

static int exchange_flagged(walk *w, const nrv_stage *stage, flagged *f, const nrv_lists *inside) {
    const nrv_prior *p = w->prior;
    nrv_cell *chosen = take(w, w->cells, sizeof *chosen);
    uint32_t *number = take(w, w->cells, sizeof *number);
    size_t num_chosen = 0;
    if (!chosen || !number) return NRV_NO_MEMORY;
    int error = find_places(w, f, chosen, &num_chosen, number);
    if (!error) error = reserve(w, f->symbols);
    if (error) return error;
    nrv_features(p, stage, &w->seen, inside, w->context, chosen, num_chosen, w->features);
    int start = 0;
    uint8_t *keys = w->keys;
    const uint32_t *which = f->which;
    for (int g = 0; g < f->count; g++) {
        size_t count = flags_of(w, f, g);
        nrv_indices(p, stage, start, f->sizes[g], w->features, which, count, keys);
        start += nrv_padded(f->sizes[g]);
        which += count;
        keys += count * f->sizes[g];
    }
    int32_t *values = w->values;
    if (w->sent) move_flagged(w, f, values);
    error = exchange_symbols(w, f->symbols);
    if (!error && !w->sent) move_flagged(w, f, values);
    return error;
}

/* Symbols of the middle groups as the last stage sees them: each in its cell, and activities. */
static int see_middle(walk *w, const flagged *f, nrv_lists *inside) {
    const nrv_prior *p = w->prior;
    uint32_t *starts = take(w, w->cells + 1, sizeof *starts);
    uint32_t *ends = take(w, w->cells, sizeof *ends);
    uint32_t *sums = take(w, w->cells, sizeof *sums);
    nrv_activation *entries = take(w, f->symbols, sizeof *entries);
    if (!starts || !ends || !sums || !entries) return NRV_NO_MEMORY;
    for (size_t i = 0; i < w->cells; i++) {
        starts[i + 1] = ends[i] = starts[i];
        for (int g = 0; g < f->count; g++)
            if (f->flags[g * w->cells + i]) starts[i + 1] += f->sizes[g];
    }
    const uint32_t *places = f->places;
    const int32_t *value = w->values;
    int channel = 0;
    for (int g = 0; g < f->count; g++) {
        size_t count = flags_of(w, f, g);
        memset(sums, 0, w->cells * sizeof *sums);
        for (int c = 0; c < f->sizes[g]; c++, channel++)
            for (size_t i = 0; i < count; i++, value++) {
                if (!*value) continue;
                uint32_t size = magnitude(*value);
                sums[places[i]] += size;
                entries[ends[places[i]]++] =
                    (nrv_activation){(uint16_t)channel, (uint16_t)nrv_entered(2 * size)};
            }
        for (size_t i = 0; i < count; i++)
            nrv_add(&w->seen, w->all[places[i]].bordered, p->first + num_groups(p) + g,
                    nrv_entered(sums[places[i]]));
        places += count;
    }
    *inside = (nrv_lists){starts, ends, entries};
    return NRV_OK;
}

/* The grid; `gate` of each cell, NULL for a key clip. */
static int exchange_grid(walk *w, const int32_t *gate, int32_t *grid) {
    const nrv_prior *p = w->prior;
    int error = find_context(w, gate);
    if (!error) error = exchange_first(w);
    if (!error) error = exchange_group_flags(w);
    if (error) return error;
    size_t split = p->first * w->cells, cells = 0;
    for (int g = 0; g < p->middle_groups; g++) cells += p->sizes[g] * w->cells;
    const int32_t *given = w->sent ? w->sent->grid + split : NULL;
    int32_t *found = grid ? grid + split : NULL;
    if (grid) memcpy(grid, w->first, split * sizeof *grid);
    flagged middle = {p->middle_groups, p->sizes, w->flags, given, found, 0, NULL, NULL};
    error = exchange_flagged(w, &p->middle, &middle, NULL);
    nrv_lists inside;
    if (!error) error = see_middle(w, &middle, &inside);
    if (error) return error;
    flagged last = {p->last_groups, p->sizes + p->middle_groups,
                    w->flags + p->middle_groups * w->cells, given ? given + cells : NULL,
                    found ? found + cells : NULL, 0, NULL, NULL};
    return exchange_flagged(w, &p->last, &last, &inside);
}

static int read_own_tables(walk *w) {
    uint32_t first, last, table;
    for (int i = 0; i < 256; i++) w->own[i] = (uint16_t)(FIRST_TABLE + i % SCALES);
    int error = nrv_read_bits(&w->reader, SCALE_BITS, &first);
    if (!error) error = nrv_read_bits(&w->reader, SCALE_BITS, &last);
    for (uint32_t i = error ? 1 : first; !error && i <= last; i++) {
        error = nrv_read_bits(&w->reader, TABLE_BITS, &table);
        if (!error) w->own[i] = (uint16_t)table;
    }
    return error;
}

/* Rows of `count` values, each with its own table. */
static int read_rows(walk *w, int rows, size_t count, int32_t *values) {
    for (int row = 0; row < rows; row++, values += count) {
        uint32_t table;
        int error = nrv_read_bits(&w->reader, TABLE_BITS, &table);
        if (!error) error = nrv_read_row(&w->reader, w->tables, (int)table, count, values);
        if (error) return error;
    }
    return NRV_OK;
}

INLINE int64_t between(int64_t value, int64_t a, int64_t b) {
    int64_t low = a < b ? a : b, high = a < b ? b : a;
    return value < low ? low : value > high ? high : value;
}

/* Differences to what the neighbours let expect become values: the predictor of LOCO-I. */
static int onto_neighbours(int32_t *values, int rows, int columns) {
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++) {
            int32_t *at = values + (size_t)row * columns + column;
            int64_t left = column ? at[-1] : 0, above = row ? at[-columns] : 0;
            int64_t value = *at;
            if (row && column) value += between(left + above - at[-columns - 1], left, above);
            else value += left + above;
            if (exceeds(value)) return NRV_LARGE_SYMBOL;
            *at = (int32_t)value;
        }
    return NRV_OK;
}

/* Channels of squares, each as its differences to what its neighbours let expect. */
static int read_squares(walk *w, int channels, int rows, int columns, int32_t *values) {
    size_t plane = (size_t)rows * columns;
    int error = read_rows(w, channels, plane, values);
    for (int channel = 0; channel < channels && !error; channel++)
        error = onto_neighbours(values + channel * plane, rows, columns);
    return error;
}

static int read_motion(walk *w, const nrv_found *f) {
    int sent = w->clip->reference ? f->motion_channels : f->motion_channels - 2;
    return read_squares(w, sent, f->motion_rows, f->motion_columns, f->motion);
}

/* Flags of one level, which comes first. */
static int read_level_flags(walk *w, size_t count, int32_t *flags) {
    uint32_t level;
    int error = reserve(w, count);
    if (!error) error = nrv_read_bits(&w->reader, LEVEL_BITS, &level);
    if (error) return error;
    memset(w->keys, (int)level, count);
    error = exchange_flags(w, count);
    if (!error) memcpy(flags, w->values, count * sizeof *flags);
    return error;
}

static int read_sway(walk *w, const nrv_found *f) {
    int32_t any;
    int error = read_level_flags(w, 1, &any);
    if (error || !any) return error;
    return read_squares(w, f->sway_channels, f->sway_rows, f->sway_columns, f->sway);
}

static int read_clip(walk *w, const nrv_found *f) {
    nrv_open(&w->reader, f->data, f->words);
    int error = start(w);
    if (!error) error = read_own_tables(w);
    if (!error) error = read_motion(w, f);
    if (!error) error = read_sway(w, f);
    if (!error && w->clip->reference) error = read_level_flags(w, w->cells, f->gate);
    if (!error) error = exchange_grid(w, f->gate, f->grid);
    return error ? error : nrv_at_end(&w->reader);
}

/* Read all symbols of a clip. Returns NRV_OK or one of the errors of range_coder.h. */
int nrv_read_clip(const nrv_prior *prior, const nrv_tables *tables, const nrv_clip *clip,
                  const nrv_found *found) {
    walk w = {.prior = prior, .tables = tables, .clip = clip};
    int error = read_clip(&w, found);
    drop_all(&w);
    return error;
}

/* List the symbols of a clip's grid. Returns NRV_OK, or NRV_NO_MEMORY. */
int nrv_list_clip(const nrv_prior *prior, const nrv_clip *clip, nrv_sent *sent) {
    nrv_sent rest = *sent;
    walk w = {.prior = prior, .clip = clip, .sent = &rest};
    int error = start(&w);
    if (!error) error = exchange_grid(&w, sent->gate, NULL);
    memcpy(sent->counts, rest.counts, sizeof rest.counts);
    drop_all(&w);
    return error;
}
