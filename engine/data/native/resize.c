/* The resize, LANES output rows at a time: rows are combined along memory, the strip is turned on its side, and
   columns are combined with the rows in the lanes of one vector. Plain multiplications and additions in the order of
   ../decode/portable_resize.py (built with -ffp-contract=off), so that every machine makes the same pixels. Built once for each kind
   of machine (VARIANT); dispatch.c picks. */
#include <math.h>

#include "colour.h"
#include "engine.h"
#include "lanes.h"

/* Of output pixel x: the first source pixel, how many, and the weight of the k-th at weights[k * resolution + x]; all
   weights from the count on are 0. `most` is the largest count. */
struct taps {
    int32_t *first, *count;
    float *weights;
    int64_t resolution;
    int most;
};

/* A strip of one plane: `turned` is (elements, LANES), made from `lines` (LANES, stride); zeros lie behind it. */
struct strip {
    float *lines, *turned;
    int64_t elements, stride, behind;
};

INLINE int64_t padded(int64_t size) { return (size + 63) / 64 * 64; }

static void *take(uint8_t **scratch, int64_t bytes) {
    void *taken = *scratch;
    *scratch += padded(bytes);
    return taken;
}

/* Loops over x inside loops over k, so that the compiler makes vectors of them. No fmax and no fabs: they are calls,
   which mix SSE into AVX code at hundreds of cycles each. */
static struct taps fill_taps(struct span span, int64_t resolution, uint8_t **scratch) {
    double step = span.extent / resolution, support = step > 1.0 ? step : 1.0, per_pixel = 1.0 / support;
    int possible = (int)(2.0 * support) + 2;
    struct taps taps = {.resolution = resolution};
    taps.first = take(scratch, 4 * resolution);
    taps.count = take(scratch, 4 * resolution);
    taps.weights = take(scratch, 4 * resolution * possible);
    double *centres = take(scratch, 8 * resolution), *totals = take(scratch, 8 * resolution);
    double *heights = take(scratch, 8 * resolution * possible);
    int32_t low = (int32_t)span.low, high = (int32_t)span.high;
    for (int64_t x = 0; x < resolution; x++) {
        double centre = span.start + ((double)(int32_t)x + 0.5) * step;
        int32_t first = (int32_t)floor(centre - support + 0.5), last = (int32_t)floor(centre + support + 0.5);
        first = first < low ? low : first;
        last = last > high ? high : last;
        centres[x] = centre;
        totals[x] = 0.0;
        taps.first[x] = first;
        taps.count[x] = last - first;
    }
    for (int64_t x = 0; x < resolution; x++)
        if (taps.count[x] > taps.most) taps.most = taps.count[x];
    for (int k = 0; k < taps.most; k++)
        for (int64_t x = 0; x < resolution; x++) {
            double distance = (double)(taps.first[x] + k) + 0.5 - centres[x];
            double height = 1.0 - (distance < 0 ? -distance : distance) * per_pixel;
            height = height > 0.0 && k < taps.count[x] ? height : 0.0;
            heights[k * resolution + x] = height;
            totals[x] += height;
        }
    for (int64_t x = 0; x < resolution; x++) totals[x] = 1.0 / totals[x];
    for (int k = 0; k < taps.most; k++)
        for (int64_t x = 0; x < resolution; x++)
            taps.weights[k * resolution + x] = (float)(heights[k * resolution + x] * totals[x]);
    return taps;
}

static struct strip take_strip(struct span columns, int step, int taps, uint8_t **scratch) {
    struct strip strip = {.elements = (columns.high - columns.low) * step};
    strip.stride = (strip.elements + LANES - 1) / LANES * LANES;
    strip.behind = (taps > LANES ? taps : LANES) * step;
    strip.lines = take(scratch, 4 * LANES * strip.stride);
    strip.turned = take(scratch, 4 * LANES * (strip.elements + strip.behind));
    return strip;
}

INLINE void combine_rows(const uint8_t *source, int64_t stride, const float *weights, int64_t apart, int count,
                         int64_t elements, float *line) {
    int64_t x = 0;
    for (; x + LANES <= elements; x += LANES) {
        lanes sum = load_bytes(source + x) * weights[0];
        for (int k = 1; k < count; k++) sum += load_bytes(source + k * stride + x) * weights[k * apart];
        memcpy(line + x, &sum, sizeof sum);
    }
    for (; x < elements; x++) {
        float sum = (float)source[x] * weights[0];
        for (int k = 1; k < count; k++) sum += (float)source[k * stride + x] * weights[k * apart];
        line[x] = sum;
    }
}

static void fill_strip(struct plane plane, struct taps rows, int64_t column, int64_t row, int64_t resolution,
                       struct strip strip) {
    for (int lane = 0; lane < LANES; lane++) {
        /* The last strip may pass the end: its surplus lanes repeat the last row and are not written out. */
        int64_t y = row + lane < resolution ? row + lane : resolution - 1;
        const uint8_t *source = plane.pixels + rows.first[y] * plane.stride + column * plane.step;
        const float *weights = rows.weights + y;
        float *line = strip.lines + lane * strip.stride;
        /* A constant count lets the compiler unroll the most frequent ones. */
        switch (rows.count[y]) {
        case 2: combine_rows(source, plane.stride, weights, resolution, 2, strip.elements, line); break;
        case 3: combine_rows(source, plane.stride, weights, resolution, 3, strip.elements, line); break;
        case 4: combine_rows(source, plane.stride, weights, resolution, 4, strip.elements, line); break;
        default: combine_rows(source, plane.stride, weights, resolution, rows.count[y], strip.elements, line);
        }
    }
    turn(strip.lines, strip.stride, strip.stride, strip.turned);
    /* What taps of weight 0 behind the last column read: it must be finite, or 0 times it is not 0. */
    memset(strip.turned + strip.elements * LANES, 0, 4 * LANES * strip.behind);
}

INLINE lanes load_column(const float *column) {
    lanes values;
    memcpy(&values, column, sizeof values);
    return values;
}

/* `count` taps for every x, those beyond its own with weight 0: they change nothing, and a constant unrolls. */
INLINE lanes combine_columns(struct strip strip, struct taps columns, int count, int64_t x, int64_t low) {
    const float *weights = columns.weights + x;
    const float *source = strip.turned + (columns.first[x] - low) * LANES;
    lanes sum = load_column(source) * weights[0];
    for (int k = 1; k < count; k++) sum += load_column(source + k * LANES) * weights[k * columns.resolution];
    return sum;
}

/* levels (3 x resolution, LANES) -> the output's rows from `row` on. */
static void write_rows(const uint8_t *levels, int64_t row, int64_t resolution, uint8_t *out) {
    int64_t width = 3 * resolution, lines = resolution - row < LANES ? resolution - row : LANES;
    out += row * width;
    int aligned = (((uintptr_t)out | (uintptr_t)width) & 15) == 0;
    for (int64_t x = 0; x < width; x += 16) {
        sixteen rows[LANES];
        turn_bytes(levels + x * LANES, rows);
        if (lines == LANES && width - x >= 16 && aligned)
            for (int line = 0; line < LANES; line++) stream(rows[line], out + line * width + x);
        else
            for (int64_t line = 0; line < lines; line++)
                memcpy(out + line * width + x, &rows[line], width - x < 16 ? width - x : 16);
    }
}

static uint8_t *take_levels(int64_t resolution, uint8_t **scratch) {
    return take(scratch, (3 * resolution + 15) / 16 * 16 * LANES);
}

static struct span halved(struct span span) {
    return (struct span){span.start / 2, span.extent / 2, span.low / 2, (span.high + 1) / 2};
}

struct rgb {
    struct strip strip;
    struct taps columns;
    int64_t low;
};

INLINE void rgb_levels(const struct rgb *from, int count, int flip, uint8_t *levels) {
    int64_t resolution = from->columns.resolution;
    for (int64_t x = 0; x < resolution; x++) {
        const float *weights = from->columns.weights + x;
        const float *source = from->strip.turned + (from->columns.first[x] - from->low) * 3 * LANES;
        lanes r = load_column(source) * weights[0];
        lanes g = load_column(source + LANES) * weights[0];
        lanes b = load_column(source + 2 * LANES) * weights[0];
        for (int k = 1; k < count; k++) {
            source += 3 * LANES;
            r += load_column(source) * weights[k * resolution];
            g += load_column(source + LANES) * weights[k * resolution];
            b += load_column(source + 2 * LANES) * weights[k * resolution];
        }
        uint8_t *to = levels + (flip ? resolution - 1 - x : x) * 3 * LANES;
        store_levels(r, to);
        store_levels(g, to + LANES);
        store_levels(b, to + 2 * LANES);
    }
}

void VARIANT(resize_rgb)(struct plane plane, struct span row_span, struct span column_span, int flip,
                         int64_t resolution, uint8_t *out, uint8_t *scratch) {
    struct taps rows = fill_taps(row_span, resolution, &scratch);
    struct rgb from = {.columns = fill_taps(column_span, resolution, &scratch), .low = column_span.low};
    from.strip = take_strip(column_span, 3, from.columns.most, &scratch);
    uint8_t *levels = take_levels(resolution, &scratch);
    for (int64_t row = 0; row < resolution; row += LANES) {
        fill_strip(plane, rows, column_span.low, row, resolution, from.strip);
        switch (from.columns.most) {
        case 2: rgb_levels(&from, 2, flip, levels); break;
        case 3: rgb_levels(&from, 3, flip, levels); break;
        case 4: rgb_levels(&from, 4, flip, levels); break;
        default: rgb_levels(&from, from.columns.most, flip, levels);
        }
        write_rows(levels, row, resolution, out);
    }
    end_streaming();
}

struct yuv {
    struct strip y, u, v;
    struct taps columns, chroma_columns;
    int64_t low, chroma_low;
};

INLINE void yuv_levels(const struct yuv *from, int count, int chroma_count, int flip, uint8_t *levels) {
    int64_t resolution = from->columns.resolution;
    for (int64_t x = 0; x < resolution; x++) {
        lanes y = combine_columns(from->y, from->columns, count, x, from->low);
        lanes u = combine_columns(from->u, from->chroma_columns, chroma_count, x, from->chroma_low) - 128.0f;
        lanes v = combine_columns(from->v, from->chroma_columns, chroma_count, x, from->chroma_low) - 128.0f;
        uint8_t *to = levels + (flip ? resolution - 1 - x : x) * 3 * LANES;
        store_levels(y + v * RED_V, to);
        store_levels(y - u * GREEN_U - v * GREEN_V, to + LANES);
        store_levels(y + u * BLUE_U, to + 2 * LANES);
    }
}

void VARIANT(resize_yuv420)(const struct plane planes[3], struct span row_span, struct span column_span, int flip,
                            int64_t resolution, uint8_t *out, uint8_t *scratch) {
    struct span half_rows = halved(row_span), half_columns = halved(column_span);
    struct taps rows = fill_taps(row_span, resolution, &scratch);
    struct taps chroma_rows = fill_taps(half_rows, resolution, &scratch);
    struct yuv from = {.low = column_span.low, .chroma_low = half_columns.low};
    from.columns = fill_taps(column_span, resolution, &scratch);
    from.chroma_columns = fill_taps(half_columns, resolution, &scratch);
    from.y = take_strip(column_span, 1, from.columns.most, &scratch);
    from.u = take_strip(half_columns, 1, from.chroma_columns.most, &scratch);
    from.v = take_strip(half_columns, 1, from.chroma_columns.most, &scratch);
    uint8_t *levels = take_levels(resolution, &scratch);
    int luma = from.columns.most, chroma = from.chroma_columns.most;
    for (int64_t row = 0; row < resolution; row += LANES) {
        fill_strip(planes[0], rows, column_span.low, row, resolution, from.y);
        fill_strip(planes[1], chroma_rows, half_columns.low, row, resolution, from.u);
        fill_strip(planes[2], chroma_rows, half_columns.low, row, resolution, from.v);
        if (luma == 2 && chroma == 2)
            yuv_levels(&from, 2, 2, flip, levels);
        else if (luma == 3 && chroma == 2)
            yuv_levels(&from, 3, 2, flip, levels);
        else if (luma == 4 && chroma == 2)
            yuv_levels(&from, 4, 2, flip, levels);
        else
            yuv_levels(&from, luma, chroma, flip, levels);
        write_rows(levels, row, resolution, out);
    }
    end_streaming();
}
