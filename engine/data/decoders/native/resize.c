/* The resize, LANES output rows at a time: rows are combined along memory, the strip is turned on its side, and
   columns are combined with the rows in the lanes of one vector. Plain multiplications and additions in the order of
   ../taps.py (built with -ffp-contract=off), so that every machine makes the same pixels. Built once for each kind
   of machine (VARIANT); dispatch.c picks. */
#include <math.h>

#include "engine.h"
#include "lanes.h"

struct taps {
    int32_t *first, *count;
    float *weights;
    int most;
};

/* A strip of one plane: `turned` is (elements, LANES), made from `lines` (LANES, stride). */
struct strip {
    float *lines, *turned;
    int64_t elements, stride;
};

INLINE int64_t padded(int64_t size) { return (size + 63) / 64 * 64; }

/* libm's fmax is a call, and one that mixes SSE into AVX code, which costs hundreds of cycles each time. */
INLINE double larger(double a, double b) { return a > b ? a : b; }

INLINE double triangle(int64_t pixel, double centre, double per_pixel) {
    double distance = pixel + 0.5 - centre;
    return larger(0.0, 1.0 - (distance < 0 ? -distance : distance) * per_pixel);
}

static void *take(uint8_t **scratch, int64_t bytes) {
    void *taken = *scratch;
    *scratch += padded(bytes);
    return taken;
}

static struct taps fill_taps(struct span span, int64_t resolution, uint8_t **scratch) {
    double step = span.extent / resolution, support = larger(1.0, step), per_pixel = 1.0 / support;
    struct taps taps = {.most = (int)(2.0 * support) + 2};
    taps.first = take(scratch, 4 * resolution);
    taps.count = take(scratch, 4 * resolution);
    taps.weights = take(scratch, 4 * resolution * taps.most);
    for (int64_t x = 0; x < resolution; x++) {
        double centre = span.start + (x + 0.5) * step, total = 0.0;
        int64_t first = (int64_t)floor(centre - support + 0.5), last = (int64_t)floor(centre + support + 0.5);
        if (first < span.low) first = span.low;
        if (last > span.high) last = span.high;
        for (int64_t p = first; p < last; p++) total += triangle(p, centre, per_pixel);
        double share = 1.0 / total;
        for (int64_t p = first; p < last; p++)
            taps.weights[x * taps.most + p - first] = (float)(triangle(p, centre, per_pixel) * share);
        taps.first[x] = (int32_t)first;
        taps.count[x] = (int32_t)(last - first);
    }
    return taps;
}

static struct strip take_strip(struct span columns, int step, uint8_t **scratch) {
    struct strip strip = {.elements = (columns.high - columns.low) * step};
    strip.stride = (strip.elements + LANES - 1) / LANES * LANES;
    strip.lines = take(scratch, 4 * LANES * strip.stride);
    strip.turned = take(scratch, 4 * LANES * strip.stride);
    return strip;
}

INLINE void combine_rows(const uint8_t *source, int64_t stride, const float *weights, int count, int64_t elements,
                         float *line) {
    int64_t x = 0;
    for (; x + LANES <= elements; x += LANES) {
        lanes sum = load_bytes(source + x) * weights[0];
        for (int k = 1; k < count; k++) sum += load_bytes(source + k * stride + x) * weights[k];
        memcpy(line + x, &sum, sizeof sum);
    }
    for (; x < elements; x++) {
        float sum = (float)source[x] * weights[0];
        for (int k = 1; k < count; k++) sum += (float)source[k * stride + x] * weights[k];
        line[x] = sum;
    }
}

static void fill_strip(struct plane plane, struct taps rows, int64_t column, int64_t row, int64_t resolution,
                       struct strip strip) {
    for (int lane = 0; lane < LANES; lane++) {
        /* The last strip may pass the end: its surplus lanes repeat the last row and are not written out. */
        int64_t y = row + lane < resolution ? row + lane : resolution - 1;
        const uint8_t *source = plane.pixels + rows.first[y] * plane.stride + column * plane.step;
        const float *weights = rows.weights + y * rows.most;
        float *line = strip.lines + lane * strip.stride;
        /* A constant count lets the compiler unroll the most frequent ones. */
        switch (rows.count[y]) {
        case 2: combine_rows(source, plane.stride, weights, 2, strip.elements, line); break;
        case 3: combine_rows(source, plane.stride, weights, 3, strip.elements, line); break;
        case 4: combine_rows(source, plane.stride, weights, 4, strip.elements, line); break;
        default: combine_rows(source, plane.stride, weights, rows.count[y], strip.elements, line);
        }
    }
    turn(strip.lines, strip.stride, strip.stride, strip.turned);
}

INLINE lanes combine_columns(struct strip strip, struct taps columns, int64_t x, int64_t low, int step, int channel) {
    const float *weights = columns.weights + x * columns.most;
    const float *source = strip.turned + ((columns.first[x] - low) * step + channel) * LANES;
    lanes sum, pixels;
    memcpy(&sum, source, sizeof sum);
    sum *= weights[0];
    for (int k = 1; k < columns.count[x]; k++) {
        memcpy(&pixels, source + k * step * LANES, sizeof pixels);
        sum += pixels * weights[k];
    }
    return sum;
}

/* levels (3 x resolution, LANES) -> the output's rows from `row` on. */
static void write_rows(const uint8_t *levels, int64_t row, int64_t resolution, uint8_t *out) {
    int64_t width = 3 * resolution, lines = resolution - row < LANES ? resolution - row : LANES;
    out += row * width;
    for (int64_t x = 0; x < width; x += 16) {
        sixteen rows[LANES];
        turn_bytes(levels + x * LANES, rows);
        if (lines == LANES && width - x >= 16)
            for (int line = 0; line < LANES; line++) memcpy(out + line * width + x, &rows[line], 16);
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

void VARIANT(resize_rgb)(struct plane plane, struct span row_span, struct span column_span, int flip,
                         int64_t resolution, uint8_t *out, uint8_t *scratch) {
    struct taps rows = fill_taps(row_span, resolution, &scratch);
    struct taps columns = fill_taps(column_span, resolution, &scratch);
    struct strip strip = take_strip(column_span, 3, &scratch);
    uint8_t *levels = take_levels(resolution, &scratch);
    for (int64_t row = 0; row < resolution; row += LANES) {
        fill_strip(plane, rows, column_span.low, row, resolution, strip);
        for (int64_t x = 0; x < resolution; x++) {
            uint8_t *to = levels + (flip ? resolution - 1 - x : x) * 3 * LANES;
            for (int channel = 0; channel < 3; channel++)
                store_levels(combine_columns(strip, columns, x, column_span.low, 3, channel), to + channel * LANES);
        }
        write_rows(levels, row, resolution, out);
    }
}

void VARIANT(resize_yuv420)(const struct plane planes[3], struct span row_span, struct span column_span, int flip,
                            int64_t resolution, uint8_t *out, uint8_t *scratch) {
    struct span half_rows = halved(row_span), half_columns = halved(column_span);
    struct taps rows = fill_taps(row_span, resolution, &scratch);
    struct taps columns = fill_taps(column_span, resolution, &scratch);
    struct taps chroma_rows = fill_taps(half_rows, resolution, &scratch);
    struct taps chroma_columns = fill_taps(half_columns, resolution, &scratch);
    struct strip y_strip = take_strip(column_span, 1, &scratch);
    struct strip u_strip = take_strip(half_columns, 1, &scratch);
    struct strip v_strip = take_strip(half_columns, 1, &scratch);
    uint8_t *levels = take_levels(resolution, &scratch);
    for (int64_t row = 0; row < resolution; row += LANES) {
        fill_strip(planes[0], rows, column_span.low, row, resolution, y_strip);
        fill_strip(planes[1], chroma_rows, half_columns.low, row, resolution, u_strip);
        fill_strip(planes[2], chroma_rows, half_columns.low, row, resolution, v_strip);
        for (int64_t x = 0; x < resolution; x++) {
            lanes y = combine_columns(y_strip, columns, x, column_span.low, 1, 0);
            lanes u = combine_columns(u_strip, chroma_columns, x, half_columns.low, 1, 0) - 128.0f;
            lanes v = combine_columns(v_strip, chroma_columns, x, half_columns.low, 1, 0) - 128.0f;
            uint8_t *to = levels + (flip ? resolution - 1 - x : x) * 3 * LANES;
            store_levels(y + v * 1.402f, to);
            store_levels(y - u * 0.344136f - v * 0.714136f, to + LANES);
            store_levels(y + u * 1.772f, to + 2 * LANES);
        }
        write_rows(levels, row, resolution, out);
    }
}
